"""KID against the double sum of its definition."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sngan_jax.metrics import kid


def _double_sum(x, y):
    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    return (sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
            + sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
            - 2 * sum(k(a, b) for a in x for b in y) / (n * m))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 5), st.integers(1, 5),
       st.integers(0, 2**32 - 1))
def test_equals_the_double_sum_in_chunks_of_any_size(n, m, d, chunk, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kid, "_CHUNK", chunk)
        assert kid.mmd2(x, y) == pytest.approx(_double_sum(x, y), rel=1e-9, abs=1e-9)


def test_subsets_average_to_the_whole():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(50, 4)) + 1
    score = kid.kernel_distance(x, y, subsets=400, subset_size=20)
    assert score.value == pytest.approx(kid.mmd2(x, y), rel=0.1)
    assert score.deviation > 0
    assert [kid.drawn(*n, 20) for n in ((60, 50), (60, 7), (7, 7), (20, 20), (2, 2))] == [
        20, 7, 3, 10, 2]
    assert score == kid.kernel_distance(x, y, subsets=400, subset_size=20, seed=0)
    # No more than there are: every subset is the whole.
    assert kid.kernel_distance(x, y[:60], subsets=3, subset_size=10**6).deviation >= 0


def test_features_of_two_sizes():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 2\)"):
        kid.mmd2(np.ones((4, 3)), np.ones((4, 2)))


def test_small_sets_of_one_size_have_a_deviation_too():
    x, y = (np.random.default_rng(seed).normal(size=(60, 4)) for seed in (0, 1))
    score, exact = kid.kernel_distance(x, y), kid.mmd2(x, y)
    assert score.deviation > 0.1 * abs(exact)
    assert score.value == pytest.approx(exact, abs=3 * score.deviation / 100**0.5)
