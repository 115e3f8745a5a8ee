"""Features that no score may take: not finite, or of an unexpected shape."""

import numpy as np
import pytest

from sngan_jax.metrics.frechet import RunningMoments, frechet_distance, moments
from sngan_jax.metrics.inception_score import inception_score
from sngan_jax.metrics.kid import kernel_distance, mmd2
from sngan_jax.metrics.prdc import prdc

GOOD = np.random.default_rng(0).normal(size=(20, 6))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("score", [
    moments, inception_score, lambda x: mmd2(x, GOOD), lambda x: kernel_distance(GOOD, x),
    lambda x: prdc(x, GOOD), lambda x: prdc(GOOD, x)])
def test_one_bad_number_is_an_error(score, bad):
    spoilt = GOOD.copy()
    spoilt[3, 2] = bad
    score(GOOD)
    with pytest.raises(ValueError, match="not all finite"):
        score(spoilt)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: RunningMoments(6).add(GOOD[:, :1]), ValueError, r"\(n, 6\), got \(20, 1\)"),
    (lambda: RunningMoments(6).add(GOOD[0]), ValueError, r"\(n, 6\), got \(6,\)"),
    (lambda: frechet_distance(GOOD, GOOD), TypeError, r"ndarray: make them by moments\(features\)"),
    (lambda: inception_score(GOOD, splits=2.5), ValueError, "splits is 2.5"),
    (lambda: inception_score(GOOD, splits=0), ValueError, "splits is 0"),
    (lambda: prdc(GOOD, GOOD, k=1.5), ValueError, "k is 1.5"),
    (lambda: kernel_distance(GOOD, GOOD, subsets=0), ValueError, "subsets is 0"),
    (lambda: kernel_distance(GOOD, GOOD, subset_size=1), ValueError, "subset_size is 1")])
def test_arguments_that_mean_nothing(call, error, message):
    with pytest.raises(error, match=message):
        call()
