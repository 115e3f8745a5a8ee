"""Sources of images: `load(spec)` reads a whole data set into memory as uint8.

| spec              | what it reads                                                        |
|-------------------|----------------------------------------------------------------------|
| `digits`          | scikit-learn's 1,797 handwritten 8x8 digits                          |
| `tfds:<name>`     | a data set that TFDS has prepared, `tfds:name[/config][:version]`    |
| `npz:<file>`      | NumPy's .npz or .npy: `images` and `labels`, or the keys in `#a,b`   |
| `idx:<folder>`    | MNIST's files, plain or .gz                                          |
| `folder:<folder>` | files of pictures; sub-folders, in sorted order, are the classes     |

Nothing is ever downloaded, and nothing in a data file is executed.
"""

import difflib
import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.base.files import is_dir, is_file
from sngan_jax.data.crop import ALPHAS, FITS, Size, check_images, fit, pair
from sngan_jax.data.files import read_idx, read_npz
from sngan_jax.data.folder import read_folder
from sngan_jax.data.image_set import (
    CROPPED,
    DataError,
    ImageSet,
    Reading,
    check_batch,
    missing_classes,
)
from sngan_jax.data.prepared import read_tfds
from sngan_jax.data.split import parse_split, rows_of

__all__ = ["DataError", "ImageSet", "check_batch", "load"]

_SPECS = ("digits", "tfds:<name>", "npz:<file>", "idx:<folder>", "folder:<folder>")


def load(
    spec: str,
    *,
    image_size: Size,
    channels: int | None = None,
    split: str = "train",
    data_dir: str | None = None,
    reading: Reading = CROPPED,
    skip_bad: bool = False,
) -> ImageSet:
    """Loads a data set, cropped about the centre and resized (bilinear, antialiased).

    Args:
      spec: 'digits', 'tfds:<name>', 'npz:<file>', 'idx:<folder>' or 'folder:<folder>'.
      image_size: side of the images in pixels, or (height, width); None keeps the present size.
      channels: 1 (grey) or 3 (RGB) to convert to; None keeps the source's.
      split: 'train', or 'test' if the source has one, or a part of it, such as 'train[:5000]' or
        'train[90%:]'; for `tfds:` anything that TFDS understands, such as 'unlabelled'.
      data_dir: for `tfds:`, the folder of prepared data sets; None for TFDS's own default.
      reading: replaces the crop by another fit, or the white background by another.
      skip_bad: for `folder:`, replace a damaged image by the next one.

    Returns:
      an ImageSet of uint8 (n, height, width, channels), in the order of the source.

    Raises:
      DataError: for an unknown spec, split, size or channels; missing, unreadable or unsuitable
        data.
    """
    check_reading(image_size, channels, reading)
    if skip_bad and not spec.startswith("folder:"):
        raise DataError(f"config.on_bad_image is 'skip', but {spec!r} is read whole: damaged "
                        "images are skipped only in folder:<folder>, and in tfds:<name> with "
                        "--config.stream=true")
    about, cautions = "", tuple[str, ...]()
    match spec.partition(":"):
        case ("digits", "", ""):
            found = _part(split, *_read_digits(parse_split(split)[0], image_size))
        case ("npz", ":", place) if place:
            found = _part(split, *read_npz(place, parse_split(split)[0]))
        case ("idx", ":", place) if place:
            found = _part(split, *read_idx(place, parse_split(split)[0]))
        case ("folder", ":", place) if place:
            folder = read_folder(place, split, image_size, channels, reading, skip_bad)
            found, about, cautions = folder[:3], folder.about, folder.cautions
        case ("tfds", ":", place) if place:
            found = read_tfds(place, split, image_size, channels, data_dir, reading)
        case _:
            raise DataError(unknown_spec(spec))
    images, labels, num_classes = found
    images = fit(images, image_size, channels, f"the images of '{spec}'", reading)
    missing = "" if labels is None else missing_classes(labels, num_classes)
    return ImageSet(images, labels, num_classes, spec, reading, about,
                    (*cautions, *([missing] if missing else [])))


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with which a run's images are loaded, except the split and the channels."""
    height = config["image_size"]
    return {"image_size": (height, config["image_width"] or height),
            "data_dir": config["data_dir"] or None,
            "reading": Reading(config["fit"], config["alpha"])}


def check_reading(image_size: Size, channels: int | None, reading: Reading) -> None:
    """DataError for an impossible size, or an unknown value of channels, fit or alpha."""
    size = pair(image_size)
    if size is not None and min(size) < 1:
        raise DataError(f"image_size is {image_size}: it must be at least 1")
    if channels not in (None, 1, 3):
        raise DataError(f"channels is {channels}: it must be 1 (grey), 3 (RGB) or None (as stored)")
    for name, value, there in (("fit", reading.fit, FITS), ("alpha", reading.alpha, ALPHAS)):
        if value not in there:
            raise DataError(f"{name} is {value!r}: it must be one of {', '.join(there)}")


def _part(split: str, images: np.ndarray, labels: np.ndarray | None, num_classes: int
          ) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The rows that a split such as 'train[:100]' names."""
    if images.ndim == 0 or not len(images):
        return images, labels, num_classes  # `fit` reports what is wrong
    rows = rows_of(split, len(images))
    return images[rows], None if labels is None else labels[rows], num_classes


def _read_digits(split: str, image_size: Size) -> tuple[np.ndarray, np.ndarray, int]:
    """The test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak)."""
    if split != "train":
        raise DataError(f"digits has no split '{split}': all its 1,797 images are in 'train'")
    # The file of scikit-learn's `load_digits`, without the second or two that its import takes.
    scikit_learn = importlib.util.find_spec("sklearn")
    assert scikit_learn is not None and scikit_learn.submodule_search_locations  # a requirement
    folder = Path(scikit_learn.submodule_search_locations[0])
    with gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint16)
    # 0..16 to 0..255, rounded; the last column is the digit.
    images = ((rows[:, :-1].reshape(-1, 8, 8) * 255 + 8) // 16).astype(np.uint8)
    # Enlarged by repeating pixels if possible: means over blocks then give the 8x8 image back,
    # which they would not after an interpolation.
    height, width = pair(image_size) or (8, 8)
    k = height // 8 if height == width and height % 8 == 0 else 1
    check_images(len(images), (8 * k, 8 * k), "the digits")
    images = images.repeat(k, axis=1).repeat(k, axis=2)
    return images, rows[:, -1].astype(np.int32), 10


def is_spec(spec: str) -> bool:
    """Whether a spec is of a known kind; the data need not exist."""
    kind, _, place = spec.partition(":")
    return spec == "digits" or (bool(place) and any(
        known.startswith(f"{kind}:") for known in _SPECS))


def unknown_spec(spec: str) -> str:
    """The error for a spec of no known kind, with a guess at what was meant."""
    if spec and is_dir(Path(spec).expanduser()):
        return f"'{spec}' is a folder: write folder:{spec}"
    if is_file(Path(spec).expanduser()):
        return f"'{spec}' is a file: write npz:{spec}, if it is a NumPy file"
    if "/" in spec and ":" not in spec:
        return f"there is no folder or file '{spec}'"
    kind = spec.partition(":")[0]
    names = [name.partition(":")[0] for name in _SPECS]
    close = difflib.get_close_matches(kind.lower(), names, n=1)
    hint = f", did you mean '{_SPECS[names.index(close[0])]}'?" if close else "."
    return f"unknown data set '{spec}'{hint} There are: {', '.join(_SPECS)}"
