"""Starting a run from the weights of another: `config.init_from`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax.base.errors import UserError
from sngan_jax.base.types import PyTree
from sngan_jax.network import update_spectral
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.step.recipe import Recipe
from sngan_jax.step.setup import normalized_weights
from sngan_jax.step.state import Player, TrainState

Place = tuple[str, ...]
# Power steps for weights that came without their vectors, from random ones.
_POWER_STEPS = 20
_NAMED = 6  # number of arrays that a sentence names


class Taken(NamedTuple):
    """The variables with which one network starts, and which of them come from the source.

    collections: 'params', 'batch_stats' and 'spectral'.
    number: number of parameter arrays that were taken.
    anew: parameters that were not taken, each with the reason.
    strange: whether a weight that was taken has vectors that were not.
    """

    collections: dict[str, PyTree]
    number: int
    anew: list[str]
    strange: bool = False


def open_source(text: str) -> RestoredRun:
    """The run that `config.init_from` names, as `<workdir>` or `<workdir>@<iteration>`.

    Raises:
      UserError: if there is no such run or checkpoint.
    """
    place, _, iteration = text.rpartition("@")
    chosen = bool(place) and iteration.isdecimal()
    try:
        return restore_run(Path(place if chosen else text).expanduser(),
                           int(iteration) if chosen else None)
    except UserError as error:
        raise UserError(f"config.init_from is {text!r}: {error}") from error


def check_source(source: RestoredRun, recipe: Recipe, shapes: TrainState,
                 class_names: tuple[str, ...]) -> None:
    """UserError if nothing in a source fits the networks of a recipe.

    Args:
      shapes: shapes of the recipe's state.
      class_names, source, recipe: as for `started_from`.
    """
    for ours, theirs in ((recipe.generator, source.generator),
                         (recipe.discriminator, source.discriminator)):
        if type(ours) is not type(theirs):
            raise UserError(
                f"config.init_from is a run of the model {source.config.model}, whose networks "
                f"({type(theirs).__name__}) have other blocks than this config's "
                f"({type(ours).__name__}): use a source with this model, or leave init_from empty")
    if not any(taken.number for taken in _all_taken(shapes, source, class_names).values()):
        raise UserError(
            f"nothing in config.init_from (the model {source.config.model} at "
            f"{source.config.image_size} pixels) has a shape that this config's networks have: "
            "use the widths and the model of the source, or leave init_from empty")


def started_from(state: TrainState, source: RestoredRun, recipe: Recipe,
                 class_names: tuple[str, ...]) -> tuple[TrainState, list[str]]:
    """A new run's state with the weights of another, and sentences on what was taken.

    Parameters, batch statistics and spectral vectors are taken if they have the same place and
    shape in both. G's blocks are counted from the image, so that those for the same size match. The
    optimizers and the moving average start anew. If the classes differ, the class tables start
    anew, and so does a network that the source does not have. Vectors that do not belong to the
    weights that were taken get power steps.

    Args:
      state: freshly initialized, of `recipe`.
      class_names: names of this run's classes; classes without names, (), count as the source's if
        their number is the same.
    """
    said = [f"starting from iteration {source.iteration:,} of a run on {source.config.dataset}:"]
    players: list[Any] = []
    of = _all_taken(state, source, class_names)
    for name, player in (("generator", state.generator), ("discriminator", state.discriminator)):
        taken = of.get(name)
        if taken is None:
            players.append(player)
            said.append(f"  {name}: drawn anew, because the source has only the other network")
            continue
        found = dict(taken.collections)
        if found["spectral"] and (taken.anew or taken.strange):
            specs = normalized_weights(recipe, of_generator=name == "generator")
            found["spectral"] = update_spectral(found, specs, _POWER_STEPS)
        players.append(player.replace(**found))
        total = taken.number + len(taken.anew)
        rest = taken.anew[:_NAMED]
        if len(taken.anew) > _NAMED:
            rest.append(f"{len(taken.anew) - _NAMED} more")
        said.append(f"  {name}: {taken.number} of {total} parameter arrays are taken"
                    + (f"; drawn anew: {', '.join(rest)}" if rest else ""))
    g, d = players
    if g.ema_params is not None:
        g = g.replace(ema_params=jax.tree.map(jnp.copy, g.params),
                      ema_batch_stats=jax.tree.map(jnp.copy, g.batch_stats))
    return state.replace(generator=g, discriminator=d), said


def _all_taken(state: TrainState, source: RestoredRun, class_names: tuple[str, ...]
               ) -> dict[str, Taken]:
    """`Taken` of each network that the source has; `state` may consist of shapes."""
    others = bool(class_names and source.class_names and class_names != source.class_names)
    g, d = source.state.generator, source.state.discriminator
    found = {"generator": _taken(state.generator, g, others, moved=_blocks(
                 state.generator.params) - _blocks(g.params)),
             "discriminator": _taken(state.discriminator, d, others, moved=0)}
    return {name: taken for name, taken in found.items() if name not in source.untrained}


def _taken(new: Player, old: Player, other_classes: bool, moved: int) -> Taken:
    """`Taken` of one network.

    Args:
      new, old: states of the same player.
      moved: number added to the indices of the old network's blocks.
    """
    there = {_place(path, moved): leaf for path, leaf in flatten_dict(old.params).items()}
    params, anew, kept = {}, [], set()
    for path, leaf in flatten_dict(new.params).items():
        found = there.get(path)
        why = ("other classes" if other_classes and _is_class_table(path, leaf) else
               "not there" if found is None else
               f"{found.shape} there, {leaf.shape} here" if found.shape != leaf.shape else "")
        if why:
            anew.append(f"{'/'.join(path)} ({why})")
        else:
            kept.add(path)
        params[path] = leaf if why else found
    fixed = {path[:-1] for path in kept} | kept  # layers with a weight that was taken, or weights
    collections, strange = {"params": unflatten_dict(params)}, False
    for name in ("batch_stats", "spectral"):
        there = {_place(path, moved): leaf
                 for path, leaf in flatten_dict(getattr(old, name)).items()}
        mine = flatten_dict(getattr(new, name))
        for path, leaf in mine.items():
            found = there.get(path)
            if name == "spectral" and path[:-1] not in fixed:
                continue
            if found is not None and found.shape == leaf.shape:
                mine[path] = found
            else:
                strange |= name == "spectral"
        collections[name] = unflatten_dict(mine)
    return Taken(collections, len(kept), anew, strange)


def _blocks(params: PyTree) -> int:
    return sum(name.removeprefix("block").isdecimal() for name in params)


def _place(path: Place, moved: int) -> Place:
    number = path[0].removeprefix("block")
    return (f"block{int(number) + moved}", *path[1:]) if number.isdecimal() else path


def _is_class_table(path: Place, leaf: jax.Array) -> bool:
    """Whether a parameter has a row, or a column, for each class."""
    return (path[-1] in ("gamma", "beta") and leaf.ndim == 2) or bool({"embed", "classes"}
                                                                     & set(path))
