"""The resizes against their definitions and jax.image."""

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from sngan_jax.metrics.resize import inception_input, resize_matrix


def test_four_to_eight():
    ramp = np.arange(4.0)
    np.testing.assert_allclose(resize_matrix(4, 8, "tf1") @ ramp,
                               [0, .5, 1, 1.5, 2, 2.5, 3, 3])
    np.testing.assert_allclose(resize_matrix(4, 8, "half_pixel") @ ramp,
                               [0, .25, .75, 1.25, 1.75, 2.25, 2.75, 3])


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_half_pixel_is_that_of_jax(size, out):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    expected = jax.image.resize(x, (out,), "linear", antialias=False)
    np.testing.assert_allclose(resize_matrix(size, out, "half_pixel") @ x, expected, atol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_tf1_is_interpolation_at_multiples_of_the_step(size, out):
    x = np.random.default_rng(size).normal(size=size)
    expected = np.interp(np.arange(out) * size / out, np.arange(size), x)
    np.testing.assert_allclose(resize_matrix(size, out, "tf1") @ x, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "low", "high"), [("tf1", -1, 127 / 128), ("half_pixel", -1, 1)])
def test_ranges_and_grey(kind, low, high):
    images = np.zeros((2, 3, 5, 1), np.uint8)
    images[1] = 255
    x = np.asarray(inception_input(images, kind, side=7))
    assert x.shape == (2, 7, 7, 3) and x.dtype == np.float32
    np.testing.assert_allclose(x[0], low, rtol=1e-6)
    np.testing.assert_allclose(x[1], high, rtol=1e-6)


def test_unknown_resize():
    with pytest.raises(ValueError, match="tf1, half_pixel"):
        resize_matrix(4, 8, "nearest")
