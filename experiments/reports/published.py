"""The rows of a sweep's table with those of the paper, and the commands that make its runs."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sngan_jax.base.errors import UserError

from ..paper import Row, table2, table7, table8
from ..sweeps.tables import TABLES, Request, folder_of, tables_of
from .runs import BESIDE, Collection, Run, Sweep

PUBLISHED = {"2": table2.ROWS, "7": table7.ROWS, "8": table8.ROWS}
DATA = {"cifar10": "CIFAR-10", "stl10": "STL-10", "imagenet128": "ImageNet"}


def command(table: str, sweep: Sweep | None = None, seeds: int = 3) -> str:
    """The command that makes the runs of a table, or those that a sweep still lacks."""
    sweep = sweep or Sweep(Path("runs") / folder_of(table), "", table, "cifar10", "paper", "")
    changes = "".join(f" {shlex.quote(f'--config.{change}')}" for change in sweep.changes)
    return (f"sngan sweep --table={table} --dataset={sweep.dataset} --scale={sweep.scale} "
            f"--seeds={seeds} --workdir={shlex.quote(str(sweep.folder))}{changes}")


def command_like(found: Collection, table: str) -> str:
    """The command for the runs of a table, on the data and scale of the report's first sweep.

    If the table has no runs for these, the command is for the paper's.
    """
    same = next((sweep for sweep in found.sweeps if sweep.table), None)
    own = next((sweep for sweep in found.sweeps if sweep.table == table), None)
    if same and not own:
        with contextlib.suppress(UserError):  # data or a scale that this version does not know
            if table in tables_of(Request(table, same.dataset, same.scale)):
                return command(table, same._replace(folder=Path("runs") / folder_of(table)), 1)
    return command(table, own)


class Place(NamedTuple):
    """A row in a sweep's table.

    variant: '' if ours has none; settings: those in which it is trained; row: the paper's row, or
    None; why: the reason if there can be no run of it.
    """

    label: str
    variant: str
    settings: tuple[str, ...]
    row: Row | None = None
    why: str = ""


def rows_of(sweep: Sweep, runs: Sequence[Run]) -> list[Place]:
    """The rows of a sweep's table.

    The paper's rows of trained networks and the variants of a table are in the same order.
    """
    if not sweep.table:
        return [Place(name, name, ("",)) for name in dict.fromkeys(run.variant for run in runs)]
    variants = list({row.name: row for row in TABLES[sweep.table]}.values())
    if sweep.table not in PUBLISHED:
        return [Place(row.name, row.name, row.settings) for row in variants]
    rows, left = [], iter(variants)
    for row in PUBLISHED[sweep.table]:
        if not is_ours(row):
            why = f"quoted from {row.quoted_from}" if row.quoted_from else "no generator"
            rows.append(Place(row.label, "", (), row, why))
            continue
        variant, why = next(left), ""
        if variant.datasets and sweep.dataset not in variant.datasets:
            why = f"only for {', '.join(variant.datasets)}"
        elif variant.paper_scale and sweep.scale != "paper":
            why = "only at --scale=paper"
        rows.append(Place(row.label, variant.name, variant.settings, row, why))
    return rows


def is_ours(row: Row) -> bool:
    """Whether a sweep of this project trains the networks of the paper's row."""
    return bool(row.method) and not row.quoted_from


def paper_columns(sweep: Sweep, metrics: Sequence[str], rows: Sequence[Place]
                  ) -> list[tuple[str, str]]:
    """The paper's columns beside these scores: those for the same data if there are any, or all."""
    there = dict.fromkeys(key for place in rows if place.row for key in place.row.values)
    wanted = [BESIDE[metric] for metric in metrics if metric in BESIDE]
    found = [(metric, data) for name in wanted for metric, data in there if metric == name]
    same = [column for column in found if column[1] == sweep.dataset]
    return same or found


def headings(columns: Sequence[tuple[str, str]]) -> list[str]:
    """The headings of the paper's columns."""
    return [f"paper: {metric}, {DATA[data]}" for metric, data in columns]
