"""Checkpoints of a run, written in the background with Orbax.

Arrays are saved unreplicated, with the same shapes for any number of devices, so a run can move to
other devices. A step is written in `checkpoints/saving`, gets its manifest, and is then renamed
into place, so a step in its place is complete. Damaged steps are moved to `checkpoints/damaged`,
never deleted.
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

import jax
import numpy as np
import orbax.checkpoint as ocp

import sngan_jax
from sngan_jax.base.errors import one_line
from sngan_jax.base.files import WriteError, cannot_write, sync_folder
from sngan_jax.base.output import say
from sngan_jax.base.types import JsonObject
from sngan_jax.run.integrity import write_manifest
from sngan_jax.run.stored_checkpoints import FORMAT, Saved, StoredCheckpoints, checkpointer
from sngan_jax.step.checks import named_leaves
from sngan_jax.step.state import TrainState, state_bytes

# Messages of TensorStore, whose errors are not OSErrors, for a file that cannot be written.
_DISK = re.compile("No space left on device|Disk quota|Read-only|Permission denied|"
                   "RESOURCE_EXHAUSTED|Input/output error|File too large")


class NotFiniteState(Exception):
    """A state with NaN or infinity; the message names the iteration and the first leaf."""


class Checkpoints(StoredCheckpoints):
    """Checkpoints of the run that this process trains; a context manager.

    Args:
      workdir: an existing folder, locked.
      keep: number of newest checkpoints to keep.
      every: also keep the checkpoints at multiples of this iteration; 0: none.
      still_ours: called before anything is saved; raises if another run has taken the folder.

    Attributes:
      best: an iteration whose checkpoint is also kept, or None.
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.shutdown()
        if kind is None:
            self.check()

    def kept(self) -> set[int]:
        """Iterations that are saved, or waiting to be."""
        waiting = {i for i, save in self._saves.copy().items() if not save.done()}
        return waiting.union(self.all())

    def save(self, state: TrainState, meta: JsonObject) -> None:
        """Saves a state in the background, in the first process only.

        An iteration that is already saved is not saved again. The call returns once the state is
        copied off the device, so training may then donate it.

        Raises:
          NotFiniteState: the state holds NaN or infinity; raised in every process.
          UserError, WriteError: as for `check`.
        """
        with self._lock:
            self.check()
            iteration = int(state.iteration)
            if iteration in self.kept():
                return
            # At most one is being written and one waiting; each holds a copy of the state.
            futures.wait(list(self._saves.values())[:-1])
            host = jax.tree.map(np.array, state)
            for path, leaf in named_leaves(host).items():
                if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
                    raise NotFiniteState(f"iteration {iteration}: {path} is not finite")
            if jax.process_index() > 0:
                return
            self._saves[iteration] = self._writer.submit(self._write, host, iteration, meta)

    def check(self) -> None:
        """Raises the error of a save that failed in the background.

        Raises:
          UserError: another run has taken the folder.
          WriteError: a checkpoint cannot be written.
        """
        self._still_ours()
        done = {i: save for i, save in self._saves.copy().items() if save.done()}
        for i in done:
            self._saves.pop(i, None)
        for save in done.values():
            save.result()

    def wait(self) -> None:
        """Waits until everything is on disk; raises what `check` does."""
        futures.wait(list(self._saves.values()))
        self.check()

    def newest(self, like: Callable[[JsonObject], TrainState],
               identity: JsonObject | None = None) -> Saved | None:
        """Reads the newest undamaged checkpoint, and moves the damaged ones aside."""
        found = super().newest(like, identity)
        self.move_aside(self.bad)
        return found

    def move_aside(self, bad: list[int]) -> None:
        """Moves damaged steps to `checkpoints/damaged`, with a note on each."""
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

    def _write(self, host: TrainState, iteration: int, meta: JsonObject) -> None:
        step = self.saving / str(iteration)
        try:
            if state_bytes(host) > shutil.disk_usage(self.folder).free:
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
            # Frees the space; this was not a checkpoint yet.
            shutil.rmtree(self.saving, ignore_errors=True)
            known = _DISK.search(str(error))
            if not (known or isinstance(error, OSError)):
                raise
            raise WriteError(cannot_write(f"the checkpoint of iteration {iteration:,}", step,
                                          known[0] if known else one_line(error))) from error

    def _prune(self) -> None:
        """Deletes the steps that need not be kept; each is renamed first, so none is incomplete."""
        for iteration in self.all()[:-self._keep]:
            if iteration == self.best or (self._every and iteration % self._every == 0):
                continue
            self.deleting.mkdir(exist_ok=True)
            (self.folder / str(iteration)).rename(self.deleting / str(iteration))
        shutil.rmtree(self.deleting, ignore_errors=True)

    def _tidy(self) -> None:
        """Moves the last interrupted save, which never was a checkpoint, to `unfinished`."""
        if cut := sorted(path.name for path in self.saving.glob("*")):
            say(f"note: an interrupted save is not used: {', '.join(cut)}")
            with contextlib.suppress(OSError):
                shutil.rmtree(self.unfinished, ignore_errors=True)
                self.damaged.mkdir(exist_ok=True)
                self.saving.rename(self.unfinished)
