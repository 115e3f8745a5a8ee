"""The standard CNN, as in the paper (Table 3) and as in the authors' published code."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sngan_jax.activation_norms import Norm
from sngan_jax.layers import Layer
from sngan_jax.losses import at_least_float32
from sngan_jax.models.blocks import (
    CONCAT_AFTER,
    ConvTranspose,
    Head,
    Logits,
    bottom_size,
    check_discriminator,
    check_labels,
    concat_classes,
    fast_gradients,
)

# Not stated in the paper; from chainer-gan-lib, which follows DCGAN.
_INIT = nn.initializers.normal(0.02)


class CNNShape(NamedTuple):
    """Differences between the standard CNN in the paper and in its published code.

    discriminator: widths of its seven layers, in multiples of the base width.
    slope: negative slope of the leaky ReLU.
    norm_units: whether the norm after the generator's dense layer treats each unit separately.
    """

    discriminator: tuple[int, ...]
    slope: float
    norm_units: bool
    width: int = 64
    head_bias: bool = True


CNNS: dict[str, CNNShape] = {
    # Paper Table 3.
    "cnn": CNNShape((1, 1, 2, 2, 4, 4, 8), 0.1, norm_units=False),
    # pfnet-research/chainer-gan-lib common/net.py: `SNDCGANDiscriminator`, `DCGANGenerator`.
    "sndcgan": CNNShape((1, 2, 2, 4, 4, 8, 8), 0.2, norm_units=True),
}


class CNNGenerator(nn.Module):
    """z (n, d) -> images (n, image_size, image_width, channels) in [-1, 1] (paper Table 3).

    dense to (s/8)x(s/8)x8w - [norm - ReLU] - 4x4 stride-2 transposed convolutions to 4w, 2w, w,
    each followed by norm - ReLU - conv3x3 - tanh. The paper has w = 64. Its table lists no norm
    after the dense layer; every public implementation has one, and so does this one.

    Attributes:
      image_size, image_width: multiples of 8; width 0 means square.
      width: w.
      num_classes: the number of classes that `norm` is conditional on, or 0.
      norm: called as `norm(name=…)(x, y)`; None for no normalization.
      norm_units: normalize each unit, not each channel, after the dense layer (chainer-gan-lib).
      dtype: dtype of the computation; parameters are float32.
      on_cpu: whether to use convolutions that are fast on a CPU; they compute the same function.

    Raises:
      ValueError: if 8 does not divide both sides, or labels and num_classes disagree.
    """

    image_size: int = 32
    channels: int = 3
    width: int = 64
    num_classes: int = 0
    conv: Layer = nn.Conv
    conv_transpose: Layer = ConvTranspose
    dense: Layer = nn.Dense
    norm: Norm = None
    norm_units: bool = False
    dtype: DTypeLike | None = None
    on_cpu: bool = False
    image_width: int = 0

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        check_labels(self.num_classes, y, "CNNGenerator")
        height, width = bottom_size(self.image_size, self.image_width or self.image_size,
                                    8, "CNNGenerator")

        def norm_relu(x: jax.Array, i: int) -> jax.Array:
            return nn.relu(x if self.norm is None else self.norm(name=f"norm{i}")(x, y))

        x = self.dense(height * width * 8 * self.width, kernel_init=_INIT, dtype=self.dtype,
                       name="dense")(z)
        shape = (-1, height, width, 8 * self.width)
        x = norm_relu(x, 0).reshape(shape) if self.norm_units else norm_relu(x.reshape(shape), 0)
        for i, multiple in enumerate((4, 2, 1), start=1):
            x = self.conv_transpose(multiple * self.width, 4, 2, kernel_init=_INIT,
                                    dtype=self.dtype, name=f"deconv{i}")(x)
            x = norm_relu(x, i)
        x = self.conv(self.channels, (3, 3), kernel_init=_INIT, dtype=self.dtype, name="conv",
                      **fast_gradients(self.conv, self.on_cpu))(x)
        return jnp.tanh(at_least_float32(x))


class CNNDiscriminator(nn.Module):
    """Images (n, h, w, c) -> logits (n,), float32 (paper Table 3).

    3x3 and 4x4 stride-2 convolutions in turn, three times, then one more 3x3, each with leaky ReLU.
    The features are flattened, not pooled; a dense layer gives one value. With `num_classes`, a
    projection on the flattened features, or as `conditioning` says; 'auxiliary' returns (logits,
    class logits (n, classes)).

    Attributes:
      widths: channels of the seven layers; the default is the paper's.
      slope: negative slope of the leaky ReLU.
      norm: activation norm on all layers but the first, as in DCGAN.
      head_bias: whether the last dense layer has a bias.
      on_cpu: as in `CNNGenerator`; rules out forward mode.

    Raises:
      ValueError: if 8 does not divide both sides, or labels and num_classes disagree.
    """

    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512)
    slope: float = 0.1
    num_classes: int = 0
    head_bias: bool = True
    conditioning: str = "projection"
    conv: Layer = nn.Conv
    dense: Layer = nn.Dense
    embed: Layer = nn.Embed
    norm: Norm = None
    dtype: DTypeLike | None = None
    on_cpu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> Logits:
        check_discriminator(self.num_classes, y, self.conditioning, "CNNDiscriminator")
        bottom_size(x.shape[1], x.shape[2], 8, "CNNDiscriminator")
        for i, width in enumerate(self.widths):
            k, stride = (4, 2) if i % 2 else (3, 1)
            # A block is a pair of layers.
            if self.num_classes and self.conditioning == "concat" and i == 2 * CONCAT_AFTER:
                assert y is not None  # checked by `check_discriminator`
                x = concat_classes(x, y, self.embed, self.num_classes, self.dtype)
            x = self.conv(width, (k, k), (stride, stride), padding=1, kernel_init=_INIT,
                          dtype=self.dtype, name=f"conv{i}",
                          **fast_gradients(self.conv, self.on_cpu))(x)
            if self.norm is not None and i > 0:
                x = self.norm(name=f"norm{i}")(x)
            x = nn.leaky_relu(x, self.slope)
        h = x.reshape(x.shape[0], -1)
        head = Head(self.dense, self.embed, self.num_classes, self.head_bias, kernel_init=_INIT,
                    dtype=self.dtype, conditioning=self.conditioning, name="head")
        return head(h, y)
