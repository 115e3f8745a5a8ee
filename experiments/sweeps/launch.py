"""Starts the runs of a sweep through submitit: on this machine, several at a time, or by SLURM."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sngan_jax.base.errors import UserError, one_line
from sngan_jax.run.lock import is_held

from .plan import Planned, is_finished

LAUNCHERS = ("local", "slurm")
_LOOK_EVERY = 0.5  # seconds
_FOR_EVER = 10 * 365 * 24 * 60  # minutes


def make_executor(launcher: str, folder: Path, options: dict[str, Any]) -> Any:
    """submitit's executor of a launcher; UserError if it, or the cluster, is missing.

    Args:
      folder: folder for its own files: scripts and output of the jobs.
      options: options of the job, with submitit's names: partition, time (minutes),
        cpus_per_task, …
    """
    try:
        import submitit
    except ImportError:
        raise UserError("the sweeps need submitit: pip install 'sngan_jax[sweep]'") from None
    try:
        executor = {"local": submitit.LocalExecutor, "slurm": submitit.SlurmExecutor}[launcher](
            folder=folder)
        # A run saves itself at SIGTERM, which SLURM sends when the time is over. On this machine
        # submitit would interrupt a job after two minutes by default.
        own = {"time": 24 * 60} if launcher == "slurm" else {"timeout_min": _FOR_EVER}
        executor.update_parameters(**{**own, **options})
    except (RuntimeError, TypeError, ValueError, NameError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--launcher={launcher}: {reason}") from error
    return executor


def run_command(command: Sequence[str]) -> int:
    """Runs a command to its end and returns its exit status; passes on an interruption."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        return process.wait()


def launch(runs: Sequence[Planned], sweep: Path, executor: Any, at_once: int,
           say: Callable[[str], None],
           look: Callable[[Collection[str], Mapping[str, int]], None] | None = None
           ) -> dict[str, int]:
    """Starts all runs, at most `at_once` at a time, and waits for them.

    An interruption is passed on to the runs that it started; they save, and it waits for them. Runs
    left by a sweep that was killed are waited for too, and count among those at a time.

    Args:
      say: takes a line about each start and end.
      look: called often, with the names of running runs and {name: exit status} of ended ones.

    Returns:
      {name: exit status}.
    """
    waiting = list(runs)
    running: dict[str, Any] = {}
    ended: dict[str, int] = {}
    told: set[str] = set()
    try:
        while waiting or running:
            left = {run.name for run in waiting if is_held(run.workdir(sweep))}
            for name in sorted(left - told):
                say(f"{name}: still running, started by an earlier sweep")
            told |= left
            free = [run for run in waiting if run.name not in left]
            for run in free[:max(at_once - len(running) - len(left), 0)]:
                waiting.remove(run)
                if is_finished(run, sweep):
                    say(f"{run.name}: done, by an earlier sweep")
                    continue
                with _safe_path(), _apart(sweep / "jobs" / "submitit.log"):
                    running[run.name] = _submitted(executor, run.command(sweep))
                say(f"{run.name}: started as job {running[run.name].job_id}")
            for name in [name for name, job in running.items() if job.done()]:
                job = running.pop(name)
                ended[name] = _status(job)
                say(f"{name}: " + ("done" if ended[name] == 0 else
                                   f"exit status {ended[name]}{_last_words(job)}"))
            if look:
                look({*running, *left}, ended)
            time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        for job in running.values():
            job.cancel()
        for job in running.values():
            _status(job)
        # submitit ends its own process a second later, and the run may still be saving.
        folders = [run.workdir(sweep) for run in runs if run.name in running]
        while any(map(is_held, folders)):
            time.sleep(_LOOK_EVERY)
        raise
    return ended


def _submitted(executor: Any, command: Sequence[str]) -> Any:
    """The job of a command; UserError if the cluster refuses it."""
    try:
        return executor.submit(run_command, command)
    except RuntimeError as error:
        if type(error).__name__ != "FailedJobError":  # submitit's
            raise
        raise UserError(f"the scheduler refused a job ({one_line(error)}): check --slurm and the "
                        "cluster, and run the same command again; jobs that have started go on"
                        ) from error


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """submitit's processes import no modules from the current folder, like those of `command`.

    This package is found there as a top-level package.
    """
    with contextlib.ExitStack() as after:
        if "." in __name__.partition("experiments")[0] and "PYTHONSAFEPATH" not in os.environ:
            os.environ["PYTHONSAFEPATH"] = "1"
            after.callback(os.environ.pop, "PYTHONSAFEPATH")
        yield


@contextlib.contextmanager
def _apart(log: Path) -> Iterator[None]:
    """Starts submitit's processes in separate sessions, with their output in a log.

    Ctrl-C in a terminal is sent to a whole session. It would reach a run twice, from the terminal
    and from the sweep, and the second one ends a run before it has saved.
    """
    local = sys.modules.get("submitit.local.local")
    if local is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        popen = functools.partial(subprocess.Popen, start_new_session=True, stderr=said)
        local.subprocess = types.SimpleNamespace(Popen=popen)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            local.subprocess = subprocess  # type: ignore[attr-defined]


def _last_words(job: Any) -> str:
    """': ' and the last line of a job's errors, except submitit's own; empty if there are none."""
    try:
        lines = (job.stderr() or "").splitlines()
    except OSError:
        return ""
    own = [line.strip() for line in lines if line.strip() and ":submitit:" not in line]
    return f": {own[-1]}" if own else ""


def _status(job: Any) -> int:
    try:
        return job.result()
    except Exception:  # submitit raises its own errors and the job's; the log has all of them
        return 1
