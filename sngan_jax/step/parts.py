"""An update that takes its batch in parts, one after another, in the memory of one part."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sngan_jax.base.types import PyTree
from sngan_jax.network import Specs, normalize
from sngan_jax.step.forward import Collections
from sngan_jax.step.recipe import Inputs, Recipe
from sngan_jax.step.repeat import repeat

# Metrics, gradients, and the collections of one network or two.
Found = tuple[dict[str, jax.Array], PyTree, tuple[Collections, ...]]
Part = Callable[[Inputs, Recipe], Found]


def mean_of_parts(part: Part, inputs: Inputs, recipe: Recipe) -> Found:
    """Means of the metrics, gradients and batch statistics over the parts of this device's batch.

    A part has the images, latents and noise that a device would have among `accumulate` times as
    many. It takes no power step (`stepped`), so 'spectral' is the same in all.

    Args:
      part: computes one part, from the inputs and the recipe that it is given; the whole batch if
        `recipe.accumulate` is 1.
    """
    times = recipe.accumulate
    if times == 1:
        return part(inputs, recipe)
    recipe = recipe._replace(device_count=recipe.device_count * times, power_steps=False)

    def add(total: Found, i: jax.Array) -> tuple[Found, tuple[()]]:
        found = part(inputs._replace(position=inputs.position * times + i), recipe)
        return _combined(jnp.add, total, found), ()

    nothing: Found = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype),
                                  jax.eval_shape(lambda: part(inputs, recipe)))
    total, _ = repeat(add, nothing, times, recipe.platform)
    return _combined(lambda x, _: x / times, total, total)


def stepped(params: PyTree, collections: Collections, specs: Specs | None) -> Collections:
    """A network's collections after the power steps of one forward pass in training.

    Raises:
      ValueError: for spectral vectors of weights that `specs` does not name.
    """
    if specs is None:
        if collections["spectral"]:
            raise ValueError("accumulate needs the specs of every normalized weight, but this "
                             "network has vectors and no specs: give its Recipe sngan_jax.specs(…)")
        return collections
    steps = max(spec.n_steps for spec in specs.values())
    return {**collections, "spectral": normalize(params, collections["spectral"], specs, steps)[1]}


def _combined(operation: Callable, total: Found, found: Found) -> Found:
    """Applies an operation to every leaf except the spectral vectors, which come from `found`."""
    sums = jax.tree.map(operation, total[:2], found[:2])
    collections = tuple({**new, "batch_stats": jax.tree.map(
        operation, old["batch_stats"], new["batch_stats"])}
        for old, new in zip(total[2], found[2], strict=True))
    return (*sums, collections)
