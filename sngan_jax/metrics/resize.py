"""Resizing of images for Inception: part of a score's protocol, because it moves the score.

References: TensorFlow 1's `ResizeBilinear`, pytorch-fid (Seitzer 2020), clean-fid (Parmar et al.
2022).
"""

from __future__ import annotations

from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from sngan_jax.base.shapes import Float, UInt8

# 'tf1': ResizeBilinear of TensorFlow 1 (aligned at pixel corners), as in the original graph,
# torch-fidelity and NVIDIA's metrics, then (x - 128)/128. 'half_pixel': aligned at pixel centres,
# as in pytorch-fid, then x/127.5 - 1. Neither smooths before shrinking. 'bicubic': Pillow's, which
# does smooth, in float32, clipped to 0..255, as in clean-fid; then as 'tf1'.
RESIZES = ("tf1", "half_pixel", "bicubic")


def resize_matrix(size: int, out: int, kind: str) -> Float[np.ndarray, "{out} {size}"]:
    """Interpolation along one axis as a float32 matrix.

    Raises:
      ValueError: for a kind that is not in RESIZES.
    """
    if kind == "bicubic":
        return _bicubic(size, out).astype(np.float32)
    positions = np.arange(out, dtype=np.float64) * (size / out)
    if kind == "half_pixel":
        positions = np.maximum(positions + 0.5 * size / out - 0.5, 0)
    elif kind != "tf1":
        raise ValueError(f"the resize is {kind!r}, expected one of {', '.join(RESIZES)}")
    low = np.minimum(np.floor(positions).astype(int), size - 1)
    high, part = np.minimum(low + 1, size - 1), positions - low
    matrix = np.zeros((out, size))
    rows = np.arange(out)
    np.add.at(matrix, (rows, low), 1 - part)
    np.add.at(matrix, (rows, high), part)
    return matrix.astype(np.float32)


def inception_input(images: UInt8[Array, "n h w c"], kind: str = "tf1", side: int = 299
                    ) -> Float[Array, "n {side} {side} 3"]:
    """Images with 1 or 3 channels to float32 in about [-1, 1]."""
    x = jnp.asarray(images, jnp.float32)
    _, height, width, channels = x.shape
    if (height, width) != (side, side):
        rows, columns = (resize_matrix(s, side, kind) for s in (height, width))
        x = jnp.einsum("nhwc,oh->nowc", x, rows, precision="highest")
        x = jnp.einsum("nowc,pw->nopc", x, columns, precision="highest")
        x = jnp.clip(x, 0, 255) if kind == "bicubic" else x
    x = _normalized(x, kind)
    return jnp.broadcast_to(x, (*x.shape[:-1], 3)) if channels == 1 else x


def input_of_one(image: UInt8[np.ndarray, "h w c"], kind: str, side: int = 299
                 ) -> Float[np.ndarray, "{side} {side} 3"]:
    """`inception_input` of one image with 1 or 3 channels, in NumPy.

    Used for images of many sizes, because a device would compile a program for each size.
    """
    height, width = image.shape[:2]
    x = image.astype(np.float32)
    if (height, width) != (side, side):
        x = np.tensordot(resize_matrix(height, side, kind), x, 1)
        x = np.moveaxis(np.tensordot(x, resize_matrix(width, side, kind), (1, 1)), 2, 1)
        x = np.clip(x, 0, 255) if kind == "bicubic" else x
    return np.broadcast_to(_normalized(x, kind), (side, side, 3))


Pixels = TypeVar("Pixels", Array, np.ndarray)


def _normalized(x: Pixels, kind: str) -> Pixels:
    return x / 127.5 - 1 if kind == "half_pixel" else (x - 128) / 128


def _bicubic(size: int, new_size: int) -> np.ndarray:
    """Pillow's bicubic resampling: float64 (new_size, size); each row sums to 1.

    When shrinking, the filter (Keys' cubic with a = -1/2 and radius 2) is widened by the scale,
    which is the antialiasing; it is normalized at the borders (Pillow, src/libImaging/Resample.c,
    precompute_coeffs).
    """
    scale = size / new_size
    width = max(scale, 1.0)
    centers = (np.arange(new_size) + 0.5) * scale
    first = np.maximum((centers - 2 * width + 0.5).astype(int), 0)
    last = np.minimum((centers + 2 * width + 0.5).astype(int), size)
    place = np.arange(size)
    x = np.abs((place + 0.5 - centers[:, None]) / width)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    weights *= (place >= first[:, None]) & (place < last[:, None])
    return weights / weights.sum(axis=1, keepdims=True)
