"""Cropping, conversion and resizing against Pillow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sngan_jax.data.crop import convert_channels, fit, fit_one
from sngan_jax.data.image_set import DataError


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pillow(image, size):
    """Centre crop and resize by Pillow alone."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    cropped = picture.crop((left, top, left + side, top + side))
    resized = cropped.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(size, size, image.shape[-1])


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_resize_is_pillows_bit_for_bit(height, width, size, channels, seed):
    images = random_images(2, height, width, channels, seed=seed)
    result = fit(images, size, None, "x")
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, [pillow(image, size) for image in images])
    np.testing.assert_array_equal(result, [fit_one(image, size, channels) for image in images])


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_a_plain_image_stays_plain(value):
    images = np.full((1, 37, 37, 1), value, np.uint8)
    assert (fit(images, 64, 3, "x") == value).all()
    assert (fit(images, 5, 3, "x") == value).all()


def test_the_right_size_is_not_touched():
    images = random_images(3, 8, 8, 3)
    assert np.shares_memory(fit(images, 8, None, "x"), images)
    np.testing.assert_array_equal(fit(images, 8, 3, "x"), images)


def test_many_chunks_equal_one(monkeypatch):
    images = random_images(50, 20, 20, 3)
    whole = fit(images, 12, 1, "x")
    monkeypatch.setattr("sngan_jax.data.crop._CHUNK_BYTES", 30_000)
    np.testing.assert_array_equal(fit(images, 12, 1, "x"), whole)


def test_grey_to_rgb_repeats():
    images = random_images(2, 6, 6, 1)
    for size in (6, 9):
        result = fit(images, size, 3, "x")
        np.testing.assert_array_equal(result, np.repeat(fit(images, size, 1, "x"), 3, axis=-1))


def test_rgb_to_grey_is_pillows_luma():
    images = random_images(4, 16, 16, 3)
    expected = [np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in images]
    np.testing.assert_array_equal(fit(images, 16, 1, "x"), expected)


def test_rgba_is_laid_on_white():
    images = random_images(4, 16, 16, 4)
    white = Image.new("RGBA", (16, 16), "white")
    expected = np.stack(
        [
            np.asarray(Image.alpha_composite(white, Image.fromarray(image)).convert("RGB"))
            for image in images
        ]
    )
    result = fit(images, 16, None, "x")
    assert np.abs(result.astype(int) - expected).max() <= 1  # Pillow approximates the division
    images[..., 3] = 0
    assert (convert_channels(images, 3) == 255).all()
    images[..., 3] = 255
    np.testing.assert_array_equal(convert_channels(images, 3), images[..., :3])


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), "x are float32: images must be uint8"),
        (np.zeros((2, 4), np.uint8), r"x have the shape \(2, 4\): it must be"),
        (np.zeros((2, 4, 4, 2), np.uint8), "with 1, 3 or 4 channels$"),
        (np.zeros((2, 3, 4, 4, 3), np.uint8), r"shape \(2, 3, 4, 4, 3\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), "channels-first"),
        (np.zeros((0, 4, 4, 3), np.uint8), "x are empty"),
    ],
)
def test_unsuitable_arrays(images, sentence):
    with pytest.raises(DataError, match=sentence):
        fit(images, 8, None, "x")
