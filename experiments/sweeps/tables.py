"""The runs of a table of the paper: method x setting x seed, at a named scale.

A plan depends only on the request. The same request gives the same runs with the same names; more
seeds, methods or settings give these runs and further ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import cannot_use, write_errors
from sngan_jax.run.workdir import make_workdir, write_json

from ..configs.paper import SETTINGS
from ..read_config import read_config
from .plan import Planned

SWEEP = "sweep.json"
# In place of a table: all of them.
ALL = "all"
# The setting of rows that use their config's schedule, such as the residual networks.
OWN = "own"
# Number of scores during a run at a reduced scale.
_SCORES = 5


class Scale(NamedTuple):
    """Reductions relative to the paper, by name; 0 means not reduced.

    width: base width of both networks (paper: 64 for the standard CNN).
    iterations: iterations of every run.
    images: numbers of real and of generated images for the score at the end.
    image_size: side of the images, in pixels, if the data set's is larger.
    """

    name: str
    width: int
    iterations: int
    images: int
    image_size: int = 0

    @property
    def reduced(self) -> bool:
        """Whether anything is reduced."""
        return bool(self.width)

    def changes(self, image_size: int) -> dict[str, Any]:
        """Changed fields of the config; `image_size` is the data set's.

        Ten checkpoints of a run are kept, for the figures over iterations.
        """
        if not self.reduced:
            return {}
        often = max(self.iterations // 20, 1)
        smaller = ({"image_size": self.image_size} if 0 < self.image_size < image_size else {})
        return {"generator_width": self.width, "discriminator_width": self.width,
                "iterations": self.iterations, "log_every": often, "checkpoint_every": 2 * often,
                "keep_every": 2 * often, "sample_every": self.iterations, **smaller}

    def describe(self) -> str:
        """The reductions in words."""
        if not self.reduced:
            return "the paper's widths and iterations"
        size = f", images of at most {self.image_size} pixels a side" if self.image_size else ""
        return f"width {self.width}, {self.iterations:,} iterations{size}"


SCALES = {scale.name: scale for scale in (
    Scale("tiny", width=4, iterations=60, images=500),
    Scale("quick", width=8, iterations=800, images=2000, image_size=16),
    Scale("small", width=16, iterations=2000, images=5000),
    Scale("paper", width=0, iterations=0, images=5000))}


class Dataset(NamedTuple):
    """A data set on which runs train.

    prefix: prefix of the config files for this data; the others are CIFAR-10's with `changes`.
    extractor, metrics: feature extractor and metrics of the final scores.
    """

    prefix: str
    changes: dict[str, Any]
    extractor: str
    metrics: str


_CLASSIFIER = "classifier", "fcd,cs,classes"
_INCEPTION = "inception", "fid,is"
DATASETS = {
    "digits": Dataset("cifar10", {"dataset": "digits", "image_size": 8}, *_CLASSIFIER),
    "fashion_mnist": Dataset("cifar10", {"dataset": "idx:data/fashion-mnist"}, *_CLASSIFIER),
    "cifar10": Dataset("cifar10", {}, *_INCEPTION),
    "stl10": Dataset("stl10", {}, *_INCEPTION),
}


class Variant(NamedTuple):
    """A row of a table, without its setting.

    name: name of its runs; words: words in the config file's argument.
    model: model of the config file, 'cnn' or 'resnet'.
    settings: keys of Table 1, or `OWN`.
    paper_scale: whether it is run at the paper's scale only.
    datasets: names of the data sets on which it is run; all if empty.
    """

    name: str
    words: tuple[str, ...]
    model: str = "cnn"
    settings: tuple[str, ...] = tuple(SETTINGS)
    changes: tuple[tuple[str, Any], ...] = ()
    paper_scale: bool = False
    datasets: tuple[str, ...] = ()


def _method(name: str, **options: Any) -> Variant:
    return Variant(name, (name,), **options)


def _resnet(name: str, *words: str, **changes: Any) -> Variant:
    return Variant(name, words, "resnet", (OWN,), tuple(changes.items()), paper_scale=True)


_TWICE = {"changes": (("iterations", 200_000),), "paper_scale": True, "datasets": ("stl10",)}
# Figure 15 needs images on which D is not trained, and digits has no test split.
_HELD_OUT = {("digits",): (("split", "train[:1500]"),), ("fashion_mnist", "cifar10"): ()}
# The residual networks of Gulrajani et al. (Appendix E).
_GULRAJANI = {"iterations": 100_000, "generator_width": 128, "pool": "mean", "head_bias": "yes"}

TABLES: dict[str, tuple[Variant, ...]] = {
    "2": (
        *map(_method, ("weight_clipping", "gan_gp", "wgan_gp", "batch_norm", "layer_norm",
                       "weight_norm", "orthonormal", "sn")),
        Variant("orthonormal,2x", ("orthonormal",), **_TWICE),
        Variant("sn,2x", ("sn",), **_TWICE),
        Variant("sn,hinge", ("sn", "hinge"), paper_scale=True,
                datasets=("digits", "fashion_mnist", "cifar10")),
        Variant("sn,hinge,2x", ("sn", "hinge"), **_TWICE),
        _resnet("resnet,orthonormal", "orthonormal"),
        _resnet("resnet,sn", "sn"),
    ),
    "7": (
        *(_method(name, settings=("A",)) for name in (
            "wgan_gp", "frobenius_wgan_gp", "wn_wgan_gp", "sn_wgan_gp")),
        _resnet("resnet,wgan_gp", "wgan_gp", **_GULRAJANI),
        _resnet("resnet,sn_wgan_gp", "sn_wgan_gp", **_GULRAJANI),
        _resnet("resnet,sn_wgan_gp,1.5x", "sn_wgan_gp", **_GULRAJANI, discriminator_width=192),
    ),
    # With labels: an auxiliary classifier.
    "8": (
        _resnet("resnet,ac,wgan_gp", "wgan_gp", "auxiliary", **_GULRAJANI),
        _resnet("resnet,ac,sn_wgan_gp", "sn_wgan_gp", "auxiliary", **_GULRAJANI),
        _resnet("resnet,ac,sn_wgan_gp,1.5x", "sn_wgan_gp", "auxiliary", **_GULRAJANI,
                discriminator_width=192),
    ),
    # The width into and out of D's last layer is multiplied.
    "figure4": tuple(
        Variant(f"{method},width={m:g}x", (method,), settings=("C",),
                changes=(("last_layer_multiplier", m),))
        for method in ("orthonormal", "sn") for m in (0.5, 1.0, 2.0, 4.0, 6.0, 8.0)),
    "figure11": tuple(
        Variant(f"{method},n_dis={n}", (method,), settings=("D",),
                changes=(("n_dis", n), ("iterations", 10_000)))
        for method in ("weight_norm", "sn") for n in (1, 2, 5, 10, 20)),
    "figure15": tuple(
        Variant(method, (method,), settings=("A",), changes=split, datasets=datasets)
        for datasets, split in _HELD_OUT.items()
        for method in ("wgan_gp", "wn_wgan_gp", "sn_wgan_gp")),
    # Class sheets and category morphing on data that a small machine can handle (Figures 7 and 12).
    "conditional": tuple(
        Variant(f"sn,{words[-1]}", words, settings=("C",),
                datasets=("digits", "fashion_mnist", "cifar10"))
        for words in (("sn", "projection"), ("sn", "concat"), ("sn", "auxiliary"))),
    # Not in the paper: how many power steps a forward pass of D needs, and the exact σ.
    "steps": (
        *(Variant(f"sn,power_steps={n}", ("sn",), settings=("C",), changes=(("power_steps", n),))
          for n in (1, 2, 5, 20)),
        _method("sn_svd", settings=("C",)),
    ),
    # Not in the paper: whether K, its only hyper-parameter, has to be tuned.
    "lipschitz": tuple(
        Variant(f"sn,K={k:g}", ("sn",), settings=("A", "C", "E"), changes=(("lipschitz", k),))
        for k in (0.5, 1.0, 2.0, 4.0, 8.0)),
    # Not in the paper: which norm of a convolution σ is.
    "norms": tuple(_method(name, settings=("C",))
                   for name in ("sn", "sn_operator", "sn_bidirectional")),
}


class Cell(NamedTuple):
    """One run and its place in the table."""

    variant: str
    setting: str
    seed: int
    run: Planned


class Request(NamedTuple):
    """The request for a table's sweep; empty `methods` and `settings` mean all.

    changes: FIELD=VALUE for all runs, in addition to the scale's.
    """

    table: str
    dataset: str
    scale: str
    seeds: int = 1
    methods: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def title(self) -> str:
        """One line that names the table, the data and every reduction."""
        scale = SCALES[self.scale]
        own = f", but {', '.join(self.changes)}" if self.changes else ""
        kind = "reduced: " if scale.reduced else ""
        return (f"{name_of(self.table)} on {self.dataset}, scale {self.scale} "
                f"({kind}{scale.describe()}, "
                f"scores of up to {scale.images:,} real and {scale.images:,} generated images, "
                f"extractor {DATASETS[self.dataset].extractor}{own})")


def name_of(table: str) -> str:
    """'Table 2', 'Figure 4'."""
    return f"Figure {table[6:]}" if table.startswith("figure") else f"Table {table}"


def folder_of(table: str) -> str:
    """The table's key in `ALL`: 'table2', 'figure4'."""
    return f"table{table}" if table.isdigit() else table


def tables_of(request: Request) -> list[str]:
    """The tables that have a run for the request's data set at its scale."""
    _check(request)
    return [table for table in TABLES if _rows(request._replace(table=table))
            and not _is_cifar_alone(table, request.dataset)]


def plan_table(request: Request) -> list[Cell]:
    """All runs, beginning with the first seed of every row and setting, each config checked.

    Raises:
      UserError: for a row or setting that the table, the data set or the scale lacks, or an invalid
        field.
    """
    _choose("--table", request.table, TABLES)
    _check(request)
    if _is_cifar_alone(request.table, request.dataset):
        raise UserError(f"the paper's {name_of(request.table)} is for CIFAR-10 only: use "
                        "--dataset=cifar10, or digits or fashion_mnist at a reduced scale")
    wanted = _wanted(request)
    configs = {(variant, setting): _config(request, variant, setting)
               for variant, setting in wanted}
    return [_cell(variant, setting, seed, *configs[variant, setting])
            for seed in range(request.seeds) for variant, setting in wanted]


def open_sweep(request: Request, sweep: Path) -> None:
    """Writes `sweep.json`, the facts that all runs in a sweep's folder share.

    Raises:
      UserError: if the folder belongs to another table, data set, scale or --set, or cannot be
        made.
    """
    check_sweep(request, sweep)
    with write_errors("the sweep", sweep):
        write_json(make_workdir(sweep) / SWEEP, _identity(request))


def check_sweep(request: Request, sweep: Path) -> None:
    """UserError if a folder belongs to another sweep; changes nothing."""
    file = sweep / SWEEP
    if not file.is_file():
        return
    try:
        there = json.loads(file.read_text())
        title = there["title"]
    except OSError as error:
        raise UserError(cannot_use(error, file, "another --workdir")) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): it is damaged; remove it, and repeat "
                        "the sweep's command") from error
    if there != _identity(request):
        raise UserError(f"{sweep} is the folder of another sweep, {title}: choose another "
                        "--workdir")


def _identity(request: Request) -> dict[str, Any]:
    """Facts that may not differ between commands for one folder: not seeds, methods, settings."""
    return {"title": request.title(), "table": request.table, "dataset": request.dataset,
            "scale": SCALES[request.scale]._asdict(), "changes": sorted(request.changes)}


def _choose(flag: str, value: str, there: Sequence[str] | dict[str, Any]) -> None:
    if value not in there:
        raise UserError(f"{flag}={value}: there are {', '.join(there)}")


def _check(request: Request) -> None:
    """UserError for names that no table has."""
    _choose("--dataset", request.dataset, DATASETS)
    _choose("--scale", request.scale, SCALES)
    if request.seeds < 1:
        raise UserError(f"--seeds is {request.seeds}: it must be at least 1")


def _is_cifar_alone(table: str, dataset: str) -> bool:
    return table in ("7", "8", "figure15") and dataset == "stl10"


def _rows(request: Request) -> list[Variant]:
    return [row for row in TABLES[request.table]
            if not (row.paper_scale and SCALES[request.scale].reduced)
            and (not row.datasets or request.dataset in row.datasets)]


def _wanted(request: Request) -> list[tuple[Variant, str]]:
    """Rows and settings, in the order of the table."""
    rows = _rows(request)
    where = f"{name_of(request.table)} on {request.dataset} at scale {request.scale}"
    if not rows:
        every = TABLES[request.table]
        there = sorted({name for row in every for name in row.datasets})
        raise UserError(f"{where} has no rows: " + (
            "they are residual networks, for --scale=paper only"
            if all(row.paper_scale for row in every) else f"use --dataset={' or '.join(there)}"))
    methods = dict.fromkeys(row.words[0] for row in rows)
    settings = dict.fromkeys(setting for row in rows for setting in row.settings)
    for flag, values, there in (("--methods", request.methods, methods),
                                ("--settings", request.settings, settings)):
        for value in values:
            if value not in there:
                raise UserError(f"{flag} names {value!r}: {where} has {', '.join(there)}")
    wanted = [(row, setting) for row in rows for setting in row.settings
              if (not request.methods or row.words[0] in request.methods)
              and (not request.settings or setting in request.settings)]
    if not wanted:
        raise UserError(f"{where} has no row of {', '.join(request.methods)} in the settings "
                        f"{', '.join(request.settings)}")
    return wanted


def _config(request: Request, row: Variant, setting: str) -> tuple[str, tuple[str, ...], Any]:
    """FILE:ARGUMENT, FIELD=VALUE without the seed, and the config that they make."""
    dataset, scale = DATASETS[request.dataset], SCALES[request.scale]
    words = row.words if setting == OWN else (*row.words, setting)
    text = f"{dataset.prefix}_{row.model}:{','.join(words)}"
    fields = {**dataset.changes, **dict(row.changes),
              **scale.changes(dataset.changes.get("image_size", 32)),
              "evaluate_extractor": dataset.extractor, "evaluate_metrics": dataset.metrics,
              "evaluate_images": scale.images}
    for change in request.changes:
        name, separator, value = change.partition("=")
        if not separator or name == "seed":
            raise UserError(f"--config.{change}: write --config.FIELD=VALUE, without a seed, which "
                            "--seeds sets")
        fields[name] = value
    changes = tuple(f"{name}={value}" for name, value in fields.items())
    if "evaluate_every" not in fields:
        # The table's score is that of the last iteration, and no better one is chosen. Earlier
        # scores are for curves, and are computed where that is cheap.
        cheap = scale.reduced and dataset.extractor == "classifier"
        iterations = read_config(text, changes, 1).iterations
        scores = _SCORES if cheap and iterations % _SCORES == 0 else 1
        changes += (f"evaluate_every={iterations // scores}",)
    return text, changes, read_config(text, changes, 1)


def _cell(row: Variant, setting: str, seed: int, text: str, changes: tuple[str, ...],
          config: Any) -> Cell:
    name = ",".join((row.name, *(() if setting == OWN else (setting,)), f"seed={seed}"))
    return Cell(row.name, setting, seed, Planned(
        name, text, (*changes, f"seed={seed}"), config.iterations, bool(config.evaluate_every)))
