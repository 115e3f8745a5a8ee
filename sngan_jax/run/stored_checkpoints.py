"""Reading checkpoints: each is verified before it is used, and nothing on disk is changed.

A step is a folder `<workdir>/checkpoints/<iteration>` with Orbax's items `state` and `meta`, and a
manifest (`integrity`). A step without a `format` in its meta has no hashes: an older version wrote
it. A run in training may remove a step at any moment, which does not count as damage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

import sngan_jax
from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.output import say
from sngan_jax.base.types import JsonObject, PyTree
from sngan_jax.run.integrity import MANIFEST, DamagedError, check_manifest
from sngan_jax.step.checks import named_leaves
from sngan_jax.step.state import TrainState

# 2: hashes; 3: the generator may have spectral vectors; 4: hashes of files alone; 5: the leaves
# are described by Orbax alone.
FORMAT = 5
CHECKPOINTS = "checkpoints"
_PATIENCE = 20  # checkpoints that a run deletes while one is being read
# Fields of the meta item; all but the first three may be missing.
_KINDS = {"channels": int, "num_classes": int, "data": str, "format": int, "identity": dict,
          "config": dict, "conditions": dict, "rollbacks": int, "rows": int,
          "replaced_images": int, "class_names": list, "untrained": list}


def identity_of(config: ConfigDict) -> JsonObject:
    """Fields in which a checkpoint must agree with a run, even if its arrays fit."""
    return {name: config[name] for name in ("model", "method")}


class Saved(NamedTuple):
    """Content of a checkpoint; the leaves of the state are NumPy arrays."""

    iteration: int
    state: TrainState
    meta: JsonObject


class StoredCheckpoints:
    """Checkpoints in `<workdir>/checkpoints` of a run that may be training.

    Attributes:
      bad: iterations of the damaged checkpoints that `newest` has found.
      saving, deleting, damaged: folders for checkpoints being written, being deleted, and damaged.
    """

    def __init__(self, workdir: Path):
        self.folder = folder = (workdir / CHECKPOINTS).absolute()
        self.saving, self.deleting = folder / "saving", folder / "deleting"
        self.damaged, self.unfinished = folder / "damaged", folder / "damaged" / "unfinished"
        self.bad: list[int] = []

    def all(self) -> list[int]:
        """The saved iterations, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir()
                      if path.name.isdecimal() and str(int(path.name)) == path.name
                      and path.is_dir())

    def are_all(self) -> bool:
        """Whether the folder holds only what a run writes there."""
        return all(path in (self.saving, self.deleting, self.damaged)
                   or ".orbax-checkpoint-tmp" in path.name  # from the version without hashes
                   or (path.name.isdecimal() and any((path / name).exists() for name in (
                       MANIFEST, "_CHECKPOINT_METADATA"))) for path in self.folder.iterdir())

    def read(self, iteration: int, like: Callable[[JsonObject], TrainState],
             identity: JsonObject | None = None) -> Saved:
        """Reads a checkpoint, bitwise as it was saved.

        Args:
          like: function of the meta that returns a state of the same structure, or its shapes.
          identity: values that the meta's `identity` must have, such as the method's name.

        Raises:
          DamagedError: the checkpoint is not what was written.
          UserError: it holds another model, method or format, or this user may not read it.
        """
        step = self.folder / str(iteration)
        with _damage(step), checkpointer() as opened:
            if verified := (step / MANIFEST).exists():
                check_manifest(step)
            meta = opened.restore(step, ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
            if meta.get("format", 1) > FORMAT:
                raise UserError(
                    f"the checkpoint {step} was written by a newer version (sngan_jax "
                    f"{meta.get('version')}, format {meta['format']}; this is sngan_jax "
                    f"{sngan_jax.__version__}, format {FORMAT}): update sngan_jax")
            if "format" in meta and not verified:
                raise DamagedError(f"its {MANIFEST} is missing")
            if not (all(isinstance(meta.get(name, kind()), kind) for name, kind in _KINDS.items())
                    and meta["channels"] in (1, 3) and 0 <= meta["num_classes"] < 2**31
                    and "data" in meta
                    and all(isinstance(word, str) for name in ("class_names", "untrained")
                            for word in meta.get(name, ()))):
                raise DamagedError("its meta item has missing or invalid fields")
        for name, ours in (identity or {}).items():
            if (theirs := meta.get("identity", {}).get(name, ours)) != ours:
                raise UserError(f"the checkpoint {step} is of another run: {name} is {theirs!r} "
                                f"there, {ours!r} here; choose another --workdir")
        expected = like(meta)
        with _damage(step), checkpointer() as opened:
            there = opened.metadata(step).item_metadata["state"].tree
            if differs := _difference(expected, there):
                raise UserError(f"the checkpoint {step} holds another model ({differs}): choose "
                                "another --workdir, or the config that it was trained with")
            found = named_leaves(opened.restore(step, ocp.args.Composite(
                state=ocp.args.StandardRestore(jax.tree.map(
                    lambda x: np.empty(x.shape, x.dtype), there))))["state"])
            state = jax.tree.unflatten(jax.tree.structure(expected),
                                       [found[path] for path in named_leaves(expected)])
            if int(state.iteration) != iteration:
                raise DamagedError(f"it is of iteration {int(state.iteration)}")
        return Saved(iteration, state, meta)

    def newest(self, like: Callable[[JsonObject], TrainState],
               identity: JsonObject | None = None) -> Saved | None:
        """Reads the newest undamaged checkpoint, or returns None; damaged ones are reported.

        Arguments and UserErrors are as for `read`; also UserError if a run in training deletes each
        checkpoint before it has been read.
        """
        seen: set[int] = set()
        self.bad = []
        while left := [iteration for iteration in self.all() if iteration not in seen]:
            seen.add(left[-1])
            try:
                saved = self.read(left[-1], like, identity)
            except DamagedError as error:
                if left[-1] in self.all():
                    self.bad.append(left[-1])
                    say(f"warning: the checkpoint {self.folder / str(left[-1])} is damaged "
                        f"({error})" + ": using the previous one" * (len(left) > 1))
                elif len(seen) - len(self.bad) == _PATIENCE:
                    raise UserError(
                        f"the run in {self.folder.parent} deletes its checkpoints faster than they "
                        f"can be read here ({_PATIENCE} vanished): read it after its end, or train "
                        "with a larger config.checkpoint_every or config.keep_checkpoints"
                    ) from error
                continue
            if "format" not in saved.meta:
                say(f"note: the checkpoint {saved.iteration} was written by a version that stored "
                    "no hashes: its values cannot be verified")
            return saved
        return None

    def none_left(self) -> UserError | None:
        """The error if all checkpoints were damaged; None if there never was one."""
        if moved := sorted(path.name for path in self.damaged.glob("*") if path != self.unfinished):
            return UserError(
                f"{self.folder.parent} has no checkpoint left: the damaged ones are in "
                f"{self.damaged} ({', '.join(moved[-3:])}); bring back an undamaged copy of a "
                f"checkpoint, or move {self.damaged} away to start again from iteration 0")
        if self.all():
            return UserError(
                f"every checkpoint of {self.folder.parent} is damaged: bring back an undamaged "
                f"copy of one, or move {self.folder} away to start again from iteration 0")
        return None


def check_name(workdir: Path) -> None:
    """UserError if the name of a workdir is not UTF-8, which Orbax cannot write."""
    try:
        str(workdir.absolute()).encode()
    except UnicodeEncodeError:
        raise UserError(f"the name of the workdir {workdir} is not UTF-8, which checkpoints need: "
                        "choose another --workdir, or a UTF-8 locale") from None


def checkpointer() -> ocp.Checkpointer:
    """Orbax's checkpointer for a step with the items `state` and `meta`; a context manager.

    Only the first process writes, and its arrays are complete. So no process waits for another, and
    the files do not depend on the number of processes.
    """
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}")
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(
        state=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        meta=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone)),
        multiprocessing_options=alone)


@contextlib.contextmanager
def _damage(step: Path) -> Iterator[None]:
    """Context that turns errors from files that are not what was written into DamagedError."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"the checkpoint {step} cannot be read ({error.strerror}): give this "
                        "user the right to read it") from error
    except (UserError, DamagedError, MemoryError):
        raise
    except Exception as error:  # Orbax raises almost anything
        raise DamagedError(one_line(error)) from error


def _difference(expected: PyTree, found: PyTree) -> str | None:
    """The first leaf that differs in shape or dtype, in words; None if none does."""
    wanted, there = ({path: f"{np.dtype(leaf.dtype).name} {tuple(leaf.shape)}"
                      for path, leaf in named_leaves(tree).items()} for tree in (expected, found))
    return next((f"{path}: {there.get(path, 'absent')} there, {wanted.get(path, 'absent')} expected"
                 for path in sorted(wanted.keys() | there.keys())
                 if wanted.get(path) != there.get(path)), None)
