"""Resizing of images (NHWC), alone or as part of a convolution.

They are the operations of the residual blocks in the paper's Tables 4 to 6 (reference:
sngan_projection). The fused forms are the same functions, by linearity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from sngan_jax.base.shapes import Float
from sngan_jax.models.convolution import Pads, convolve, native, phases

_NONE = ((0, 0), (0, 0))  # no padding


def upsample_nearest(x: Float[Array, "n h w c"], factor: int = 2
                     ) -> Float[Array, "n {factor}*h {factor}*w c"]:
    """Repeats every pixel (Chainer's unpooling)."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, factor, w, factor, c))
    return x.reshape(n, h * factor, w * factor, c)


def upsample_bilinear(x: Float[Array, "n h w c"], factor: int = 2
                      ) -> Float[Array, "n {factor}*h {factor}*w c"]:
    """Bilinear up-sampling with half-pixel centres (no aligned corners)."""
    n, h, w, c = x.shape
    return jax.image.resize(x, (n, factor * h, factor * w, c), "bilinear", antialias=False)


UPSAMPLING = {"nearest": upsample_nearest, "bilinear": upsample_bilinear}


def average_pool(x: Float[Array, "n h w c"], factor: int = 2
                 ) -> Float[Array, "n h//{factor} w//{factor} c"]:
    """Mean of disjoint factor×factor squares.

    Raises ValueError if the factor does not divide the height and the width.
    """
    check_divides(x, factor)
    n, h, w, c = x.shape
    return x.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))


def check_divides(x: Float[Array, "n h w c"], factor: int) -> None:
    """ValueError if the factor does not divide the height and the width."""
    _, h, w, _ = x.shape
    if h % factor or w % factor:
        raise ValueError(f"average_pool by {factor} needs a height and width that it divides; "
                         f"got {h}x{w}")


def upsample_conv(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"], factor: int = 2
                  ) -> Float[Array, "n {factor}*h {factor}*w out"]:
    """`upsample_nearest`, then a convolution of stride 1 with padding "SAME", as one operation.

    At each phase of the output, several taps see equal pixels, so their weights are added first.
    For a 3x3 kernel and factor 2 this gives four 2x2 convolutions of the small image: 16 products
    in place of 36.

    Args:
      x: images.
      kernel: already reparametrized: σ is that of this kernel, not of its sums.
      factor: 1 or more.
    """
    return _upsample_conv(x, kernel, factor, phases)


def upsample_conv_dilated(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"],
                          factor: int = 2) -> Float[Array, "n {factor}*h {factor}*w out"]:
    """`upsample_conv` as one convolution of the image dilated with zeros.

    A TPU skips the zeros and has no phases to interleave; a CPU multiplies them out.
    """
    def dilated(x: Array, kernel: Array, factor: int, before: tuple[int, int]) -> Array:
        # For an output of factor·size; the dilated image ends with a pixel.
        padding = [(pad, k + factor - 2 - pad)
                   for k, pad in zip(kernel.shape[:2], before, strict=True)]
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, lhs_dilation=(factor, factor),
                                        dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return _upsample_conv(x, kernel, factor, dilated)


def _upsample_conv(x: Array, kernel: Array, factor: int, convolution: Callable) -> Array:
    kh, kw = kernel.shape[:2]
    if kh == kw == 1:  # a function of single pixels, so it goes before the repetition
        return upsample_nearest(native(x, kernel, _NONE), factor)
    padding = ((kh - 1) // 2 + factor - 1, (kw - 1) // 2 + factor - 1)
    return convolution(x, _box(kernel, factor), factor, padding)


def conv_pool(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"], factor: int = 2
              ) -> Float[Array, "n h//{factor} w//{factor} out"]:
    """A stride-1 convolution with padding "SAME", then `average_pool`, as one strided convolution.

    For a 3x3 kernel and factor 2 it is one 4x4 convolution of stride 2: 16 products in place of
    36.

    Args:
      x: images whose height and width are multiples of the factor.
      kernel: already reparametrized.
      factor: 1 or more.

    Raises:
      ValueError: for another height or width.
    """
    return _conv_pool(x, kernel, factor, native)


def conv_pool_on_cpu(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"],
                     factor: int = 2) -> Float[Array, "n h//{factor} w//{factor} out"]:
    """`conv_pool` with gradients that are fast on a CPU, without forward mode; see `convolve`."""
    return _conv_pool(x, kernel, factor, convolve)


def _conv_pool(x: Array, kernel: Array, factor: int, convolution: Callable) -> Array:
    kh, kw = kernel.shape[:2]
    if kh == kw == 1:  # the convolution and the mean commute
        return native(average_pool(x, factor), kernel, _NONE)
    check_divides(x, factor)
    padding = ((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2)
    return convolution(x, _box(kernel, factor) / factor**2, padding, (factor, factor))


@functools.cache  # one function each, so that modules built twice are equal
def as_convolution(fused: Callable[[Array, Array], Array]) -> Callable:
    """One of the four functions above, as the `conv_general_dilated` of a Linen convolution.

    So the layer keeps its parameters, its normalization and its bias:
    `SNConv(features, (3, 3), conv_general_dilated=as_convolution(conv_pool))`. Called with strides,
    dilation, groups, a precision or another padding than "SAME", it raises ValueError.
    """
    def convolution(x: Array, kernel: Array, strides: Sequence[int], padding: Pads,
                    lhs_dilation: Sequence[int] | None = None,
                    rhs_dilation: Sequence[int] | None = None,
                    dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers = None,
                    feature_group_count: int = 1,
                    precision: lax.PrecisionLike = None) -> Array:
        del dimension_numbers
        plain = all(d is None or set(d) == {1} for d in (strides, lhs_dilation, rhs_dilation))
        if not plain or padding != "SAME" or feature_group_count != 1 or precision is not None:
            raise ValueError(f"{fused.__name__} takes the place of a plain convolution of stride "
                             "1 with padding 'SAME': without dilation, groups and precision")
        return fused(x, kernel)

    return convolution


def _box(kernel: Float[Array, "kh kw in out"], factor: int
         ) -> Float[Array, "kh+{factor}-1 kw+{factor}-1 in out"]:
    """Sums over factor x factor shifts."""
    total = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    for axis in (0, 1):
        pads = [[(0, 0)] * axis + [(i, factor - 1 - i)] + [(0, 0)] * (3 - axis)
                for i in range(factor)]
        total = jnp.asarray(sum(jnp.pad(total, pad) for pad in pads))
    return total.astype(kernel.dtype)
