"""Scores as records, with counts, split, extractor, resize, statistics, seeds and commit."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError
from sngan_jax.base.output import say
from sngan_jax.base.provenance import commit
from sngan_jax.base.types import Config, JsonObject
from sngan_jax.data.crop import Size
from sngan_jax.data.folder import list_folder
from sngan_jax.data.image_set import CROPPED, ImageSet, Reading
from sngan_jax.data.prepared import NoRandomAccess
from sngan_jax.data.sources import load
from sngan_jax.data.streaming import ImageStream, open_stream
from sngan_jax.metrics.extractor import Collected, Extractor, check_features, collect
from sngan_jax.metrics.kid import drawn
from sngan_jax.metrics.protocol import FREE, Protocol
from sngan_jax.metrics.reference import cache_name, load_statistics, save_statistics
from sngan_jax.metrics.scores import check_metrics, compute, keeps_features, needs_reference
from sngan_jax.step.sampling import even_labels, sample_batches
from sngan_jax.step.state import GeneratorState

SCORES = "scores.jsonl"
_READ_AT_ONCE = 128


class Side(NamedTuple):
    """One of the two sets of a score.

    collected: its moments (and features, logits); labels: int (n,), of the images whose features
    were taken, or None; about: its description in a record.
    """

    collected: Collected
    labels: np.ndarray | None
    about: JsonObject


def open_images(spec: str, *, split: str = "train", image_size: Size = None,
                channels: int | None = None, data_dir: str | None = None,
                reading: Reading = CROPPED, own_sizes: bool = False, skip_bad: bool = False
                ) -> ImageSet | ImageStream:
    """A set of images to score, read batch by batch if its source allows it.

    Args:
      spec, split, channels, data_dir, reading, skip_bad: as for `data.load`.
      image_size: None for the images' own size, which must be the same for all unless `own_sizes`.
      own_sizes: whether files may differ in size.

    Raises:
      DataError: as for `data.load`.
    """
    options: dict[str, Any] = {"image_size": image_size, "channels": channels, "split": split,
               "data_dir": data_dir, "reading": reading}
    if spec.startswith(("folder:", "tfds:")):
        try:
            return open_stream(spec, **options, exact=True, own_sizes=own_sizes, skip_bad=skip_bad)
        except NoRandomAccess:
            pass
    return load(spec, **options, skip_bad=skip_bad)


def count_of(spec: str, split: str) -> int | None:
    """The number of images in a folder; None for other sources, which would have to be read."""
    kind, _, place = spec.partition(":")
    return len(list_folder(place, split).files) if kind == "folder" else None


def of_statistics(file: Path, extractor: Extractor) -> Side:
    """The side given by a `.npz` with `mu` and `sigma`; UserError if it does not suit."""
    found, about = load_statistics(file, extractor)
    told = ("images", "split", "fingerprint", "size", "fit", "alpha")
    needed = ("extractor", "resize", "images", "split", "alpha")
    unknown = [k for k in needed if k not in about] + ["number of images"] * (not found.n)
    return Side(Collected(found, None, None), None,
                {"statistics": str(file), "n": found.n or "unknown", "unknown": unknown,
                 **{k: about[k] for k in told if k in about}})


def of_images(images: ImageSet | ImageStream, split: str, num: int, metrics: Sequence[str],
              extractor: Extractor, *, num_logits: int = 0, seed: int = 0,
              cache: Path | None = None, protocol: str = FREE, name: str = "images") -> Side:
    """The side given by a set of images: `num` of them, in an order that depends on the seed.

    Args:
      split: the split with which they were opened, for the record.
      num: number of images whose features are used; 0 for all.
      metrics: names of scores, which decide whether all features are kept.
      num_logits: number of images whose logits are used, if larger.
      cache: a folder where statistics are looked up, and saved after they are computed, if
        `metrics` need nothing else; a warning says if they cannot be saved.
      protocol: the protocol that sets these numbers, for errors.
      name: label of the progress bar.

    Raises:
      UserError: for fewer images than asked for, or an image that cannot be read.
    """
    num = num or len(images)
    total = max(num, num_logits)
    if total > len(images):
        cure = "choose fewer" if protocol == FREE else (
            "choose another split, or --protocol=free with your own --num-real and --num-fake")
        raise UserError(f"the protocol {protocol} needs {total:,} images, but {images.name}, split "
                        f"{split!r}, has {len(images):,}: {cure}")
    fingerprint = images.fingerprint()
    size = images.images.shape[1:3] if isinstance(images, ImageSet) else images.shape[:2]
    about = {"images": images.name, "split": split, "n": num, "fingerprint": fingerprint,
             "seed": seed if num < len(images) else None,
             "size": list(size) if all(size) else "each its own", **images.reading._asdict()}
    keep = keeps_features(metrics)
    file = None
    if cache is not None and not keep:
        part = split if num == len(images) else f"{split}, seed {seed}"
        file = cache / cache_name(extractor, fingerprint, part, num)
        if file.is_file():
            found, then = load_statistics(file, extractor)
            about |= {name: then[name] for name in ("replaced_images",) if name in then}
            return Side(Collected(found, None, None), None, about)
    rows = chosen_rows(len(images), total, seed)
    labels: list[np.ndarray] = []
    collected = collect(extractor, pixels(images, rows, labels, extractor.prepare), keep=keep,
                        limit=num, total=total, name=name)
    if isinstance(images, ImageStream):
        replaced = sum(int(row) in images.bad for row in rows[:num])
        about |= {"replaced_images": replaced} if replaced else {}
    if file is not None:
        try:
            export(file, collected, about, extractor)
        except WriteError as error:  # the scores do not need the file
            say(f"warning: {error}, with SNGAN_JAX_CACHE")
    return Side(collected, np.concatenate(labels)[:num] if labels else None, about)


def of_samples(generator: nn.Module, state: GeneratorState, config: Config, protocol: Protocol,
               metrics: Sequence[str], extractor: Extractor, *, ema: bool | None = None,
               bn_mode: str | None = None, seed: int = 0, iteration: int = 0,
               replaced: int = 0) -> Side:
    """The generated side: samples of a generator, with the classes in turn.

    Args:
      state: the generator's state, replicated or not.
      config: the run's config.
      protocol: the protocol; its number of samples must not be 0.
      ema, bn_mode: as for `sampling.sample_batches`.
      seed: seed of the latents.
      iteration: the state's iteration, for the record.
      replaced: number of places in its training where another image replaced a damaged one.

    Raises:
      UserError: for images that are not finite, or a missing moving average.
    """
    total = protocol.fakes_for(metrics)
    if total < 1:
        raise UserError("a generator can make any number of images: choose num_fake")
    num = min(total, protocol.num_fake)
    check_features(extractor, total, keeps_features(metrics), "samples")
    labels = even_labels(total, generator.num_classes)
    batches = sample_batches(generator, state, jax.random.key(seed), labels, config, ema=ema,
                             bn_mode=bn_mode)
    collected = collect(extractor, batches, keep=keeps_features(metrics), limit=num, total=total,
                        name="samples")
    averaged = state.ema_params is not None and ema is not False
    about = {"iteration": iteration, "n": num, "ema": averaged and config.ema_decay,
             "bn_mode": bn_mode or config.bn_evaluation, "seed": seed,
             "training_seed": config.seed, "method": config.method, "dataset": config.dataset,
             **({"replaced_images": replaced} if replaced else {})}
    return Side(collected, labels[:num] if generator.num_classes else None, about)


def score(metrics: Sequence[str], real: Side | None, fake: Side, extractor: Extractor,
          protocol: Protocol, *, seed: int = 0) -> JsonObject:
    """The record of the scores of `fake` against `real`.

    Raises:
      UserError: as for `scores.check_metrics` and `scores.compute`.
    """
    both = real is not None and real.labels is not None and fake.labels is not None
    only = [side for side in (real, fake) if side is not None and side.collected.features is None]
    check_metrics(metrics, extractor, labels=both,
                  statistics_only=bool(only) and keeps_features(metrics))
    if real is None and needs_reference(metrics):
        raise UserError(f"{', '.join(metrics)}: a distance needs images to compare with")
    values = compute(metrics, real and real.collected, fake.collected,
                     real_labels=real and real.labels, fake_labels=fake.labels,
                     splits=protocol.splits, seed=seed, kid_subsets=protocol.kid_subsets,
                     kid_subset_size=protocol.kid_subset_size)
    record: JsonObject = {"scores": values, "protocol": protocol.name}
    if protocol.convention:
        record["convention"] = protocol.convention
    if {"kid", "kcd"} & set(metrics) and real is not None:
        record |= {"kid_subsets": protocol.kid_subsets, "kid_subset_size": drawn(
            real.collected.moments.n, fake.collected.moments.n, protocol.kid_subset_size)}
    logits = fake.collected.logits
    if {"is", "cs"} & set(metrics) and logits is not None:
        record |= {"splits": protocol.splits, "n_score": len(logits)}
    return record | {
        "fake": fake.about, "real": real and real.about, "extractor": extractor.name,
        "checksum": extractor.checksum, "resize": extractor.resize,
        "kid_seed": seed if {"kid", "kcd"} & set(metrics) else None, "commit": commit(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def export(file: Path, collected: Collected, about: Mapping[str, object], extractor: Extractor
           ) -> None:
    """Writes the moments to a statistics file, with a description of their source.

    Raises:
      WriteError: if it cannot be written.
    """
    about = {**about, "extractor": extractor.name, "checksum": extractor.checksum,
             "resize": extractor.resize}
    try:
        save_statistics(file, collected.moments, about)
    except OSError as error:
        raise WriteError(f"the statistics file {file} cannot be written ({error.strerror}): choose "
                         "another place") from error


def append_record(file: Path, record: Mapping[str, object]) -> None:
    """Adds a line to a file of records; WriteError if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab+") as out:
            # After a line that was cut off, start a new one.
            cut = out.tell() and (out.seek(-1, os.SEEK_END), out.read())[1] != b"\n"
            out.write(b"\n" * bool(cut) + json.dumps(record).encode() + b"\n")
    except OSError as error:
        raise WriteError(f"{file} cannot be written ({error.strerror}): choose another place, or "
                         "free some space") from error


def score_table(records: Sequence[JsonObject]) -> str:
    """Records as a table for people, one line each, with the protocol of each."""
    rows = [_row(record) for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)
                               ).rstrip() for line in lines)


def _row(record: JsonObject) -> dict[str, str]:
    values, fake, real = record["scores"], record["fake"], record["real"] or {}
    row = {}
    for name, value in values.items():
        if isinstance(value, float) and not name.endswith("_std"):
            error = values.get(f"{name}_std")
            row[name] = f"{value:.4g}" + (f" ± {error:.2g}" if error is not None else "")
    if "class_share" in values:
        share = values["class_share"]
        row["rarest, commonest class"] = f"{min(share):.1%}, {max(share):.1%}"
    row["protocol"] = record["protocol"]
    row["fake"] = f"{fake['n']:,}" if isinstance(fake["n"], int) else fake["n"]
    if "iteration" in fake:
        row["iteration"] = f"{fake['iteration']:,}"
        row["EMA"] = str(fake["ema"]) if fake["ema"] else "no"
        row["BN"] = fake["bn_mode"]
    if real:
        n = f"{real['n']:,}" if isinstance(real["n"], int) else real["n"]
        row["real"] = f"{n} of {real.get('images') or real['statistics']}"
        row["split"] = real.get("split", "")
    return row


def chosen_rows(n: int, count: int, seed: int = 0) -> np.ndarray:
    """`count` of n images, (count,), in the order in which they are used."""
    return np.random.default_rng(seed).permutation(n)[:count]


def pixels(images: ImageSet | ImageStream, rows: np.ndarray, labels: list[np.ndarray],
           prepare: Callable[[np.ndarray], np.ndarray] | None = None) -> Iterator[np.ndarray]:
    """The images (k, h, w, c) of these rows (n,), k at a time.

    Args:
      labels: a list to which their labels (k,), if any, are added.
      prepare: from `Extractor`, for images in different sizes.

    Raises:
      UserError: for images of several sizes without `prepare`.
    """
    with ThreadPoolExecutor(os.cpu_count(), "decode") as decoders:
        for start in range(0, len(rows), _READ_AT_ONCE):
            part = rows[start:start + _READ_AT_ONCE]
            if isinstance(images, ImageSet):
                pixels = images.images[part]
                y = None if images.labels is None else images.labels[part]
            elif not all(images.shape):
                if prepare is None:
                    raise UserError(
                        f"the images of {images.name} differ in size: resize them to one size with "
                        "--image-size")
                each, y = images.read_each(part, decoders.map)
                pixels = np.stack(list(decoders.map(prepare, each)))
            else:
                pixels, y = images.read(part, decoders.map)
            if y is not None:
                labels.append(y)
            yield pixels
