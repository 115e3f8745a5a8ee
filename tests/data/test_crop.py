"""Cropping, conversion and resizing against Pillow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sngan_jax.data.crop import convert_channels, fit, fit_one
from sngan_jax.data.image_set import DataError, Reading


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
    monkeypatch.setattr("sngan_jax.data.crop._CHUNK_BYTES", 300)
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
        (np.zeros((2, 4, 4, 5), np.uint8), "with 1 to 4 channels$"),
        (np.zeros((2, 3, 4, 4, 3), np.uint8), r"shape \(2, 3, 4, 4, 3\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), "channels-first"),
        (np.zeros((0, 4, 4, 3), np.uint8), "x are empty"),
    ],
)
def test_unsuitable_arrays(images, sentence):
    with pytest.raises(DataError, match=sentence):
        fit(images, 8, None, "x")


SIZES = st.integers(1, 40)


def width_first(picture, width, height):
    """Two passes of Pillow, whose order within one call is not the same in all its versions."""
    return picture.resize((width, picture.height), Image.Resampling.BILINEAR).resize(
        (width, height), Image.Resampling.BILINEAR)


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from([1, 3]), st.sampled_from(["crop", "pad",
                                                                             "squeeze"]))
def test_other_proportions_are_pillows_bit_for_bit(height, width, high, wide, channels, how):
    images = random_images(2, height, width, channels)
    reading = Reading(how, "black")
    result = fit(images, (high, wide), None, "x", reading)
    scale = {"crop": max, "pad": min}.get(how)
    for image, got in zip(images, result, strict=True):
        np.testing.assert_array_equal(got, fit_one(image, (high, wide), channels, reading))
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        if how == "squeeze":
            expected = width_first(picture, wide, high)
        else:
            k = scale(high / height, wide / width)
            # Sides of the part that is taken (crop), or that is filled (pad), halves rounded up.
            sides = [max(int(s + 0.5), 1) for s in (
                (high / k, wide / k) if how == "crop" else (height * k, width * k))]
            if how == "crop":
                sides = [min(a, b) for a, b in zip(sides, (height, width), strict=True)]
                top, left = (height - sides[0]) // 2, (width - sides[1]) // 2
                expected = width_first(picture.crop((left, top, left + sides[1], top + sides[0])),
                                       wide, high)
            else:
                sides = [min(a, b) for a, b in zip(sides, (high, wide), strict=True)]
                expected = Image.new(picture.mode, (wide, high))
                expected.paste(width_first(picture, *sides[::-1]),
                               ((wide - sides[1]) // 2, (high - sides[0]) // 2))
        np.testing.assert_array_equal(got, np.asarray(expected).reshape(high, wide, channels))


def test_bars_have_the_colour_behind_transparent_parts():
    images = np.zeros((1, 2, 4, 2), np.uint8)  # grey and alpha, transparent
    for alpha, value in (("white", 255), ("black", 0)):
        assert (fit(images, (4, 4), 3, "x", Reading("pad", alpha)) == value).all()
        assert (fit_one(images[0], (4, 4), 1, Reading("pad", alpha)) == value).all()


def test_grey_with_alpha_is_rgba_of_it():
    images = random_images(3, 5, 6, 2)
    rgba = images[..., [0, 0, 0, 1]]
    for channels in (1, 3):
        for alpha in ("white", "black", "drop"):
            np.testing.assert_array_equal(convert_channels(images, channels, alpha),
                                          convert_channels(rgba, channels, alpha))


@pytest.mark.parametrize(("images", "hint"), [
    (np.array([[[0.0, 1.0]]]), r"in \[0, 1\], so save \(images \* 255\)"),
    (np.array([[[-1.0, 1.0]]], np.float32), r"in \[-1, 1\], so save \(\(images \+ 1\) \* 127\.5\)"),
    (np.array([[[3.0, 200.0]]]), r"in \[0, 255\], so save images\.round\(\)"),
    (np.array([[[0, 255]]]), "int64: .*so save images"),
    (np.array([[[0, 1]]]), r"these are 0 and 1, so save images\.astype\(np\.uint8\) \* 255"),
    (np.array([[[False, True]]]), r"bool: .*these are 0 and 1, so save"),
    (np.array([[[0, 65535]]], np.uint16), "have 16 bits, so save"),
    (np.array([[[-5.0, 1e4]]]), r"lie in \[-5, 10000\]$"),
    (np.array([[[np.nan, 0]]]), r"lie in \[nan, nan\]$"), (np.array([[["a"]]]), "<U1")])
def test_numbers_of_another_type_have_a_hint(images, hint):
    with pytest.raises(DataError, match=f"images must be uint8 .*{hint}|{hint}"):
        fit(images, 1, None, "x")


def test_the_hints_do_what_they_say():
    images = random_images(2, 4, 4)
    floats = images / 255
    np.testing.assert_array_equal((floats * 255).round().astype(np.uint8), images)
    signed = images / 127.5 - 1
    np.testing.assert_array_equal(((signed + 1) * 127.5).round().astype(np.uint8), images)
    wide = images.astype(np.uint16) * 257
    np.testing.assert_array_equal((wide / 257).round().astype(np.uint8), images)
