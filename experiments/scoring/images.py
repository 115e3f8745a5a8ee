"""Scores of images against images, without a run."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import CROPPED
from sngan_jax.metrics.evaluate import (
    SCORES,
    of_images,
    of_statistics,
    open_images,
    score,
)
from sngan_jax.metrics.protocol import Protocol
from sngan_jax.metrics.scores import METRICS, check_metrics, needs_reference

from .printing import keep, show, timed
from .sides import (
    allowed_metrics,
    check_same_classes,
    extractor_of,
    reading_of,
    reference,
    resolved,
)


def of_two(metrics: list[str] | None, protocol: Protocol, options: argparse.Namespace) -> None:
    """Scores images against images."""
    split = options.against_split or protocol.split or "train"
    if metrics is None and resolved(options.images)[1]:
        metrics = [METRICS[options.extractor][0]]
    elif metrics is None:
        metrics = allowed_metrics(options.against or "", split, protocol, options.extractor)
    elif options.save_statistics and not options.against:
        raise UserError("--save-statistics of --images alone computes no score: leave --metrics "
                        "out, or give --against")
    if not options.against and needs_reference(metrics) and not options.save_statistics:
        raise UserError("--against is missing: give what to compare --images with: a folder, an "
                        ".npz, a data set or a statistics file")
    check_same_classes(metrics, options.images, None, options)
    data = reading_of({"image_size": None, "channels": None, "data_dir": None, "reading": CROPPED},
                      options)
    name, is_file = resolved(options.images)
    images = None if is_file else open_images(name, split=options.images_split, **data)
    labelled = None
    if options.extractor == "classifier":
        labelled = ((options.classifier_data, "train") if options.classifier_data
                    else (options.against, split) if options.against
                    else (options.images, options.images_split))
    extractor = extractor_of(labelled, data, options)
    start = time.perf_counter()
    if not options.against and options.save_statistics:
        found = reference(options.images, options.images_split, data,
                          [METRICS[options.extractor][0]], protocol, extractor, options,
                          num=protocol.num_fake, name="images")
        print(f"{options.save_statistics}: mean and covariance of {found.about['n']:,} images")
        return
    if images is None:
        fake = of_statistics(Path(name), extractor)
        check_metrics(metrics, extractor, labels=False, statistics_only=True)
        if not needs_reference(metrics) or {"is", "cs", "classes"} & set(metrics):
            raise UserError(f"{', '.join(metrics)} cannot be computed from a statistics file: give "
                            "the images")
    else:
        check_metrics(metrics, extractor, labels=bool(images.num_classes))
    real = None
    if needs_reference(metrics) or options.save_statistics:
        real = reference(options.against, split, data, metrics, protocol, extractor, options,
                         labels=images is None or images.num_classes > 0)
    if images is not None:
        scores = {"is", "cs", "classes"} & set(metrics)
        fake = of_images(images, options.images_split, protocol.num_fake, metrics, extractor,
                         num_logits=protocol.num_score if {"is", "cs"} & scores else 0,
                         seed=options.seed,
                         cache=None if scores else cache_folder(), protocol=protocol.name)
    record = timed(score(metrics, real, fake, extractor, protocol, seed=options.seed), start,
                   options)
    file = Path(options.scores or SCORES)
    keep([record], file)
    show([record], file)
