"""Checkpoints of a run: Orbax, one step a finished iteration, un-replicated.

They hold arrays of one shape whatever the number of devices, so that a run can move to another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sngan_jax.errors import UserError
from sngan_jax.train.state import TrainState


class Checkpoints:
    """The checkpoints in `<workdir>/checkpoints`; use as a context manager.

    Args:
      workdir: an existing folder.
      keep: how many of the newest to keep.
    """

    def __init__(self, workdir: Path, keep: int = 2):
        folder = (workdir / "checkpoints").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, create=False,
            multiprocessing_options=_alone())
        self._manager = ocp.CheckpointManager(folder, options=options, item_names=("state", "meta"))

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def all(self) -> list[int]:
        """The saved iterations, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, meta: dict[str, Any]) -> None:
        """Saves in the background; a no-op where this iteration is saved already, and in the
        processes but the first.
        """
        iteration = int(state.iteration)
        if iteration in self.all() or jax.process_index() > 0:
            return
        # np.asarray copies off the device at once, so that training may donate the state.
        host = jax.tree.map(np.array, state)
        self._manager.save(iteration, args=ocp.args.Composite(
            state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta)))

    def meta(self, iteration: int) -> dict[str, Any]:
        """What was saved beside the state of an iteration."""
        return self._manager.restore(
            iteration, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]

    def restore(self, like: TrainState, iteration: int) -> TrainState:
        """The state of an iteration as numpy arrays, in the structure of `like`.

        Raises:
          UserError: where it cannot be read, or holds other networks.
        """
        abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), jax.eval_shape(lambda: like))
        try:
            state = self._manager.restore(iteration, args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract)))["state"]
            jax.tree.map(_check_shape, abstract, state)
            return state
        except (ValueError, KeyError, FileNotFoundError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"the checkpoint {self._manager.directory / str(iteration)} cannot be restored "
                f"({reason}): it is damaged or holds another model; move it away to go on from "
                "the one before") from error


def _alone() -> ocp.options.MultiprocessingOptions:
    """No process waits for another one: the first alone reads and writes, and its arrays are whole.

    So the files do not depend on the number of processes.
    """
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}")


def _check_shape(expected: np.ndarray, restored: np.ndarray) -> None:
    # Orbax would cut or pad an array of another shape.
    if expected.shape != restored.shape:
        raise ValueError(f"an array of shape {restored.shape} where {expected.shape} is expected")
