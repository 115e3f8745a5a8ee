"""Several processes, on one host or many, as one run: their start, their agreement, a peer's loss.

`jax.distributed` connects them. Over its key-value store each process tells that it is alive, or
the sentence that it ended with, so that the others end too, and say why. Only the first process
writes files; the others write into a folder that goes away.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax._src import distributed as _jax_distributed
from jax.experimental import multihost_utils

import sngan_jax
from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say

BAD_INPUT, PEER_LOST = 2, 3
MODES = ("auto", "yes", "no")
_BEAT, _LOST_AFTER = 2.0, 20.0  # seconds
_AGREE_WITHIN = 3600  # seconds: a host may read a large data set first
_PREFIX = "sngan_jax"
_BARRIERS = itertools.count()

# Speaks for a process that cannot, when its end of the pipe closes with nothing written.
_EXIT_MESSAGE = "import sys; sys.stdin.buffer.read() or sys.stderr.write(sys.argv[1])"


def several(environment: Mapping[str, str]) -> bool:
    """Whether SLURM, Open MPI or GKE started this process as one of several."""
    def count(name: str) -> int:
        value = environment.get(name, "")
        return int(value) if value.isdigit() else 1

    in_step = "SLURM_STEP_NODELIST" in environment  # not so in a batch script without srun
    return ((in_step and count("SLURM_NTASKS") > 1) or count("OMPI_COMM_WORLD_SIZE") > 1
            or count("MEGASCALE_NUM_SLICES") > 1
            or "," in environment.get("TPU_WORKER_HOSTNAMES", ""))


@contextlib.contextmanager
def joined(mode: str = "auto", coordinator: str = "", num_processes: int = 0,
           process_id: int = -1, timeout: int = 300) -> Iterator[None]:
    """While entered, this process is part of the run that its environment or arguments name.

    Where there is one process only, it does nothing. Among several, a process that fails tells the
    others and ends at once with its sentence, status BAD_INPUT; the loss of another one ends this
    one with a sentence, status PEER_LOST.

    Args:
      mode: 'auto', join where `several` or a coordinator is given; 'yes', by the environment, as on
        a TPU VM, whose variables do not say how many there are; 'no'.
      coordinator: host:port of the first process; with the next two, instead of the environment.
      num_processes: number of processes of the run.
      process_id: number of this process, from 0.
      timeout: seconds within which all must have started.

    Raises:
      UserError: wrong or incomplete arguments; not all processes started.
    """
    given = (bool(coordinator), num_processes > 0, process_id >= 0)
    if any(given) and not all(given):
        raise UserError("--coordinator=host:port, --num-processes and --process-id go together: "
                        "give all three, or none and let SLURM, Open MPI or the TPU say")
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
    """The folder itself in the first process; in the others one that goes away, and no output."""
    if is_first():
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="sngan_jax_") as scratch, \
            open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield Path(scratch)


def from_first(tree: Any) -> Any:
    """The arrays of the first process, in all; the others give arrays of the same shapes.

    All wait for each other first: on CPUs, a collective itself gives up after thirty seconds.
    """
    if jax.process_count() == 1:
        return tree
    _client().wait_at_barrier(f"{_PREFIX}/from_first/{next(_BARRIERS)}", 1000 * _AGREE_WITHIN)
    return multihost_utils.broadcast_one_to_all(tree)


def agree(topic: str, facts: Mapping[str, Any]) -> None:
    """Compares plain values between all processes.

    Raises:
      UserError: names what differs, and where; in every process.
    """
    if jax.process_count() == 1:
        return
    client = _client()
    mine = json.dumps({"host": platform.node(), "facts": dict(facts)}, default=str)
    client.key_value_set(f"{_PREFIX}/{topic}/{jax.process_index()}", mine)
    found = [json.loads(client.blocking_key_value_get(f"{_PREFIX}/{topic}/{i}",
                                                      1000 * _AGREE_WITHIN))
             for i in range(jax.process_count())]
    sentences = disagreements(found)
    if sentences:
        raise UserError("the processes of this run disagree: " + "; ".join(sentences)
                        + ": start all with the same command, code and data")


def disagreements(found: list[dict[str, Any]]) -> list[str]:
    """Differences from the first: one sentence a process. Each has `host` and `facts`."""
    first, sentences = found[0], []
    for i, other in enumerate(found):
        names = sorted(name for name in first["facts"].keys() | other["facts"].keys()
                       if first["facts"].get(name) != other["facts"].get(name))
        if names:
            sentences.append(", ".join(
                f"{name} is {other['facts'].get(name, 'absent')!r} in process {i} on "
                f"{other['host']} and {first['facts'].get(name, 'absent')!r} in process 0 on "
                f"{first['host']}" for name in names))
    return sentences


def code_version() -> str:
    """A digest of this package's source files, whether git knows them or not."""
    digest = hashlib.sha256()
    root = Path(sngan_jax.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def told_to_stop(call: int) -> bool:
    """Whether all processes end after this call of the step: one was told to, by SIGTERM.

    JAX notes the signal, and chooses a call that none has passed.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(call)


def _client() -> Any:
    return _jax_distributed.global_state.client


def _connect(coordinator: str, num_processes: int, process_id: int, timeout: int) -> None:
    arguments: dict[str, Any] = {} if not coordinator else {
        "coordinator_address": coordinator, "num_processes": num_processes,
        "process_id": process_id}
    where = f"the coordinator {coordinator}" if coordinator else "the other processes"
    sentence = (f"this process could not join {where} within {timeout} s: start all processes, "
                "and check that the first one's port can be reached; --distributed=no trains alone")
    message = _ExitMessage(sentence)
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=timeout)
    except (ValueError, RuntimeError) as error:  # JAX's own errors are RuntimeErrors
        raise UserError(f"{sentence} ({' '.join(str(error).split())[:200]})") from error
    finally:
        message.cancel()


class _ExitMessage:
    """A sentence that is said if this process ends before `cancel`: JAX's service aborts it where
    the coordinator is gone, or was never there, and then nothing of its own can run.
    """

    def __init__(self, sentence: str):
        self._child = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _EXIT_MESSAGE, f"error: {sentence}\n"],
            stdin=subprocess.PIPE, start_new_session=True)

    def cancel(self) -> None:
        """Nothing will be said."""
        with contextlib.suppress(OSError):
            self._child.communicate(b".")


class _Watch:
    """A thread that tells that this process is alive, and ends it where another is not."""

    def __init__(self) -> None:
        self._me, self._count = jax.process_index(), jax.process_count()
        self._ending, self._lock = threading.Event(), threading.Lock()
        address = _jax_distributed.global_state.coordinator_address
        self._exit_message = _ExitMessage(
            f"process {self._me} of {self._count} ended without a word of its own: it was killed, "
            f"or JAX ended it because the first process, the coordinator at {address}, is gone; "
            "start all again, and the run goes on from its last checkpoint")
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """An orderly end: the others need not miss this process."""
        self._say("ended", "")
        self._ending.set()
        self._thread.join()
        self._exit_message.cancel()

    def fail(self, error: BaseException) -> None:
        """Ends this process at once: its peers would never come to an orderly end's barrier."""
        if isinstance(error, jax.errors.JaxRuntimeError):
            # A collective broke: a peer is lost, most likely, and the thread will say so.
            time.sleep(_LOST_AFTER + 3 * _BEAT)
        self._ending.set()
        time.sleep(_BEAT / 4)  # the others may be about to find the same
        if isinstance(error, UserError):
            sentence, status = str(error), BAD_INPUT
        elif isinstance(error, KeyboardInterrupt):
            sentence, status = "interrupted", 130
        else:
            sentence, status = "".join(traceback.format_exception_only(error)).strip(), 1
            traceback.print_exception(error)
        self._say("ended", sentence)
        if self._me == 0:
            time.sleep(3 * _BEAT)  # the others read it from here
        self._end(f"error: {sentence}", status)

    def _run(self) -> None:
        beat = 0
        missed: dict[int, tuple[str | None, float]] = {
            i: (None, time.monotonic()) for i in range(self._count)}
        while not self._ending.wait(_BEAT):
            beat += 1
            self._say("alive", str(beat))
            alive, ended = self._all("alive"), self._all("ended")
            if alive is None or ended is None:  # no coordinator: JAX ends this process
                continue
            now = time.monotonic()
            for i in set(range(self._count)) - {self._me}:
                if sentence := ended.get(i):
                    self._end(f"error: process {i} of {self._count} ended: {sentence}", PEER_LOST)
                if i in ended or alive.get(i) != missed[i][0]:
                    missed[i] = alive.get(i), now
                elif now - missed[i][1] > _LOST_AFTER:
                    self._end(f"error: process {i} of {self._count} is lost: nothing was heard "
                              f"from it for {_LOST_AFTER:.0f} s; start all again, and the run goes "
                              "on from its last checkpoint", PEER_LOST)

    def _say(self, kind: str, text: str) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            _client().key_value_set(f"{_PREFIX}/{kind}/{self._me}", text, allow_overwrite=True)

    def _all(self, kind: str) -> dict[int, str] | None:
        try:
            found = _client().key_value_dir_get(f"{_PREFIX}/{kind}/")
        except jax.errors.JaxRuntimeError:
            return None
        return {int(key.rpartition("/")[2]): value for key, value in found}

    def _end(self, sentence: str, status: int) -> None:
        with self._lock:  # one sentence is enough
            self._exit_message.cancel()
            sys.stdout.flush()
            say(sentence)
            os._exit(status)
