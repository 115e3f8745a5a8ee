"""The resizes against their definitions and jax.image."""

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from sngan_jax.metrics.resize import RESIZES, inception_input, input_of_one, resize_matrix


def test_four_to_eight():
    ramp = np.arange(4.0)
    np.testing.assert_allclose(resize_matrix(4, 8, "tf1") @ ramp,
                               [0, .5, 1, 1.5, 2, 2.5, 3, 3])
    np.testing.assert_allclose(resize_matrix(4, 8, "half_pixel") @ ramp,
                               [0, .25, .75, 1.25, 1.75, 2.25, 2.75, 3])


@pytest.mark.slow
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


@pytest.mark.parametrize(("kind", "low", "high"), [
    ("tf1", -1, 127 / 128), ("half_pixel", -1, 1), ("bicubic", -1, 127 / 128)])
def test_ranges_and_grey(kind, low, high):
    images = np.zeros((2, 3, 5, 1), np.uint8)
    images[1] = 255
    x = np.asarray(inception_input(images, kind, side=7))
    assert x.shape == (2, 7, 7, 3) and x.dtype == np.float32
    np.testing.assert_allclose(x[0], low, rtol=1e-6)
    np.testing.assert_allclose(x[1], high, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_bicubic_is_that_of_pillow_on_floats(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(image[..., i].astype(np.float32), "F").resize(
        (29, 29), Image.Resampling.BICUBIC)).clip(0, 255) for i in range(3)], -1)
    got = input_of_one(image, "bicubic", 29) * 128 + 128
    np.testing.assert_allclose(got, expected, atol=2e-3)


@pytest.mark.parametrize("kind", RESIZES)
@pytest.mark.parametrize("shape", [(2, 7, 40, 3), (1, 29, 11, 1), (1, 29, 29, 3)])
def test_one_on_the_host_is_one_on_the_device(kind, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = np.asarray(inception_input(images, kind, 29))
    got = [input_of_one(image, kind, 29) for image in images]
    assert got[0].dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_unknown_resize():
    with pytest.raises(ValueError, match="tf1, half_pixel, bicubic"):
        resize_matrix(4, 8, "nearest")
