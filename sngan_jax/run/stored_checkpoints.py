"""Reading checkpoints: each is verified before a value of it is used, and nothing is changed.

A step is a folder `<workdir>/checkpoints/<iteration>` with Orbax's items `state` and `meta`, and a
manifest (`integrity`). One without a `format` in its meta is of a version that kept no hashes.
A run that is training may remove a step at any moment, which is no damage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

import sngan_jax
from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.output import say
from sngan_jax.run.integrity import (
    MANIFEST,
    DamagedError,
    check_manifest,
    describe,
    difference,
)
from sngan_jax.step.state import GeneratorState, TrainState

# 2: hashes; 3: the generator may have spectral vectors; 4: hashes of files alone.
FORMAT = 4
CHECKPOINTS = "checkpoints"
SAVING, DELETING, DAMAGED, UNFINISHED = "saving", "deleting", "damaged", "unfinished"


def identity_of(config: Any) -> dict[str, Any]:
    """Facts in which a checkpoint must agree with a run, whatever its arrays look like."""
    return {name: config[name] for name in ("model", "method")}


class Saved(NamedTuple):
    """Content of a checkpoint; the state as numpy arrays."""

    iteration: int
    state: TrainState
    meta: dict[str, Any]


class StoredCheckpoints:
    """The checkpoints in `<workdir>/checkpoints`, of a run that may be training.

    Attributes:
      bad: the damaged ones that `newest` has found, and what is wrong with each.
    """

    def __init__(self, workdir: Path):
        self.folder = (workdir / CHECKPOINTS).absolute()
        self.bad: dict[int, str] = {}

    def all(self) -> list[int]:
        """The saved iterations, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir()
                      if path.name.isdecimal() and str(int(path.name)) == path.name
                      and path.is_dir())

    def are_all(self) -> bool:
        """Whether there is nothing in the folder but what a run writes there."""
        return all(path.name in (SAVING, DELETING, DAMAGED) or ".orbax-checkpoint-tmp" in path.name
                   or (path.name.isdecimal() and any((path / name).exists() for name in (
                       MANIFEST, "_CHECKPOINT_METADATA"))) for path in self.folder.iterdir())

    def meta(self, iteration: int) -> dict[str, Any]:
        """Meta that was saved beside the state; the files of the step are verified.

        Raises:
          DamagedError: they are not what was written.
          UserError: of a newer version; not readable.
        """
        step = self.folder / str(iteration)
        try:
            try:
                check_manifest(step)
                complete = True
            except FileNotFoundError:
                complete = False
            meta = _restore(step, meta=ocp.args.JsonRestore())["meta"]
            written = meta.get("format", 1)
            whole = isinstance(written, int) and (written == 1 or isinstance(meta["leaves"], dict))
            whole &= all(isinstance(meta.get(name, {}), dict) for name in (
                "identity", "config", "conditions"))
            whole &= all(isinstance(meta.get(name, 0), int) for name in (
                "rollbacks", "rows", "replaced_images"))
            if not (whole and meta["channels"] in (1, 3) and isinstance(meta["data"], str)
                    and isinstance(meta["num_classes"], int) and 0 <= meta["num_classes"] < 2**31):
                raise DamagedError("its meta item does not hold what it should")
        except DamagedError:
            raise
        except PermissionError as error:
            raise UserError(f"the checkpoint {step} cannot be read ({error.strerror}): give this "
                            "user the right to") from error
        except MemoryError:
            raise
        except Exception as error:  # Orbax raises almost anything on damaged files
            raise DamagedError(one_line(error)) from error
        if written > FORMAT:
            raise UserError(f"the checkpoint {step} was written by a newer version (sngan_jax "
                            f"{meta.get('version')}, format {written}; this is {_version()}): "
                            "update this one")
        if written > 1 and not complete:
            raise DamagedError(f"its {MANIFEST} is missing")
        return meta

    def restore(self, like: TrainState, iteration: int,
                identity: dict[str, Any] | None = None) -> TrainState:
        """The state of an iteration as numpy arrays, to the bit as it was saved.

        Args:
          like: a state of the same structure, or its shapes.
          identity: what must stand in the meta's `identity`, as the method's name.

        Raises:
          DamagedError: it is not what was written.
          UserError: it holds another model, method or format.
        """
        return self._state(like, iteration, identity or {}, self.meta(iteration))

    def newest(self, like: Callable[[dict[str, Any]], TrainState],
               identity: dict[str, Any] | None = None) -> Saved | None:
        """The newest checkpoint that is what was written; damaged ones are reported.

        Args:
          like: of the meta, a state of the same structure.

        Raises:
          UserError: as `restore`.
        """
        seen: set[int] = set()
        self.bad = {}
        while left := [iteration for iteration in self.all() if iteration not in seen]:
            seen.add(left[-1])
            try:
                meta = self.meta(left[-1])
                state = self._state(like(meta), left[-1], identity or {}, meta)
                if meta.get("format", 1) == 1:
                    say(f"note: the checkpoint {left[-1]} is of a version that kept no hashes: "
                        "its values cannot be verified")
                return Saved(left[-1], state, meta)
            except DamagedError as error:
                if left[-1] in self.all():
                    self.bad[left[-1]] = str(error)
                    say(f"warning: the checkpoint {self.folder / str(left[-1])} is damaged "
                        f"({error}): the one before is used")
        return None

    def none_left(self) -> UserError | None:
        """The sentence where all checkpoints were damaged; None where there never was one."""
        aside = self.folder / DAMAGED
        moved = sorted(path.name for path in aside.iterdir() if path.name != UNFINISHED
                       ) if aside.is_dir() else []
        if moved:
            return UserError(
                f"{self.folder.parent} has no checkpoint left: the damaged ones are in {aside} "
                f"({', '.join(moved[-3:])}); bring back an undamaged copy of a checkpoint, or move "
                f"{aside} away to start again from iteration 0")
        if self.all():
            return UserError(f"every checkpoint of {self.folder.parent} is damaged: train it again "
                             "or bring back an undamaged copy")
        return None

    def _state(self, like: TrainState, iteration: int, identity: dict[str, Any],
               meta: dict[str, Any]) -> TrainState:
        step = self.folder / str(iteration)
        for name, ours in identity.items():
            theirs = meta.get("identity", {}).get(name, ours)
            if theirs != ours:
                raise UserError(f"the checkpoint {step} is of another run: {name} is {theirs!r} "
                                f"there, {ours!r} here; choose another --workdir")
        try:
            found = meta["leaves"] if "format" in meta else _described(step)
            differs = difference(describe(like), found)
        except Exception as error:
            raise DamagedError(one_line(error)) from error
        if differs:
            raise UserError(f"the checkpoint {step} holds another model ({differs}): choose "
                            "another --workdir, or the config that it was trained with")
        try:
            written = meta.get("format", 1)
            state = _restore(step, state=ocp.args.StandardRestore(jax.tree.map(
                lambda x: np.empty(x.shape, x.dtype),
                like if written > 2 else _before_format_3(like))))["state"]
            if written < 3:
                state = state.replace(generator=GeneratorState(**state.generator))
            # Orbax would cut or pad an array of another shape.
            if differs := difference(describe(like), describe(state)):
                raise DamagedError(differs)
            if int(state.iteration) != iteration:
                raise DamagedError(f"it is of iteration {int(state.iteration)}")
        except (DamagedError, MemoryError):
            raise
        except Exception as error:
            raise DamagedError(one_line(error)) from error
        return state



def checkpointer() -> ocp.Checkpointer:
    """Orbax's, for a step of the items `state` and `meta`; a context manager."""
    options = alone()
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler("state", "meta", composite_options=ocp.CompositeOptions(
            multiprocessing_options=options)), multiprocessing_options=options)


def alone() -> ocp.options.MultiprocessingOptions:
    """No process waits for another one: the first alone reads and writes, and its arrays are whole.

    So the files do not depend on the number of processes.
    """
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}")


def _before_format_3(state: TrainState) -> TrainState:
    """A state whose generator is a dictionary of the fields that it had then."""
    fields = (field.name for field in dataclasses.fields(state.generator))
    return state.replace(generator={name: getattr(state.generator, name) for name in fields
                                    if name != "spectral"})


def _restore(step: Path, **items: Any) -> dict[str, Any]:
    with checkpointer() as opened:
        return opened.restore(step, args=ocp.args.Composite(**items))


def _described(step: Path) -> dict[str, Any]:
    """The leaves of a step as Orbax recorded them."""
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as opened:
        return describe(opened.metadata(step / "state").item_metadata.tree)


def _version() -> str:
    return f"sngan_jax {sngan_jax.__version__}, format {FORMAT}"
