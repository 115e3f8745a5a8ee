"""Scores of a run's samples, or of any images, each with the protocol that made it.

    python -m experiments.evaluate --workdir=runs/cnn --protocol=paper --metrics=fid,kid
    python -m experiments.evaluate --workdir=runs/digits --extractor=classifier --num_fake=5000
    python -m experiments.evaluate --images=samples.npz --against=my/images --metrics=fid,prdc
    python -m experiments.evaluate --images=tfds:cifar10 --save_statistics=cifar10.npz

Images are a folder, an .npz, a data set (`digits`, `tfds:…`, `idx:…`), or, for FID, a statistics
file with `mu` and `sigma`. Prints a table and appends a record a checkpoint to scores.jsonl (in the
workdir; of images, in the current folder). Inception's weights are got once by
`python -m experiments.get_inception`. docs/metrics.md explains every score and protocol.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from absl import flags

from experiments import cli
from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import (
    SCORES,
    Side,
    append_record,
    export,
    of_images,
    of_samples,
    of_statistics,
    open_images,
    score,
    score_table,
)
from sngan_jax.metrics.extractor import Extractor
from sngan_jax.metrics.protocol import FREE, Protocol, protocol_of
from sngan_jax.metrics.reference import is_statistics
from sngan_jax.metrics.resize import RESIZES
from sngan_jax.metrics.scores import (
    LESS_IS_BETTER,
    METRICS,
    check_metrics,
    check_names,
    needs_reference,
)
from sngan_jax.run.evaluation import best_of, recorded
from sngan_jax.run.restore import RestoredRun, at_iteration, restore_run, saved_iterations
from sngan_jax.run.validate import names_of
from sngan_jax.step.sampling import BN_MODES

WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run, whose samples are scored.")
CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "last, best (by the first metric), each, or "
                                 "an iteration.")
IMAGES = flags.DEFINE_string("images", None, "Images to score, in place of a run's samples.")
AGAINST = flags.DEFINE_string("against", None, "What they are compared with; of a run, its data.")
IMAGES_SPLIT = flags.DEFINE_string("images_split", "train", "Of --images, as train[:5000].")
AGAINST_SPLIT = flags.DEFINE_string("against_split", None, "Of the real images; otherwise the "
                                    "protocol's.")
PROTOCOL = flags.DEFINE_string("protocol", FREE, "paper (10,000 real, 5,000 generated; IS of 10 x "
                               "5,000), 50k, or free: the numbers below.")
NUM_REAL = flags.DEFINE_integer("num_real", None, "Free protocol: real images; 0 is all.")
NUM_FAKE = flags.DEFINE_integer("num_fake", None, "Free protocol: generated images (of a run 5,000 "
                                "unless given) or those of --images; 0 is all.")
SPLITS = flags.DEFINE_integer("splits", None, "Free protocol: parts of the Inception Score.")
METRIC = flags.DEFINE_string("metrics", None, "With commas: " + "; ".join(
    f"{kind}: {','.join(names)}" for kind, names in METRICS.items()))
EXTRACTOR = flags.DEFINE_enum("extractor", "inception", list(METRICS), "What sees the images.")
CLASSES = flags.DEFINE_string("classifier_data", None, "The labelled set that the classifier is "
                              "trained on; otherwise the run's, or --against.")
RESIZE = flags.DEFINE_enum("resize", "tf1", list(RESIZES), "How Inception's input is enlarged.")
BN_MODE = flags.DEFINE_enum("bn_mode", None, list(BN_MODES), "Batch norm's statistics in the "
                            "generator; otherwise the config's.")
EMA = flags.DEFINE_enum("ema", "auto", ["auto", "yes", "no"], "Score the generator's moving "
                        "average; auto: where the run has one.")
SEED = flags.DEFINE_integer("seed", 0, "Of the latents, of the choice of images, of KID.")
IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Crop and resize images to this side; "
                                  "otherwise as they are, or as the run's.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Of prepared TFDS data sets.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images at a time on each device.")
OUT = flags.DEFINE_string("scores", None, "The file that records are appended to.")
STATISTICS = flags.DEFINE_string("save_statistics", None, "Write mean and covariance of the real "
                                 "images (or of --images alone) to this .npz.")
_DEFAULT = {"inception": "fid", "classifier": "fcd,cs,classes"}


def main() -> None:
    """Checks every flag, then scores, prints and records."""
    metrics = names_of(METRIC.value or _DEFAULT[EXTRACTOR.value])
    check_names(metrics, EXTRACTOR.value)
    protocol = protocol_of(PROTOCOL.value, NUM_REAL.value, NUM_FAKE.value, SPLITS.value,
                           default_fake=5000 if WORKDIR.value else 0)
    if bool(WORKDIR.value) == bool(IMAGES.value):
        raise UserError("give either --workdir of a run or --images, and not both")
    for flag in (BATCH_SIZE, IMAGE_SIZE):
        if flag.value is not None and flag.value < 1:
            raise UserError(f"--{flag.name} is {flag.value}: it must be at least 1")
    if STATISTICS.value and not STATISTICS.value.endswith(".npz"):
        raise UserError(f"--save_statistics={STATISTICS.value}: the file's name must end in .npz")
    if WORKDIR.value:
        of_run(Path(WORKDIR.value), metrics, protocol)
    else:
        of_two(metrics, protocol)


def of_run(workdir: Path, metrics: list[str], protocol: Protocol) -> None:
    """Scores one checkpoint or several of a run."""
    iterations, compared = chosen(workdir, metrics)
    run = restore_run(workdir, iterations[0])
    if EMA.value == "yes" and run.state.generator.ema_params is None:
        raise UserError(f"--ema=yes, but {workdir} kept no moving average of its generator "
                        "(config.ema_decay is 0): leave the flag out")
    config = run.config
    data = {"image_size": IMAGE_SIZE.value or config.image_size, "channels": run.channels,
            "data_dir": DATA_DIR.value or config.data_dir or None}
    labelled = (CLASSES.value or config.dataset, config.split) if (
        EXTRACTOR.value == "classifier") else None
    extractor = extractor_of(labelled, data)
    real = None
    if needs_reference(metrics) or STATISTICS.value:
        real = reference(AGAINST.value or config.dataset,
                         AGAINST_SPLIT.value or protocol.split or config.split, data, metrics,
                         protocol, extractor, labels=run.num_classes > 0)
    if protocol.fakes_for(metrics) < 1:
        raise UserError("--num_fake is 0: a generator makes as many images as are asked for, so "
                        "choose a number")
    records = []
    for iteration in iterations:
        run = run if iteration == run.iteration else at_iteration(run, workdir, iteration)
        records.append(scored(run, metrics, protocol, real, extractor))
    if CHECKPOINT.value == "best":
        records = [{**best(records, metrics[0]), "best_of": compared, "best_by": metrics[0]}]
    finish(records, Path(OUT.value or workdir / SCORES))


def chosen(workdir: Path, metrics: list[str]) -> tuple[list[int], list[int]]:
    """The iterations to score for --checkpoint, and those among which the best one is sought.

    Where the run noted this metric while it trained, the best is chosen by that.
    """
    saved = saved_iterations(workdir)
    match CHECKPOINT.value:
        case "last":
            return saved[-1:], saved
        case "best" if metrics[0] not in LESS_IS_BETTER:
            raise UserError(f"--checkpoint=best goes by the first metric, and {metrics[0]} is no "
                            f"single number: put one of {', '.join(LESS_IS_BETTER)} first")
        case "best" if scores := noted(workdir, saved, metrics[0]):
            return [best_of(scores, metrics[0], scores)], sorted(scores)
        case "best" | "each":
            return saved, saved
        case text if text.isdecimal() and int(text) in saved:
            return [int(text)], saved
    raise UserError(f"--checkpoint is {CHECKPOINT.value!r}: expected last, best, each, or one of "
                    f"the iterations {', '.join(map(str, saved))}")


def noted(workdir: Path, saved: list[int], metric: str) -> dict[int, float]:
    """The scores that the run noted of its saved iterations."""
    return {i: score for i, score in recorded(workdir, metric).items() if i in saved}


def best(records: list[dict], metric: str) -> dict:
    """The record of the best checkpoint by one metric."""
    sign = 1 if LESS_IS_BETTER[metric] else -1
    return min(records, key=lambda record: sign * record["scores"][metric])


def scored(run: RestoredRun, metrics: list[str], protocol: Protocol, real: Side | None,
           extractor: Extractor) -> dict:
    """The record of a checkpoint."""
    start = time.perf_counter()
    fake = of_samples(run.generator, run.state.generator, run.config, protocol, metrics, extractor,
                      ema={"auto": None, "yes": True, "no": False}[EMA.value],
                      bn_mode=BN_MODE.value, seed=SEED.value, iteration=run.iteration)
    return timed(score(metrics, real, fake, extractor, protocol, seed=SEED.value), start)


def of_two(metrics: list[str], protocol: Protocol) -> None:
    """Scores images against images."""
    if not AGAINST.value and needs_reference(metrics) and not STATISTICS.value:
        raise UserError("--against is missing: what --images are compared with, a folder, an "
                        ".npz, a data set or a statistics file")
    data = {"image_size": IMAGE_SIZE.value, "channels": None, "data_dir": DATA_DIR.value}
    split = AGAINST_SPLIT.value or protocol.split or "train"
    labelled = ((CLASSES.value or AGAINST.value or IMAGES.value, "train" if CLASSES.value else
                 split if AGAINST.value else IMAGES_SPLIT.value)
                if EXTRACTOR.value == "classifier" else None)
    extractor = extractor_of(labelled, data)
    start = time.perf_counter()
    if not AGAINST.value and STATISTICS.value:
        found = reference(IMAGES.value, IMAGES_SPLIT.value, data, ["fid"], protocol, extractor,
                          num=protocol.num_fake, name="images")
        print(f"{STATISTICS.value}: mean and covariance of {found.about['n']:,} images")
        return
    name, is_file = resolved(IMAGES.value)
    if is_file:
        fake = of_statistics(Path(name), extractor)
        check_metrics(metrics, extractor, labels=False, statistics_only=True)
        if not needs_reference(metrics) or {"is", "cs", "classes"} & set(metrics):
            raise UserError(f"{', '.join(metrics)} cannot be computed from a statistics file: give "
                            "the images")
    else:
        images = open_images(name, split=IMAGES_SPLIT.value, **data)
        check_metrics(metrics, extractor, labels=bool(images.num_classes))
    real = None
    if needs_reference(metrics) or STATISTICS.value:
        real = reference(AGAINST.value, split, data, metrics, protocol, extractor,
                         labels=is_file or images.num_classes > 0)
    if not is_file:
        scores = {"is", "cs", "classes"} & set(metrics)
        fake = of_images(images, IMAGES_SPLIT.value, protocol.num_fake, metrics, extractor,
                         num_logits=protocol.num_score if scores else 0, seed=SEED.value,
                         cache=None if scores else cache_folder(), protocol=protocol.name)
    finish([timed(score(metrics, real, fake, extractor, protocol, seed=SEED.value), start)],
           Path(OUT.value or SCORES))


def resolved(spec: str) -> tuple[str, bool]:
    """A spec of `data.load` for a plain path, and whether it is a statistics file."""
    kind, _, place = spec.partition(":")
    path = Path(place if kind == "npz" else spec).expanduser()
    if path.is_dir():
        return f"folder:{path}", False
    if path.suffix == ".npz":
        return (str(path), True) if is_statistics(path) else (f"npz:{path}", False)
    return spec, False


def extractor_of(labelled: tuple[str, str] | None, data: dict) -> Extractor:
    """The extractor of the flags; of a classifier, trained on that data and split."""
    images = None
    if labelled:
        spec, is_file = resolved(labelled[0])
        if is_file:
            raise UserError(f"the classifier cannot be trained on the statistics file {spec}: give "
                            "a labelled set by --classifier_data")
        images = open_images(spec, split=labelled[1], **data)
    return make_extractor(EXTRACTOR.value, images, resize=RESIZE.value,
                          batch_size=BATCH_SIZE.value)


def reference(spec: str, split: str, data: dict, metrics: list[str], protocol: Protocol,
              extractor: Extractor, *, labels: bool = True, num: int | None = None,
              name: str = "real images") -> Side:
    """The real images' side; written out where --save_statistics asks for it."""
    spec, is_file = resolved(spec)
    if is_file:
        check_metrics(metrics, extractor, labels=False, statistics_only=True)
        side = of_statistics(Path(spec), extractor)
    else:
        images = open_images(spec, split=split, **data)
        check_metrics(metrics, extractor, labels=labels and images.num_classes > 0)
        side = of_images(images, split, protocol.num_real if num is None else num, metrics,
                         extractor, seed=SEED.value, cache=cache_folder(), protocol=protocol.name,
                         name=name)
    if STATISTICS.value:
        export(Path(STATISTICS.value), side.collected, side.about, extractor)
    return side


def timed(record: dict, start: float) -> dict:
    """With the seconds since, in which the real images' statistics may come from the cache."""
    return {**record, "seconds": round(time.perf_counter() - start, 1), "command": sys.argv[1:]}


def finish(records: list[dict], file: Path) -> None:
    """Prints and records."""
    for record in records:
        append_record(file, record)
    extractor, few = records[0]["extractor"], warning(records[0])
    print(score_table(records))
    print(f"{extractor}, checksum {records[0]['checksum']}"
          + (f", resize {records[0]['resize']}" if records[0]["resize"] else "")
          + f"; recorded in {file}")
    if few:
        print(few, file=sys.stderr)
    if len(records) == 1:
        print(json.dumps(records[0]["scores"]))


def warning(record: dict) -> str:
    """What a person should know of an FID of few images."""
    counts = [side["n"] for side in (record["fake"], record["real"])
              if side and isinstance(side["n"], int)]
    if "fid" in record["scores"] and min(counts, default=10**9) <= 2048:
        return (f"warning: an FID of {min(counts):,} images, fewer than its 2,048 dimensions, is "
                "biased upwards by far: compare it with others of the same numbers only")
    return ""


if __name__ == "__main__":
    cli.run(main)
