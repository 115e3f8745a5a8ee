"""Resizing of images for Inception: part of a score's protocol, because it moves the score.

References: TensorFlow 1's `ResizeBilinear`, and pytorch-fid (Seitzer 2020).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

# 'tf1': ResizeBilinear of TensorFlow 1 (corner of a pixel on corner of a pixel), as in the original
# graph, torch-fidelity and NVIDIA's metrics, then (x - 128)/128. 'half_pixel': centre on centre, as
# pytorch-fid, then x/127.5 - 1. Neither smooths before it makes an image smaller.
RESIZES = ("tf1", "half_pixel")


def resize_matrix(size: int, out: int, kind: str) -> np.ndarray:
    """float32 (out, size): bilinear interpolation along one axis as a matrix.

    Raises:
      ValueError: a kind that is not of RESIZES.
    """
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


def inception_input(images: jax.Array, kind: str = "tf1", side: int = 299) -> jax.Array:
    """uint8 (n, h, w, 1 or 3) to float32 (n, side, side, 3) in about [-1, 1]."""
    x = jnp.asarray(images, jnp.float32)
    _, height, width, channels = x.shape
    if (height, width) != (side, side):
        rows, columns = (resize_matrix(s, side, kind) for s in (height, width))
        x = jnp.einsum("nhwc,oh->nowc", x, rows, precision="highest")
        x = jnp.einsum("nowc,pw->nopc", x, columns, precision="highest")
    x = (x - 128) / 128 if kind == "tf1" else x / 127.5 - 1
    return jnp.broadcast_to(x, (*x.shape[:-1], 3)) if channels == 1 else x
