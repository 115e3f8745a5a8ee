"""Other processes at a run's folder, which read it or take its lock: readers, hosts."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.run.lock import locked
from sngan_jax.run.restore import GoneError, at_iteration, restore_run, saved_iterations
from tests.faults.runs import (
    Outcome,
    refusal_problems,
    said,
    start,
    traceback_of,
    wait_for_iteration,
)

_LONG = {"iterations": 10**6, "evaluate_every": 0, "sample_every": 10**6}


def readers(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Reads the newest checkpoint, then each one, of a run that keeps saving and deleting."""
    workdir, held, notes, gone = work / "readers", 0, [], 0
    # Slow enough that a busy machine reads a checkpoint before the next two have been saved.
    process = start(workdir, keep_checkpoints=2, checkpoint_every=10, **_LONG)
    wait_for_iteration(workdir, process, 30)
    for n in range(rounds):
        problems, words = [], io.StringIO()
        with contextlib.redirect_stderr(words):
            try:
                run = restore_run(workdir)
                for iteration in saved_iterations(workdir):
                    time.sleep(rng.uniform(0, 1))
                    try:
                        run = at_iteration(run, workdir, iteration)
                    except GoneError:
                        gone += 1
            except UserError as error:
                problems.append(str(error))
        if "damaged" in words.getvalue():
            problems.append(words.getvalue())
        held += not problems
        notes += [f"round {n}: {problem}" for problem in problems]
    process.send_signal(signal.SIGTERM)
    if (status := process.wait(60)) != 75:
        notes, held = [*notes, f"the run ended with {status}: {said(workdir)[-300:]}"], 0
    return Outcome(rounds, held, notes, figures={"gone": gone})


def hosts(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Deletes a run's lock, then takes it or starts another run; or meets another host's lock."""
    held, notes = 0, []
    for n in range(rounds):
        workdir, problems = work / f"hosts-{n}", []
        if n % 4 == 3:
            workdir.mkdir()
            (workdir / "lock").write_text(json.dumps({"host": f"pod-{n}", "pid": 1, "date": "now"}))
            status = start(workdir).wait()
            problems += refusal_problems(said(workdir), status, 75)
        elif n % 4 == 2:
            process = start(workdir, **_LONG)
            wait_for_iteration(workdir, process)
            time.sleep(rng.uniform(0, 2))
            (workdir / "lock").unlink()
            with locked(workdir):
                try:
                    status = process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    status = process.wait()
                problems += refusal_problems(said(workdir), status)
                if (workdir / "checkpoints" / "saving").exists():
                    problems.append("it was saving")
        else:
            first = start(workdir, **_LONG)
            wait_for_iteration(workdir, first)
            (workdir / "lock").unlink()
            time.sleep(rng.uniform(0, 3))
            second_log = workdir.with_name(workdir.name + "-second")
            both = [first, start(workdir, log=second_log, **_LONG)]
            begun = time.monotonic()
            while all(p.poll() is None for p in both) and time.monotonic() - begun < 60:
                time.sleep(0.05)
            time.sleep(5)  # long enough for both to end
            left = [p for p in both if p.poll() is None]
            gone = [p for p in both if p.poll() is not None]
            if len(left) != 1 or gone[0].returncode != 2:
                problems.append(f"exit statuses {[p.returncode for p in both]}: "
                                f"{said(workdir)[-300:]} {said(second_log)[-300:]}")
            for process in left:
                process.send_signal(signal.SIGTERM)
                if (status := process.wait(60)) != 75:
                    problems.append(f"the other run ended with {status}")
            problems += filter(None, [traceback_of(workdir), traceback_of(second_log)])
        held += not problems
        notes += [f"round {n}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes)

