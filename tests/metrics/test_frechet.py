"""The Fréchet distance against scipy's matrix square root and closed forms."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from sngan_jax.metrics.frechet import frechet_distance, moments


def _textbook(a, b):
    (m1, c1), (m2, c2) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    return np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)


@pytest.mark.parametrize("dimension", [1, 2, 17])
def test_equals_the_matrix_square_root(dimension):
    rng = np.random.default_rng(dimension)
    a = rng.normal(size=(200, dimension)) @ rng.normal(size=(dimension, dimension))
    b = rng.normal(size=(150, dimension)) @ rng.normal(size=(dimension, dimension)) + 1
    if dimension == 1:
        expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    else:
        expected = _textbook(a, b)
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-6)


def test_zero_for_equal_sets_and_for_singular_covariances():
    a = np.random.default_rng(0).normal(size=(20, 64))  # fewer points than dimensions
    assert frechet_distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(moments(a), moments(a + 2)) == pytest.approx(4 * 64, rel=1e-6)


def test_moments_of_integers_do_not_overflow():
    images = np.full((300, 2), 255, np.uint8)
    mean, covariance, n = moments(images)
    assert n == 300
    np.testing.assert_array_equal(mean, [255, 255])
    np.testing.assert_array_equal(covariance, np.zeros((2, 2)))
