"""All scores of two sets of images from one pass over the features of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sngan_jax.errors import UserError
from sngan_jax.metrics.extractor import Collected, Extractor
from sngan_jax.metrics.frechet import frechet_distance, moments
from sngan_jax.metrics.inception_score import inception_score
from sngan_jax.metrics.kid import kernel_distance
from sngan_jax.metrics.prdc import prdc

# Scores by name; 'intra_fid' needs the labels of both sets.
METRICS = ("fid", "is", "kid", "prdc", "intra_fid")
_NEED_FEATURES = {"kid", "prdc", "intra_fid"}


def keeps_features(metrics: Iterable[str]) -> bool:
    """Whether every feature vector must be kept, and not the moments only."""
    return not _NEED_FEATURES.isdisjoint(metrics)


def check_metrics(metrics: Sequence[str], extractor: Extractor, *, labels: bool,
                  statistics_only: bool = False) -> None:
    """UserError for a score that cannot be computed; before any image is looked at.

    Args:
      labels: whether both sets have class labels.
      statistics_only: whether of one of them there is no more than mean and covariance.
    """
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"there is no metric {name!r}: the metrics are {', '.join(METRICS)}")
    if not metrics:
        raise UserError(f"no metric is named: take some of {', '.join(METRICS)}")
    if "is" in metrics and not extractor.num_classes:
        raise UserError("the Inception Score needs the network's head, which these weights of "
                        f"{extractor.name} (checksum {extractor.checksum}) lack: get pytorch-fid's "
                        "file and run python -m experiments.get_inception --file=…, or leave 'is' "
                        "out")
    if "intra_fid" in metrics and not labels:
        raise UserError("intra_fid is a distance for each class, and one of the two sets has no "
                        "labels: use a conditional run and a labelled set, or leave it out")
    if statistics_only and keeps_features(metrics):
        raise UserError(f"{', '.join(m for m in metrics if m in _NEED_FEATURES)} cannot be "
                        "computed from a statistics file, which holds a mean and a covariance "
                        "only: give the images, or leave it out")


def compute(metrics: Sequence[str], real: Collected, fake: Collected, *,
            real_labels: np.ndarray | None = None, fake_labels: np.ndarray | None = None,
            splits: int = 10, seed: int = 0) -> dict[str, Any]:
    """The scores of `fake` against `real`, by name; those with an error have a second entry.

    Args:
      metrics: checked by `check_metrics`.
      real: with features where `keeps_features(metrics)`.
      fake: the same; with logits for 'is'.
      real_labels: int (n,), for 'intra_fid'.
      fake_labels: int (m,), the same.
      splits: of the Inception Score.
      seed: of KID's subsets.

    Raises:
      UserError: a class with fewer than two images; fewer images than splits or neighbours.
    """
    scores: dict[str, Any] = {}
    try:
        if "fid" in metrics:
            scores["fid"] = frechet_distance(real.moments, fake.moments)
        if "is" in metrics:
            scores["is"], scores["is_std"] = inception_score(fake.logits, splits)
        if "kid" in metrics:
            scores["kid"], scores["kid_std"] = kernel_distance(real.features, fake.features,
                                                               seed=seed)
        if "prdc" in metrics:
            scores |= prdc(real.features, fake.features)._asdict()
    except ValueError as error:
        raise UserError(f"too few images: {error}") from error
    if "intra_fid" in metrics:
        of_class = intra_fid(real.features, real_labels, fake.features, fake_labels)
        scores["intra_fid"] = float(np.mean(list(of_class.values())))
        scores["intra_fid_of_class"] = of_class
    return scores


def intra_fid(real: np.ndarray, real_labels: np.ndarray, fake: np.ndarray,
              fake_labels: np.ndarray) -> dict[int, float]:
    """Fréchet distance of each class that is among the reals (Miyato & Koyama 2018).

    Args:
      real: features (n, d).
      real_labels: int (n,).
      fake: features (m, d).
      fake_labels: int (m,).

    Raises:
      UserError: a class of the reals with fewer than two images in either set.
    """
    distances = {}
    for label in np.unique(real_labels):
        a, b = real[real_labels == label], fake[fake_labels == label]
        if min(len(a), len(b)) < 2:
            raise UserError(f"class {label} has {len(a)} real and {len(b)} generated images, and "
                            "intra_fid needs at least 2 of each: take more images")
        distances[int(label)] = frechet_distance(moments(a), moments(b))
    return distances
