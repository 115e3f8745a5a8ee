"""One picture file: its kind by content, whether it is safe to open, and its pixels."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sngan_jax.base.errors import one_line
from sngan_jax.base.files import is_file
from sngan_jax.data.image_set import DataError, bad_image

# The first bytes of each kind of file. Only these decoders of Pillow run: some others would call an
# external program (Ghostscript for EPS), and a few recognize their files by name only.
_BEGINNINGS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",), "JPEG": (b"\xff\xd8\xff",), "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "BMP": (b"BM",),
    "JPEG2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    "PPM": tuple(b"P%d%c" % (i, end) for i in range(1, 7) for end in b" \t\r\n#"),
}
KINDS = (*_BEGINNINGS, "WEBP", "AVIF")
# Files with these suffixes claim to be pictures; if they are not, that is an error.
SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".tif", ".tiff", ".bmp",
            ".jp2", ".j2k", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".webp", ".avif"}
# Very large images are believed only if the file has a matching size: a byte holds at most ten
# pixels of a photograph, and perhaps fifty of a drawing.
_MODEST, _MOST_PIXELS = 1 << 23, 100
_ORIENTATION = 0x0112  # EXIF; 5 to 8 are rotated by 90 degrees
_BITS = 0x0102  # TIFF's bits per sample
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")


def kind_of(path: Path) -> str | None:
    """One of KINDS by the file's first bytes; None for other kinds and unreadable files."""
    try:
        if not is_file(path):  # opening a pipe would wait for ever
            return None
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:  # `_opened` reports the reason
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and (head[8:11] == b"avi" or b"avif" in head[16:]):
        return "AVIF"
    return next((kind for kind, starts in _BEGINNINGS.items() if head.startswith(starts)), None)


def is_picture(path: Path) -> bool:
    """Whether Pillow reads the header as one of KINDS."""
    try:
        with _opened(path):
            return True
    except DataError:
        return False


def check_header(path: Path) -> None:
    """DataError if a file does not begin like a picture."""
    with _opened(path):
        pass


def decode_file(path: Path, *, plain: bool = False) -> np.ndarray:
    """The file as uint8 (height, width, channels): 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.

    The first frame, rotated as its EXIF orientation says.

    Args:
      plain: exactly as Pillow's `Image.convert("RGB")`, and so as other programs for FID: not
        rotated, transparent parts in their stored colours, 16 bits reduced as Pillow does.

    Raises:
      DataError: if it is damaged, not a picture, too large, or of numbers with unknown range.
    """
    with _opened(path) as image:
        return _pixels(image, plain=plain, turn=not plain)


def check_bytes(content: bytes) -> None:
    """Checks the header of a file's content.

    Raises:
      DataError: if it is too large.
      Exception: almost any other, if it is not a picture.
    """
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        _refuse_bomb(image, len(content))


def decode_bytes(content: bytes) -> np.ndarray:
    """The content of a file as `decode_file` returns it, but not rotated.

    Raises:
      DataError: if it is too large, or of numbers with unknown range.
      Exception: almost any other, if it is damaged or not a picture.
    """
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        _refuse_bomb(image, len(content))
        return _pixels(image, turn=False)


def is_grey(path: Path) -> bool:
    """Whether the file's header says that it has no colour; DataError if it cannot be read."""
    with _opened(path) as image:
        return image.mode in _GREY_MODES


def size_of(path: Path, *, plain: bool = False) -> tuple[int, int]:
    """Height and width of the image that `decode_file` returns, read from the header; DataError."""
    with _opened(path) as image:
        # Pillow itself rotates a TIFF.
        turned = (not plain and image.format != "TIFF"
                  and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8))
        return (image.width, image.height) if turned else (image.height, image.width)


def _pixels(image: Image.Image, *, plain: bool = False, turn: bool) -> np.ndarray:
    if plain:
        if isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # the same colours, without Pillow's warning
        return _as_array(image, "RGB")
    if turn:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F" or getattr(image, "tag_v2", {}).get(_BITS) == (32,):
        raise DataError("it holds floating-point or 32-bit numbers, whose range is unknown: save "
                        "it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16-bit grey
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise DataError(f"its numbers range from {wide.min():,} to {wide.max():,}, but a "
                            "picture has 8 or 16 bits: save it as one of these")
        return np.minimum((wide + 128) // 257, 255).astype(np.uint8)[..., None]
    if image.mode == "LA":
        return _as_array(image, "LA")
    if image.mode in ("PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return _as_array(image, "RGBA")
    if image.mode in _GREY_MODES:
        return _as_array(image, "L")[..., None]
    return _as_array(image, "RGB")  # RGB, palette, CMYK, YCbCr


def _as_array(image: Image.Image, mode: str) -> np.ndarray:
    # Pillow copies an image when it converts it to the same mode: gigabytes for a very large one.
    return np.asarray(image if image.mode == mode else image.convert(mode))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The open image; any error while it is used becomes a DataError with the file's name."""
    try:
        if not is_file(path):  # opening a pipe would wait for ever
            raise ValueError("it is not a regular file")
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty")
        if kind_of(path) is None:
            with path.open("rb"):
                pass  # raises the reason if the file cannot be read
            raise ValueError(f"by its content it is not one of {', '.join(KINDS)}")
        with Image.open(path, formats=_formats()) as image:
            _refuse_bomb(image, size)
            yield image
    except Exception as error:  # Pillow raises almost anything on corrupt files
        raise bad_image(f"the image {path}", one_line(error)) from error


def _refuse_bomb(image: Image.Image, size: int) -> None:
    limit, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if limit is not None and pixels > limit:
        raise DataError(
            f"{image.width} x {image.height} pixels are more than Pillow's limit of {limit}"
        )
    if pixels > _MODEST and pixels > _MOST_PIXELS * size:
        raise DataError(
            f"{image.width} x {image.height} pixels in {size:,} bytes look like a decompression "
            "bomb"
        )


def _formats() -> list[str]:
    """The members of KINDS that this Pillow was built with."""
    Image.init()
    return [kind for kind in KINDS if kind in Image.OPEN]
