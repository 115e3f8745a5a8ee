"""The Fréchet distance of Gaussians fitted to two sets of feature vectors (paper eq. 24)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sngan_jax.base.shapes import Float, Shaped
from sngan_jax.metrics.finite import check_finite


class Moments(NamedTuple):
    """Mean and unbiased covariance of n vectors, in float64."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]
    n: int


def moments(features: Shaped[np.ndarray, "n d"]) -> Moments:
    """Mean and covariance of features, n >= 2, in float64.

    ValueError for other shapes, and for features that are not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"moments need features of shape (n, d) with n >= 2, got "
                         f"{features.shape}")
    running = RunningMoments(features.shape[1])
    running.add(features)
    return running.moments()


class RunningMoments:
    """Moments of features that come in batches; holds O(d²) numbers however many there are.

    Batches are merged about their own means (Chan, Golub & LeVeque 1979), so that a mean far from
    zero costs no digits.
    """

    def __init__(self, dimensions: int):
        self.n = 0
        self._mean = np.zeros(dimensions)
        self._squares = np.zeros((dimensions, dimensions))  # about the mean

    def add(self, features: Shaped[np.ndarray, "n d"]) -> None:
        """Takes a batch of any n, including 0.

        ValueError for another number of dimensions, and for features that are not finite.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(f"features must have the shape (n, {len(self._mean)}), got "
                             f"{features.shape}")
        n = len(features)
        if not n:
            return
        mean = features.mean(0)
        check_finite(mean)
        features = features - mean
        shift, total = mean - self._mean, self.n + n
        self._squares += features.T @ features
        self._squares += np.outer(shift, shift * (self.n * n / total))
        self._mean += shift * (n / total)
        self.n = total

    def moments(self) -> Moments:
        """Moments of all batches so far; ValueError for fewer than two vectors."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 vectors, got {self.n}")
        return Moments(self._mean.copy(), self._squares / (self.n - 1), self.n)


def frechet_distance(a: Moments, b: Moments) -> float:
    """‖m_a - m_b‖² + tr(C_a + C_b - 2 (C_a C_b)^½) (paper eq. 24; Dowson & Landau 1982).

    The trace of the root equals that of (C_a^½ C_b C_a^½)^½, a symmetric product, taken by `eigh`:
    it is real, and stable if a covariance is singular.

    Raises:
      TypeError: for arguments that are not `Moments`.
      ValueError: for moments of different dimensions.
    """
    for given in (a, b):
        if not isinstance(given, Moments):
            raise TypeError(f"frechet_distance() takes two Moments, not an object of type "
                            f"{type(given).__name__}: make them by moments(features)")
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"the features have {a.mean.size} and {b.mean.size} dimensions: compare "
                         "features of one extractor")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    trace = np.trace(a.covariance) + np.trace(b.covariance)
    distance = np.sum((a.mean - b.mean) ** 2) + trace - 2 * np.sqrt(np.maximum(product, 0)).sum()
    return max(float(distance), 0.0)  # rounding can make it negative
