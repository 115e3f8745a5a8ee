"""Scores of a run's samples, or of any images, each with the protocol that made it.

    sngan evaluate --workdir=runs/cnn --protocol=paper --metrics=fid,kid
    sngan evaluate --workdir=runs/digits --extractor=classifier --num-fake=5000
    sngan evaluate --images=samples.npz --against=my/images --metrics=fid,prdc
    sngan evaluate --images=tfds:cifar10 --save-statistics=cifar10.npz

Images are a folder, an .npz or .npy, a data set (`digits`, `tfds:…`, `idx:…`), or, for FID, a
statistics file with `mu` and `sigma` (FILE.npz#mu if it also holds images). Prints a table and
appends one record per checkpoint to scores.jsonl (in the workdir; for images, in the current
folder). Get Inception's weights once with `sngan get-inception`. docs/metrics.md explains every
score and protocol.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say
from sngan_jax.data.crop import ALPHAS, FITS
from sngan_jax.data.image_set import CROPPED
from sngan_jax.data.sources import options_of
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import (
    SCORES,
    Side,
    append_record,
    count_of,
    export,
    of_images,
    of_samples,
    of_statistics,
    open_images,
    score,
    score_table,
)
from sngan_jax.metrics.extractor import Extractor
from sngan_jax.metrics.protocol import CONVENTIONS, FREE, Protocol, protocol_of
from sngan_jax.metrics.reference import is_statistics, without_key
from sngan_jax.metrics.resize import RESIZES
from sngan_jax.metrics.scores import (
    FEW,
    LESS_IS_BETTER,
    METRICS,
    check_metrics,
    check_names,
    default_metrics,
    needs_reference,
)
from sngan_jax.run.evaluation import best_of, recorded
from sngan_jax.run.restore import (
    GoneError,
    RestoredRun,
    at_iteration,
    check_classes,
    restore_run,
    saved_iterations,
)
from sngan_jax.run.validate import names_of
from sngan_jax.run.workdir import read_config
from sngan_jax.step.sampling import BN_MODES

from . import cli


def arguments(parser: cli.Parser) -> None:
    """The flags of `evaluate`."""
    parser.add_argument("--workdir", metavar="FOLDER", help="folder of a run, whose samples are "
                        "scored")
    parser.add_argument("--checkpoint", default="last", metavar="WHICH", help="last, best (by the "
                        "first metric), each, or an iteration (default: last)")
    parser.add_argument("--images", help="images to score, in place of a run's samples")
    parser.add_argument("--against", metavar="IMAGES",
                        help="images to compare with; for a run, its data by default")
    parser.add_argument("--images-split", default="train", metavar="SPLIT",
                        help="split of --images, such as train[:5000] (default: train)")
    parser.add_argument("--against-split", metavar="SPLIT",
                        help="split of the real images; otherwise the protocol's")
    parser.add_argument("--protocol", default=FREE, help="paper (10,000 real, 5,000 generated; IS "
                        "of 10 x 5,000), 50k, or free: the numbers below (default: free)")
    parser.add_argument("--num-real", type=cli.whole(), metavar="N",
                        help="free protocol: number of real images; 0: all")
    parser.add_argument("--num-fake", type=cli.whole(), metavar="N", help="free protocol: number "
                        "of generated images (5,000 from a run by default), or of those of "
                        "--images; 0: all")
    parser.add_argument("--splits", type=cli.whole(), metavar="N",
                        help="free protocol: parts of the Inception Score")
    parser.add_argument("--metrics", type=names_of, metavar="NAME,NAME", help="; ".join(
        f"of {kind}: {','.join(there)}" for kind, there in METRICS.items()))
    parser.add_argument("--extractor", type=cli.one_of(METRICS), default="inception",
                        metavar="|".join(METRICS), help="network that sees the images")
    parser.add_argument("--classifier-data", metavar="IMAGES", help="labelled set on which the "
                        "classifier is trained; otherwise the run's, or --against")
    parser.add_argument("--kid-subsets", type=cli.whole(1), default=100, metavar="N",
                        help="number of subsets that KID is averaged over (default: 100)")
    parser.add_argument("--kid-subset-size", type=cli.whole(2), default=1000, metavar="N",
                        help="images in each subset, or as many as there are (default: 1000)")
    parser.add_argument("--resize", type=cli.one_of(RESIZES), metavar="|".join(RESIZES),
                        help="how Inception's input is resized (default: tf1)")
    parser.add_argument("--convention", type=cli.one_of(CONVENTIONS), metavar="|".join(CONVENTIONS),
                        help="read and resize images as that program does: whole images, at their "
                        "own size")
    parser.add_argument("--alpha", type=cli.one_of(ALPHAS), metavar="|".join(ALPHAS),
                        help="background of transparent parts (default: the run's, or white)")
    parser.add_argument("--fit", type=cli.one_of(FITS), metavar="|".join(FITS), help="how a "
                        "picture is fitted to the images' aspect ratio (default: the run's, or "
                        "crop)")
    parser.add_argument("--bn-mode", type=cli.one_of(BN_MODES), metavar="|".join(BN_MODES),
                        help="batch norm's statistics in the generator; otherwise the config's")
    parser.add_argument("--ema", type=cli.one_of(("auto", "yes", "no")), default="auto",
                        metavar="auto|yes|no",
                        help="score the generator's moving average; auto: if the run has one")
    parser.add_argument("--seed", type=cli.seed, default=0,
                        help="seed for the latents, the choice of images and KID (default: 0)")
    parser.add_argument("--image-size", type=cli.whole(1), metavar="N", help="crop and resize "
                        "images to this side; otherwise as they are, or the run's")
    parser.add_argument("--image-width", type=cli.whole(1), metavar="N", help="width of the "
                        "images, if --image-size is their height only")
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder of prepared TFDS data sets")
    parser.add_argument("--batch-size", type=cli.whole(1), metavar="N",
                        help="images per device and call")
    parser.add_argument("--scores", metavar="FILE", help="file to which records are appended")
    parser.add_argument("--save-statistics", metavar="FILE.npz", help="write mean and covariance "
                        "of the real images (or of --images alone)")


def main(options: argparse.Namespace) -> None:
    """Checks every flag, then scores, prints and records."""
    metrics = options.metrics
    if metrics is not None:
        check_names(metrics, options.extractor)
    protocol = dataclasses.replace(
        protocol_of(options.protocol, options.num_real, options.num_fake, options.splits,
                    default_fake=5000 if options.workdir else 0),
        kid_subsets=options.kid_subsets, kid_subset_size=options.kid_subset_size,
        convention=options.convention or "")
    check_reading(options)
    if not (options.workdir or options.images):
        raise UserError("what to score is missing: give either --workdir of a run or --images")
    if options.workdir and options.images:
        raise UserError("give either --workdir of a run or --images, not both")
    for name, owner in (("checkpoint", "workdir"), ("ema", "workdir"), ("bn_mode", "workdir"),
                        ("images_split", "images")):
        if name in options.given and not getattr(options, owner):
            what = "a run (--workdir)" if owner == "workdir" else "--images"
            raise UserError(f"--{name.replace('_', '-')} is for {what}: leave it out")
    if options.workdir and options.image_size and options.extractor == "classifier":
        raise UserError(f"--image-size={options.image_size}: the classifier takes images of the "
                        "run's own size only: leave it out")
    if options.save_statistics and not options.save_statistics.endswith(".npz"):
        raise UserError(f"--save-statistics={options.save_statistics}: the file's name must end in "
                        ".npz")
    if options.workdir:
        of_run(Path(options.workdir), metrics, protocol, options)
    else:
        of_two(metrics, protocol, options)


def check_reading(options: argparse.Namespace) -> None:
    """UserError for a flag that contradicts another one."""
    if options.image_width and not options.image_size:
        raise UserError("--image-width needs --image-size, the height, which is missing")
    if not options.convention:
        return
    if options.extractor != "inception":
        raise UserError(f"--convention={options.convention} is for Inception, but --extractor "
                        f"is {options.extractor}: leave one of them out")
    for name in ("resize", "alpha", "fit", "image_size"):
        if getattr(options, name) is not None:
            raise UserError(f"--convention={options.convention} fixes how images are read and "
                            f"resized: leave --{name.replace('_', '-')} out, or the convention")


def reading_of(data: dict, options: argparse.Namespace) -> dict:
    """How images are read: as the run does, if there is one, with the flags' changes."""
    data = {**data, "data_dir": options.data_dir or data["data_dir"]}
    if options.convention:
        return {**data, "image_size": None, "own_sizes": True,
                "reading": CONVENTIONS[options.convention].reading}
    changes = {"fit": options.fit, "alpha": options.alpha}
    reading = data["reading"]._replace(**{k: v for k, v in changes.items() if v})
    if options.image_size:
        data["image_size"] = options.image_size, options.image_width or options.image_size
    return {**data, "reading": reading}


def allowed_metrics(spec: str, split: str, protocol: Protocol, extractor: str) -> list[str]:
    """The default scores; for a folder, those that its size allows."""
    name, is_file = resolved(spec)
    count = None if is_file or protocol.name != FREE else count_of(name, split)
    return default_metrics(extractor, count and min(count, protocol.num_real or count))


def of_run(workdir: Path, metrics: list[str] | None, protocol: Protocol,
           options: argparse.Namespace) -> None:
    """Scores one or several checkpoints of a run."""
    if metrics is None:
        trained = read_config(workdir)
        metrics = allowed_metrics(options.against or trained["dataset"], options.against_split
                                  or protocol.split or trained["split"], protocol,
                                  options.extractor)
    iterations, compared = chosen(workdir, options.checkpoint, metrics)
    run = restore_run(
        workdir, None if options.checkpoint in ("last", "each") else iterations[0])
    if options.checkpoint == "last":  # a run in training may have saved another one meanwhile
        iterations = [run.iteration]
    if options.ema == "yes" and run.state.generator.ema_params is None:
        raise UserError(f"--ema=yes, but {workdir} kept no moving average of its generator "
                        "(config.ema_decay is 0): leave the flag out")
    config = run.config
    if not options.against or (options.extractor == "classifier" and not options.classifier_data):
        check_classes(run)  # the labels of the run's own data are used
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
            run = run if iteration == run.iteration else at_iteration(run, workdir, iteration)
        except GoneError as error:
            say(f"warning: {error}: this checkpoint is skipped")
            continue
        records.append(scored(run, metrics, protocol, real, extractor, options))
        if options.checkpoint != "best":
            append_record(file, records[-1])
    if not records:
        raise UserError(f"every checkpoint of {workdir} that was to be scored has been removed "
                        "in the meantime: run the same command again")
    if options.checkpoint == "best":
        records = [{**best(records, metrics[0]), "best_of": compared, "best_by": metrics[0]}]
        append_record(file, records[0])
    show(records, file)


def chosen(workdir: Path, which: str, metrics: list[str]) -> tuple[list[int], list[int]]:
    """The iterations to score for --checkpoint, and those among which the best one is chosen.

    If the run recorded this metric during training, the best is chosen by those values.
    """
    saved = saved_iterations(workdir)
    match which:
        case "last":
            return saved[-1:], saved
        case "best" if metrics[0] not in LESS_IS_BETTER:
            raise UserError(f"--checkpoint=best goes by the first metric, but {metrics[0]} is not "
                            f"a single number: put one of {', '.join(LESS_IS_BETTER)} first")
        case "best" if scores := noted(workdir, saved, metrics[0]):
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
    return timed(score(metrics, real, fake, extractor, protocol, seed=options.seed), start)


def of_two(metrics: list[str] | None, protocol: Protocol, options: argparse.Namespace) -> None:
    """Scores images against images."""
    split = options.against_split or protocol.split or "train"
    if metrics is None:
        metrics = allowed_metrics(options.against or "", split, protocol, options.extractor)
    if not options.against and needs_reference(metrics) and not options.save_statistics:
        raise UserError("--against is missing: give what to compare --images with: a folder, an "
                        ".npz, a data set or a statistics file")
    data = reading_of({"image_size": None, "channels": None, "data_dir": None, "reading": CROPPED},
                      options)
    labelled = None
    if options.extractor == "classifier":
        labelled = ((options.classifier_data, "train") if options.classifier_data
                    else (options.against, split) if options.against
                    else (options.images, options.images_split))
    extractor = extractor_of(labelled, data, options)
    start = time.perf_counter()
    if not options.against and options.save_statistics:
        found = reference(options.images, options.images_split, data, ["fid"], protocol, extractor,
                          options, num=protocol.num_fake, name="images")
        print(f"{options.save_statistics}: mean and covariance of {found.about['n']:,} images")
        return
    name, is_file = resolved(options.images)
    if is_file:
        fake = of_statistics(Path(name), extractor)
        check_metrics(metrics, extractor, labels=False, statistics_only=True)
        if not needs_reference(metrics) or {"is", "cs", "classes"} & set(metrics):
            raise UserError(f"{', '.join(metrics)} cannot be computed from a statistics file: give "
                            "the images")
    else:
        images = open_images(name, split=options.images_split, **data)
        check_metrics(metrics, extractor, labels=bool(images.num_classes))
    real = None
    if needs_reference(metrics) or options.save_statistics:
        real = reference(options.against, split, data, metrics, protocol, extractor, options,
                         labels=is_file or images.num_classes > 0)
    if not is_file:
        scores = {"is", "cs", "classes"} & set(metrics)
        fake = of_images(images, options.images_split, protocol.num_fake, metrics, extractor,
                         num_logits=protocol.num_score if scores else 0, seed=options.seed,
                         cache=None if scores else cache_folder(), protocol=protocol.name)
    record = timed(score(metrics, real, fake, extractor, protocol, seed=options.seed), start)
    append_record(Path(options.scores or SCORES), record)
    show([record], Path(options.scores or SCORES))


def resolved(spec: str) -> tuple[str, bool]:
    """A spec for `data.load` from a plain path, and whether it is a statistics file.

    The name `digits` is always the data set: a folder of that name in the current folder is
    ./digits.
    """
    if spec == "digits":
        return spec, False
    kind, _, place = spec.partition(":")
    place = place if kind == "npz" else spec
    path = Path(place).expanduser()
    if spec and path.is_dir():
        return f"folder:{path}", False
    if is_statistics(place):
        return without_key(place), True
    if kind == "npz" or path.suffix.partition("#")[0] in (".npz", ".npy"):
        return f"npz:{place}", False
    return spec, False


def extractor_of(labelled: tuple[str, str] | None, data: dict, options: argparse.Namespace
                 ) -> Extractor:
    """The extractor that the flags name; a classifier is trained on the given data and split."""
    images = None
    if labelled:
        spec, is_file = resolved(labelled[0])
        if is_file:
            raise UserError(f"the classifier cannot be trained on the statistics file {spec}: give "
                            "a labelled set with --classifier-data")
        images = open_images(spec, split=labelled[1], **data)
    resize = (CONVENTIONS[options.convention].resize if options.convention
              else options.resize or "tf1")
    return make_extractor(options.extractor, images, resize=resize,
                          batch_size=options.batch_size)


def reference(spec: str, split: str, data: dict, metrics: list[str], protocol: Protocol,
              extractor: Extractor, options: argparse.Namespace, *, labels: bool = True,
              num: int | None = None, name: str = "real images") -> Side:
    """The side of the real images, written to a file if --save-statistics is given."""
    spec, is_file = resolved(spec)
    if is_file:
        check_metrics(metrics, extractor, labels=False, statistics_only=True)
        side = of_statistics(Path(spec), extractor)
    else:
        images = open_images(spec, split=split, **data)
        check_metrics(metrics, extractor, labels=labels and images.num_classes > 0)
        side = of_images(images, split, protocol.num_real if num is None else num, metrics,
                         extractor, seed=options.seed, cache=cache_folder(), protocol=protocol.name,
                         name=name)
    if options.save_statistics:
        export(Path(options.save_statistics), side.collected, side.about, extractor)
    return side


def timed(record: dict, start: float) -> dict:
    """Adds the seconds since `start`; the real images' statistics may come from the cache."""
    return {**record, "seconds": round(time.perf_counter() - start, 1), "command": sys.argv[1:]}


def show(records: list[dict], file: Path) -> None:
    """Prints records, and names the file that holds them."""
    extractor = records[0]["extractor"]
    print(score_table(records))
    print(f"{extractor}, checksum {records[0]['checksum']}"
          + (f", resize {records[0]['resize']}" if records[0]["resize"] else "")
          + (f", as {records[0]['convention']}" if "convention" in records[0] else "")
          + f"; recorded in {file}")
    for sentence in warnings(records[0]):
        say(f"warning: {sentence}")
    if len(records) == 1:
        print(json.dumps(records[0]["scores"]))


def warnings(record: dict) -> Iterator[str]:
    """Warnings about an FID of few images, and about statistics from other programs."""
    sides = [side for side in (record["fake"], record["real"]) if side]
    fewest = min((side["n"] for side in sides if isinstance(side["n"], int)), default=FEW)
    if "fid" in record["scores"] and fewest < FEW:
        why = ", fewer than its 2,048 dimensions," if fewest <= 2048 else ""
        halves = record["scores"].get("fid_halves")
        yield (f"an FID of {fewest:,} images{why} is biased upwards"
               + (f" (two halves of the real images are {halves:.4g} apart)" if halves else "")
               + ": compare it only with others of as many images")
    for side in sides:
        if side.get("unknown"):
            yield (f"{side['statistics']} does not say its {', '.join(side['unknown'])}: it is "
                   f"assumed to be of {record['extractor']} with the resize {record['resize']}; "
                   "otherwise the score is wrong")


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "evaluate"))
