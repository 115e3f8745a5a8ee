"""Changing the size of images (NHWC), alone or as part of a convolution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def upsample_nearest(x: jax.Array, factor: int = 2) -> jax.Array:
    """Repeats every pixel: (n, h, w, c) -> (n, factor·h, factor·w, c) (Chainer's unpooling)."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, factor, w, factor, c))
    return x.reshape(n, h * factor, w * factor, c)


def upsample_bilinear(x: jax.Array, factor: int = 2) -> jax.Array:
    """Bilinear, half-pixel centres (no aligned corners): shapes as `upsample_nearest`."""
    n, h, w, c = x.shape
    return jax.image.resize(x, (n, factor * h, factor * w, c), "bilinear", antialias=False)


UPSAMPLING = {"nearest": upsample_nearest, "bilinear": upsample_bilinear}


def average_pool(x: jax.Array, factor: int = 2) -> jax.Array:
    """Mean of disjoint factor×factor squares: (n, h, w, c) -> (n, h/factor, w/factor, c).

    Raises ValueError where the factor does not divide the height and the width.
    """
    n, h, w, c = x.shape
    if h % factor or w % factor:
        raise ValueError(f"average_pool by {factor} needs a height and width that it divides; "
                         f"got {h}x{w}")
    return x.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))


def conv_transpose(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`lax.conv_transpose(x, kernel, (stride, stride), "SAME")` as stride² small convolutions.

    Each of the stride² phases of the output is an ordinary convolution of `x` with every
    stride-th tap of the kernel; the phases are then interleaved. It is the same arithmetic with no
    zero ever multiplied, and its kernel gradient is that of an ordinary convolution: XLA's CPU
    back end is about ten times slower on the gradient of the native form.

    Args:
      x: (n, h, w, in).
      kernel: (k, k, in, out) with k >= stride.
      stride: positive int.

    Returns:
      (n, stride·h, stride·w, out) in the dtype of `x`.
    """
    k = kernel.shape[0]
    if kernel.shape[1] != k or k < stride:
        raise ValueError(f"conv_transpose needs a square kernel at least as large as its stride "
                         f"{stride}; got a kernel of {kernel.shape[0]}x{kernel.shape[1]}")
    kernel = kernel[::-1, ::-1]
    # Taps, left and right padding of each phase; "SAME" of lax pads k + stride - 2 in all.
    offset = k - 1 - -(-(k + stride - 2) // 2)
    phases = []
    for r in range(stride):
        first, shift = (r + offset) % stride, (r + offset) // stride
        taps = range(first, k, stride)
        phases.append((slice(first, k, stride), (len(taps) - 1 - shift, shift)))
    rows = []
    for rows_taps, rows_pad in phases:
        columns = [
            lax.conv_general_dilated(x, kernel[rows_taps, cols_taps][::-1, ::-1], (1, 1),
                                     (rows_pad, cols_pad), dimension_numbers=_DIMENSIONS)
            for cols_taps, cols_pad in phases
        ]
        rows.append(jnp.stack(columns, axis=3))
    n, h, w, _ = x.shape
    out = jnp.stack(rows, axis=2)  # (n, h, stride, w, stride, out)
    return out.reshape(n, h * stride, w * stride, kernel.shape[-1])
