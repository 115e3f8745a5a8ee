"""Sources of images: `load(spec)` reads a whole data set into memory as uint8.

| spec              | what it reads                                                        |
|-------------------|----------------------------------------------------------------------|
| `digits`          | scikit-learn's 1,797 handwritten 8x8 digits                          |
| `tfds:<name>`     | a data set that TFDS has prepared, `tfds:name[/config][:version]`    |
| `npz:<file>`      | arrays `images` and `labels`, or `x_train`, `y_train`, `x_test`, ... |
| `idx:<folder>`    | MNIST's files, plain or .gz                                          |
| `folder:<folder>` | PNG and JPEG files; sub-folders, in sorted order, are the classes    |

Nothing is ever downloaded, and nothing in a data file is executed.
"""

import difflib
import gzip
import importlib.util
from pathlib import Path

import numpy as np

from sngan_jax.data.crop import check_images, fit
from sngan_jax.data.files import read_idx, read_npz
from sngan_jax.data.folder import read_folder
from sngan_jax.data.image_set import DataError, ImageSet, check_batch
from sngan_jax.data.prepared import read_tfds
from sngan_jax.data.split import parse_split, rows_of

__all__ = ["DataError", "ImageSet", "check_batch", "load"]

_SPECS = ("digits", "tfds:<name>", "npz:<file>", "idx:<folder>", "folder:<folder>")


def load(
    spec: str,
    *,
    image_size: int | None,
    channels: int | None = None,
    split: str = "train",
    data_dir: str | None = None,
    skip_bad: bool = False,
) -> ImageSet:
    """Loads a data set, cropped to squares about the centre and resized (bilinear, antialiased).

    Args:
      spec: 'digits', 'tfds:<name>', 'npz:<file>', 'idx:<folder>' or 'folder:<folder>'.
      image_size: side of the images in pixels; None keeps the size that they have, square or not.
      channels: 1 (grey) or 3 (RGB) to convert to; None keeps what the source has. Transparent
        images are laid on white.
      split: 'train', or 'test' where the source has one, or a part of it, as 'train[:5000]' or
        'train[90%:]'; for `tfds:` anything that TFDS understands, such as 'unlabelled'.
      data_dir: for `tfds:`, the folder of prepared data sets; None for TFDS's own default.
      skip_bad: of `folder:`, put the next image in the place of a damaged one.

    Returns:
      An ImageSet of uint8 (n, height, width, channels), in the order of the source.

    Raises:
      DataError: unknown spec, split, size or channels; missing, unreadable or unsuitable data.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size is {image_size}: it must be at least 1")
    if skip_bad and not spec.startswith("folder:"):
        raise DataError(f"config.on_bad_image is 'skip', but {spec!r} is read whole: damaged "
                        "images are skipped of folder:<folder>, and of tfds:<name> with "
                        "--config.stream=true")
    if channels not in (None, 1, 3):
        raise DataError(f"channels is {channels}: it must be 1 (grey), 3 (RGB) or None (as stored)")
    match spec.partition(":"):
        case ("digits", "", ""):
            found = _part(split, *_read_digits(parse_split(split)[0], image_size))
        case ("npz", ":", place) if place:
            found = _part(split, *read_npz(place, parse_split(split)[0]))
        case ("idx", ":", place) if place:
            found = _part(split, *read_idx(place, parse_split(split)[0]))
        case ("folder", ":", place) if place:
            found = read_folder(place, split, image_size, channels, skip_bad)
        case ("tfds", ":", place) if place:
            found = read_tfds(place, split, image_size, channels, data_dir)
        case (kind, _, _):
            raise DataError(_unknown_spec(spec, kind))
    images, labels, num_classes = found
    images = fit(images, image_size, channels, f"the images of '{spec}'")
    return ImageSet(images, labels, num_classes, spec)


def _part(split: str, images: np.ndarray, labels: np.ndarray | None, num_classes: int
          ) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The rows that a split such as 'train[:100]' names."""
    if images.ndim == 0 or not len(images):
        return images, labels, num_classes  # `fit` says what is wrong
    rows = rows_of(split, len(images))
    return images[rows], None if labels is None else labels[rows], num_classes


def _read_digits(split: str, image_size: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    """The test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak)."""
    if split != "train":
        raise DataError(f"digits has no split '{split}': all its 1,797 images are in 'train'")
    # The file of scikit-learn's `load_digits`, without the second or two that its import takes.
    scikit_learn = importlib.util.find_spec("sklearn")
    assert scikit_learn is not None and scikit_learn.submodule_search_locations  # it is required
    folder = Path(scikit_learn.submodule_search_locations[0])
    with gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint16)
    # 0..16 to 0..255, rounded; the last column is the digit.
    images = ((rows[:, :-1].reshape(-1, 8, 8) * 255 + 8) // 16).astype(np.uint8)
    # Enlarged by repeating pixels where that is possible: means over blocks give the 8x8 image
    # back, which they do not after an interpolation.
    k = image_size // 8 if image_size and image_size % 8 == 0 else 1
    check_images(len(images), (8 * k, 8 * k), "the digits")
    images = images.repeat(k, axis=1).repeat(k, axis=2)
    return images, rows[:, -1].astype(np.int32), 10


def _unknown_spec(spec: str, kind: str) -> str:
    names = [name.partition(":")[0] for name in _SPECS]
    close = difflib.get_close_matches(kind.lower(), names, n=1)
    hint = f", did you mean '{_SPECS[names.index(close[0])]}'" if close else ""
    return f"unknown data set '{spec}'{hint}? There are: {', '.join(_SPECS)}"
