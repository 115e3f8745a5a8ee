"""Losses against values computed by hand and against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax.losses import LOSSES

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
