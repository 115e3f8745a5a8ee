"""The standard CNN of the paper (Table 3): generator and discriminator."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sngan_jax.models.blocks import (
    ConvTranspose,
    Head,
    Layer,
    Norm,
    bottom_size,
    check_labels,
)

# Not stated in the paper; chainer-gan-lib's, as of DCGAN.
_INIT = nn.initializers.normal(0.02)


class CNNGenerator(nn.Module):
    """z (n, d) -> images (n, image_size, image_size, channels) in [-1, 1] (paper Table 3).

    dense to (s/8)x(s/8)x8w - [norm - ReLU] - 4x4 stride-2 transposed convolutions to 4w, 2w, w,
    each with norm - ReLU - conv3x3 - tanh. The paper has w = 64. Its table lists no norm after the
    dense layer; every public implementation has one, and so has this.

    Attributes:
      image_size: a multiple of 8.
      width: w.
      num_classes: 0, or the number of classes that `norm` is conditional on.
      norm: called as `norm(name=…)(x, y)`; None for no normalisation.
      dtype: of the computation; parameters are float32.

    Raises:
      ValueError: where 8 does not divide image_size, or labels and num_classes disagree.
    """

    image_size: int = 32
    channels: int = 3
    width: int = 64
    num_classes: int = 0
    conv: Layer = nn.Conv
    conv_transpose: Layer = ConvTranspose
    dense: Layer = nn.Dense
    norm: Norm = None
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        check_labels(self.num_classes, y, "CNNGenerator")
        size = bottom_size(self.image_size, 8, "CNNGenerator")

        def norm_relu(x: jax.Array, i: int) -> jax.Array:
            return nn.relu(x if self.norm is None else self.norm(name=f"norm{i}")(x, y))

        x = self.dense(size * size * 8 * self.width, kernel_init=_INIT, dtype=self.dtype,
                       name="dense")(z)
        x = norm_relu(x.reshape(-1, size, size, 8 * self.width), 0)
        for i, multiple in enumerate((4, 2, 1), start=1):
            x = self.conv_transpose(multiple * self.width, 4, 2, kernel_init=_INIT,
                                    dtype=self.dtype, name=f"deconv{i}")(x)
            x = norm_relu(x, i)
        x = self.conv(self.channels, (3, 3), kernel_init=_INIT, dtype=self.dtype, name="conv")(x)
        return jnp.tanh(x.astype(jnp.float32))


class CNNDiscriminator(nn.Module):
    """Images (n, s, s, c) -> logits (n,), float32 (paper Table 3).

    conv3x3 w - 4x4 stride 2 w - 3x3 2w - 4x4 stride 2 2w - 3x3 4w - 4x4 stride 2 4w - 3x3 8w, each
    with leaky ReLU of slope 0.1; flattened, no pooling; dense to one. The paper has w = 64. With
    `num_classes`, a projection (Miyato & Koyama 2018) on the flattened features.

    Raises:
      ValueError: where 8 does not divide the image size, or labels and num_classes disagree.
    """

    width: int = 64
    num_classes: int = 0
    conv: Layer = nn.Conv
    dense: Layer = nn.Dense
    embed: Layer = nn.Embed
    norm: Norm = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        check_labels(self.num_classes, y, "CNNDiscriminator")
        bottom_size(x.shape[1], 8, "CNNDiscriminator")
        # (width multiple, kernel, stride); padding 1 everywhere.
        layers = ((1, 3, 1), (1, 4, 2), (2, 3, 1), (2, 4, 2), (4, 3, 1), (4, 4, 2), (8, 3, 1))
        for i, (multiple, k, stride) in enumerate(layers):
            x = self.conv(multiple * self.width, (k, k), (stride, stride), padding=1,
                          kernel_init=_INIT, dtype=self.dtype, name=f"conv{i}")(x)
            if self.norm is not None and i > 0:  # not on the first layer, as DCGAN
                x = self.norm(name=f"norm{i}")(x)
            x = nn.leaky_relu(x, 0.1)
        h = x.reshape(x.shape[0], -1)
        head = Head(self.dense, self.embed, self.num_classes, kernel_init=_INIT, dtype=self.dtype,
                    name="head")
        return head(h, y).astype(jnp.float32)
