"""Checkpoints of a run: Orbax, one step a finished iteration, un-replicated, saved in background.

They hold arrays of one shape whatever the number of devices, so that a run can move to another. A
step is written in `checkpoints/saving`, gets its manifest, and only then its place: what stands in
its place is whole. Damaged steps are moved into `checkpoints/damaged`, never deleted.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

import sngan_jax
from sngan_jax.base.errors import one_line
from sngan_jax.base.files import WriteError, cannot_write, sync_folder
from sngan_jax.base.output import say
from sngan_jax.run.integrity import describe, not_finite, write_manifest
from sngan_jax.run.stored_checkpoints import (
    DAMAGED,
    DELETING,
    FORMAT,
    SAVING,
    UNFINISHED,
    Saved,
    StoredCheckpoints,
    checkpointer,
)
from sngan_jax.step.state import TrainState

_DISK = ("No space left on device", "Disk quota", "Read-only", "Permission denied",
         "RESOURCE_EXHAUSTED", "Input/output error", "File too large")


# What is not undone as long as the process lives.
_QUIET: list[contextlib.ExitStack] = []


class Checkpoints(StoredCheckpoints):
    """The checkpoints of the run that writes them; use as a context manager.

    Args:
      workdir: an existing folder, locked.
      keep: number of newest checkpoints to keep.
      every: also keep those whose iteration is a multiple of this; 0: none.
      still_ours: raises where another run has the folder, before anything is saved there.

    Attributes:
      best: the iteration of one more to keep, or None.
      blocked: the seconds that saving has held up its caller.
    """

    def __init__(self, workdir: Path, keep: int = 2, every: int = 0,
                 still_ours: Callable[[], None] = lambda: None):
        super().__init__(workdir)
        self.best: int | None = None
        self.blocked = 0.0
        self._keep, self._every, self._still_ours = keep, every, still_ours
        self._lock = threading.RLock()
        # One being written and one waiting: a third would be one copy of the state more in memory.
        self._slots = threading.BoundedSemaphore(2)
        self._pending: set[int] = set()
        self._failure: BaseException | None = None
        self._failed = False
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self.folder.mkdir(exist_ok=True)
        shutil.rmtree(self.folder / DELETING, ignore_errors=True)
        self._tidy()

    def __enter__(self) -> Checkpoints:
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_without_orbax_tracebacks())
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._writer.shutdown()
        if self._failed:
            _QUIET.append(self._quiet.pop_all())  # threads of a failed save may outlive it
        self._quiet.close()
        if kind is None:
            self.check()

    def kept(self) -> set[int]:
        """The iterations that are saved, or soon will be."""
        return {*self._pending.copy(), *self.all()}

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Saves in the background; a no-op where this iteration is saved already, and in all
        processes but the first.

        Only the copy off the device is waited for, so that training may donate the state.

        Raises:
          UserError, WriteError, NotFiniteState: as `check`, of an earlier save.
        """
        with self._lock:
            self.check()
            iteration = int(state.iteration)
            if iteration in self.kept() or jax.process_index() > 0:
                return
            start = time.perf_counter()
            self._slots.acquire()
            host = jax.tree.map(np.array, state)
            self._pending.add(iteration)
            self._writer.submit(self._write, host, iteration, meta)
            self.blocked += time.perf_counter() - start

    def check(self) -> None:
        """Raises what has gone wrong in the background.

        Raises:
          UserError: another run has the folder.
          WriteError: a checkpoint cannot be written.
          NotFiniteState: the state held NaN or infinity, and was not saved.
        """
        self._still_ours()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Returns when everything is on the disk; raises as `check`."""
        self._writer.submit(lambda: None).result()
        self.check()

    def newest(self, like: Callable[[dict[str, Any]], TrainState],
               identity: dict[str, Any] | None = None) -> Saved | None:
        """As of `StoredCheckpoints`; damaged ones are moved aside."""
        found = super().newest(like, identity)
        self.move_aside(self.bad)
        return found

    def move_aside(self, bad: dict[int, str]) -> None:
        """Moves damaged steps, by iteration, into a folder of their own, and says so."""
        for iteration in bad:
            step = self.folder / str(iteration)
            n = 1
            while (aside := self.folder / DAMAGED / f"{iteration}-{n}").exists():
                n += 1
            try:
                aside.parent.mkdir(exist_ok=True)
                step.rename(aside)
                say(f"note: the damaged checkpoint {step} was moved to {aside}")
            except OSError as error:
                say(f"warning: the damaged checkpoint {step} could not be moved aside "
                    f"({error.strerror})")

    def _write(self, host: TrainState, iteration: int, meta: dict[str, Any]) -> None:
        step = self.folder / SAVING / str(iteration)
        try:
            if self._failure is not None:
                return
            if bad := not_finite(host):
                raise NotFiniteState(iteration, bad)
            self._check_room(host)
            step.parent.mkdir(exist_ok=True)
            meta = {**meta, "format": FORMAT, "version": sngan_jax.__version__,
                    "leaves": describe(host)}
            with checkpointer() as opened:
                opened.save(step, args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta)))
            write_manifest(step)
            step.rename(self.folder / str(iteration))
            step.parent.rmdir()
            sync_folder(self.folder)
            self._prune()
        except BaseException as error:
            # Room for what comes next; this was no checkpoint yet.
            shutil.rmtree(self.folder / SAVING, ignore_errors=True)
            self._failure, self._failed = _as_sentence(error, step, iteration), True
        finally:
            self._pending.discard(iteration)
            self._slots.release()

    def _check_room(self, host: TrainState) -> None:
        """OSError where the disk has less room than the arrays take: nothing is begun then."""
        disk = os.statvfs(self.folder)
        if sum(x.nbytes for x in jax.tree.leaves(host)) > disk.f_bavail * disk.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def _prune(self) -> None:
        """Deletes the steps that need not be kept, each by a rename first: none is half there."""
        saved = self.all()
        for iteration in saved[:-self._keep]:
            if iteration == self.best or (self._every and iteration % self._every == 0):
                continue
            doomed = self.folder / DELETING / str(iteration)
            doomed.parent.mkdir(exist_ok=True)
            shutil.rmtree(doomed, ignore_errors=True)
            (self.folder / str(iteration)).rename(doomed)
        shutil.rmtree(self.folder / DELETING, ignore_errors=True)

    def _tidy(self) -> None:
        """Puts the last save that was cut off aside; it has never been a checkpoint."""
        saving = self.folder / SAVING
        cut = [*(saving.iterdir() if saving.is_dir() else ()),
               *self.folder.glob("*.orbax-checkpoint-tmp")]
        if not cut:
            return
        say("note: a save that was cut off is left out: "
            + ", ".join(sorted(path.name for path in cut)))
        aside = self.folder / DAMAGED / UNFINISHED
        with contextlib.suppress(OSError):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            for path in cut:
                path.rename(aside / path.name)
            saving.rmdir()


class NotFiniteState(Exception):
    """A state with NaN or infinity; iteration, leaf: which, and where the first one is."""

    def __init__(self, iteration: int, leaf: str):
        super().__init__(f"iteration {iteration}: {leaf} is not finite")
        self.iteration, self.leaf = iteration, leaf


def _as_sentence(error: BaseException, step: Path, iteration: int) -> BaseException:
    """Error that the loop raises for an error of the writing thread."""
    text = getattr(error, "strerror", None) or one_line(error)
    known = next((words for words in _DISK if words in f"{text} {error}"), None)
    if isinstance(error, NotFiniteState) or not (isinstance(error, OSError) or known):
        return error
    return WriteError(cannot_write(f"the checkpoint of iteration {iteration:,}", step,
                                   known or text))


@contextlib.contextmanager
def _without_orbax_tracebacks() -> Iterator[None]:
    """Silences Orbax's threads and tasks about a save that fails: the sentence says it."""
    def unraisable(hooked: Any) -> None:
        text = str(hooked.exc_value)
        if text != "Event loop is closed" and "RESOURCE_EXHAUSTED" not in text:
            old(hooked)

    def wanted(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(words in message for words in (
            "_SignalingThread", "never retrieved", "RESOURCE_EXHAUSTED"))

    old, sys.unraisablehook = sys.unraisablehook, unraisable
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(wanted)
    try:
        yield
    finally:
        gc.collect()  # what tasks say when they are forgotten
        sys.unraisablehook = old
        for logger in loggers:
            logger.removeFilter(wanted)
