"""All scores of two sets of images, from one pass over the features of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.shapes import Float, Integer
from sngan_jax.base.types import JsonObject
from sngan_jax.metrics.extractor import Collected, Extractor
from sngan_jax.metrics.frechet import frechet_distance, moments
from sngan_jax.metrics.inception_score import Score, inception_score
from sngan_jax.metrics.kid import kernel_distance
from sngan_jax.metrics.prdc import prdc

T = TypeVar("T")

# Scores by extractor. A classifier's scores have other names, because they are not FID or IS.
METRICS = {"inception": ("fid", "is", "kid", "prdc", "intra_fid", "fid_halves"),
           "classifier": ("fcd", "cs", "kcd", "prdc", "intra_fcd", "fcd_halves", "classes")}
# Scores that need every feature vector, and scores that use only the generated images' logits.
NEED_FEATURES = {"kid", "kcd", "prdc", "intra_fid", "intra_fcd", "fid_halves", "fcd_halves"}
NEED_LOGITS = {"is", "cs", "classes"}
# Scores where lower is better; used to choose the best of several checkpoints.
LESS_IS_BETTER = {"fid": True, "kid": True, "intra_fid": True, "fcd": True, "kcd": True,
                  "intra_fcd": True, "is": False, "cs": False}
# The default scores. With few images a Fréchet distance is mostly bias. KID, which has none, and
# precision and recall then come first, and the distance between two halves of the real images shows
# how large that bias is.
_USUAL = {"inception": ("fid",), "classifier": ("fcd", "cs", "classes")}
_OF_FEW = {"inception": ("kid", "prdc", "fid", "fid_halves"),
           "classifier": ("kcd", "prdc", "fcd", "fcd_halves", "cs", "classes")}
FEW = 10_000


def default_metrics(family: str, num_real: int | None) -> list[str]:
    """The scores that make sense for this many real images; None: an unknown number, or enough."""
    few = num_real is not None and num_real < FEW
    return list((_OF_FEW if few else _USUAL)[family])



def keeps_features(metrics: Iterable[str]) -> bool:
    """Whether every feature vector must be kept, and not only the moments."""
    return not NEED_FEATURES.isdisjoint(metrics)


def needs_reference(metrics: Iterable[str]) -> bool:
    """Whether a score compares two sets, rather than describing the first one alone."""
    return not NEED_LOGITS.issuperset(metrics)


def check_names(metrics: Sequence[str], family: str) -> None:
    """UserError for a score that does not exist with an extractor of this family."""
    there = METRICS[family]
    if not metrics:
        raise UserError(f"no metric is named: choose from {', '.join(there)}")
    for name in metrics:
        if name not in there:
            raise UserError(f"there is no metric {name!r} with the extractor {family}: its metrics "
                            f"are {', '.join(there)}")


def check_metrics(metrics: Sequence[str], extractor: Extractor, *, labels: bool,
                  statistics_only: bool = False) -> None:
    """UserError for a score that cannot be computed, before any image is read.

    Args:
      labels: whether both sets have class labels.
      statistics_only: whether one of them has no more than a mean and a covariance.
    """
    check_names(metrics, extractor.family)
    if "is" in metrics and not extractor.num_classes:
        raise UserError("the Inception Score needs the network's head, which these weights of "
                        f"{extractor.name} (checksum {extractor.checksum}) lack: get pytorch-fid's "
                        "file and run sngan get-inception --file=…, or leave 'is' "
                        "out")
    for name in ("intra_fid", "intra_fcd"):
        if name in metrics and not labels:
            raise UserError(f"{name} is a distance for each class, but one of the two sets has no "
                            "labels: use a conditional run and a labelled set, or leave it out")
    if statistics_only and keeps_features(metrics):
        raise UserError(f"{', '.join(m for m in metrics if m in NEED_FEATURES)} cannot be "
                        "computed from a statistics file, which holds only a mean and a "
                        "covariance: give the images, or leave it out")


class Sides(NamedTuple):
    """Inputs of a score: the arguments of `compute`.

    real_labels: int (n,); fake_labels: int (m,); either is None if there are none.
    """

    real: Collected | None
    fake: Collected
    real_labels: np.ndarray | None
    fake_labels: np.ndarray | None
    splits: int
    seed: int
    kid_subsets: int = 100
    kid_subset_size: int = 1000


def compute(metrics: Sequence[str], real: Collected | None, fake: Collected, *,
            real_labels: np.ndarray | None = None, fake_labels: np.ndarray | None = None,
            splits: int = 10, seed: int = 0, kid_subsets: int = 100,
            kid_subset_size: int = 1000) -> JsonObject:
    """The scores of `fake` against `real`, by name; those with an error have a second entry.

    Args:
      metrics: checked by `check_metrics`.
      real: its features are needed if `keeps_features(metrics)`; may be None unless
        `needs_reference(metrics)`.
      fake: the same; its logits are needed for 'is', 'cs' and 'classes'.
      real_labels: int (n,), for 'intra_fid'.
      fake_labels: int (m,), for 'intra_fid'; also for 'classes', to count the classifier's
        agreement.
      splits: number of splits of the Inception Score.
      seed: seed of KID's subsets, and of the halves.
      kid_subsets, kid_subset_size: as for `kid.kernel_distance`.

    Raises:
      UserError: for a class with fewer than two images, or fewer images than splits or neighbours.
    """
    sides = Sides(real, fake, real_labels, fake_labels, splits, seed, kid_subsets,
                  kid_subset_size)
    scores: JsonObject = {}
    for metric in metrics:
        try:
            scores |= COMPUTED[metric](metric, sides)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"too few images: {error}") from error
    return scores


def _there(value: T | None) -> T:
    """A value that `check_metrics` has guaranteed."""
    assert value is not None
    return value


def classes(logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " m"] | None
            ) -> JsonObject:
    """The share of images that a classifier gives to each class, and how often it agrees.

    Args:
      logits: outputs of the classifier, a row for each image.
      labels: the classes requested for the first m images; or None.
    """
    drawn = logits.argmax(1)
    result: JsonObject = {
        "class_share": (np.bincount(drawn, minlength=logits.shape[1]) / len(drawn)).tolist()}
    if labels is not None:
        result["class_agreement"] = float(np.mean(drawn[:len(labels)] == labels))
    return result


def intra_fid(real: Float[np.ndarray, "n d"], real_labels: Integer[np.ndarray, " n"],
              fake: Float[np.ndarray, "m d"], fake_labels: Integer[np.ndarray, " m"]
              ) -> dict[int, float]:
    """The Fréchet distance of each class among the reals (Miyato & Koyama 2018).

    Args:
      real, fake: features.
      real_labels, fake_labels: the classes of the images.

    Raises:
      UserError: for a class of the reals with fewer than two images in either set.
    """
    distances = {}
    for label in np.unique(real_labels):
        a, b = real[real_labels == label], fake[fake_labels == label]
        if min(len(a), len(b)) < 2:
            raise UserError(f"class {label} has {len(a)} real and {len(b)} generated images, but "
                            "the distance of a class needs at least 2 of each: use more images")
        distances[int(label)] = frechet_distance(moments(a), moments(b))
    return distances


def _features(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    return _there(_there(sides.real).features), _there(sides.fake.features)


def _fid(name: str, sides: Sides) -> dict[str, float]:
    return {name: frechet_distance(_there(sides.real).moments, sides.fake.moments)}


def _halves(name: str, sides: Sides) -> dict[str, float]:
    real = _features(sides)[0]
    order = np.random.default_rng(sides.seed).permutation(len(real))
    half = len(real) // 2
    return {name: frechet_distance(moments(real[order[:half]]), moments(real[order[half:]]))}


def _with_deviation(name: str, score: Score) -> dict[str, float]:
    return {name: score.value, f"{name}_std": score.deviation}


def _inception_score(name: str, sides: Sides) -> dict[str, float]:
    return _with_deviation(name, inception_score(_there(sides.fake.logits), sides.splits))


def _kid(name: str, sides: Sides) -> dict[str, float]:
    return _with_deviation(name, kernel_distance(
        *_features(sides), subsets=sides.kid_subsets, subset_size=sides.kid_subset_size,
        seed=sides.seed))


def _prdc(name: str, sides: Sides) -> dict[str, float]:
    return prdc(*_features(sides))._asdict()


def _intra_fid(name: str, sides: Sides) -> JsonObject:
    real, fake = _features(sides)
    of_class = intra_fid(real, _there(sides.real_labels), fake, _there(sides.fake_labels))
    return {name: float(np.mean(list(of_class.values()))), f"{name}_of_class": of_class}


def _classes(name: str, sides: Sides) -> JsonObject:
    return classes(_there(sides.fake.logits), sides.fake_labels)


# {name: function of the name and both sides -> entries of the record}. ValueError: too few images.
COMPUTED: dict[str, Callable[[str, Sides], Mapping[str, object]]] = {
    "fid": _fid, "is": _inception_score, "kid": _kid, "prdc": _prdc, "intra_fid": _intra_fid,
    "fid_halves": _halves, "fcd_halves": _halves,
    # The same with a classifier's features, which give other numbers.
    "fcd": _fid, "cs": _inception_score, "kcd": _kid, "intra_fcd": _intra_fid, "classes": _classes,
}
