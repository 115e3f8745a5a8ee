"""Precision, recall, density and coverage against brute force."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sngan_jax.metrics import prdc as module
from sngan_jax.metrics.prdc import prdc


def _brute_force(real, fake, k):
    def radii(x):
        return [sorted(np.linalg.norm(a - b) for j, b in enumerate(x) if j != i)[k - 1]
                for i, a in enumerate(x)]

    in_real = [[np.linalg.norm(r - f) < radius for f in fake]
               for r, radius in zip(real, radii(real), strict=True)]
    in_fake = [[np.linalg.norm(r - f) < radius for f, radius in zip(fake, radii(fake), strict=True)]
               for r in real]
    return (np.any(in_real, 0).mean(), np.any(in_fake, 1).mean(),
            np.sum(in_real) / (k * len(fake)), np.any(in_real, 1).mean())


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 15), st.integers(1, 15), st.integers(1, 5),
       st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_equals_brute_force_in_chunks_of_any_size(k, n, m, d, chunk, seed):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n + k, d)), rng.normal(size=(m + k, d)) + 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        assert prdc(real, fake, k) == pytest.approx(_brute_force(real, fake, k))


def test_far_sets_share_nothing():
    x = np.random.default_rng(0).normal(size=(30, 3))
    assert prdc(x, x + 1000) == (0, 0, 0, 0)


def test_too_few_vectors():
    with pytest.raises(ValueError, match="more than 5"):
        prdc(np.ones((5, 2)), np.ones((9, 2)))
