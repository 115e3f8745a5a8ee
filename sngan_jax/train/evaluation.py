"""Scores of a run while it trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from sngan_jax.cache import cache_folder
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import SCORES, append_record, of_images, of_samples, score
from sngan_jax.metrics.protocol import protocol_of
from sngan_jax.metrics.scores import check_metrics
from sngan_jax.train.state import GeneratorState
from sngan_jax.train.validate import names_of
from sngan_jax.train.workdir import write_text

Evaluation = Callable[[GeneratorState, int], dict[str, Any]]


def make_evaluation(config: Any, workdir: Path, generator: nn.Module,
                    images: ImageSet | ImageStream, first_iteration: int) -> Evaluation | None:
    """A function of (generator's state, iteration) that scores, records and returns the record.

    The real images are the run's own, `config.evaluate_images` of them or all where there are
    fewer; their features are taken here, once, before the training.

    Args:
      first_iteration: of the state that the run goes on from; later records are dropped.

    Returns:
      None where `config.evaluate_every` is 0.

    Raises:
      UserError: no weights, no labels, or a score that cannot be computed of this run.
    """
    if not config.evaluate_every:
        return None
    metrics = names_of(config.evaluate_metrics)
    extractor = make_extractor(config.evaluate_extractor, images)
    check_metrics(metrics, extractor,
                  labels=bool(generator.num_classes) and bool(images.num_classes))
    protocol = protocol_of("free", min(config.evaluate_images, len(images)),
                           config.evaluate_images)
    # Several processes share the work, so none may find it done.
    cache = cache_folder() if jax.process_count() == 1 else None
    real = of_images(images, config.split, protocol.num_real, metrics, extractor,
                     cache=cache, name="real images")
    file = workdir / SCORES
    _drop_later(file, first_iteration)

    def evaluate(state: GeneratorState, iteration: int) -> dict[str, Any]:
        fake = of_samples(generator, state, config, protocol, metrics, extractor,
                          iteration=iteration)
        record = {**score(metrics, real, fake, extractor, protocol), "while_training": True}
        append_record(file, record)
        return record

    return evaluate


def _drop_later(file: Path, iteration: int) -> None:
    """Takes out what a run that was cut off had recorded of iterations that are done again."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # cut off
            continue
        if not record.get("while_training") or record["fake"]["iteration"] <= iteration:
            kept.append(line + "\n")
    write_text(file, "".join(kept))
