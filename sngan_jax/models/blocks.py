"""Pieces that the generators and discriminators share."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sngan_jax.activation_norms import Norm
from sngan_jax.layers import Layer
from sngan_jax.losses import at_least_float32
from sngan_jax.models.convolution import conv_general_dilated, conv_transpose
from sngan_jax.models.resample import (
    UPSAMPLING,
    as_convolution,
    average_pool,
    conv_pool,
    conv_pool_on_cpu,
    upsample_conv,
    upsample_conv_dilated,
)

# What a discriminator returns: logits, or (logits, class logits) with an auxiliary classifier.
Logits = jax.Array | tuple[jax.Array, jax.Array]

# How a discriminator uses labels: by the inner product with a row of a table (Miyato & Koyama
# 2018); by a row beside the features after the third block (paper Table 6c); or not as an input:
# it then predicts the class of an image as well (Odena et al. 2017; paper Table 8).
CONDITIONINGS = ("projection", "concat", "auxiliary")
CONCAT_AFTER = 3
CONCAT_FEATURES = 128


# How up-sampling and pooling next to a convolution are computed. The function is the same, up to
# rounding: 'none' as in the paper; 'pointwise' with 1x1 convolutions on the smaller side; 'all'
# also fuses the 3x3 ones (`resample.upsample_conv`, `resample.conv_pool`); 'dilated' is 'all' with
# `resample.upsample_conv_dilated`.
FUSIONS = ("none", "pointwise", "all", "dilated")
_UPSAMPLING_CONVOLUTIONS = {"all": upsample_conv, "dilated": upsample_conv_dilated}


def glorot_uniform(gain: float = 1.0) -> nn.initializers.Initializer:
    """U(-s, s) with s = gain·sqrt(6 / (fan_in + fan_out)) (Chainer's `GlorotUniform(gain)`)."""
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


class ConvTranspose(nn.Module):
    """Transposed convolution with stride s, which multiplies height and width by s.

    The same function of the same parameters as `nn.ConvTranspose(features, (k, k), (s, s),
    padding="SAME")`, computed as s² ordinary convolutions (`convolution.conv_transpose` says why).

    Attributes:
      features: channels out.
      kernel_size: side k of the square kernel, at least `strides`.
      strides: s.
    """

    features: int
    kernel_size: int = 4
    strides: int = 2
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = conv_transpose(x, kernel, self.strides)
        return x if bias is None else x + bias


class GeneratorBlock(nn.Module):
    """Residual block of the generator (paper Fig. 8 left; sngan_projection gen_models/resblocks).

    norm - ReLU - [x2] - conv3x3 - norm - ReLU - conv3x3; the hidden width equals the output's. The
    shortcut is [x2] - conv1x1 if the shape changes, else the identity. No activation follows the
    sum. `fusion`: one of FUSIONS.
    """

    features: int
    upsample: bool
    conv: Layer
    norm: Norm
    dtype: DTypeLike | None = None
    upsampling: str = "nearest"
    fusion: str = "all"

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        conv3 = _conv3(self.conv, self.dtype)
        resize = UPSAMPLING[self.upsampling] if self.upsample else (lambda x: x)
        h = nn.relu(_normalized(self.norm, "norm1", x, y))
        fused = _UPSAMPLING_CONVOLUTIONS.get(self.fusion)
        if fused and self.upsample and self.upsampling == "nearest":
            h = conv3(self.features, name="conv1", fused=fused)(h)
        else:
            h = conv3(self.features, name="conv1")(resize(h))
        h = _normalized(self.norm, "norm2", h, y)
        h = conv3(self.features, name="conv2")(nn.relu(h))
        if self.upsample or x.shape[-1] != self.features:
            conv1 = _conv1(self.conv, self.dtype)(self.features, name="shortcut")
            x = conv1(resize(x)) if self.fusion == "none" else resize(conv1(x))
        return x + h


class DiscriminatorBlock(nn.Module):
    """Residual block of the discriminator (paper Fig. 8 right; dis_models/resblocks `Block`).

    ReLU - conv3x3 - ReLU - conv3x3 - [mean 2x2]; the hidden width equals the input's. The shortcut
    is conv1x1 - [mean 2x2] if the shape changes, else the identity. `fusion`: one of FUSIONS.
    `on_cpu`: see `fast_gradients`. `shortcut_relu`: the shortcut starts with a ReLU too, as in
    mimicry, where the first ReLU works in place.
    """

    features: int
    downsample: bool
    conv: Layer
    norm: Norm = None
    dtype: DTypeLike | None = None
    fusion: str = "all"
    on_cpu: bool = False
    shortcut_relu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv3 = _conv3(self.conv, self.dtype)
        resize = average_pool if self.downsample else (lambda x: x)
        h = nn.relu(_normalized(self.norm, "norm1", x))
        h = conv3(x.shape[-1], name="conv1")(h)
        h = nn.relu(_normalized(self.norm, "norm2", h))
        h = _conv3_pool(conv3, self.features, self.downsample, self.fusion, self.on_cpu)(h)
        x = nn.relu(x) if self.shortcut_relu else x
        if self.downsample or x.shape[-1] != self.features:
            conv1 = _conv1(self.conv, self.dtype)(self.features, name="shortcut")
            x = resize(conv1(x)) if self.fusion == "none" else conv1(resize(x))
        return x + h


class FirstDiscriminatorBlock(nn.Module):
    """The discriminator's first residual block (dis_models/resblocks `OptimizedBlock`).

    (n, h, w, c) -> (n, h/2, w/2, width).

    conv3x3 - ReLU - conv3x3 - mean 2x2, with no activation on the image; the shortcut is mean 2x2 -
    conv1x1, in this order.
    """

    features: int
    conv: Layer
    norm: Norm = None
    dtype: DTypeLike | None = None
    fusion: str = "all"
    on_cpu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv3 = _conv3(self.conv, self.dtype)
        h = conv3(self.features, name="conv1", fields=fast_gradients(self.conv, self.on_cpu))(x)
        h = nn.relu(_normalized(self.norm, "norm1", h))
        h = _conv3_pool(conv3, self.features, True, self.fusion, self.on_cpu)(h)
        shortcut = _conv1(self.conv, self.dtype)(self.features, name="shortcut")
        return shortcut(average_pool(x)) + h


class Head(nn.Module):
    """The last layer of a discriminator: features (n, c) -> logits (n,), or a pair.

    A dense layer. With `num_classes`, `conditioning` decides what is added. 'projection' adds
    <embed(y), h> (Miyato & Koyama 2018, eq. 3). 'auxiliary' ignores y and returns (logits (n,),
    class logits (n, classes)). 'concat' adds nothing here: its labels come in at `concat_classes`.
    """

    dense: Layer
    embed: Layer
    num_classes: int = 0
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = glorot_uniform()
    dtype: DTypeLike | None = None
    conditioning: str = "projection"

    @nn.compact
    def __call__(self, h: jax.Array, y: jax.Array | None) -> Logits:
        logits = self.dense(1, use_bias=self.use_bias, kernel_init=self.kernel_init,
                            dtype=self.dtype, name="dense")(h)[:, 0]
        if self.num_classes and self.conditioning == "projection":
            rows = self.embed(self.num_classes, h.shape[-1], embedding_init=self.kernel_init,
                              dtype=self.dtype, name="embed")(y)
            logits = logits + jnp.sum(rows * h, axis=-1)
        logits = at_least_float32(logits)
        if self.num_classes and self.conditioning == "auxiliary":
            classes = self.dense(self.num_classes, kernel_init=self.kernel_init, dtype=self.dtype,
                                 name="classes")(h)
            return logits, at_least_float32(classes)
        return logits


def concat_classes(x: jax.Array, y: jax.Array, embed: Layer, num_classes: int,
                   dtype: DTypeLike | None) -> jax.Array:
    """Each image's class row, concatenated to the features at every position: (n, h, w, c + 128).

    Paper Table 6c. The width of the row is the official code's at its only size.
    """
    row = embed(num_classes, CONCAT_FEATURES, embedding_init=glorot_uniform(), dtype=dtype,
                name="embed")(y)
    row = jnp.broadcast_to(row[:, None, None].astype(x.dtype), (*x.shape[:3], CONCAT_FEATURES))
    return jnp.concatenate([x, row], axis=-1)


def check_labels(num_classes: int, y: jax.Array | None, name: str) -> None:
    """ValueError if a conditional model receives no labels y (n,), or an unconditional one
    receives some.
    """
    if num_classes and y is None:
        raise ValueError(f"{name} with num_classes={num_classes} is class-conditional and needs "
                         "labels: call it with y, integers of shape (n,)")
    if not num_classes and y is not None:
        raise ValueError(f"{name} with num_classes=0 is unconditional and takes no labels: call "
                         "it without y, or build it with num_classes")


def check_discriminator(num_classes: int, y: jax.Array | None, conditioning: str,
                        name: str) -> None:
    """`check_labels` (y: (n,)) for a discriminator; ValueError for an unknown conditioning."""
    if conditioning not in CONDITIONINGS:
        raise ValueError(f"{name} has no conditioning {conditioning!r}: use one of "
                         + ", ".join(CONDITIONINGS))
    if conditioning != "auxiliary":  # which predicts the class and takes no label
        check_labels(num_classes, y, name)


def bottom_size(height: int, width: int, factor: int, name: str) -> tuple[int, int]:
    """Height and width of the smallest feature map of an image.

    Raises:
      ValueError: if `factor` does not divide both.
    """
    for side in (height, width):
        if side < factor or side % factor:
            raise ValueError(f"{name} changes the image size by a factor of {factor}: image_size "
                             f"must be a multiple of {factor}, got {height} x {width}")
    return height // factor, width // factor


def fast_gradients(conv: Layer, on_cpu: bool) -> dict[str, Callable]:
    """The field that gives a Linen convolution, or a subclass, the gradients of `convolution`.

    Empty for a custom layer without that field, and for machines other than CPUs.
    """
    layer = conv.func if isinstance(conv, functools.partial) else conv
    linen = isinstance(layer, type) and issubclass(layer, nn.Conv)
    return {"conv_general_dilated": conv_general_dilated} if linen and on_cpu else {}


def _normalized(norm: Norm, name: str, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
    return x if norm is None else norm(name=name)(x, y)


def _conv3(conv: Layer, dtype: DTypeLike | None) -> Layer:
    def layer(features: int, name: str, fused: Callable | None = None,
              fields: dict[str, Callable] | None = None) -> nn.Module:
        # Only where it is needed: a custom layer may lack the field.
        options = {"conv_general_dilated": as_convolution(fused)} if fused else fields or {}
        return conv(features, (3, 3), kernel_init=glorot_uniform(2**0.5), dtype=dtype, name=name,
                    **options)
    return layer


def _conv3_pool(conv3: Layer, features: int, pool: bool, fusion: str, on_cpu: bool
                ) -> Callable:
    """The second convolution of a discriminator's block, with the mean pooling after it if any."""
    if pool and fusion in _UPSAMPLING_CONVOLUTIONS:
        return conv3(features, name="conv2", fused=conv_pool_on_cpu if on_cpu else conv_pool)
    layer = conv3(features, name="conv2")
    return (lambda x: average_pool(layer(x))) if pool else layer


def _conv1(conv: Layer, dtype: DTypeLike | None) -> Layer:
    def layer(features: int, name: str) -> nn.Module:
        return conv(features, (1, 1), kernel_init=glorot_uniform(), dtype=dtype, name=name)
    return layer
