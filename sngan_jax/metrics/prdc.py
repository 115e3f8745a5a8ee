"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sngan_jax.base.shapes import Float
from sngan_jax.metrics.finite import check_finite
from sngan_jax.spectral import is_whole

_CHUNK = 1024  # rows of a distance matrix held at once


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density from 0 up, 1 for equal distributions."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], k: int = 5) -> PRDC:
    """The four scores, from balls that reach to the k-th nearest neighbour in their own set.

    precision: share of fakes inside some real ball; recall: share of reals inside some fake ball;
    density: number of real balls around a fake, over k; coverage: share of real balls that hold a
    fake. The border is not part of a ball, as in the authors' code.

    Args:
      real, fake: features of more than k images each.
      k: number of neighbours; 5 in Naeem et al.

    Raises:
      ValueError: for too few vectors, sets of different dimensions, features that are not finite,
        and an invalid k.
    """
    if not is_whole(k) or k < 1:
        raise ValueError(f"k is {k!r}: the number of neighbours must be a whole number, 1 or more")
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if (real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]
            or min(len(real), len(fake)) <= k):
        raise ValueError(f"precision and recall with k = {k} need two sets of more than {k} "
                         f"features of one size, got shapes {real.shape} and {fake.shape}")
    check_finite(real, fake)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    balls = np.zeros(len(fake), np.int64)
    recalled, covered = [], []
    for start in range(0, len(real), _CHUNK):
        rows = slice(start, start + _CHUNK)
        distances = _squared_distances(real[rows], fake)
        inside = distances < real_radii[rows, None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distances < fake_radii).any(1))
    return PRDC(float((balls > 0).mean()), float(np.concatenate(recalled).mean()),
                float(balls.mean() / k), float(np.concatenate(covered).mean()))


def _radii(x: Float[np.ndarray, "n d"], k: int) -> Float[np.ndarray, " n"]:
    """Squared distance from each vector to its k-th nearest neighbour."""
    radii = []
    for start in range(0, len(x), _CHUNK):
        distances = _squared_distances(x[start:start + _CHUNK], x)
        # Not 0, because of rounding. A vector is its own nearest neighbour, and does not count.
        distances[np.arange(len(distances)), start + np.arange(len(distances))] = -1
        radii.append(np.partition(distances, k, axis=1)[:, k])
    return np.concatenate(radii)


def _squared_distances(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]
                       ) -> Float[np.ndarray, "n m"]:
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
    return np.maximum(squares, 0)
