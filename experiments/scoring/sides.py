"""The two sides of a score: how images are read, the extractor, the statistics of the real ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.class_names import class_names
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


def names_of_classes(specs: list[str | None], data_dir: str | None) -> dict[str, tuple[str, ...]]:
    """{a set of images: the names of its classes}, without sets that have only numbers."""
    found = {}
    for spec in filter(None, specs):
        name, is_file = resolved(spec)
        if not is_file and (names := class_names(name, data_dir=data_dir)):
            found[spec] = names
    return found


def check_same_classes(metrics: list[str], names: Mapping[str, tuple[str, ...]]) -> None:
    """UserError if sets whose classes are compared by number have classes of other names."""
    by_class = [name for name in metrics if name in ("intra_fid", "intra_fcd", "classes")]
    named = {spec: of for spec, of in names.items() if not all(map(str.isdecimal, of))}
    if not by_class:
        return
    for spec, of in named.items():
        first, expected = next(iter(named.items()))
        if of != expected:
            other = min({*of} ^ {*expected}, default=of[0])
            raise UserError(f"{spec} and {first} have different classes ({other!r} is not the same "
                            "class in both), and classes are compared by their number: give their "
                            "folders the same names, or choose --metrics without "
                            + " and ".join(by_class))
