"""The Fréchet distance against scipy's matrix square root and closed forms."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.linalg import sqrtm

from sngan_jax.metrics.frechet import Moments, RunningMoments, frechet_distance, moments


def _textbook(a, b):
    (m1, c1), (m2, c2) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    return np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 24), st.integers(0, 2**32 - 1))
def test_equals_the_matrix_square_root(dimension, seed):
    rng = np.random.default_rng(seed)

    def draw(n):  # singular values from 0.5 to 2
        u, v = (np.linalg.qr(rng.normal(size=(dimension, dimension)))[0] for _ in range(2))
        return rng.normal(size=(n, dimension)) @ (u * rng.uniform(0.5, 2, dimension)) @ v

    a, b = draw(10 * dimension + 30), draw(8 * dimension + 30) + 1
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(_textbook(a, b), rel=1e-6)


def test_one_dimension():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 1)), 3 * rng.normal(size=(150, 1)) + 1
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_closed_form_of_commuting_covariances(dimension, seed):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(dimension, dimension)))
    s, t = rng.uniform(0, 3, (2, dimension))
    m = rng.normal(size=dimension)
    distance = frechet_distance(Moments(m, (q * s) @ q.T, 9),
                                Moments(np.zeros(dimension), (q * t) @ q.T, 9))
    expected = m @ m + np.sum((np.sqrt(s) - np.sqrt(t)) ** 2)
    assert distance == pytest.approx(expected, rel=1e-6, abs=1e-6)


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


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.floats(-1e6, 1e6))
def test_batches_of_any_sizes_give_the_moments_of_all(sizes, offset):
    rng = np.random.default_rng(len(sizes))
    batches = [rng.normal(size=(n, 3)) + offset for n in (*sizes, 2)]
    running = RunningMoments(3)
    for batch in batches:
        running.add(batch)
    everything = np.concatenate(batches)
    mean, covariance, n = running.moments()
    assert n == len(everything)
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(everything, rowvar=False), rtol=1e-8, atol=1e-8)


def test_one_vector_has_no_covariance_and_two_have():
    running = RunningMoments(3)
    running.add(np.ones((1, 3)))
    with pytest.raises(ValueError, match="at least 2 vectors, got 1"):
        running.moments()
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        moments(np.ones(3))
    np.testing.assert_array_equal(moments(np.array([[0, 1], [2, 5]])).covariance, [[2, 4], [4, 8]])
