"""A set of uint8 images of one size with optional class labels, which every source returns."""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sized
from typing import NamedTuple, Protocol

import numpy as np

from sngan_jax.base.errors import UserError


class DataError(UserError):
    """Data that cannot be used; one sentence says what was found, what is needed and the cure."""


_ENDING = "; repair it or remove it"


def bad_image(what: str, why: str) -> DataError:
    """The error for one damaged image."""
    return DataError(f"cannot read {what}: {why}{_ENDING}")


def attempted(function: Callable[[int], object], rows: Iterable[int], map_: Callable = map
              ) -> dict[int, str]:
    """Rows for which a function raises DataError, each with the error's message.

    map_: a function that maps another over rows, such as a thread pool's `map`.
    """
    def attempt(row: int) -> tuple[int, str]:
        try:
            function(row)
        except DataError as error:
            return row, str(error)
        return row, ""

    return {row: sentence for row, sentence in map_(attempt, rows) if sentence}


def refuse_bad(bad: Mapping[int, str], name: str) -> None:
    """DataError that names all damaged images of a set, if any; `bad` comes from `attempted`."""
    sentences = [bad[row].removesuffix(_ENDING) for row in sorted(bad)]
    if len(sentences) == 1:
        raise DataError(sentences[0] + _ENDING)
    if sentences:
        raise DataError(f"{len(bad):,} images of {name} are damaged: {'; '.join(sentences)}; "
                        "repair or remove them, or add --config.on_bad_image=skip to use other "
                        "images instead")


def next_good(row: int, bad: Collection[int], count: int, name: str) -> int:
    """The first row not in `bad`, from `row` on and round the end of `count`; or DataError."""
    for step in range(count):
        if (row + step) % count not in bad:
            return (row + step) % count
    raise DataError(f"none of the {count:,} images of {name} can be read: use another data set")


class Reading(NamedTuple):
    """How a picture becomes an image of its set; this changes pixels, and therefore every score.

    fit: how it gets the requested aspect ratio, a key of `crop.FITS`.
    alpha: the background of its transparent parts, a key of `crop.ALPHAS`.
    plain: whether a file is decoded as in other programs for FID (`pictures.decode_file`).
    """

    fit: str = "crop"
    alpha: str = "white"
    plain: bool = False


CROPPED = Reading()


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size in memory.

    Attributes:
      images: uint8 (n, height, width, channels), values 0..255, channels 1 or 3.
      labels: int32 (n,) with values 0..num_classes - 1, or None for an unlabelled set.
      num_classes: the number of classes, 0 for an unlabelled set.
      name: the spec that the set was loaded from, such as 'digits' or 'tfds:cifar10'.
      reading: how the pictures became images.
      about: a sentence on what was found on disk, '' if there is nothing to say.
      cautions: sentences that the user should read.
    """

    images: np.ndarray
    labels: np.ndarray | None
    num_classes: int
    name: str
    reading: Reading = CROPPED
    about: str = ""
    cautions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.images.shape[-1]

    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of shape, images and labels, whatever the name."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, dtype="<i4").data)
        return digest.hexdigest()[:16]


class Named(Sized, Protocol):
    """A set of images with a name, in memory or streamed."""

    @property
    def name(self) -> str:
        """The spec from which the set was opened."""


def check_batch(image_set: Named, batch_size: int) -> None:
    """Raises DataError if the set has fewer images than one batch draws."""
    if len(image_set) < batch_size:
        raise DataError(
            f"data set '{image_set.name}' has {len(image_set)} images, fewer than the batch of "
            f"{batch_size}: use a smaller batch or a larger data set"
        )


def checked_labels(labels: np.ndarray, count: int, where: str) -> tuple[np.ndarray, int]:
    """Labels as int32 (count,), and the number of classes (the largest label + 1).

    Args:
      labels: integers of shape (count,) or (count, 1), not negative.
      count: the number of images to which they belong.
      where: name of the labels in errors, such as "'labels' of x.npz".

    Raises:
      DataError: if the labels have a wrong type, shape, number or range.
    """
    if labels.shape not in ((count,), (count, 1)):
        raise DataError(
            f"{where} have the shape {labels.shape}, but there are {count} images: "
            f"the shape must be ({count},){_one_hot_hint(labels, count)}"
        )
    if labels.dtype.kind not in "iu":
        whole = labels.dtype.kind == "f" and bool((labels == np.round(labels)).all())
        raise DataError(f"{where} are {labels.dtype}: class numbers must be integers"
                        + (": save labels.astype(np.int32)" if whole else ""))
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= 2**31 - 1:
        bad = low if low < 0 else high
        raise DataError(f"{where} hold the class {bad}: classes must be numbered from 0 on")
    return labels.reshape(count).astype(np.int32), high + 1


def missing_classes(labels: np.ndarray, num_classes: int) -> str:
    """A sentence that names the classes without images; '' if every class has one.

    labels: integers (n,) from 0 to num_classes - 1.
    """
    missing = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if not len(missing):
        return ""
    names = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
    return (f"{len(missing):,} of the {num_classes:,} classes have no image ({names}), but a "
            "conditional model has a row for each: number the classes without gaps")


def _one_hot_hint(labels: np.ndarray, count: int) -> str:
    if labels.ndim != 2 or len(labels) != count or labels.shape[1] < 2:
        return ""
    one_hot = bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())
    return ": these are one-hot, so save labels.argmax(1)" if one_hot else ""
