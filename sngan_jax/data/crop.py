"""Brings arrays of images to one size and number of channels, bit for bit as Pillow does."""

import math

import numpy as np
from PIL import Image

from sngan_jax.base.memory import check_memory
from sngan_jax.data.image_set import CROPPED, DataError, Reading

_CHUNK_BYTES = 2**24  # so that a large image is never held as wide integers

# How an image gets the requested aspect ratio: its centre only; all of it between bars of the
# background colour; or all of it, stretched.
FITS = ("crop", "pad", "squeeze")
# The background of transparent parts. 'drop' uses the stored colours as they are, like Pillow's
# `Image.convert` and so the usual programs for FID; bars are then black.
ALPHAS = {"white": 255, "black": 0, "drop": 0}

Size = int | tuple[int, int] | None


def check_images(count: int, shape: tuple[int, ...], where: str) -> None:
    """DataError if this machine's memory cannot hold `count` images of this shape, one byte per
    value.
    """
    check_memory(count * math.prod(shape), f"{count:,} images of {shape[0]} x {shape[1]} ({where})",
                 "use a smaller image_size, or a part of the set, such as train[:10%]", DataError)


def fit(images: np.ndarray, image_size: Size, channels: int | None, where: str,
        reading: Reading = CROPPED) -> np.ndarray:
    """Crops (or fits as `reading` says), converts and resizes a whole set.

    Args:
      images: uint8 (n, height, width) or (n, height, width, c) with c = 1 (grey), 2 (grey and
        alpha), 3 (RGB) or 4 (RGBA).
      image_size: size of the result: a side, or (height, width). None keeps the present size.
      channels: 1, 3, or None to keep grey grey and everything else RGB.
      where: the name of the images, for errors.
      reading: how images get their aspect ratio, and the background of transparent parts.

    Returns:
      uint8 (n, height, width, channels). Grey becomes RGB by repetition, RGB becomes grey by the
      ITU-R 601 luma. If the input fits already, the result is the input itself, not a copy.

    Raises:
      DataError: if the shape or the dtype does not fit.
    """
    if images.dtype != np.uint8:
        raise DataError(f"{where} are {images.dtype}: images must be uint8 with values 0 to 255"
                        + _uint8_hint(images))
    shape = images.shape
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 2, 3, 4):
        hint = ""
        if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[1] < min(shape[2:]):
            hint = " (this looks channels-first: transpose it by (0, 2, 3, 1))"
        raise DataError(
            f"{where} have the shape {shape}: it must be (n, height, width) or "
            f"(n, height, width, channels) with 1 to 4 channels{hint}"
        )
    if images.size == 0:
        raise DataError(f"{where} are empty (shape {shape}): at least one image is needed")

    kept = 1 if images.shape[-1] <= 2 else 3
    channels = kept if channels is None else channels
    new = pair(image_size) or images.shape[1:3]
    if new == images.shape[1:3] and images.shape[-1] == channels:
        return images
    check_images(len(images), (*new, channels), where)
    out = np.empty((len(images), *new, channels), np.uint8)
    for i, image in enumerate(images):
        out[i] = fit_one(image, new, channels, reading)
    return out


def fit_one(image: np.ndarray, image_size: Size, channels: int, reading: Reading = CROPPED
            ) -> np.ndarray:
    """`fit` for one uint8 image (height, width, 1 to 4): uint8 (height, width, channels)."""
    new = pair(image_size)
    if new is None:
        return convert_channels(image, channels, reading.alpha)
    kept = 1 if image.shape[-1] <= 2 else 3
    image, inner = placed(image, new, reading.fit)
    image = convert_channels(image, min(channels, kept), reading.alpha)
    if image.shape[:2] != inner:
        # Width first in every version of Pillow: since 13.0, a single call starts with the other
        # axis for some aspect ratios, and rounds differently.
        picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        for size in ((inner[1], picture.height), inner[::-1]):
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        image = np.asarray(picture).reshape(*inner, -1)
    image = convert_channels(image, channels)
    if inner == new:
        return image
    out = np.full((*new, channels), ALPHAS[reading.alpha], np.uint8)
    top, left = ((outer - side) // 2 for outer, side in zip(new, inner, strict=True))
    out[top : top + inner[0], left : left + inner[1]] = image
    return out


def pair(image_size: Size) -> tuple[int, int] | None:
    """(height, width) from a side or a pair."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def check_size(image: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """DataError if an image (h, w, c) differs in height or width from the first one of its set.

    shape: the shape of that first image.
    """
    if image.shape[:2] != shape[:2]:
        raise DataError(
            f"images of mixed sizes: {name} is {image.shape[0]} x {image.shape[1]} (height x "
            f"width), and those before it are {shape[0]} x {shape[1]}; give an image_size, and "
            "all are resized to it"
        )


def placed(images: np.ndarray, size: tuple[int, int], how: str
           ) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of (..., height, width, channels) images that is resized, and its size afterwards.

    Args:
      images: an array; the part is a view of it.
      size: height and width of the result.
      how: one of FITS.

    Returns:
      the part, and the height and width that it fills in the result: all of it except for 'pad'.
    """
    height, width = images.shape[-3:-1]
    if how == "crop":
        high, wide = crop_of((height, width), size)
        top, left = (height - high) // 2, (width - wide) // 2
        return images[..., top : top + high, left : left + wide, :], size
    if how == "pad":
        return images, crop_of(size, (height, width))
    return images, size


def crop_of(size: tuple[int, int], proportions: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest rectangle of the given aspect ratio within a size.

    Rounded to whole pixels, at least one.
    """
    (height, width), (high, wide) = size, proportions
    if width * high > height * wide:
        return height, max((2 * height * wide + high) // (2 * high), 1)
    return max((2 * width * high + wide) // (2 * wide), 1), width


def convert_channels(images: np.ndarray, channels: int, alpha: str = "white") -> np.ndarray:
    """Converts uint8 images (…, 1 to 4) to (…, 1 or 3): background (`alpha`), luma, repetition."""
    if images.shape[-1] == channels:
        return images
    if images.size > _CHUNK_BYTES and len(images) > 1:  # sums take four bytes per number
        out = np.empty((*images.shape[:-1], channels), np.uint8)
        step = max(1, len(images) * _CHUNK_BYTES // images.size)
        for i in range(0, len(images), step):
            out[i : i + step] = convert_channels(images[i : i + step], channels, alpha)
        return out
    if images.shape[-1] in (2, 4):
        color, opaque = images[..., :-1], images[..., -1:].astype(np.uint32)
        if alpha != "drop":
            behind = ALPHAS[alpha] * (255 - opaque)
            color = ((color * opaque + behind + 127) // 255).astype(np.uint8)
        images = color
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    # 0.299 R + 0.587 G + 0.114 B in Pillow's 16-bit fixed point.
    red, green, blue = (images[..., i].astype(np.uint32) for i in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 2**15) >> 16
    return luma.astype(np.uint8)[..., None]


def _uint8_hint(images: np.ndarray) -> str:
    """Advice on saving numbers of another type as uint8, if their range shows how."""
    if images.dtype.kind not in "biuf" or not images.size:
        return ""
    low, high = images.min(), images.max()
    if images.dtype.kind in "biu" and low >= 0 and high <= 1:
        return ": these are 0 and 1, so save images.astype(np.uint8) * 255"
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return ": these lie in [0, 1], so save (images * 255).round().astype(np.uint8)"
    if images.dtype.kind == "f" and low >= -1 and high <= 1:
        return ": these lie in [-1, 1], so save ((images + 1) * 127.5).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return ": these lie in [0, 255], so save images.round().astype(np.uint8)"
    if images.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return ": these have 16 bits, so save (images / 257).round().astype(np.uint8)"
    return f": these lie in [{low:g}, {high:g}]"
