"""A folder of pictures as a data set."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from sngan_jax.base.files import is_dir, is_file
from sngan_jax.base.output import say
from sngan_jax.data.crop import Size, check_images, fit_one, pair
from sngan_jax.data.image_set import (
    CROPPED,
    DataError,
    Reading,
    attempted,
    next_good,
    refuse_bad,
)
from sngan_jax.data.pictures import (
    SUFFIXES,
    check_header,
    decode_file,
    is_grey,
    is_picture,
    kind_of,
    size_of,
)
from sngan_jax.data.split import parse_split, rows_of

_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_HARDLY = 0.05  # a crop that keeps less than this share of a picture is reported


class Listing(NamedTuple):
    """The pictures of a folder, in sorted order.

    labels: int32 (n,), or None for a flat folder.
    kinds: the kind of each file by its content; None if only its name is a picture's.
    left_out: number of other files, by kind.
    """

    files: list[Path]
    labels: np.ndarray | None
    num_classes: int
    kinds: list[str | None]
    left_out: Counter[str]


class ReadFolder(NamedTuple):
    """images: uint8 (n, height, width, channels); labels and num_classes as in `Listing`; about and
    cautions as in `image_set.ImageSet`."""

    images: np.ndarray
    labels: np.ndarray | None
    num_classes: int
    about: str
    cautions: tuple[str, ...]


def read_folder(folder: str, split: str, image_size: Size, channels: int | None,
                reading: Reading = CROPPED, skip_bad: bool = False) -> ReadFolder:
    """Reads every picture below a folder, in sorted order.

    A file is a picture if its content is of one of `pictures.KINDS`. If sub-folders hold pictures,
    each is a class, numbered in sorted order, and everything below it belongs to it. Without such
    sub-folders the set is unlabelled. Names that begin with a dot are skipped, and so are other
    kinds of files.

    Args:
      folder: the path.
      split: 'train', which is everything, or a part of it, such as 'train[:1000]'.
      image_size: size of the result, a side in pixels or (height, width); None keeps the present
        size, which must then be the same for all.
      channels: 1, 3, or None for 1 if all the files are grey and 3 otherwise.
      reading: how a picture becomes an image.
      skip_bad: replace a damaged image by the next one in the order of the files.

    Raises:
      DataError: for no such folder, no images, mixed sizes without an image_size, images both
        beside and in class folders, a class without images, sub-folders that are splits, or an
        image that cannot be read (the first is named).
    """
    listing = list_folder(folder, split)
    files, labels = listing.files, listing.labels
    # Threads, because Pillow releases the GIL while it decodes. Pillow warns about odd metadata and
    # about decompression bombs, which `pictures` refuses.
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, name = range(len(files)), f"folder:{folder}"
        bad: dict[int, str] = {}

        if channels is None or not image_size:
            look = check_header if image_size else size_of
            bad |= attempted(lambda i: look(files[i]), rows, pool.map)
        good = [files[i] for i in rows if i not in bad]
        if not good and not skip_bad:
            refuse_bad(bad, name)
        next_good(0, bad, len(files), name)
        if channels is None:
            channels = 1 if all(pool.map(is_grey, good)) else 3
        size = pair(image_size) or common_size(good, reading)
        check_images(len(files), (*size, channels), name)
        images = np.empty((len(files), *size, channels), np.uint8)
        sizes: dict[int, tuple[int, int]] = {}

        def read(i: int) -> None:
            picture = decode_file(files[i], plain=reading.plain)
            images[i] = fit_one(picture, image_size, channels, reading)
            sizes[i] = picture.shape[:2]

        bad |= attempted(read, [i for i in rows if i not in bad], pool.map)
        if not skip_bad:
            refuse_bad(bad, name)
        for i, why in bad.items():
            say(f"warning: {why}; another image takes its place")
            other = next_good(i, bad, len(files), name)
            images[i] = images[other]
            if labels is not None:
                labels[i] = labels[other]
    return ReadFolder(images, labels, listing.num_classes,
                      *described(listing, sizes, image_size, reading))


def list_folder(folder: str, split: str) -> Listing:
    """The pictures of a folder; only the first bytes of the files are read.

    Raises:
      DataError: for no such folder or split, no images, an empty class, or images beside class
        folders.
    """
    if parse_split(split)[0] != "train":
        raise DataError(
            f"folder:{folder} has no split '{split}': all of a folder is 'train', so name "
            "the folder of that split instead"
        )
    root = Path(folder).expanduser()
    if not is_dir(root):
        problem = "that is a file" if is_file(root) else "there is no such folder"
        raise DataError(f"folder:{folder}: {problem}: give a folder of pictures, as "
                        "folder:~/pictures/cats")
    left_out: Counter[str] = Counter()
    names = _visible(root, left_out)
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flat = _pictures([path for path in names if not path.is_dir()], pool, left_out)
        deep = {path.name: _pictures(_below(path, left_out), pool, left_out)
                for path in names if path.is_dir()}
    labelled = [name for name, files in deep.items() if files]
    _refuse_loops(root, labelled)
    if flat and labelled:
        raise DataError(
            f"folder:{folder} holds images (such as {next(iter(flat)).name}) beside folders of "
            f"images (such as {labelled[0]}): move all into class folders, or all out of them"
        )
    if not flat and not labelled:
        raise DataError(f"folder:{folder} holds no images, nor do its sub-folders"
                        + (f", but {_counted(left_out)}" if left_out else "")
                        + ": give a folder of pictures")
    if flat:
        deep, numbers = {"": flat}, None
    else:
        if {name.lower() for name in deep} <= _SPLITS:
            training = min(labelled, key=lambda name: not name.lower().startswith("train"))
            raise DataError(
                f"folder:{folder} holds {', '.join(deep)}, which look like splits and not like "
                f"classes: use folder:{os.path.join(folder, training)}"
            )
        for name, files in deep.items():
            if not files:
                raise DataError(f"folder:{folder} has a class folder {name} without images: "
                                "remove it or add some")
        numbers = np.repeat(np.arange(len(deep), dtype=np.int32), [len(f) for f in deep.values()])
    kinds = {file: kind for files in deep.values() for file, kind in files.items()}
    rows = rows_of(split, len(kinds))
    return Listing(list(kinds)[rows], None if numbers is None else numbers[rows],
                   0 if numbers is None else len(deep), list(kinds.values())[rows], left_out)


def _refuse_loops(root: Path, names: list[str]) -> None:
    """DataError if links make one folder two classes, or the whole folder a part of itself."""
    real = {name: (root / name).resolve() for name in names}
    for name, folder in real.items():
        for other, there in [("the folder itself", root.resolve()),
                             *((k, v) for k, v in real.items() if k != name)]:
            if there == folder or folder in there.parents:
                raise DataError(f"folder:{root}: the class folder {name} leads to {folder}, which "
                                f"is or holds {other}: its images would appear twice; remove the "
                                "link")


def common_size(files: list[Path], reading: Reading = CROPPED) -> tuple[int, int]:
    """Height and width of all the files, by their headers; MixedSizes if they differ."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = pool.map(lambda file: size_of(file, plain=reading.plain), files)
        first = next(sizes)
        for file, size in zip(files[1:], sizes, strict=True):
            if size != first:
                pool.shutdown(wait=False, cancel_futures=True)
                raise MixedSizes(
                    f"images of mixed sizes: {files[0]} is {first[0]} x {first[1]} (height x "
                    f"width) and {file} is {size[0]} x {size[1]}; give an image_size, and "
                    "all are resized to it"
                )
    return first


class MixedSizes(DataError):
    """Pictures differ in size, and no common size is requested."""


def described(listing: Listing, sizes: dict[int, tuple[int, int]], image_size: Size,
              reading: Reading) -> tuple[str, tuple[str, ...]]:
    """A description of a folder's content for people: a sentence, and cautions.

    Args:
      sizes: height and width of all pictures or of some, by their row in the listing.
      image_size: the requested size, or None.
    """
    count = len(listing.files)
    kinds = Counter(kind for kind in listing.kinds if kind)
    parts = [f"{count:,} picture{'s' if count > 1 else ''} ({_counted(kinds)})"
             + (f" in {listing.num_classes:,} classes" if listing.num_classes else "")]
    if listing.left_out:
        parts.append(f"left out: {_counted(listing.left_out)}")
    cautions: list[str] = []
    size = pair(image_size)
    if size and sizes:
        sizes = dict(sorted(sizes.items()))
        shares = {row: share_of(one, size) for row, one in sizes.items()}
        some = f" (of {len(sizes):,} of them)" if len(sizes) < count else ""
        parts.append(_what_fit_takes(list(shares.values()), size, reading.fit) + some)
        least = min if reading.fit == "pad" else max
        small = sum(least(size[0] / one[0], size[1] / one[1]) > 1 for one in sizes.values())
        if small:
            parts.append(f"{small:,} {'are' if small > 1 else 'is'} enlarged{some}")
        named = {row: (listing.files[row], *sizes[row]) for row in sizes}
        cautions += _extremes([named[row] for row in sizes if min(sizes[row]) == 1],
                              "one row of pixels is not a picture: remove it")
        cautions += _extremes(
            [named[row] for row in sizes if min(sizes[row]) > 1 and shares[row] < _HARDLY],
            f"--config.fit={reading.fit} leaves little of it: cut it into several, or remove it")
    return "; ".join(parts), tuple(cautions)


def share_of(size: tuple[int, int], proportions: tuple[int, int]) -> float:
    """The share of a (height, width) that its largest part of the given aspect ratio covers."""
    (height, width), (high, wide) = size, proportions
    return min(height * wide, width * high) / max(height * wide, width * high)


def _what_fit_takes(shares: Sequence[float], size: tuple[int, int], how: str) -> str:
    of_size = f"to {size[0]} x {size[1]}"
    mean = sum(shares) / len(shares)
    if how == "crop":
        return f"the crop {of_size} keeps {mean:.0%} of a picture's area on average"
    if how == "pad":
        return f"{of_size} with bars, which fill {1 - mean:.0%} of an image on average"
    return f"squeezed {of_size}, by {1 / min(shares):.2g} times at most"


def _extremes(found: Sequence[tuple[Path, int, int]], why: str) -> Iterator[str]:
    if found:
        file, height, width = min(found, key=lambda one: min(one[1:]) / max(one[1:]))
        others = f", and {len(found) - 1:,} others are like it" if len(found) > 1 else ""
        yield f"{file} is {height:,} x {width:,} pixels (height x width){others}: {why}"


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in names.most_common())


def _refuse_closed(error: OSError) -> NoReturn:
    raise DataError(f"the folder {error.filename} cannot be read ({error.strerror}): give this "
                    "user the right to read it") from error


def _visible(folder: Path, left_out: Counter[str]) -> list[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        _refuse_closed(error)
    if hidden := sum(path.name.startswith(".") for path in paths):
        left_out["hidden"] += hidden
    return [path for path in paths if not path.name.startswith(".")]


def _below(folder: Path, left_out: Counter[str]) -> list[Path]:
    """All visible files below a folder, in sorted order."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_closed):
        if linked := sum(os.path.islink(os.path.join(parent, name)) for name in folders):
            left_out["linked"] += linked
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
        if hidden := sum(name.startswith(".") for name in names):
            left_out["hidden"] += hidden
    return sorted(files)


def _pictures(files: Iterable[Path], pool: ThreadPoolExecutor, left_out: Counter[str]
              ) -> dict[Path, str | None]:
    """The files that are pictures, or are named like one, with their kinds; counts the others."""
    def one(path: Path) -> tuple[bool, str | None]:
        kind, claims = kind_of(path), path.suffix.lower() in SUFFIXES
        # A text may begin with the same two letters: without a picture's name, Pillow must agree.
        return (claims or bool(kind and is_picture(path))), kind

    files = list(files)
    found = {}
    for path, (wanted, kind) in zip(files, pool.map(one, files), strict=True):
        if wanted:
            found[path] = kind
        else:
            left_out[path.suffix.lower() or "without an ending"] += 1
    return found
