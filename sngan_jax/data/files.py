"""Data sets stored as arrays in files: NumPy's .npz and MNIST's IDX."""

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import one_line
from sngan_jax.base.files import is_dir, is_file
from sngan_jax.data.archive import array_names, read_arrays, read_single, refuse_bomb
from sngan_jax.data.image_set import DataError, checked_labels

# Deflate expands by 1032 at most: a header that promises more is wrong, and no memory is
# allocated.
_MAX_DEFLATE_RATIO = 1032
# Keys by which images are found in an .npz if none is given.
IMAGE_KEYS = ("images", "arr_0", "x_train", "x_test")


def read_npz(file: str, split: str) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Reads images, and labels if there are any, from NumPy's .npz or .npy.

    The arrays are `images` and `labels`; or, as in Keras, `x_train`, `y_train`, …; or, as
    `np.savez` names them by default, `arr_0` and `arr_1`. Other names are given after the file:
    FILE#IMAGES (with `labels` if the file has it), FILE#IMAGES,LABELS or, for no labels,
    FILE#IMAGES,.

    Args:
      file: path of an .npz file, compressed or not, or of an .npy; pickled objects are refused.
      split: 'train'; also 'test' for a file with `x_test`.

    Returns:
      images (any dtype and shape; `fit` checks them), labels int32 (n,) or None, num_classes.

    Raises:
      DataError: for a missing or corrupt file, one that is not an .npz, no suitable arrays, or
        labels that do not fit.
    """
    name, wanted = keys_in_name(file)
    path = Path(name).expanduser()
    if not is_file(path):
        found = "this is a folder" if is_dir(path) else "there is no such file"
        raise DataError(f"npz:{name}: {found}: give the path of an .npz or .npy")
    try:
        if path.suffix == ".npy":
            _only_train(file, split)
            if wanted:
                raise DataError(f"npz:{file}: an .npy holds a single array without a name: leave "
                                "out #…")
            return read_single(path), None, 0
        with zipfile.ZipFile(path) as archive:
            there = array_names(archive)
            keys = _chosen_keys(wanted, there, file, split) if wanted else _npz_keys(
                there, file, split)
            arrays = read_arrays(archive, filter(None, keys), path)
            images, labels = arrays[keys[0]], arrays[keys[1]] if keys[1] else None
    except (DataError, PermissionError):
        raise
    except Exception as error:  # zipfile and NumPy raise almost anything on a damaged file
        raise DataError(f"npz:{name} is not a readable {path.suffix or '.npz'} file: "
                        f"{one_line(error)}") from error
    if labels is None or images.size == 0 or images.ndim == 0:
        return images, None, 0
    return images, *checked_labels(labels, len(images), f"'{keys[1]}' of npz:{file}")


def keys_in_name(file: str) -> tuple[str, str]:
    """FILE and KEYS of FILE#KEYS; the whole name and '' if such a file exists or there is no #."""
    name, mark, keys = file.rpartition("#")
    if not mark or is_file(Path(file).expanduser()):
        return file, ""
    return name, keys


def _chosen_keys(wanted: str, there: list[str], file: str, split: str
                 ) -> tuple[str, str | None]:
    """The keys in IMAGES or IMAGES,LABELS; DataError for one that is not in the file."""
    _only_train(file, split)
    images, comma, labels = wanted.partition(",")
    if not comma and images != "labels" and "labels" in there:
        labels = "labels"
    for key in filter(None, (images or "''", labels)):
        if key not in there:
            raise DataError(f"npz:{file} has no array {key}; its arrays are {sorted(there)}")
    return images, labels or None


def _only_train(file: str, split: str) -> None:
    if split != "train":
        raise DataError(f"npz:{file} has no split '{split}': this array is all 'train'")


def _npz_keys(found: list[str], file: str, split: str) -> tuple[str, str | None]:
    """The keys of the images and of the labels (None without labels)."""
    keras = sorted(key for key in found if key.startswith("x_"))
    for images, labels in (("images", "labels"), ("arr_0", "arr_1")):
        if images in found and not keras:
            if split != "train":
                raise DataError(f"npz:{file} has no split '{split}': '{images}' is all 'train'")
            return images, labels if labels in found else None
    if "images" in found:
        raise DataError(f"npz:{file} has both 'images' and {keras}: keep one of the two, or "
                        f"choose, as in npz:{file}#images")
    if f"x_{split}" in keras:
        return f"x_{split}", f"y_{split}" if f"y_{split}" in found else None
    if keras:
        splits = ", ".join(f"'{key[2:]}'" for key in keras)
        raise DataError(f"npz:{file} has no split '{split}': there are {splits}")
    raise DataError(
        f"npz:{file} has no array 'images'; its arrays are {sorted(found)}: save it with "
        "np.savez(file, images=..., labels=...), or name the array, as in "
        f"npz:{file}#{min(found, default='KEY')}"
    )


def read_idx(folder: str, split: str) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Reads MNIST's files, such as train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz.

    Each may be plain or gzipped (plain is preferred), with `.idx3` or `-idx3`. The labels may be
    missing. Format: http://yann.lecun.com/exdb/mnist.

    Args:
      folder: the folder that holds the files.
      split: 'train', or 'test' for the files that begin with t10k.

    Returns:
      images uint8 (n, height, width), labels int32 (n,) or None, num_classes.

    Raises:
      DataError: for a missing folder, file or split, a corrupt file, or counts that do not agree.
    """
    prefix = {"train": "train", "test": "t10k"}.get(split)
    if prefix is None:
        raise DataError(f"idx:{folder} has no split '{split}': there are 'train' and 'test'")
    root = Path(folder).expanduser()
    if not is_dir(root):
        raise DataError(f"idx:{folder}: there is no such folder: give the folder of the four "
                        "files of MNIST or Fashion-MNIST, such as "
                        "idx:/usr/share/datasets/fashion-mnist of Debian's package "
                        "dataset-fashion-mnist")
    images_file = _find_idx(root, f"{prefix}-images", "idx3-ubyte")
    if images_file is None:
        raise DataError(
            f"idx:{folder} has no {prefix}-images-idx3-ubyte or {prefix}-images-idx3-ubyte.gz: "
            "give the folder that holds the data set's four files"
        )
    images = _read_idx_file(images_file, ndim=3)
    labels_file = _find_idx(root, f"{prefix}-labels", "idx1-ubyte")
    if labels_file is None or not len(images):
        return images, None, 0
    labels = _read_idx_file(labels_file, ndim=1)
    return images, *checked_labels(labels, len(images), f"the labels in {labels_file}")


def _find_idx(root: Path, stem: str, suffix: str) -> Path | None:
    names = [f"{stem}{mark}{suffix}{end}" for end in ("", ".gz") for mark in "-."]
    return next((root / name for name in names if is_file(root / name)), None)


def _read_idx_file(path: Path, ndim: int) -> np.ndarray:
    """One IDX file: two zero bytes, 0x08 for uint8, ndim, big-endian uint32 sizes, the bytes."""
    zipped = path.suffix == ".gz"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            header = file.read(4 + 4 * ndim)
            if header[:4] != bytes([0, 0, 8, ndim]) or len(header) < 4 + 4 * ndim:
                raise DataError(
                    f"{path} is not an IDX file of {ndim}-dimensional uint8 data: it begins with "
                    f"'{header[:4].hex(' ')}' instead of '00 00 08 {ndim:02x}' and {ndim} sizes"
                )
            shape = tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))
            size = math.prod(shape)
            most = path.stat().st_size * (_MAX_DEFLATE_RATIO if zipped else 1)
            refuse_bomb(size if size <= most else 0, path.stat().st_size, "it")
            # One byte more than promised, to detect a file that is too long.
            content = file.read(size + 1) if size <= most else b""
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    if len(content) != size:
        problem = "ends too early" if len(content) < size else "is too long"
        raise DataError(f"{path} {problem}: its header promises {shape} bytes; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)

