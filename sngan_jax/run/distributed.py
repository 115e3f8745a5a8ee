"""Runs of several processes, on one host or many: joining, agreement, and the loss of a process.

`jax.distributed` connects the processes. Through its key-value store each one reports that it is
alive, or the error with which it ended. The others then end too, with that error. Only the first
process writes to the workdir; the others write to a temporary folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax._src import distributed as _jax_distributed
from jax.experimental import multihost_utils

from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.output import say
from sngan_jax.base.types import JsonObject, PyTree

PEER_LOST = 3
MODES = ("auto", "yes", "no")
_BEAT, _LOST_AFTER = 2.0, 20.0  # seconds
_AGREE_WITHIN = 3600  # seconds: a host may read a large data set first
_PREFIX = "sngan_jax"
_MEETINGS, _CALLS = itertools.count(), itertools.count(1)
_ENDED = "ended: "
# Run by a child: prints its argument if the parent's end of the pipe closes with nothing written.
_SAY_AT_END = "import sys; sys.stdin.buffer.read() or sys.stderr.write(sys.argv[1])"


def several(environment: Mapping[str, str]) -> bool:
    """Whether SLURM, Open MPI or GKE started this process as one of several."""
    def count(name: str) -> int:
        value = environment.get(name, "")
        return int(value) if value.isdigit() else 1

    in_step = "SLURM_STEP_NODELIST" in environment  # absent in a batch script without srun
    return ((in_step and count("SLURM_NTASKS") > 1) or count("OMPI_COMM_WORLD_SIZE") > 1
            or count("MEGASCALE_NUM_SLICES") > 1
            or "," in environment.get("TPU_WORKER_HOSTNAMES", ""))


@contextlib.contextmanager
def joined(mode: str = "auto", coordinator: str = "", num_processes: int = 0,
           process_id: int = -1, timeout: int = 300) -> Iterator[None]:
    """Context in which this process is part of the run that its environment or arguments describe.

    A single process does nothing. If one of several processes fails, it tells the others and exits
    at once, with the error's status if it is a UserError. If a process fails or is lost, the others
    exit with status PEER_LOST.

    Args:
      mode: 'auto' joins if `several` says so or a coordinator is given; 'yes' always joins, as on a
        TPU VM, whose environment does not give the number of processes; 'no' never joins.
      coordinator, num_processes, process_id: host:port of the first process, number of processes,
        and index of this one, from 0; together they replace the environment.
      timeout: seconds within which all processes must start.

    Raises:
      UserError: wrong or incomplete arguments; not all processes started.
    """
    given = (bool(coordinator), num_processes > 0, process_id >= 0)
    if any(given) and not all(given):
        raise UserError("--coordinator=host:port, --num-processes and --process-id go together: "
                        "give all three, or none to use the environment of SLURM, Open MPI or the "
                        "TPU")
    if mode == "no" or (mode == "auto" and not coordinator and not several(os.environ)):
        yield
        return
    if coordinator and not (process_id < num_processes and ":" in coordinator):
        raise UserError(f"--process-id={process_id} of --num-processes={num_processes} with "
                        f"--coordinator={coordinator}: the ids are 0 to {num_processes - 1}, and "
                        "the coordinator is host:port")
    _connect(coordinator, num_processes, process_id, timeout)
    if jax.process_count() == 1:
        yield
        return
    watch = _Watch()
    try:
        yield
    except BaseException as error:
        watch.fail(error)
    watch.close()


def is_first() -> bool:
    """Whether this process writes the files of the run."""
    return jax.process_index() == 0


@contextlib.contextmanager
def seen_of_first(folder: str | os.PathLike) -> Iterator[Path]:
    """The folder itself in the first process; in the others a temporary folder, and no output."""
    if is_first():
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="sngan_jax_") as scratch, \
            open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield Path(scratch)


def from_first(tree: PyTree) -> PyTree:
    """Broadcasts the arrays of the first process; the others pass arrays of the same shapes.

    The processes first wait at a barrier, because on CPUs a collective times out after 30 seconds.
    """
    if jax.process_count() == 1:
        return tree
    _client().wait_at_barrier(f"{_PREFIX}/from_first/{next(_MEETINGS)}", 1000 * _AGREE_WITHIN)
    return multihost_utils.broadcast_one_to_all(tree)


def agree(facts: Mapping[str, object]) -> None:
    """Checks that all processes have the same plain values.

    Raises:
      UserError: a value differs; raised in every process, with the values and their hosts.
    """
    if jax.process_count() == 1:
        return
    client, where = _client(), f"{_PREFIX}/agree/{next(_MEETINGS)}"
    mine = json.dumps({"host": platform.node(), "facts": dict(facts)}, default=str)
    client.key_value_set(f"{where}/{jax.process_index()}", mine)
    found = [json.loads(client.blocking_key_value_get(f"{where}/{i}", 1000 * _AGREE_WITHIN))
             for i in range(jax.process_count())]
    if sentences := disagreements(found):
        raise UserError("the processes of this run disagree: " + "; ".join(sentences)
                        + ": start all with the same command, code and data")


def disagreements(found: list[JsonObject]) -> list[str]:
    """Sentences on how processes differ from the first; each has a `host` and `facts`."""
    first = found[0]
    return [f"{name} is {other['facts'].get(name, 'absent')!r} in process {i} on {other['host']} "
            f"and {first['facts'].get(name, 'absent')!r} in process 0 on {first['host']}"
            for i, other in enumerate(found)
            for name in sorted(first["facts"].keys() | other["facts"].keys())
            if first["facts"].get(name) != other["facts"].get(name)]


def told_to_stop() -> bool:
    """Whether all processes must stop after this call of the step, because one received SIGTERM.

    JAX notes the signal, and chooses the next call that no process has made. The calls are counted
    from the start of the process, because a run may begin at any iteration, and go back to one.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(next(_CALLS))


def _client() -> Any:
    return _jax_distributed.global_state.client


def _connect(coordinator: str, num_processes: int, process_id: int, timeout: int) -> None:
    where = f"the coordinator {coordinator}" if coordinator else "the other processes"
    sentence = (f"this process could not join {where} within {timeout} s: start all processes, "
                "and check that the first one's port can be reached; --distributed=no trains alone")
    cancel = _last_words(sentence)
    try:
        jax.distributed.initialize(coordinator or None, num_processes or None,
                                   process_id if coordinator else None,
                                   initialization_timeout=timeout)
    except (ValueError, RuntimeError) as error:  # JAX's own errors are RuntimeErrors
        raise UserError(f"{sentence} ({one_line(error)})") from error
    finally:
        cancel()


def _last_words(sentence: str) -> Callable[[], object]:
    """Starts a child that prints a sentence if this process ends; returns a function to cancel it.

    JAX's service aborts a process whose coordinator is gone or never started, and the process can
    then run no code.
    """
    child = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _SAY_AT_END, f"error: {sentence}\n"],
        stdin=subprocess.PIPE, start_new_session=True)
    return lambda: child.communicate(b".")


class _Watch:
    """A thread that reports this process as alive, and ends it if another one fails or is lost.

    Each process has one key. Its value is a count of reports, or the error that ended the process.
    """

    def __init__(self) -> None:
        self._me, self._count = jax.process_index(), jax.process_count()
        self._ending, self._lock = threading.Event(), threading.Lock()
        address = _jax_distributed.global_state.coordinator_address
        self._cancel_last_words = _last_words(
            f"process {self._me} of {self._count} ended without an error of its own: it was "
            f"killed, or JAX ended it because the first process, the coordinator at {address}, is "
            "gone; start all again, and the run continues from its last checkpoint")
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the watch normally; the others do not treat this process as lost."""
        self._ending.set()
        self._thread.join()
        self._tell(_ENDED)
        self._cancel_last_words()

    def fail(self, error: BaseException) -> None:
        """Ends this process at once; a normal exit would wait at a barrier that no peer reaches."""
        if isinstance(error, jax.errors.JaxRuntimeError):
            # A collective failed, most likely because a peer is lost; the thread will report it.
            time.sleep(_LOST_AFTER + 3 * _BEAT)
        if isinstance(error, UserError):
            sentence, status = str(error), error.status
        elif isinstance(error, KeyboardInterrupt):
            sentence, status = "interrupted", 130
        else:
            sentence, status = f"{type(error).__name__}: {one_line(error)}", 1
            traceback.print_exception(error)
        self._ending.set()
        self._thread.join(3 * _BEAT)  # so that no report overwrites the sentence
        time.sleep(_BEAT / 4)  # the others may be about to raise the same error
        self._tell(_ENDED + sentence)
        if self._me == 0:
            time.sleep(3 * _BEAT)  # the others read it from here
        self._end(sentence, status)

    def _run(self) -> None:
        heard = {i: ("", time.monotonic()) for i in range(self._count) if i != self._me}
        beat = 0
        while not self._ending.wait(_BEAT):
            beat += 1
            self._tell(str(beat))
            try:
                told = {key.rpartition("/")[2]: text for key, text in
                        _client().key_value_dir_get(f"{_PREFIX}/watch/")}
            except jax.errors.JaxRuntimeError:  # no coordinator: JAX ends this process
                continue
            for i, (before, since) in heard.items():
                text = told.get(str(i), "")
                who = f"process {i} of {self._count}"
                if sentence := text.partition(_ENDED)[2]:
                    self._end(f"{who} ended: {sentence}", PEER_LOST)
                if text != before or text == _ENDED:
                    heard[i] = text, time.monotonic()
                elif time.monotonic() - since > _LOST_AFTER:
                    self._end(f"{who} is lost: nothing was heard from it for {_LOST_AFTER:.0f} s; "
                              "start all again, and the run continues from its last checkpoint",
                              PEER_LOST)

    def _tell(self, text: str) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            _client().key_value_set(f"{_PREFIX}/watch/{self._me}", text, allow_overwrite=True)

    def _end(self, sentence: str, status: int) -> None:
        with self._lock:  # one sentence is enough
            self._cancel_last_words()
            sys.stdout.flush()
            say(f"error: {sentence}")
            os._exit(status)
