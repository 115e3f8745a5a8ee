"""Builds a generator and a discriminator from the fields of a config."""

from __future__ import annotations

import functools
import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from sngan_jax.activation_norms import BatchNorm, ConditionalBatchNorm, Norm
from sngan_jax.base.types import Config
from sngan_jax.layers import normalized
from sngan_jax.methods import ACTIVATION_NORMS, method_of
from sngan_jax.models.blocks import FUSIONS, ConvTranspose
from sngan_jax.models.cnn import CNNS, CNNDiscriminator, CNNGenerator
from sngan_jax.models.resnet import RESNETS, ResNetDiscriminator, ResNetGenerator

# Extensible: your own network, added to one of the tables, is a model too.
MODELS: Mapping[str, Any] = ChainMap(RESNETS, CNNS)
# Whether the discriminator's last dense layer has a bias; 'paper': as the model was published.
HEAD_BIASES = ("paper", "yes", "no")


# The images over which batch norm takes its statistics: those of all devices, or of each device
# alone, as in the official ImageNet runs on four GPUs.
BN_SYNCS = ("all", "device")
# The convolutions of `convolution.py`, lax's own, or whichever is faster on the device. The first
# have no forward mode.
CONVOLUTIONS = ("auto", "cpu", "lax")
# The layers of the generator: Linen's, or spectrally normalized (Zhang et al. 2019, SAGAN).
GENERATOR_LAYERS = ("", "sn")
# 'auto': the fastest on the device.
FUSION_CHOICES = ("auto", *FUSIONS)
# On TPUs, the compiler's own estimate of an iteration falls with the fusions on v2 and v3 only, and
# most with the dilated form. The newer ones lose more to memory traffic than they gain in
# arithmetic (docs/performance.md).
_OLD_TPU = re.compile(r"TPU v[23]", re.IGNORECASE)
_PLAIN_TPU = re.compile(r"TPU (v4|v5|v6|7)", re.IGNORECASE)


def fusion_of(config: Config, device_kind: str) -> str:
    """One of FUSIONS: the config's, or for 'auto' the fastest on a kind of device."""
    if config.fusion != "auto":
        return config.fusion
    if _OLD_TPU.match(device_kind):
        return "dilated"
    return "pointwise" if _PLAIN_TPU.match(device_kind) else "all"


def size_factor(model: str) -> int:
    """The number of which height and width must be multiples for the named model."""
    if model in CNNS:
        return 8
    shape = RESNETS[model]
    return 2 ** max(len(shape.generator) - 1, shape.downsampling)


def build_models(config: Config, *, channels: int, num_classes: int, axis_name: str | None = None,
                 device_kind: str | None = None) -> tuple[nn.Module, nn.Module]:
    """The generator and the discriminator of a config.

    Args:
      config: config with the fields under "Networks" and of the method (`run.config`).
      channels: number of channels of the images.
      num_classes: 0 for unconditional networks.
      axis_name: name of the pmap over which batch norm averages its statistics, or None.
      device_kind: `jax.Device.device_kind` of the device that 'auto' chooses for, in
        `config.fusion` and `config.convolutions`; None for the local one.
    """
    kind = device_kind or jax.devices()[0].device_kind
    fusion = fusion_of(config, kind)
    method, dtype = method_of(config), config.dtype
    axis_name = axis_name if config.bn_sync == "all" else None
    constants = {"momentum": config.bn_decay, "epsilon": config.bn_epsilon,
                 "axis_name": axis_name, "dtype": dtype}
    plain_norm = functools.partial(BatchNorm, **constants)
    norm: Norm = plain_norm
    if num_classes:
        norm = functools.partial(ConditionalBatchNorm, num_classes, **constants)
    on_cpu = config.convolutions == "cpu" or (config.convolutions == "auto" and kind == "cpu")
    generator = {"image_size": config.image_size, "image_width": config.image_width,
                 "channels": channels,
                 "num_classes": num_classes, "norm": norm, "dtype": dtype, "on_cpu": on_cpu}
    if config.generator_layers == "sn":
        options = {"n_steps": config.power_steps, "warmup_steps": config.power_warmup}
        generator |= {"conv": normalized(nn.Conv, **options),
                      "dense": normalized(nn.Dense, **options)}
        if config.model in CNNS:
            generator["conv_transpose"] = normalized(ConvTranspose, **options)
    discriminator = {**method.layers(config)._asdict(), "num_classes": num_classes,
                     "conditioning": config.conditioning,
                     "norm": ACTIVATION_NORMS[method.activation_norm](config, axis_name),
                     "dtype": dtype, "on_cpu": on_cpu}

    def widths(multiples: tuple[int, ...], paper_width: int) -> tuple[int, ...]:
        base = config.discriminator_width or paper_width
        *first, before, last = (m * base for m in multiples)
        # Figure 4: the widths before and after the last layer.
        scale = config.last_layer_multiplier
        return (*first, max(round(before * scale), 1), max(round(last * scale), 1))

    paper_bias = MODELS[config.model].head_bias
    bias = paper_bias if config.head_bias == "paper" else config.head_bias == "yes"
    if config.model in CNNS:
        cnn = CNNS[config.model]
        return (
            CNNGenerator(width=config.generator_width or cnn.width, norm_units=cnn.norm_units,
                         **generator),
            CNNDiscriminator(widths=widths(cnn.discriminator, cnn.width), slope=cnn.slope,
                             head_bias=bias, **discriminator),
        )
    shape = RESNETS[config.model]
    g_width = config.generator_width or shape.generator_width
    return (
        ResNetGenerator(widths=tuple(g_width * m for m in shape.generator), last_norm=plain_norm,
                        upsampling=config.upsampling, fusion=fusion, **generator),
        ResNetDiscriminator(widths=widths(shape.discriminator, shape.discriminator_width),
                            downsampling=shape.downsampling, head_bias=bias, pool=config.pool,
                            shortcut_relu=config.shortcut_relu, fusion=fusion, **discriminator),
    )
