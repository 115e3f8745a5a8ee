"""Losses against values computed by hand and against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax.losses import LOSSES, classification

_logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8)


def test_hinge_by_hand():
    d, g = LOSSES["hinge"]
    # relu(1 - x): 0, 0.5, 3; relu(1 + x): 0, 3
    assert float(d(jnp.array([2.0, 0.5, -2.0]), jnp.array([-1.0, 2.0]))) == pytest.approx(
        3.5 / 3 + 3 / 2)
    assert float(g(jnp.array([1.0, -4.0]))) == pytest.approx(1.5)


def test_non_saturating_by_hand():
    d, g = LOSSES["non_saturating"]
    assert float(d(jnp.zeros(3), jnp.zeros(2))) == pytest.approx(2 * math.log(2))
    assert float(g(jnp.array([0.0]))) == pytest.approx(math.log(2))
    assert float(d(jnp.array([math.log(3)]), jnp.array([-math.log(3)]))) == pytest.approx(
        2 * math.log(4 / 3))


@settings(deadline=None)
@given(_logits, _logits)
def test_non_saturating_is_cross_entropy(real, fake):
    d, g = LOSSES["non_saturating"]
    real64, fake64 = np.array(real, np.float64), np.array(fake, np.float64)
    expected = np.log1p(np.exp(-real64)).mean() + np.log1p(np.exp(fake64)).mean()
    assert float(d(jnp.array(real), jnp.array(fake))) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert float(g(jnp.array(fake))) == pytest.approx(np.log1p(np.exp(-fake64)).mean(),
                                                      rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_each_player_is_pushed_the_right_way_and_extreme_logits_are_finite(name):
    d, g = LOSSES[name]
    x = jnp.array([-0.3, 0.2])
    assert bool((jax.grad(d, 0)(x, x) < 0).all()) and bool((jax.grad(d, 1)(x, x) > 0).all())
    assert bool((jax.grad(g)(x) < 0).all())
    huge = jnp.array([1e4, -1e4])
    for value in (d(huge, huge), g(huge), *jax.grad(d, (0, 1))(huge, huge), jax.grad(g)(huge)):
        assert bool(jnp.isfinite(value).all())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_bfloat16_logits_are_float32_means(name):
    d, g = LOSSES[name]
    x = jnp.linspace(-2, 2, 1000).astype(jnp.bfloat16)
    assert d(x, x).dtype == g(x).dtype == jnp.float32
    np.testing.assert_allclose(d(x, x), d(x.astype(jnp.float32), x.astype(jnp.float32)))


# Two distributions over three points, and the divergence that each loss says it estimates.
P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])


def _kl(a, b):
    return float((a * np.log(a / b)).sum())


def _best(name, logits):
    """The discriminator's loss in expectation over P and Q, at the given logits of the points."""
    d = LOSSES[name].discriminator
    x = jnp.asarray(logits, jnp.float32)
    return float(sum(p * d(x[i:i + 1], jnp.zeros(1)) - p * d(jnp.zeros(1), jnp.zeros(1))
                     + q * d(jnp.zeros(1), x[i:i + 1])
                     for i, (p, q) in enumerate(zip(P, Q, strict=True))))


@pytest.mark.parametrize("name", ["non_saturating", "minimax"])
def test_the_optimal_discriminator_gives_the_jensen_shannon_divergence(name):
    middle = (P + Q) / 2
    divergence = (_kl(P, middle) + _kl(Q, middle)) / 2
    assert -_best(name, np.log(P / Q)) == pytest.approx(2 * divergence - math.log(4), rel=1e-4)


def test_the_optimal_hinge_discriminator_gives_the_total_variation():
    # One more than the value above for each of the two constants subtracted there.
    assert _best("hinge", np.sign(P - Q)) == pytest.approx(2 - np.abs(P - Q).sum(), rel=1e-5)


def test_wasserstein_and_minimax_by_hand():
    d, g = LOSSES["wasserstein"]
    assert float(d(jnp.array([2.0, 4.0]), jnp.array([-1.0, 2.0]))) == pytest.approx(0.5 - 3)
    assert float(g(jnp.array([1.0, -4.0]))) == pytest.approx(1.5)
    g = LOSSES["minimax"].generator
    assert float(g(jnp.array([0.3]))) == pytest.approx(math.log(1 - 1 / (1 + math.exp(-0.3))))


def test_classification_is_minus_the_log_of_the_softmax():
    logits, y = np.array([[1.0, 2.0, -1.0], [0.0, 0.5, 0.5]]), np.array([1, 0])
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(softmax[[0, 1], y]).mean()
    assert float(classification(jnp.asarray(logits), jnp.asarray(y))) == pytest.approx(expected)
