"""The residual networks of the paper (Tables 4-6) and its official code: tables and two modules.

Reference for block order, widths and initializers: pfnet-research/sngan_projection.
"""

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
    DiscriminatorBlock,
    FirstDiscriminatorBlock,
    GeneratorBlock,
    Head,
    Logits,
    bottom_size,
    check_discriminator,
    check_labels,
    concat_classes,
    fast_gradients,
    glorot_uniform,
)


class ResNetShape(NamedTuple):
    """Widths of a pair of networks, each in multiples of a base width.

    generator: widths of the dense layer and of each block; every block doubles the size.
    discriminator: widths of the blocks; the first `downsampling` of them halve the size.
    head_bias: whether the discriminator's last dense layer has a bias.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    downsampling: int
    generator_width: int
    discriminator_width: int
    head_bias: bool = True


POOLS = {"sum": jnp.sum, "mean": jnp.mean}

RESNETS: dict[str, ResNetShape] = {
    # Paper Table 4, made for 32x32 (snresnet_32: its last layer has no bias).
    "resnet32": ResNetShape((1, 1, 1, 1), (1, 1, 1, 1), 2, 256, 128, head_bias=False),
    # Paper Table 5, made for STL-10 at 48x48.
    "resnet48": ResNetShape((8, 4, 2, 1), (1, 2, 4, 8, 16), 4, 64, 64),
    # sngan_projection resnet_64.
    "resnet64": ResNetShape((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5, 64, 64),
    # Paper Table 6, made for ImageNet at 128x128.
    "resnet128": ResNetShape((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5, 64, 64),
    # sngan_projection, dogs and cats at 256x256.
    "resnet256": ResNetShape((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6, 32, 32),
}


class ResNetGenerator(nn.Module):
    """z (n, d) -> images (n, image_size, image_width, channels) in [-1, 1] (paper Tables 4-6).

    dense - up-sampling residual blocks - batch norm - ReLU - conv3x3 - tanh.

    Attributes:
      image_size, image_width: multiples of 2 to the number of blocks; width 0 means square.
      widths: channels after the dense layer and after each block.
      num_classes: the number of classes that `norm` is conditional on, or 0.
      norm: activation norm of the blocks, called as `norm(name=…)(x, y)`; None for none.
      last_norm: norm before the last convolution; unconditional in the official code.
      dtype: dtype of the computation; parameters are float32.
      upsampling: a key of `resample.UPSAMPLING`.
      fusion: one of `blocks.FUSIONS`; all compute the same function.
      on_cpu: whether to use convolutions that are fast on a CPU; the same function, without forward
        mode.

    Raises:
      ValueError: if the image size does not fit, or labels and num_classes disagree.
    """

    image_size: int = 32
    channels: int = 3
    widths: tuple[int, ...] = (256, 256, 256, 256)
    num_classes: int = 0
    conv: Layer = nn.Conv
    dense: Layer = nn.Dense
    norm: Norm = None
    last_norm: Norm = None
    dtype: DTypeLike | None = None
    upsampling: str = "nearest"
    fusion: str = "all"
    on_cpu: bool = False
    image_width: int = 0

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array | None = None) -> jax.Array:
        check_labels(self.num_classes, y, "ResNetGenerator")
        first, *blocks = self.widths
        height, width = bottom_size(self.image_size, self.image_width or self.image_size,
                                    2 ** len(blocks), "ResNetGenerator")
        x = self.dense(height * width * first, kernel_init=glorot_uniform(), dtype=self.dtype,
                       name="dense")(z)
        x = x.reshape(-1, height, width, first)
        for i, features in enumerate(blocks, start=1):
            block = GeneratorBlock(features, True, self.conv, self.norm, self.dtype,
                                   self.upsampling, self.fusion, name=f"block{i}")
            x = block(x, y)
        if self.last_norm is not None:
            x = self.last_norm(name="norm")(x)
        x = self.conv(self.channels, (3, 3), kernel_init=glorot_uniform(), dtype=self.dtype,
                      name="conv", **fast_gradients(self.conv, self.on_cpu))(nn.relu(x))
        return jnp.tanh(at_least_float32(x))


class ResNetDiscriminator(nn.Module):
    """Images (n, h, w, c) -> logits (n,), float32 (paper Tables 4-6).

    Residual blocks - ReLU - *sum* over the positions - dense to one (+ projection). With the
    conditioning 'auxiliary' it returns (logits, class logits (n, classes)).

    Attributes:
      widths: channels after each block.
      downsampling: how many blocks, from the first, halve the size; 2 to this power divides h and
        w.
      num_classes: 0 for an unconditional network.
      conditioning: how a conditional network uses the label; see `blocks.CONDITIONINGS`.
      pool: pooling over the positions, a key of POOLS: 'sum' as in the paper, 'mean' as in
        Gulrajani et al.
      head_bias: whether the last dense layer has a bias.
      shortcut_relu: whether the shortcuts start with a ReLU, except in the first block (mimicry).
      norm: activation norm; None in the paper's residual networks.
      fusion: one of `blocks.FUSIONS`; all compute the same function.
      on_cpu: whether to use convolutions that are fast on a CPU; the same function, without forward
        mode.

    Raises:
      ValueError: if the image size does not fit, or labels and num_classes disagree.
    """

    widths: tuple[int, ...] = (128, 128, 128, 128)
    downsampling: int = 2
    num_classes: int = 0
    head_bias: bool = False
    shortcut_relu: bool = False
    conditioning: str = "projection"
    pool: str = "sum"
    conv: Layer = nn.Conv
    dense: Layer = nn.Dense
    embed: Layer = nn.Embed
    norm: Norm = None
    dtype: DTypeLike | None = None
    fusion: str = "all"
    on_cpu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> Logits:
        check_discriminator(self.num_classes, y, self.conditioning, "ResNetDiscriminator")
        bottom_size(x.shape[1], x.shape[2], 2**self.downsampling, "ResNetDiscriminator")
        for i, width in enumerate(self.widths):
            block: nn.Module
            if i == 0:
                block = FirstDiscriminatorBlock(width, self.conv, self.norm, self.dtype,
                                                self.fusion, self.on_cpu, name="block1")
            else:
                block = DiscriminatorBlock(width, i < self.downsampling, self.conv, self.norm,
                                           self.dtype, self.fusion, self.on_cpu,
                                           self.shortcut_relu, name=f"block{i + 1}")
            x = block(x)
            if (self.num_classes and self.conditioning == "concat"
                    and i + 1 == min(CONCAT_AFTER, len(self.widths))):
                assert y is not None  # checked by `check_discriminator`
                x = concat_classes(x, y, self.embed, self.num_classes, self.dtype)
        h = POOLS[self.pool](nn.relu(x), axis=(1, 2))
        head = Head(self.dense, self.embed, self.num_classes, use_bias=self.head_bias,
                    dtype=self.dtype, conditioning=self.conditioning, name="head")
        return head(h, y)
