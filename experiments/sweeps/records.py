"""Predicts how long a run takes from this repository's records, if no similar run has finished.

This is a first guess: another machine is faster or slower, and smaller networks use a device less.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sngan_jax.models.cnn import CNNS
from sngan_jax.models.resnet import RESNETS

from ..read_config import load_config

_RESULTS = Path(__file__).parents[1] / "results"
_METHODS = _RESULTS / "fashion_mnist_table2" / "methods.json"
_TINY = _RESULTS / "digits_table2_tiny.json"
_H100 = _RESULTS / "fashion_mnist_h100"


class Record(NamedTuple):
    """Iterations that were timed.

    backend: JAX's back end, 'cpu' or 'gpu'; kind: 'cnn' or 'resnet'.
    work: result of `work`; seconds: seconds per iteration.
    start: seconds of a run outside its iterations: imports, compilation, scores.
    about: machine, date and commit.
    """

    backend: str
    kind: str
    method: str
    work: float
    seconds: float
    start: float
    about: str


@functools.cache
def records() -> tuple[Record, ...]:
    """The records in the results: every method on two CPU cores, and SN's networks on an H100."""
    timed = json.loads(_METHODS.read_text())
    place, _, argument = timed["config"].partition(":")  # a path in a checkout
    config = load_config(f"{Path(place).stem}:{argument}", timed["changes"])
    about = (f"{timed['cores']} {timed['machine']} cores, {timed['date']}, commit "
             f"{timed['commit'][:7]}")
    tiny = json.loads(_TINY.read_text())  # its runs consist nearly entirely of the start
    start = tiny["seconds"] * tiny["parallel"] / tiny["runs"]
    found = []
    for part in timed["parts"]:
        config.n_dis = part["n_dis"]
        found += [Record("cpu", "cnn", method, work(config), row["seconds"] / 100, start, about)
                  for method, row in part["methods"].items()]
    for kind in ("cnn", "resnet"):
        config = load_config("cifar10_cnn")
        config.update(json.loads((_H100 / f"{kind}-config.json").read_text()))
        made = json.loads((_H100 / f"{kind}-environment.json").read_text())
        rows = [json.loads(line) for line in (
            _H100 / f"{kind}-metrics.jsonl").read_text().splitlines()]
        rates = [row["iterations_per_second"] for row in rows if "iterations_per_second" in row]
        found.append(Record("gpu", kind, config.method, work(config), 1 / statistics.median(rates),
                            rows[0]["compile_seconds"],
                            f"one H100, {made['date'][:10]}, commit {made['commit'][:7]}"))
    return tuple(found)


def work(config: Any) -> float:
    """The size of an iteration: images that pass the networks x their area x widths squared.

    An update of D takes about as long as one of G: D passes real and generated images, while G is
    only run forward.
    """
    base = CNNS.get(config.model)
    widths = (base.width,) * 2 if base else (RESNETS[config.model].generator_width,
                                             RESNETS[config.model].discriminator_width)
    own = (config.generator_width or widths[0], config.discriminator_width or widths[1])
    images = config.generator_batch_size + config.n_dis * config.batch_size
    return images * config.image_size**2 * sum(width**2 for width in own)


def record_for(config: Any, backend: str) -> Record | None:
    """The record of such networks on this kind of device, with the same method if possible."""
    kind = "cnn" if config.model in CNNS else "resnet"
    alike = [record for record in records() if (record.backend, record.kind) == (backend, kind)]
    return min(alike, key=lambda record: record.method != config.method, default=None)


def guess(runs: Iterable[tuple[str, Iterable[str], int]]) -> tuple[list[float | None], str]:
    """(seconds that each run still takes, None without a suitable record; the records used).

    Args:
      runs: (config, changes, remaining iterations).
    """
    backend = jax.default_backend()
    seconds: list[float | None] = []
    used: dict[str, None] = {}
    for text, changes, left in runs:
        config = load_config(text, changes)
        record = record_for(config, backend)
        seconds.append(None if record is None
                       else record.start + left * record.seconds * work(config) / record.work)
        used |= {} if record is None else {record.about: None}
    return seconds, "; ".join(used)
