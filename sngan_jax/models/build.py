"""From the fields of a config to a generator and a discriminator."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn

from sngan_jax.methods import METHODS
from sngan_jax.models.cnn import CNNDiscriminator, CNNGenerator
from sngan_jax.models.resnet import RESNETS, ResNetDiscriminator, ResNetGenerator
from sngan_jax.normalization import BatchNorm, ConditionalBatchNorm

MODELS = ("cnn", *RESNETS)
# The paper's base widths of Table 3; those of the residual networks are in RESNETS.
_CNN_WIDTH = 64


def size_factor(model: str) -> int:
    """The number that the image size must be a multiple of for the named model."""
    return 8 if model == "cnn" else 2 ** (len(RESNETS[model].generator) - 1)


def build_models(config: Any, *, channels: int, num_classes: int,
                 axis_name: str | None = None) -> tuple[nn.Module, nn.Module]:
    """The generator and the discriminator of a config.

    Args:
      config: fields `model` (one of MODELS), `method` (a key of METHODS), `image_size`,
        `generator_width` and `discriminator_width` (0: the paper's), `power_steps`,
        `lipschitz`, `dtype`.
      channels: of the images.
      num_classes: 0 for unconditional networks.
      axis_name: of the pmap over which batch norm averages its statistics, or None.
    """
    layers = METHODS[config.method](config)
    dtype = config.dtype
    plain_norm = functools.partial(BatchNorm, axis_name=axis_name, dtype=dtype)
    norm = plain_norm
    if num_classes:
        norm = functools.partial(ConditionalBatchNorm, num_classes, axis_name=axis_name,
                                 dtype=dtype)
    generator = {"image_size": config.image_size, "channels": channels,
                 "num_classes": num_classes, "norm": norm, "dtype": dtype}
    discriminator = {**layers._asdict(), "num_classes": num_classes, "dtype": dtype}
    if config.model == "cnn":
        return (CNNGenerator(width=config.generator_width or _CNN_WIDTH, **generator),
                CNNDiscriminator(width=config.discriminator_width or _CNN_WIDTH, **discriminator))
    shape = RESNETS[config.model]
    g_width = config.generator_width or shape.generator_width
    d_width = config.discriminator_width or shape.discriminator_width
    return (
        ResNetGenerator(widths=tuple(g_width * m for m in shape.generator), last_norm=plain_norm,
                        **generator),
        ResNetDiscriminator(widths=tuple(d_width * m for m in shape.discriminator),
                            downsampling=shape.downsampling, head_bias=shape.head_bias,
                            **discriminator),
    )
