"""The whole state of a run: one pytree."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class GeneratorState:
    """params, batch_stats: the networks' collections; ema_*: their moving averages (or None)."""

    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema_params: Any = None
    ema_batch_stats: Any = None


@struct.dataclass
class DiscriminatorState:
    """params, spectral, batch_stats: the network's collections; an absent one is empty."""

    params: Any
    spectral: Any
    batch_stats: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """What `discriminator.apply` takes."""
        return {"params": self.params, "spectral": self.spectral, "batch_stats": self.batch_stats}

    @property
    def mutable(self) -> dict[str, Any]:
        """The collections that a training forward updates."""
        return {"spectral": self.spectral, "batch_stats": self.batch_stats}


@struct.dataclass
class TrainState:
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


def create_state(key: jax.Array, generator: nn.Module, discriminator: nn.Module,
                 optimizer: optax.GradientTransformation, *, latent_size: int,
                 image_shape: tuple[int, int, int], ema: bool) -> TrainState:
    """Initialises both networks.

    Args:
      key: typed PRNG key.
      image_shape: (height, width, channels).
      ema: whether to keep a moving average of the generator.
    """
    g_key, d_key, u_key = jax.random.split(key, 3)
    y = jnp.zeros((2,), jnp.int32) if generator.num_classes else None
    g = generator.init(g_key, jnp.zeros((2, latent_size)), y)
    d = discriminator.init({"params": d_key, "spectral": u_key}, jnp.zeros((2, *image_shape)), y)
    g_stats = g.get("batch_stats", {})
    return TrainState(
        iteration=jnp.zeros((), jnp.int32),
        generator=GeneratorState(
            params=g["params"], batch_stats=g_stats, opt_state=optimizer.init(g["params"]),
            ema_params=jax.tree.map(jnp.copy, g["params"]) if ema else None,
            ema_batch_stats=jax.tree.map(jnp.copy, g_stats) if ema else None),
        discriminator=DiscriminatorState(
            params=d["params"], spectral=d.get("spectral", {}),
            batch_stats=d.get("batch_stats", {}), opt_state=optimizer.init(d["params"])),
    )


def count_parameters(params: Any) -> int:
    """The number of scalars in a tree."""
    return sum(x.size for x in jax.tree.leaves(params))
