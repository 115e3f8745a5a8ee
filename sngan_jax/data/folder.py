"""A folder of PNG and JPEG files as a data set."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sngan_jax.base.errors import one_line
from sngan_jax.base.files import is_dir, is_file
from sngan_jax.base.output import say
from sngan_jax.data.crop import check_images, fit_one
from sngan_jax.data.image_set import DataError, attempted, bad_image, next_good, refuse_bad
from sngan_jax.data.split import parse_split, rows_of

_SUFFIXES = (".png", ".jpg", ".jpeg")
# Only these decoders: Pillow would call an external program for some others (Ghostscript for EPS).
_FORMATS = ("PNG", "JPEG")
# So many pixels are only believed of a file that has a share of them: of a photograph a byte holds
# ten at most, of a drawing perhaps fifty.
_MODEST, _MOST_PIXELS = 1 << 23, 100
_ORIENTATION = 0x0112  # EXIF; 5 to 8 are turned by 90 degrees
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def read_folder(
    folder: str, split: str, image_size: int | None, channels: int | None, skip_bad: bool = False
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Reads every PNG and JPEG below a folder, in sorted order.

    With sub-folders that hold images, each is a class, numbered in sorted order, whatever lies
    deeper belongs to it; with none, the set is unlabelled. Names that begin with a dot are skipped,
    and so are other kinds of files. EXIF orientation is applied.

    Args:
      folder: the path.
      split: 'train', which is everything, or a part of it, as 'train[:1000]'.
      image_size: side in pixels to crop (centre) and resize each image to; None keeps the size
        that they have, which must be one.
      channels: 1, 3, or None for 1 if all the files are grey and 3 otherwise.
      skip_bad: put the next image in the order of the files in the place of a damaged one.

    Returns:
      images uint8 (n, height, width, channels), labels int32 (n,) or None, num_classes.

    Raises:
      DataError: no such folder, no images, mixed sizes where no size is given, images both beside
        and in class folders, a class without images, sub-folders that are splits, or an image that
        cannot be read (the first is named).
    """
    files, labels, num_classes = list_folder(folder, split)

    # Threads, because Pillow releases the GIL while it decodes. Its warnings are about odd metadata
    # and about decompression bombs, which `_opened` refuses.
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, name = range(len(files)), f"folder:{folder}"
        bad: dict[int, str] = {}

        if channels is None or not image_size:
            look = check_header if image_size else image_size_of
            bad |= attempted(lambda i: look(files[i]), rows, pool.map)
        good = [files[i] for i in rows if i not in bad]
        if not good and not skip_bad:
            refuse_bad(bad, name)
        next_good(0, bad, len(files), name)
        if channels is None:
            channels = 1 if all(pool.map(_is_grey, good)) else 3
        size = (image_size, image_size) if image_size else common_size(good, pool)
        check_images(len(files), (*size, channels), name)
        images = np.empty((len(files), *size, channels), np.uint8)

        def read(i: int) -> None:
            images[i] = fit_one(decode_file(files[i]), image_size, channels)

        bad |= attempted(read, [i for i in rows if i not in bad], pool.map)
        if not skip_bad:
            refuse_bad(bad, name)
        for i, why in bad.items():
            say(f"warning: {why}; another stands in its place")
            other = next_good(i, bad, len(files), name)
            images[i] = images[other]
            if labels is not None:
                labels[i] = labels[other]
    return images, labels, num_classes


def list_folder(folder: str, split: str) -> tuple[list[Path], np.ndarray | None, int]:
    """The image files in order, with their labels (n,) (None if flat) and the number of classes.

    Raises:
      DataError: no such folder or split, no images, an empty class, images beside class folders.
    """
    if parse_split(split)[0] != "train":
        raise DataError(
            f"folder:{folder} has no split '{split}': all of a folder is 'train', so name "
            "the folder of that split instead"
        )
    root = Path(folder).expanduser()
    if not is_dir(root):
        raise DataError(f"folder:{folder}: there is no such folder")
    flat = [path for path in _visible(root) if path.is_file() and _is_image(path)]
    deep = {
        child.name: _images_below(child) for child in _visible(root) if child.is_dir()
    }
    labelled = [name for name, files in deep.items() if files]
    _refuse_loops(root, labelled)
    if flat and labelled:
        raise DataError(
            f"folder:{folder} holds images (such as {flat[0].name}) beside folders of images (such "
            f"as {labelled[0]}): move all into class folders, or all out of them"
        )
    if flat:
        return flat[rows_of(split, len(flat))], None, 0
    if not labelled:
        raise DataError(f"folder:{folder} holds no PNG or JPEG image, nor do its sub-folders")
    if {name.lower() for name in deep} <= _SPLITS:
        raise DataError(
            f"folder:{folder} holds {', '.join(deep)}, which look like splits and not like "
            f"classes: use folder:{os.path.join(folder, labelled[0])}"
        )
    for name, files in deep.items():
        if not files:
            raise DataError(
                f"folder:{folder} has the class folder {name} without a PNG or JPEG image: "
                "remove it or fill it"
            )
    labels = np.repeat(np.arange(len(deep), dtype=np.int32), [len(f) for f in deep.values()])
    files = [file for files in deep.values() for file in files]
    rows = rows_of(split, len(files))
    return files[rows], labels[rows], len(deep)


def _refuse_loops(root: Path, names: list[str]) -> None:
    """DataError where links make one folder two classes, or the whole a part of itself."""
    real = {name: (root / name).resolve() for name in names}
    for name, folder in real.items():
        for other, there in [("the folder itself", root.resolve()),
                             *((k, v) for k, v in real.items() if k != name)]:
            if there == folder or folder in there.parents:
                raise DataError(f"folder:{root}: the class folder {name} leads to {folder}, which "
                                f"is or holds {other}: its images would be there twice; remove the "
                                "link")


def common_size(files: list[Path], pool: ThreadPoolExecutor) -> tuple[int, int]:
    """Height and width of all the files, by their headers; DataError where they differ."""
    sizes = pool.map(image_size_of, files)
    first = next(sizes)
    for file, size in zip(files[1:], sizes, strict=True):
        if size != first:
            pool.shutdown(wait=False, cancel_futures=True)
            raise DataError(
                f"images of mixed sizes: {files[0]} is {first[0]} x {first[1]} (height x width) "
                f"and {file} is {size[0]} x {size[1]}; give an image_size, to which all are "
                "cropped and resized"
            )
    return first


def check_header(path: Path) -> None:
    """DataError where a file does not begin as a picture."""
    with _opened(path):
        pass


def image_size_of(path: Path) -> tuple[int, int]:
    """Height and width, by the header; DataError where there is none."""
    with _opened(path) as image:
        turned = image.getexif().get(_ORIENTATION, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _images_below(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if _is_image(Path(name))]
    return sorted(files)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The open image; whatever goes wrong while it is used becomes a DataError with its name."""
    try:
        if not is_file(path):  # to open a pipe would wait for ever
            raise ValueError("it is no regular file")
        with Image.open(path, formats=_FORMATS) as image:
            limit, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
            if limit is not None and pixels > limit:
                raise Image.DecompressionBombError(
                    f"{image.width} x {image.height} pixels are more than Pillow's limit of {limit}"
                )
            if pixels > _MODEST and pixels > _MOST_PIXELS * path.stat().st_size:
                raise Image.DecompressionBombError(
                    f"{image.width} x {image.height} pixels in {path.stat().st_size:,} bytes look "
                    "like a decompression bomb"
                )
            yield image
    except Exception as error:  # on corrupt files Pillow raises almost anything
        raise bad_image(f"the image {path}", one_line(error)) from error


def _is_grey(path: Path) -> bool:
    with _opened(path) as image:  # reads the header only
        return image.mode in _GREY_MODES


def decode_file(path: Path) -> np.ndarray:
    """The file as uint8 (height, width, channels): 1 grey, 3 RGB, 4 RGBA.

    Raises:
      DataError: it is damaged, no picture, or too large.
    """
    with _opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit grey
            wide = np.asarray(image).astype(np.uint32)
            return np.minimum((wide + 128) // 257, 255).astype(np.uint8)[..., None]
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            return _as_array(image, "RGBA")
        if image.mode in _GREY_MODES:
            return _as_array(image, "L")[..., None]
        return _as_array(image, "RGB")  # RGB, palette, CMYK, YCbCr


def _as_array(image: Image.Image, mode: str) -> np.ndarray:
    # Pillow copies an image that it converts to its own mode: gigabytes of a very large one.
    return np.asarray(image if image.mode == mode else image.convert(mode))
