"""A generator and a discriminator of a few layers, whose training step compiles fast."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

SIDE = 4  # of their images


class SmallGenerator(nn.Module):
    norm: Any
    num_classes: int = 0
    conv: Any = nn.Conv
    dense: Any = nn.Dense

    @nn.compact
    def __call__(self, z, y=None):
        x = self.dense(SIDE * SIDE * 4, name="Dense_0")(z).reshape(-1, SIDE, SIDE, 4)
        return jnp.tanh(self.conv(1, (3, 3), name="Conv_0")(nn.relu(self.norm(name="norm")(x))))


class SmallDiscriminator(nn.Module):
    conv: Any
    dense: Any
    norm: Any = None

    @nn.compact
    def __call__(self, x, y=None):
        x = nn.relu(self.conv(4, (3, 3), name="conv1")(x))
        x = self.conv(4, (3, 3), strides=2, name="conv2")(x)
        x = nn.relu(x if self.norm is None else self.norm(name="norm")(x))
        return self.dense(1, name="dense")(x.sum((1, 2)))[:, 0]


def in_float64(tree):
    """The same with every float32 array in float64; JAX's x64 mode must be on."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)
