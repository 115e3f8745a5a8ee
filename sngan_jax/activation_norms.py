"""Normalization of activations: batch norm, plain and conditional, and layer norm.

As with the spectral layers, the mutable collection is the switch. Applied with
`mutable=["batch_stats"]`, a layer normalizes by the statistics of the batch and updates the running
ones; applied without it, the layer uses the running ones. Defaults are Chainer's, with which the
paper's numbers were made: decay 0.9, epsilon 2e-5 (reference: sngan_projection, Chainer v3
`BatchNormalization`).
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

# Constructor of a layer that normalizes activations; None for no such layer.
Norm = Callable[..., nn.Module] | None


class BatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm` with Chainer's constants, switched by its collection.

    Inside pmap, `axis_name` averages the statistics over devices.
    """

    momentum: float = 0.9
    epsilon: float = 2e-5

    def __call__(  # type: ignore[override]  # the collection replaces Linen's argument
            self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        """Normalizes x (n, ..., c). `y` is ignored: the signature is that of a conditional norm."""
        del y
        batch = self.is_mutable_collection("batch_stats")
        return super().__call__(x, use_running_average=not batch)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift are rows of tables, one row per class.

    The classes share the statistics (sngan_projection's `CategoricalConditionalBatch\
Normalization`; Dumoulin et al. 2017). The tables start at one and zero.
    """

    num_classes: int
    axis_name: str | None = None
    dtype: DTypeLike | None = None
    momentum: float = 0.9
    epsilon: float = 2e-5

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """x: (n, ..., c); y: as in `class_rows`. Returns x's shape."""
        x = BatchNorm(use_scale=False, use_bias=False, axis_name=self.axis_name, dtype=self.dtype,
                      momentum=self.momentum, epsilon=self.epsilon, name="norm")(x)
        shape = (self.num_classes, x.shape[-1])
        rows = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        gamma = class_rows(self.param("gamma", nn.initializers.ones, shape), y).reshape(rows)
        beta = class_rows(self.param("beta", nn.initializers.zeros, shape), y).reshape(rows)
        return x * gamma.astype(x.dtype) + beta.astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer norm over all positions and channels of an example (Ba et al. 2016).

    As in the paper's baseline, there is no scale, and one shift for each channel.
    """

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        """Normalizes x (n, ..., c); `y` is ignored."""
        del y
        return nn.LayerNorm(self.epsilon, dtype=self.dtype, use_scale=False,
                            reduction_axes=tuple(range(1, x.ndim)), feature_axes=-1,
                            name="norm")(x)


def class_rows(table: jax.Array, y: jax.Array) -> jax.Array:
    """Rows of a class table (classes, c) for the labels y: (n, c).

    y holds integer labels (n,), or float weights (n, classes), which give a mixture of the rows
    (category morphing: the `weights` of the official code's conditional batch norm).
    """
    if jnp.issubdtype(y.dtype, jnp.integer):
        return jnp.take(table, y, axis=0)
    # In full precision, so that a single weight of one gives exactly its row on any device.
    return jnp.matmul(y, table, precision=lax.Precision.HIGHEST)
