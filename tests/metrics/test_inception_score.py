"""The Inception Score against its definition, written out in loops."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sngan_jax.metrics.inception_score import inception_score


def _by_definition(logits):
    p = [[math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in logits]
    marginal = [sum(row[c] for row in p) / len(p) for c in range(len(p[0]))]
    kl = [sum(v * math.log(v / m) for v, m in zip(row, marginal, strict=True)) for row in p]
    return math.exp(sum(kl) / len(kl))


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_equals_its_definition(n, classes, splits, seed):
    n = max(n, splits)
    logits = np.random.default_rng(seed).normal(size=(n, classes)) * 3
    parts = [_by_definition(logits[i * n // splits:(i + 1) * n // splits].tolist())
             for i in range(splits)]
    score = inception_score(logits, splits)
    assert score.value == pytest.approx(np.mean(parts), rel=1e-9)
    assert score.deviation == pytest.approx(np.std(parts), rel=1e-6, abs=1e-9)


def test_extremes():
    certain = np.tile(np.eye(5) * 1e4, (4, 1))
    assert inception_score(certain, 4).value == pytest.approx(5)  # all classes, each certain
    assert inception_score(np.zeros((8, 5)), 2).value == pytest.approx(1)


def test_too_few_images():
    with pytest.raises(ValueError, match="n >= 10"):
        inception_score(np.zeros((9, 3)))
