"""The parts of a page: cells, tables and figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from sngan_jax.metrics.scores import LESS_IS_BETTER

from ..paper import Row
from .published import Place
from .runs import BESIDE, FINISHED, METRICS, RecordedProtocol, Sweep


class Entry(NamedTuple):
    """A cell as shown.

    kind: 'label', 'ours', 'paper', 'missing', 'text' or 'none'; source: anchor of its provenance,
    or ''; title: a further remark on it.
    """

    text: str
    kind: str = "label"
    source: str = ""
    title: str = ""


NOT_RUN, NOTHING = Entry("not run", "missing"), Entry("–", "none")


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


def better(metric: str, less: str, more: str) -> str:
    """A score's name, with either ending if it has a better side."""
    return METRICS.get(metric, "score") + {True: less, False: more}.get(
        LESS_IS_BETTER.get(metric), "")


def number(value: float, std: float = math.nan) -> str:
    """Four digits; the deviation, if there is one, after ± to the same place."""
    places = max(3 - math.floor(math.log10(abs(value))), 0) if value else 3
    return f"{value:.{places}f}" + ("" if math.isnan(std) else f" ± {std:.{places}f}")


def published(row: Row | None, column: tuple[str, str]) -> Entry:
    """The paper's number of a row in a column (metric, data), as printed there; or a dash."""
    if row is None or column not in row.values:
        return NOTHING._replace(title=row.footnote if row else "")
    value, (metric, data) = row.values[column], column
    notes = [row.footnote, f"quoted from {row.quoted_from}" if row.quoted_from else ""]
    digits = 2 if metric == "IS" and data != "imagenet128" else 1
    std = "" if value.std is None else f" ± {value.std:.2f}"
    return Entry(f"{value.mean:.{digits}f}{std}", "paper", title="; ".join(filter(None, notes)))


def score_cell(cell: pd.DataFrame, usual: int = 0, why: str = "") -> Entry:
    """The mean over seeds, or the state of the runs.

    Args:
      cell: rows of the frame for one method, setting, metric and protocol.
      usual: number of runs in a cell of the table; fewer are mentioned.
      why: the reason if there can be no run.
    """
    if cell.empty:
        return NOT_RUN._replace(title=why)
    source, values = cell["anchor"].iloc[0], cell["value"].dropna()
    if values.empty:
        jobs = cell["run"].iloc[0].sweep.folder / "jobs"
        return Entry("; ".join(cell["state"].unique()), "missing", source,
                     f"the output of the runs is in {jobs}" if jobs.is_dir() else "")
    seeds = [f"seed {run.seed}: {number(run.value)}"
             for run in cell.itertuples() if run.state == FINISHED]
    others = [f"seed {run.seed}: {run.state}" for run in cell.itertuples() if run.state != FINISHED]
    few = f" (n={len(values)})" if len(values) < usual else ""
    return Entry(number(values.mean(), values.std()) + few, "ours", source,
                 "; ".join((", ".join(seeds), *others)))


def records_of(sweep: Sweep, place: Place, setting: str, metric: str, cell: pd.DataFrame,
               protocol: RecordedProtocol | None) -> list[dict[str, Any]]:
    """Rows for the CSV: one for the cell (seed 'all'), and one for each run."""
    theirs = {}
    for (name, data), value in (place.row.values.items() if place.row else ()):
        if name == BESIDE.get(metric):
            theirs |= {f"paper_{name}_{data}": value.mean, f"paper_{name}_{data}_std": value.std}
    same = {"table": sweep.table or sweep.folder.name, "method": place.variant,
            "setting": setting, "metric": metric,
            "protocol": protocol.sentence() if protocol else "", **theirs}
    values = cell["value"].dropna()
    state = FINISHED if len(values) else "; ".join(cell["state"].unique()) or NOT_RUN.text
    runs = cell[["seed", "value", "state", "iteration", "run_folder", "commit"]].assign(runs=1)
    return [{**same, "seed": "all", "value": values.mean(), "std": values.std(),
             "runs": len(values), "state": state},
            *({**same, **run} for run in runs.to_dict("records"))]
