"""The two sides of a score: how images are read, the extractor, the statistics of the real ones."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.class_names import class_names
from sngan_jax.data.folder import list_folder
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import (
    Side,
    count_of,
    export,
    of_images,
    of_statistics,
    open_images,
)
from sngan_jax.metrics.extractor import Extractor
from sngan_jax.metrics.protocol import CONVENTIONS, FREE, Protocol
from sngan_jax.metrics.reference import is_statistics, without_key
from sngan_jax.metrics.scores import check_metrics, default_metrics


def reading_of(data: dict, options: argparse.Namespace) -> dict:
    """How images are read: as the run does, if there is one, with the flags' changes."""
    data = {**data, "data_dir": options.data_dir or data["data_dir"]}
    if options.convention:
        return {**data, "image_size": None, "own_sizes": True, "channels": None,
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


def names_of_classes(spec: str, data_dir: str | None) -> tuple[str, ...]:
    """The names of the classes of a set of images; () if it has none, or numbers only."""
    name, is_file = resolved(spec)
    kind, _, place = name.partition(":")
    count = list_folder(place, "train").num_classes if kind == "folder" else None
    if is_file or count == 0:
        return ()
    names = class_names(name, count, data_dir)
    return () if all(map(str.isdecimal, names)) else names


def check_same_classes(metrics: list[str], ours: str, names: tuple[str, ...] | None,
                       options: argparse.Namespace) -> None:
    """UserError for sets whose classes are compared by number, and have other names.

    Args:
      ours: the run or the images that are scored; names: the names of its classes, () for none.
        None looks them up, in which case `ours` is a set of images.
    """
    for of, theirs in ((("intra_fid", "intra_fcd"), options.against),
                       (("classes",), options.classifier_data or (
                           None if options.workdir else options.against))):
        wanted = [metric for metric in metrics if metric in of]
        if not (wanted and theirs):
            continue
        names = names_of_classes(ours, options.data_dir) if names is None else names
        expected = names_of_classes(theirs, options.data_dir) if names else ()
        if expected and expected != names:
            number, (a, b) = next((n, pair) for n, pair in enumerate(
                itertools.zip_longest(names, expected)) if len(set(pair)) > 1)
            raise UserError(f"class {number} is {a!r} in {ours} and {b!r} in {theirs}, and "
                            f"{wanted[0]} compares classes by their number: give the classes the "
                            f"same names in the same order, or choose --metrics without it")
