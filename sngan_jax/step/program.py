"""The compiled program of a run: the iterations of one call, over all devices."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sngan_jax.base.compilation import Lowerable, compile_at_first_call
from sngan_jax.step.checks import first_raised
from sngan_jax.step.devices import AXIS
from sngan_jax.step.iteration import Metrics, train_iteration
from sngan_jax.step.recipe import Inputs, Recipe
from sngan_jax.step.repeat import repeat
from sngan_jax.step.setup import normalized_weights
from sngan_jax.step.state import TrainState


def make_train_step(recipe: Recipe, devices: list[jax.Device]) -> Lowerable:
    """The pmap-ed `train_call` over `devices`, which donates its state.

    Returns:
      (state, inputs) -> (state, metrics). The state and the inputs are replicated over the devices
        (`devices.replicate`), except streamed images and labels, and the position: these have a
        leading axis of devices (`devices.spread`, `devices.positions`).
    """
    platform = devices[0].platform
    recipe = recipe._replace(axis_name=AXIS, device_count=len(devices), platform=platform)
    if platform == "gpu" or recipe.accumulate > 1:
        recipe = recipe._replace(specs=normalized_weights(recipe),
                                 generator_specs=normalized_weights(recipe, of_generator=True))
    return compile_at_first_call(pmapped(functools.partial(train_call, recipe=recipe),
                                         recipe.stream, devices))


def pmapped(call: Callable, stream: bool, devices: list[jax.Device]) -> Lowerable:
    """A function of (state, inputs) over `devices`; `stream` as in `Recipe`."""
    each = 0 if stream else None
    return jax.pmap(call, axis_name=AXIS, out_axes=None, devices=devices, donate_argnums=(0,),
                    in_axes=(None, Inputs(each, each, None, None, None, None, 0)))


def train_call(state: TrainState, inputs: Inputs, recipe: Recipe) -> tuple[TrainState, Metrics]:
    """Runs `Recipe.iterations_per_call` iterations.

    Returns:
      The state, and metrics: float32 scalars from the last iteration. They are the losses, the
        means of D on real and fake images in the last discriminator update, the norms `g_gradient`
        and `d_gradient`, the learning rate, and `penalty`, `d_class` and `g_class` if they exist.
        `health` holds the first `iteration` of the call with a number that was not finite (0:
        none), and the `flags` of `step.checks`.
    """
    def iteration(state: TrainState, i: jax.Array) -> tuple[TrainState, Metrics]:
        images, labels = inputs.images, inputs.labels
        if recipe.stream:
            images, labels = jax.tree.map(lambda a: a[i], (images, labels))
        return train_iteration(state, inputs._replace(images=images, labels=labels), recipe)

    begun = state.iteration
    state, metrics = repeat(iteration, state, recipe.iterations_per_call, recipe.platform)
    flags, first = first_raised(metrics.pop("flags"))
    health = {"iteration": jnp.where(first < 0, 0, begun + first + 1), "flags": flags}
    return state, {**jax.tree.map(lambda y: y[-1], metrics), "health": health}
