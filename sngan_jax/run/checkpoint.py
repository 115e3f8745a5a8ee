"""Checkpoints of a run: Orbax, one step a finished iteration, un-replicated, saved in background.

They hold arrays of one shape whatever the number of devices, so that a run can move to another. A
step is written in `checkpoints/saving`, gets its manifest, and only then its place: what stands in
its place is whole. Damaged steps are moved into `checkpoints/damaged`, never deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

import sngan_jax
from sngan_jax.base.errors import one_line
from sngan_jax.base.files import WriteError, cannot_write, sync_folder
from sngan_jax.base.output import say
from sngan_jax.run.integrity import write_manifest
from sngan_jax.run.stored_checkpoints import FORMAT, Saved, StoredCheckpoints, checkpointer
from sngan_jax.step.checks import named_leaves
from sngan_jax.step.state import TrainState

# What TensorStore's errors say, which are no OSErrors, where a file cannot be written.
_DISK = re.compile("No space left on device|Disk quota|Read-only|Permission denied|"
                   "RESOURCE_EXHAUSTED|Input/output error|File too large")


class NotFiniteState(Exception):
    """A state with NaN or infinity; the message names the iteration and the first leaf."""


class Checkpoints(StoredCheckpoints):
    """The checkpoints of the run that writes them; use as a context manager.

    Args:
      workdir: an existing folder, locked.
      keep: number of newest checkpoints to keep.
      every: also keep those whose iteration is a multiple of this; 0: none.
      still_ours: raises where another run has the folder, before anything is saved there.

    Attributes:
      best: the iteration of one more to keep, or None.
    """

    def __init__(self, workdir: Path, keep: int = 2, every: int = 0,
                 still_ours: Callable[[], None] = lambda: None):
        super().__init__(workdir)
        self.best: int | None = None
        self._keep, self._every, self._still_ours = keep, every, still_ours
        self._lock = threading.RLock()
        self._writer = futures.ThreadPoolExecutor(1, "checkpoint")
        self._saves: dict[int, futures.Future[None]] = {}
        self.folder.mkdir(exist_ok=True)
        shutil.rmtree(self.deleting, ignore_errors=True)
        self._tidy()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._writer.shutdown()
        if kind is None:
            self.check()

    def kept(self) -> set[int]:
        """The iterations that are saved, or soon will be."""
        waiting = {i for i, save in self._saves.copy().items() if not save.done()}
        return waiting.union(self.all())

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Saves in the background, once, and in the first process; raises as `check`.

        Only the copy off the device is waited for, so that training may donate the state.
        """
        with self._lock:
            self.check()
            iteration = int(state.iteration)
            if iteration in self.kept() or jax.process_index() > 0:
                return
            # One being written and one waiting: a third would be a copy of the state more.
            futures.wait(list(self._saves.values())[:-1])
            host = jax.tree.map(np.array, state)
            self._saves[iteration] = self._writer.submit(self._write, host, iteration, meta)

    def check(self) -> None:
        """Raises what has gone wrong in the background.

        Raises:
          UserError: another run has the folder.
          WriteError: a checkpoint cannot be written.
          NotFiniteState: the state held NaN or infinity, and was not saved.
        """
        self._still_ours()
        done = {i: save for i, save in self._saves.copy().items() if save.done()}
        for i in done:
            self._saves.pop(i, None)
        for save in done.values():
            save.result()

    def wait(self) -> None:
        """Returns when everything is on the disk; raises as `check`."""
        futures.wait(list(self._saves.values()))
        self.check()

    def newest(self, like: Callable[[dict[str, Any]], TrainState],
               identity: dict[str, Any] | None = None) -> Saved | None:
        """As of `StoredCheckpoints`; damaged ones are moved aside."""
        found = super().newest(like, identity)
        self.move_aside(self.bad)
        return found

    def move_aside(self, bad: list[int]) -> None:
        """Moves damaged steps into a folder of their own, and says so."""
        for iteration in bad:
            step = self.folder / str(iteration)
            n = 1
            while (aside := self.damaged / f"{iteration}-{n}").exists():
                n += 1
            try:
                self.damaged.mkdir(exist_ok=True)
                step.rename(aside)
                say(f"note: the damaged checkpoint {step} was moved to {aside}")
            except OSError as error:
                say(f"warning: the damaged checkpoint {step} could not be moved aside "
                    f"({error.strerror})")

    def _write(self, host: TrainState, iteration: int, meta: dict[str, Any]) -> None:
        step = self.saving / str(iteration)
        try:
            leaves = named_leaves(host)
            for path, leaf in leaves.items():
                if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
                    raise NotFiniteState(f"iteration {iteration}: {path} is not finite")
            if sum(leaf.nbytes for leaf in leaves.values()) > shutil.disk_usage(self.folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.saving.mkdir(exist_ok=True)
            with checkpointer() as opened:
                opened.save(step, args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(
                        {**meta, "format": FORMAT, "version": sngan_jax.__version__})))
            write_manifest(step)
            step.rename(self.folder / str(iteration))
            self.saving.rmdir()
            sync_folder(self.folder)
            self._prune()
        except Exception as error:
            # Room for what comes next; this was no checkpoint yet.
            shutil.rmtree(self.saving, ignore_errors=True)
            known = _DISK.search(str(error))
            if not (known or isinstance(error, OSError)):
                raise
            raise WriteError(cannot_write(f"the checkpoint of iteration {iteration:,}", step,
                                          known[0] if known else one_line(error))) from error

    def _prune(self) -> None:
        """Deletes the steps that need not be kept, each by a rename first: none is half there."""
        for iteration in self.all()[:-self._keep]:
            if iteration == self.best or (self._every and iteration % self._every == 0):
                continue
            self.deleting.mkdir(exist_ok=True)
            (self.folder / str(iteration)).rename(self.deleting / str(iteration))
        shutil.rmtree(self.deleting, ignore_errors=True)

    def _tidy(self) -> None:
        """Puts the last save that was cut off aside; it has never been a checkpoint."""
        if cut := sorted(path.name for path in self.saving.glob("*")):
            say(f"note: a save that was cut off is left out: {', '.join(cut)}")
            with contextlib.suppress(OSError):
                shutil.rmtree(self.unfinished, ignore_errors=True)
                self.damaged.mkdir(exist_ok=True)
                self.saving.rename(self.unfinished)
