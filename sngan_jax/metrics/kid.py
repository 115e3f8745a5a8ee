"""The Kernel Inception Distance (Bińkowski et al. 2018): MMD² with the kernel (x·y/d + 1)³."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sngan_jax.base.shapes import Float
from sngan_jax.metrics.finite import check_finite
from sngan_jax.metrics.inception_score import Score
from sngan_jax.spectral import is_whole

_CHUNK = 2048  # rows of a kernel matrix held at once


def mmd2(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy, over all pairs, in float64.

    Raises:
      ValueError: for sets of different dimensions, with fewer than two vectors, or that are not
        finite.
    """
    x, y = _checked(x, y)
    n, m = len(x), len(y)
    return (_kernel_sum(x, x, True) / (n * (n - 1)) + _kernel_sum(y, y, True) / (m * (m - 1))
            - 2 * _kernel_sum(x, y, False) / (n * m))


def kernel_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], *,
                    subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> Score:
    """Mean and standard deviation of `mmd2` over random subsets, as KID is reported.

    Args:
      x, y: the two sets of features.
      subsets: number of draws.
      subset_size: images drawn from each set without replacement, if there are enough (`drawn`).
      seed: seed of the draws.

    Raises:
      ValueError: as for `mmd2`, and for fewer than 1 subset or 2 images in each.
    """
    for name, number, least in (("subsets", subsets, 1), ("subset_size", subset_size, 2)):
        if not is_whole(number) or number < least:
            raise ValueError(f"{name} is {number!r}: it must be a whole number, {least} or more")
    x, y = _checked(x, y)
    size = drawn(len(x), len(y), subset_size)
    rng = np.random.default_rng(seed)
    values = [mmd2(x[rng.choice(len(x), size, replace=False)],
                   y[rng.choice(len(y), size, replace=False)]) for _ in range(subsets)]
    return Score(float(np.mean(values)), float(np.std(values)))


def drawn(n: int, m: int, subset_size: int) -> int:
    """The size of a subset of n and of m features: `subset_size`, or as many as both have.

    If that would be all of both, it is half of them, so that there is a deviation.
    """
    size = min(subset_size, n, m)
    return max(size // 2, 2) if size == n == m else size


def _kernel_sum(x: np.ndarray, y: np.ndarray, same: bool) -> float:
    """Sum over all pairs, or over the pairs of two different vectors in one set."""
    y = np.asarray(y, np.float64)
    total = 0.0
    for start in range(0, len(x), _CHUNK):
        rows = np.asarray(x[start:start + _CHUNK], np.float64)
        total += ((rows @ y.T / y.shape[1] + 1) ** 3).sum()
        if same:
            total -= (((rows * rows).sum(1) / y.shape[1] + 1) ** 3).sum()
    return float(total)


def _checked(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError("two sets of at least 2 features of one size are needed, got shapes "
                         f"{x.shape} and {y.shape}")
    check_finite(x, y)
    return x, y
