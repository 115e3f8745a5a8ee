"""The parts of a page: tables of cells, figures, and the sources of their numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from sngan_jax.metrics.scores import LESS_IS_BETTER

from .runs import METRICS

NOT_RUN, NOTHING = "not run", "–"


class Entry(NamedTuple):
    """A cell as shown.

    kind: 'label', 'ours', 'paper', 'missing', 'text' or 'none'; source: anchor of its provenance,
    or ''; title: a further remark on it.
    """

    text: str
    kind: str = "label"
    source: str = ""
    title: str = ""


class Table(NamedTuple):
    """key: name of its CSV file; records: the rows of that file; rows are as long as head."""

    key: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    records: tuple[dict[str, Any], ...] = ()


class Figure(NamedTuple):
    """file: a PNG; provenance: a line for each run, with the checkpoints that were read."""

    title: str
    caption: str
    file: Path
    provenance: tuple[str, ...] = ()


class Missing(NamedTuple):
    """A figure without data; reason: what is missing and the command that makes it."""

    title: str
    reason: str


def heading(metric: str) -> str:
    """A score's name, with an arrow to the better side if there is one."""
    arrow = {True: " ↓", False: " ↑"}.get(LESS_IS_BETTER.get(metric), "")
    return METRICS.get(metric, "score") + arrow


def number(value: float, std: float = math.nan) -> str:
    """Four digits; the deviation, if there is one, after ± to the same place."""
    places = max(3 - math.floor(math.log10(abs(value))), 0) if value else 3
    return f"{value:.{places}f}" + ("" if math.isnan(std) else f" ± {std:.{places}f}")
