"""The training images nearest to samples, which show whether a generator copies."""

from __future__ import annotations

import numpy as np

from sngan_jax.base.shapes import UInt8
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream

_CHUNK = 256  # training images in memory as floats at a time


def nearest(samples: UInt8[np.ndarray, "n h w c"], images: ImageSet | ImageStream, count: int
            ) -> UInt8[np.ndarray, "n k h w c"]:
    """The `count` images nearest to each sample, by Euclidean distance of the pixels.

    A copy is as near as noise allows; a picture that only looks alike may be far away.

    Args:
      samples: generated images.
      images: the training images, each of the same shape.
      count: number of images to find, if there are as many.

    Returns:
      the nearest first; k is `count`, or the number of images.
    """
    flat = samples.reshape(len(samples), -1).astype(np.float64)
    best: np.ndarray = np.empty((len(samples), 0), np.float64)
    rows: np.ndarray = np.empty((len(samples), 0), np.int64)
    for start in range(0, len(images), _CHUNK):
        these = np.arange(start, min(start + _CHUNK, len(images)))
        real = _read(images, these).reshape(len(these), -1).astype(np.float64)
        # |a - b|² without |a|², which is the same for all. The sums are integers below 2^53, exact
        # in float64.
        distances = (real**2).sum(1) - 2 * flat @ real.T
        best = np.concatenate([best, distances], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(these, distances.shape)], axis=1)
        order = np.argsort(best, axis=1, kind="stable")[:, :count]
        best, rows = (np.take_along_axis(x, order, axis=1) for x in (best, rows))
    found = _read(images, rows.ravel())
    return found.reshape(*rows.shape, *samples.shape[1:])


def _read(images: ImageSet | ImageStream, rows: np.ndarray) -> np.ndarray:
    return images.images[rows] if isinstance(images, ImageSet) else images.read(rows)[0]
