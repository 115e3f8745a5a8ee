"""Trained networks without their run: their config, their arrays, and conversions to a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError
from sngan_jax.base.types import JsonObject, PyTree
from sngan_jax.run.checkpoint import Checkpoints
from sngan_jax.run.conditions import environment
from sngan_jax.run.lock import locked
from sngan_jax.run.restore import RestoredRun
from sngan_jax.run.stored_checkpoints import identity_of
from sngan_jax.run.validate import validate
from sngan_jax.run.workdir import CONFIG, make_workdir, open_workdir, write_json
from sngan_jax.step.recipe import Recipe
from sngan_jax.step.sampling import variables_of
from sngan_jax.step.setup import recipe_of
from sngan_jax.step.state import TrainState, abstract_state, initial_state

PLAYERS = {"generator": ("params", "batch_stats", "spectral"),
           "discriminator": ("params", "batch_stats", "spectral")}
ORIGIN = "weights.json"

Arrays = dict[str, np.ndarray]  # by names such as 'generator/params/block1/conv1/kernel'


class Trained(NamedTuple):
    """Networks and their description.

    config: all fields of a training config.
    channels: number of channels of the images; num_classes: 0 for an unconditional model.
    iteration: the iteration after which the weights were taken.
    arrays: arrays of G, and of D if it is known; each collection of a network is complete.
    about: other facts for the user, as plain values, such as the source and 'class_names'.
    """

    config: JsonObject
    channels: int
    num_classes: int
    iteration: int
    arrays: Arrays
    about: JsonObject

    @property
    def players(self) -> list[str]:
        """Players whose arrays are present."""
        return [player for player in PLAYERS if any(name.startswith(f"{player}/")
                                                    for name in self.arrays)]


def trained_of(run: RestoredRun, about: Mapping[str, object] | None = None) -> Trained:
    """Networks of a run; G is the network that draws samples, the moving average if there is one.

    Args:
      about: as in `Trained`.
    """
    g, d = run.state.generator, run.state.discriminator
    average = g.ema_params is not None
    collections: dict[str, PyTree] = {
        "generator": dict(variables_of(run.generator, g, None, run.config))}
    if "discriminator" not in run.untrained:
        collections["discriminator"] = d.variables
    arrays = {name: np.asarray(value) for name, value in
              flatten_dict(collections, sep="/").items()}
    return Trained(run.config.to_dict(), run.channels, run.num_classes, run.iteration, arrays,
                   {"average": average, **(about or {})})


def restored(trained: Trained, where: str) -> RestoredRun:
    """A run as `restore_run` gives it, without optimizers; D is untrained if it is unknown.

    Args:
      where: name of the source of the weights, for errors.

    Raises:
      UserError: for arrays that are missing, extra, of another shape or not finite, or for an
        invalid config.
    """
    config, recipe = _networks(trained)
    state = _state(trained, recipe, where)
    untrained = tuple(player for player in PLAYERS if player not in trained.players)
    return RestoredRun(config, recipe.generator, recipe.discriminator, state, trained.iteration,
                       trained.num_classes, trained.channels,
                       tuple(trained.about.get("class_names", ())), untrained)


def write_run(trained: Trained, workdir: Path, where: str) -> None:
    """Makes a run folder with one checkpoint, which the programs take like any other.

    In addition to a run's usual files, `weights.json` says where the weights come from. The
    optimizers' moments are zero.

    Args:
      workdir: a new folder, or one without a run.
      where: name of the source of the weights, for errors.

    Raises:
      UserError: as for `restored`, and if the folder holds a run, or cannot be written.
    """
    config, recipe = _networks(trained)
    config.ema_decay = 0.0  # G's weights are already those for sampling
    recipe = recipe._replace(ema_decay=0.0)
    state = _state(trained, recipe, where)
    initial = initial_state(recipe, config.seed)
    state = jax.tree.map(np.asarray, state.replace(
        generator=state.generator.replace(opt_state=initial.generator.opt_state),
        discriminator=state.discriminator.replace(opt_state=initial.discriminator.opt_state)))
    make_workdir(workdir)
    with locked(workdir):
        if (workdir / CONFIG).exists() or (workdir / "checkpoints").exists():
            raise UserError(f"{workdir} already holds a run: choose another --workdir")
        open_workdir(workdir, config.to_dict())
        write_json(workdir / ORIGIN, {**trained.about, "from": where,
                                      "networks": trained.players, **environment()})
        with Checkpoints(workdir) as checkpoints:
            checkpoints.save(state, {
                "data": "imported", "channels": trained.channels,
                "num_classes": trained.num_classes, "identity": identity_of(config),
                "rollbacks": 0, "class_names": list(trained.about.get("class_names", ())),
                "untrained": [name for name in PLAYERS if name not in trained.players]})
            checkpoints.wait()


def _networks(trained: Trained) -> tuple[ConfigDict, Recipe]:
    config = ConfigDict(trained.config)
    validate(config, device_count=1)
    return config, recipe_of(config, trained.channels, trained.num_classes)


def _state(trained: Trained, recipe: Recipe, where: str) -> TrainState:
    """The state whose networks hold the arrays; a missing D is initialized."""
    shapes = abstract_state(recipe._replace(ema_decay=0.0))
    if trained.players == ["generator"]:
        state = initial_state(recipe._replace(ema_decay=0.0), trained.config["seed"])
    else:
        state = shapes
    for player in trained.players:
        expected = flatten_dict({name: getattr(getattr(shapes, player), name)
                                 for name in PLAYERS[player]}, sep="/")
        given = {name.removeprefix(f"{player}/"): array for name, array in trained.arrays.items()
                 if name.startswith(f"{player}/")}
        check_arrays(given, {name: leaf.shape for name, leaf in expected.items()},
                     f"the {player} of {where}")
        held = unflatten_dict({name: np.asarray(array, np.float32)
                               for name, array in given.items()}, sep="/")
        state = state.replace(**{player: getattr(state, player).replace(
            opt_state=(), **{name: held.get(name, {}) for name in PLAYERS[player]})})
    return state.replace(iteration=np.int32(trained.iteration))


def check_arrays(given: Arrays, expected: Mapping[str, tuple[int, ...]], what: str) -> None:
    """UserError for the first array that is missing, extra, of another shape, or not finite."""
    for name in sorted(expected.keys() | given.keys()):
        there = given[name].shape if name in given else "missing"
        wanted = expected.get(name, "not one of its arrays")
        if there != wanted:
            raise UserError(f"{what} does not fit: {name} is {_shown(there)}, expected "
                            f"{_shown(wanted)}; it belongs to another network, or was cut off")
        if given[name].dtype.kind != "f":
            raise UserError(f"{what} does not fit: {name} holds {given[name].dtype}, expected "
                            "floating point numbers; it belongs to a file of another kind")
        if not np.isfinite(given[name]).all():
            raise UserError(f"{what} is damaged: {name} holds values that are not finite; get the "
                            "file again")


def _shown(shape: tuple[int, ...] | str) -> str:
    return shape if isinstance(shape, str) else " x ".join(map(str, shape)) or "a number"
