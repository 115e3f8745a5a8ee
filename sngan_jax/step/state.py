"""The whole state of a run: one pytree."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import struct

from sngan_jax.base.compilation import compiler_options
from sngan_jax.base.memory import check_memory
from sngan_jax.base.types import PyTree
from sngan_jax.step.recipe import Recipe


class _Player(struct.PyTreeNode):
    """A network's collections (an absent one is empty) and the moments of its optimizer."""

    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    spectral: PyTree = struct.field(default_factory=dict, kw_only=True)

    @property
    def collections(self) -> dict[str, PyTree]:
        """The collections that a forward pass in training mode updates."""
        return {"spectral": self.spectral, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict[str, PyTree]:
        """Variables for `apply`."""
        return {"params": self.params, **self.collections}


class DiscriminatorState(_Player):
    """D's state."""


class GeneratorState(_Player):
    """G's state; ema_*: moving averages of two of its collections, or None."""

    ema_params: PyTree = None
    ema_batch_stats: PyTree = None


Player = TypeVar("Player", GeneratorState, DiscriminatorState)


class TrainState(struct.PyTreeNode):
    """iteration: int32 scalar, the number of finished iterations (generator updates)."""

    iteration: jax.Array
    generator: GeneratorState
    discriminator: DiscriminatorState


def adam(beta1: float | jax.Array, beta2: float | jax.Array) -> optax.GradientTransformation:
    """Adam's direction; the step multiplies it by the learning rate of its iteration.

    Args:
      beta1, beta2: numbers, or float32 scalars.
    """
    return optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8)


def moving_average(average: PyTree, new: PyTree, *, decay: float, iteration: jax.Array) -> PyTree:
    """decay·average + (1 - decay)·new, with a shorter memory in the first iterations.

    Otherwise the initial values would count for a long time.
    """
    share = jnp.minimum(decay, (1 + iteration) / (10 + iteration))
    return jax.tree.map(lambda a, b: share * a + (1 - share) * b, average, new)


def create_state(key: jax.Array, recipe: Recipe) -> TrainState:
    """Initializes both networks.

    Args:
      key: typed PRNG key.
    """
    g_key, d_key, u_key = jax.random.split(key, 3)
    y = jnp.zeros((2,), jnp.int32) if recipe.generator.num_classes else None
    g = recipe.generator.init({"params": g_key, "spectral": jax.random.fold_in(u_key, 1)},
                              jnp.zeros((2, recipe.latent_size)), y)
    d = recipe.discriminator.init({"params": d_key, "spectral": u_key},
                                  jnp.zeros((2, *recipe.image_shape)), y)
    optimizer = adam(0.0, 0.0)  # the moments start the same, whatever the constants

    def player(variables: Mapping[str, PyTree]) -> dict[str, PyTree]:
        return {"params": variables["params"], "opt_state": optimizer.init(variables["params"]),
                **{name: variables.get(name, {}) for name in ("batch_stats", "spectral")}}

    g_state = GeneratorState(**player(g))
    if recipe.ema_decay:
        g_state = g_state.replace(ema_params=jax.tree.map(jnp.copy, g_state.params),
                                  ema_batch_stats=jax.tree.map(jnp.copy, g_state.batch_stats))
    return TrainState(jnp.zeros((), jnp.int32), g_state, DiscriminatorState(**player(d)))


def initializer(recipe: Recipe) -> Callable[[jax.Array], TrainState]:
    """`create_state` as a function of the key, compiled without optimization: it runs once.

    `jax.eval_shape` of it and then a call trace the networks only once.
    """
    return jax.jit(functools.partial(create_state, recipe=recipe),
                   compiler_options=compiler_options(one_call=True))


def initial_state(recipe: Recipe, seed: int) -> TrainState:
    """The initial state of a run with this seed.

    Raises:
      UserError: if this machine's memory cannot hold the networks.
    """
    init, key = initializer(recipe), jax.random.key(seed)
    check_size(jax.eval_shape(init, key))
    return init(key)


def abstract_state(recipe: Recipe) -> TrainState:
    """The shapes and dtypes of the state, `jax.ShapeDtypeStruct`s; computes nothing."""
    return jax.eval_shape(initializer(recipe), jax.random.key(0))


def check_size(state: TrainState) -> None:
    """UserError if this machine's memory cannot hold a state; its shapes are enough."""
    check_memory(state_bytes(state), "the networks of this config and their optimizer",
                 "choose smaller widths, image_size or latent_size")


def state_bytes(state: TrainState) -> int:
    """The bytes of a state's arrays, given the arrays or their shapes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def count_parameters(params: PyTree) -> int:
    """The number of scalars in a tree of arrays or of their shapes."""
    return sum(x.size for x in jax.tree.leaves(params))
