"""Arrays of images to one square size and one number of channels, bit for bit as Pillow does it."""

import math

import numpy as np
from PIL import Image

from sngan_jax.base.memory import check_memory
from sngan_jax.data.image_set import DataError

_FRACTION_BITS = 22  # Pillow's resampling coefficients are integers with 22 fractional bits
_CHUNK_BYTES = 2**24  # so that a large set never exists as floats or wide integers


def check_images(count: int, shape: tuple[int, ...], where: str) -> None:
    """DataError where this machine's memory cannot hold so many images of this shape, a byte a
    value.
    """
    check_memory(count * math.prod(shape), f"{count:,} images of {shape[0]} x {shape[1]} ({where})",
                 "take a smaller image_size, or a part of the set, as train[:10%]", DataError)


def fit(images: np.ndarray, image_size: int | None, channels: int | None,
        where: str) -> np.ndarray:
    """Crops, converts and resizes a whole set.

    Args:
      images: uint8 (n, height, width) or (n, height, width, c) with c = 1 (grey), 3 (RGB) or
        4 (RGBA, laid on white).
      image_size: side of the square result; the longer side is cropped about the centre first.
        None keeps the size that they have.
      channels: 1, 3, or None to keep grey grey and everything else RGB.
      where: the name of the images in the sentences.

    Returns:
      uint8 (n, height, width, channels), both image_size where it is given. Grey becomes RGB by
      repetition, RGB becomes grey by the ITU-R 601 luma. Of the input itself, not a copy, where it
      fits already.

    Raises:
      DataError: the shape or dtype is another.
    """
    if images.dtype != np.uint8:
        raise DataError(
            f"{where} are {images.dtype}: images must be uint8 with values 0 to 255"
        )
    shape = images.shape
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        hint = ""
        if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[1] < min(shape[2:]):
            hint = " (this looks channels-first: transpose it by (0, 2, 3, 1))"
        raise DataError(
            f"{where} have the shape {shape}: it must be (n, height, width) or "
            f"(n, height, width, channels) with 1, 3 or 4 channels{hint}"
        )
    if images.size == 0:
        raise DataError(f"{where} are empty (shape {shape}): at least one image is needed")

    if image_size is not None:
        images = center_crop(images)
    kept = 1 if images.shape[-1] == 1 else 3
    channels = kept if channels is None else channels
    height, width = images.shape[1:3]
    new = (height, width) if image_size is None else (image_size, image_size)
    if new == (height, width) and images.shape[-1] == channels:
        return images
    check_images(len(images), (*new, channels), where)
    across = pillow_coefficients(height, new[0])
    out = np.empty((len(images), *new, channels), np.uint8)
    step = max(1, _CHUNK_BYTES // (8 * max(height, width, *new) ** 2 * images.shape[-1]))
    for i in range(0, len(images), step):
        part = convert_channels(images[i : i + step], min(channels, kept))
        out[i : i + step] = _resize(part, across)  # a single grey channel broadcasts to RGB
    return out


def fit_one(image: np.ndarray, image_size: int | None, channels: int) -> np.ndarray:
    """One uint8 image (height, width, 1, 3 or 4) to (image_size, image_size, channels), as `fit`.

    For images that differ in size, where Pillow is faster than a matrix of coefficients for each.
    """
    if image_size is None:
        return convert_channels(image, channels)
    image = convert_channels(center_crop(image), min(channels, image.shape[-1]))
    if len(image) != image_size:
        resized = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).resize(
            (image_size, image_size), Image.Resampling.BILINEAR
        )
        image = np.asarray(resized).reshape(image_size, image_size, -1)
    return convert_channels(image, channels)


def check_size(image: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """DataError where an image (h, w, c) is not as high and wide as the first one of its set.

    shape: of that first one.
    """
    if image.shape[:2] != shape[:2]:
        raise DataError(
            f"images of mixed sizes: {name} is {image.shape[0]} x {image.shape[1]} (height x "
            f"width), and those before are {shape[0]} x {shape[1]}; give an image_size, to which "
            "all are cropped and resized"
        )


def center_crop(images: np.ndarray) -> np.ndarray:
    """The central square of (..., height, width, channels) images; a view."""
    height, width = images.shape[-3:-1]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side, :]


def convert_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 images (…, 1, 3 or 4), to (…, 1 or 3): white background, luma, repetition."""
    if images.shape[-1] == channels:
        return images
    if images.size > _CHUNK_BYTES and len(images) > 1:  # the sums are of four bytes a number
        out = np.empty((*images.shape[:-1], channels), np.uint8)
        step = max(1, len(images) * _CHUNK_BYTES // images.size)
        for i in range(0, len(images), step):
            out[i : i + step] = convert_channels(images[i : i + step], channels)
        return out
    if images.shape[-1] == 4:
        color, alpha = images[..., :3].astype(np.uint32), images[..., 3:].astype(np.uint32)
        images = ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    # 0.299 R + 0.587 G + 0.114 B in Pillow's 16-bit fixed point.
    red, green, blue = (images[..., i].astype(np.uint32) for i in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 2**15) >> 16
    return luma.astype(np.uint8)[..., None]


def pillow_coefficients(size: int, new_size: int) -> np.ndarray:
    """The 1-D bilinear resampling of Pillow as a matrix.

    A triangle filter, widened by the scale when shrinking (which is the antialiasing), normalised
    at the borders (Pillow, src/libImaging/Resample.c, precompute_coeffs).

    Returns:
      float64 (new_size, size) of integers: the weights times 2**22. The identity when the sizes
      are equal.
    """
    scale = size / new_size
    support = max(scale, 1.0)
    centers = (np.arange(new_size) + 0.5) * scale
    first = np.maximum((centers - support + 0.5).astype(int), 0)
    last = np.minimum((centers + support + 0.5).astype(int), size)
    x = np.arange(size)
    weights = np.maximum(1 - np.abs((x + 0.5 - centers[:, None]) / support), 0)
    weights *= (x >= first[:, None]) & (x < last[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    return np.floor(weights * 2**_FRACTION_BITS + 0.5)


def _resize(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """uint8 (n, s, s, c) to (n, t, t, c) by a (t, s) matrix of `pillow_coefficients`."""
    if matrix.shape[0] == matrix.shape[1]:
        return images
    n, size, _, channels = images.shape
    new_size = len(matrix)
    # Width first, rounded to uint8 in between, as Pillow does. Products and sums are integers
    # below 2**53, so float64 (and with it BLAS) is exact.
    rows = images.transpose(0, 1, 3, 2).astype(np.float64, order="C").reshape(-1, size)
    wide = _fixed_point(rows @ matrix.T).reshape(n, size, channels * new_size)
    tall = _fixed_point(matrix @ wide.astype(np.float64))
    return tall.reshape(n, new_size, channels, new_size).transpose(0, 1, 3, 2)


def _fixed_point(sums: np.ndarray) -> np.ndarray:
    """Rounds fixed-point sums to uint8, in place; the weights are positive and sum to about 1."""
    sums += 2 ** (_FRACTION_BITS - 1)
    sums *= 2.0**-_FRACTION_BITS
    return np.minimum(sums, 255, out=sums).astype(np.uint8)
