"""Convolutions (NHWC, HWIO) in forms that are fast on a CPU, and a transposed one for all devices.

XLA's CPU back end is slow on three kinds of convolution that its other back ends do well. The first
is the gradient of a strided convolution with respect to its input, for which XLA multiplies all
zeros between the pixels. The others are both gradients of a transposed convolution, and
convolutions from or to very few channels. These functions compute the same sums in another order.
`models.build` uses them for networks on a CPU; other devices get lax's.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from sngan_jax.base.shapes import Float

Padding = tuple[tuple[int, int], tuple[int, int]]
Pads = str | Sequence[tuple[int, int]]  # as in `lax.conv_general_dilated`

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Up to this many channels, in or out, one matrix product over all taps pays.
_FEW = 4


def convolve(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"], padding: Padding,
             strides: tuple[int, int] = (1, 1)) -> Float[Array, "n _ _ out"]:
    """`lax.conv_general_dilated` of an image batch, with gradients that are fast on a CPU.

    Differentiable to any order in reverse mode, but with a stride not in forward mode (`jax.jvp`,
    `jax.hessian`). `native` allows forward mode; `config.convolutions="lax"` selects it.

    Args:
      x: images.
      kernel: in the dtype of `x`.
      padding: above and below, left and right.
      strides: along rows and columns.
    """
    kh, kw, channels, features = kernel.shape
    if strides == (1, 1):
        if features <= _FEW < channels and kh * kw > 1:
            return _by_taps(x, kernel, padding)
        if channels <= _FEW < features and kh * kw > 1:
            return _by_patches(x, kernel, padding)
        return native(x, kernel, padding, strides)
    # The phases of a gradient tile the input if the strides divide it.
    out = [(size + sum(pads) - k) // s + 1
           for size, pads, k, s in zip(x.shape[1:3], padding, (kh, kw), strides, strict=True)]
    whole = all(size == s * o for size, s, o in zip(x.shape[1:3], strides, out, strict=True))
    if strides[0] == strides[1] and whole and min(kh, kw) >= strides[0]:
        return _strided(x, kernel, padding, strides[0])
    return native(x, kernel, padding, strides)


def conv_general_dilated(x: Array, kernel: Array, strides: Sequence[int], padding: Pads,
                         lhs_dilation: Sequence[int] | None = None,
                         rhs_dilation: Sequence[int] | None = None,
                         dimension_numbers: lax.ConvGeneralDilatedDimensionNumbers = None,
                         feature_group_count: int = 1,
                         precision: lax.PrecisionLike = None) -> Array:
    """`convolve` as the `conv_general_dilated` of a Linen convolution; other cases go to lax.

    Arguments and result as for `lax.conv_general_dilated`.
    """
    strides = tuple(strides)
    dilations = (*(lhs_dilation or ()), *(rhs_dilation or ()))
    plain = x.ndim == 4 and feature_group_count == 1 and precision is None and set(dilations) <= {1}
    if not plain:
        return lax.conv_general_dilated(
            x, kernel, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
            feature_group_count, precision=precision)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    (top, bottom), (left, right) = padding
    return convolve(x, kernel, ((top, bottom), (left, right)), (strides[0], strides[1]))


def conv_transpose(x: Float[Array, "n h w in"], kernel: Float[Array, "k k in out"], stride: int
                   ) -> Float[Array, "n {stride}*h {stride}*w out"]:
    """`lax.conv_transpose(x, kernel, (stride, stride), "SAME")` as stride² small convolutions.

    It does the same arithmetic, and multiplies no zeros, on any backend. Differentiable to any
    order.

    Args:
      x: images.
      kernel: square, at least as large as the stride; in the dtype of `x`.
      stride: 1 or more.

    Raises:
      ValueError: for a kernel that is not square, or smaller than the stride.
    """
    k = kernel.shape[0]
    if kernel.shape[1] != k or k < stride:
        raise ValueError(f"conv_transpose needs a square kernel at least as large as its stride "
                         f"{stride}; got a kernel of {kernel.shape[0]}x{kernel.shape[1]}")
    padding = -(-(k + stride - 2) // 2)  # lax's "SAME" pads by k + stride - 2 in total
    return phases(x, kernel, stride, (padding, padding))


def phases(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"], stride: int,
           padding: tuple[int, int]) -> Float[Array, "n {stride}*h {stride}*w out"]:
    """A convolution of `x` with stride - 1 zeros between its pixels, multiplying none of the zeros.

    Each of the stride² phases of the output is a convolution of `x` with every stride-th tap of
    the kernel; the phases are then interleaved. `padding` is that of the dilated image, above and
    to the left.
    """
    taps = []
    for size, before in zip(kernel.shape[:2], padding, strict=True):
        of_axis = []
        for phase in range(stride):
            first = (before - phase) % stride
            count, left = len(range(first, size, stride)), (before - phase - first) // stride
            of_axis.append((slice(first, None, stride), (left, count - 1 - left)))
        taps.append(of_axis)
    rows = [jnp.stack([native(x, kernel[r, c], (above, beside)) for c, beside in taps[1]], axis=3)
            for r, above in taps[0]]
    n, h, w, _ = x.shape
    out = jnp.stack(rows, axis=2)  # (n, h, stride, w, stride, out)
    return out.reshape(n, h * stride, w * stride, kernel.shape[-1])


def native(x: Float[Array, "n h w in"], kernel: Float[Array, "kh kw in out"],
           padding: Sequence[tuple[int, int]], strides: tuple[int, int] = (1, 1)
           ) -> Float[Array, "n _ _ out"]:
    """lax's own convolution; arguments and result as for `convolve`."""
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_DIMENSIONS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided(x: Array, kernel: Array, padding: Padding, stride: int) -> Array:
    return native(x, kernel, padding, (stride, stride))


def _strided_backward(padding: Padding, stride: int, saved: tuple[Array, Array],
                      g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    (top, _), (left, _) = padding
    dx = phases(g, flipped, stride, (kernel.shape[0] - 1 - top, kernel.shape[1] - 1 - left))
    (dkernel,) = jax.linear_transpose(
        lambda kernel: native(x, kernel, padding, (stride, stride)), kernel)(g)
    return dx, dkernel


_strided.defvjp(lambda x, kernel, padding, stride: (_strided(x, kernel, padding, stride),
                                                    (x, kernel)), _strided_backward)


def _by_taps(x: Array, kernel: Array, padding: Padding) -> Array:
    """All pixels times all taps as one matrix product, then the sum over shifts."""
    kh, kw, channels, features = kernel.shape
    n, h, w, _ = x.shape
    products = x.reshape(-1, channels) @ jnp.moveaxis(kernel, 2, 0).reshape(channels, -1)
    products = jnp.pad(products.reshape(n, h, w, kh, kw, features),
                       ((0, 0), *padding, (0, 0), (0, 0), (0, 0)))
    height, width = (size + sum(pads) - k + 1
                     for size, pads, k in zip((h, w), padding, (kh, kw), strict=True))
    return jnp.asarray(sum(products[:, i:i + height, j:j + width, i, j]
                           for i in range(kh) for j in range(kw)))


def _by_patches(x: Array, kernel: Array, padding: Padding) -> Array:
    """The channels under all taps side by side, then one matrix product."""
    kh, kw, _, features = kernel.shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    n, height, width = x.shape[0], x.shape[1] - kh + 1, x.shape[2] - kw + 1
    patches = jnp.concatenate([x[:, i:i + height, j:j + width]
                               for i in range(kh) for j in range(kw)], axis=-1)
    products = patches.reshape(n * height * width, -1) @ kernel.reshape(-1, features)
    return products.reshape(n, height, width, features)
