"""Scores of a run during training."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import write_text
from sngan_jax.base.types import JsonObject
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import (
    SCORES,
    append_record,
    chosen_rows,
    of_images,
    of_samples,
    score,
)
from sngan_jax.metrics.extractor import Extractor, check_features
from sngan_jax.metrics.protocol import Protocol, protocol_of
from sngan_jax.metrics.scores import LESS_IS_BETTER, check_metrics, keeps_features
from sngan_jax.run import distributed
from sngan_jax.run.validate import names_of
from sngan_jax.run.workdir import read_lines
from sngan_jax.step.state import GeneratorState

Evaluation = Callable[[GeneratorState, int, int], JsonObject]


def extractor_of_run(config: ConfigDict, images: ImageSet | ImageStream) -> Extractor:
    """The extractor of a run's scores, which may have to be trained on the run's images.

    Several processes must make the same call. All get the first one's extractor: training is not
    deterministic on a GPU, and features of different classifiers would be mixed.

    Raises:
      UserError: for missing weights or labels, or a score that cannot be computed for this run.
    """
    metrics = names_of(config.evaluate_metrics)
    extractor = make_extractor(config.evaluate_extractor, images)
    check_metrics(metrics, extractor, labels=config.conditional and bool(images.num_classes))
    protocol = _protocol(config, images)
    check_features(extractor, protocol.fakes_for(metrics), keeps_features(metrics),
                   "samples (config.evaluate_images)")
    per_class = config.evaluate_images // max(1, images.num_classes)
    for names, enough, least in (
            ({"is", "cs"}, protocol.num_score >= protocol.splits, f"{protocol.splits} samples"),
            ({"prdc"}, min(protocol.num_real, protocol.num_fake) > 5, "6 real images and samples"),
            ({"fid_halves", "fcd_halves"}, protocol.num_real >= 4, "4 real images"),
            ({"intra_fid", "intra_fcd"}, min(per_class, _rarest(images, protocol)) >= 2,
             "2 real images and samples of each class")):
        if names & set(metrics) and not enough:
            raise UserError(f"config.evaluate_images = {config.evaluate_images} of {len(images):,} "
                            f"images is too few for {', '.join(names & set(metrics))}, which needs "
                            f"at least {least}")
    distributed.agree({"number of the extractor's logits": extractor.num_classes})
    return dataclasses.replace(extractor, params=distributed.from_first(extractor.params))


def _rarest(images: ImageSet | ImageStream, protocol: Protocol) -> int:
    """The number of the chosen real images in the rarest of their classes; 2 if it is unknown."""
    if not isinstance(images, ImageSet) or images.labels is None:
        return 2
    chosen = images.labels[chosen_rows(len(images), protocol.num_real)]
    return int(np.unique(chosen, return_counts=True)[1].min())


def _protocol(config: ConfigDict, images: ImageSet | ImageStream) -> Protocol:
    return protocol_of("free", min(config.evaluate_images, len(images)), config.evaluate_images)


def make_evaluation(config: ConfigDict, workdir: Path, generator: nn.Module,
                    images: ImageSet | ImageStream, first_iteration: int,
                    extractor: Extractor | None = None) -> Evaluation | None:
    """Function of (generator state, iteration, number of replaced images) that computes scores,
    records them, and returns the record.

    The real images are the run's own: `config.evaluate_images` of them, or all if there are fewer.
    Their features are computed here, before training; a stream's again at every start.

    Args:
      first_iteration: iteration from which the run resumes; later records are dropped.
      extractor: the result of `extractor_of_run`, if already made.

    Returns:
      None if `config.evaluate_every` is 0.

    Raises:
      UserError: as for `extractor_of_run`.
    """
    if not config.evaluate_every:
        return None
    metrics, protocol = names_of(config.evaluate_metrics), _protocol(config, images)
    extractor = extractor or extractor_of_run(config, images)
    # Several processes share the work, so none may take the result from a cache instead. The
    # fingerprint of a stream in training tells names and sizes only, which other images can share.
    alone = jax.process_count() == 1 and isinstance(images, ImageSet)
    cache = cache_folder() if alone else None
    real = of_images(images, config.split, protocol.num_real, metrics, extractor,
                     cache=cache, name="real images")
    _drop_later(workdir, first_iteration)

    def evaluate(state: GeneratorState, iteration: int, replaced: int) -> JsonObject:
        fake = of_samples(generator, state, config, protocol, metrics, extractor,
                          iteration=iteration, replaced=replaced)
        record = {**score(metrics, real, fake, extractor, protocol), "while_training": True}
        append_record(workdir / SCORES, record)
        return record

    return evaluate


def read_scores(workdir: Path) -> list[JsonObject]:
    """Score records of a run, including records by `sngan evaluate`."""
    return read_lines(workdir / SCORES, _is_record)


def _is_record(record: JsonObject) -> bool:
    """Whether a value has the fields of a record; may raise KeyError or TypeError if not."""
    fake = record["fake"]
    return (isinstance(record["scores"], dict) and isinstance(fake, dict)
            and isinstance(fake["iteration"] if record.get("while_training") else 0, int))


def recorded(workdir: Path, metric: str) -> dict[int, float]:
    """The finite scores recorded during training: {iteration: value of a metric}."""
    return {record["fake"]["iteration"]: record["scores"][metric]
            for record in read_scores(workdir)
            if record.get("while_training") and isinstance(record["scores"].get(metric), float)
            and math.isfinite(record["scores"][metric])}


def is_recorded(workdir: Path, iteration: int) -> bool:
    """Whether a run has recorded scores of an iteration during training."""
    return any(record.get("while_training") and record["fake"]["iteration"] == iteration
               for record in read_scores(workdir))


def best_of(scores: dict[int, float], metric: str, among: Iterable[int]) -> int | None:
    """The iteration with the best score; None if none of `among` has one."""
    sign = 1 if LESS_IS_BETTER.get(metric, True) else -1
    return min((i for i in among if i in scores), key=lambda i: (sign * scores[i], i),
               default=None)


def _drop_later(workdir: Path, iteration: int) -> None:
    """Removes records of iterations after `iteration`, which a resumed run repeats."""
    if not (workdir / SCORES).is_file():
        return
    kept = [json.dumps(record) + "\n" for record in read_scores(workdir)
            if not record.get("while_training") or record["fake"]["iteration"] <= iteration]
    write_text(workdir / SCORES, "".join(kept))
