"""Scores of a run's checkpoints: which ones, and how the best is chosen."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say
from sngan_jax.data.sources import options_of
from sngan_jax.metrics.evaluate import SCORES, Side, of_samples, score
from sngan_jax.metrics.extractor import Extractor
from sngan_jax.metrics.protocol import Protocol
from sngan_jax.metrics.scores import LESS_IS_BETTER, needs_reference
from sngan_jax.run.evaluation import best_of, recorded
from sngan_jax.run.restore import (
    GoneError,
    RestoredRun,
    at_iteration,
    check_classes,
    restore_run,
    saved_iterations,
)
from sngan_jax.run.workdir import read_config

from .printing import keep, show, timed
from .sides import (
    allowed_metrics,
    check_same_classes,
    extractor_of,
    reading_of,
    reference,
)

# Flags that do not change what a score measures: with others, it is not the one of training.
_SAME = {"workdir", "checkpoint", "metrics", "extractor", "scores", "batch_size", "data_dir",
         "save_statistics"}


def of_run(workdir: Path, metrics: list[str] | None, protocol: Protocol,
           options: argparse.Namespace) -> None:
    """Scores one or several checkpoints of a run."""
    if metrics is None:
        trained = read_config(workdir)
        metrics = allowed_metrics(options.against or trained["dataset"], options.against_split
                                  or protocol.split or trained["split"], protocol,
                                  options.extractor)
    iterations, compared = chosen(workdir, options.checkpoint, metrics,
                                  as_in_training=_SAME.issuperset(options.given))
    several = options.checkpoint == "each" or len(iterations) > 1
    run = restore_run(workdir, iterations[0] if not several and options.checkpoint != "last"
                      else None)
    # A run in training may have saved another one meanwhile.
    if several:
        iterations = sorted({*iterations, run.iteration})
    elif options.checkpoint == "last":
        iterations = [run.iteration]
    if options.ema == "yes" and run.state.generator.ema_params is None:
        raise UserError(f"--ema=yes, but {workdir} kept no moving average of its generator "
                        "(config.ema_decay is 0): leave the flag out")
    config = run.config
    if not options.against or (options.extractor == "classifier" and not options.classifier_data):
        check_classes(run)  # the labels of the run's own data are used
    check_same_classes(metrics, str(workdir), run.class_names, options)
    data = reading_of({"channels": run.channels, **options_of(config)}, options)
    # The run's own images are read as the run reads them.
    own = {**data, "skip_bad": config.on_bad_image == "skip"} if data["image_size"] else data
    labelled = (options.classifier_data or config.dataset, config.split) if (
        options.extractor == "classifier") else None
    extractor = extractor_of(labelled, data if options.classifier_data else own, options)
    real = None
    if needs_reference(metrics) or options.save_statistics:
        real = reference(options.against or config.dataset,
                         options.against_split or protocol.split or config.split,
                         data if options.against else own, metrics, protocol, extractor, options,
                         labels=run.num_classes > 0)
    if protocol.fakes_for(metrics) < 1:
        raise UserError("--num-fake is 0: a generator can make any number of images, so choose a "
                        "number")
    records, file = [], Path(options.scores or workdir / SCORES)
    for iteration in iterations:
        try:
            at = run if iteration == run.iteration else at_iteration(run, workdir, iteration)
        except GoneError as error:
            say(f"warning: {error}: this checkpoint is skipped")
            continue
        records.append(scored(at, metrics, protocol, real, extractor, options))
        if options.checkpoint != "best":
            keep(records, file)
    if options.checkpoint == "best":
        compared = [record["fake"]["iteration"] for record in records] if several else compared
        records = [{**best(records, metrics[0]), "best_of": compared, "best_by": metrics[0]}]
        keep(records, file)
    show(records, file)


def chosen(workdir: Path, which: str, metrics: list[str], *, as_in_training: bool
           ) -> tuple[list[int], list[int]]:
    """The iterations to score for --checkpoint, and those among which the best one is chosen.

    With `as_in_training`, the best is chosen by the values that the run recorded for this metric
    during training, if there are any.
    """
    saved = saved_iterations(workdir)
    match which:
        case "last":
            return saved[-1:], saved
        case "best" if metrics[0] not in LESS_IS_BETTER:
            raise UserError(f"--checkpoint=best goes by the first metric, but {metrics[0]} is not "
                            f"a single number: put one of {', '.join(LESS_IS_BETTER)} first")
        case "best" if as_in_training and (scores := noted(workdir, saved, metrics[0])):
            return [best_of(scores, metrics[0], scores)], sorted(scores)
        case "best" | "each":
            return saved, saved
        case text if text.isdecimal() and int(text) in saved:
            return [int(text)], saved
    raise UserError(f"--checkpoint is {which!r}: expected last, best, each, or one of "
                    f"the iterations {', '.join(map(str, saved))}")


def noted(workdir: Path, saved: list[int], metric: str) -> dict[int, float]:
    """The scores that the run recorded for its saved iterations."""
    return {i: score for i, score in recorded(workdir, metric).items() if i in saved}


def best(records: list[dict], metric: str) -> dict:
    """The record of the best checkpoint by one metric."""
    sign = 1 if LESS_IS_BETTER[metric] else -1
    return min(records, key=lambda record: sign * record["scores"][metric])


def scored(run: RestoredRun, metrics: list[str], protocol: Protocol, real: Side | None,
           extractor: Extractor, options: argparse.Namespace) -> dict:
    """The record of a checkpoint."""
    start = time.perf_counter()
    fake = of_samples(run.generator, run.state.generator, run.config, protocol, metrics, extractor,
                      ema={"auto": None, "yes": True, "no": False}[options.ema],
                      bn_mode=options.bn_mode, seed=options.seed, iteration=run.iteration,
                      replaced=run.replaced_images)
    return timed(score(metrics, real, fake, extractor, protocol, seed=options.seed), start, options)
