"""The paper's tables as data: which row of the paper belongs beside which of ours."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..paper import Row, table1, table2, table7, table8
from ..sweeps.tables import TABLES
from .parts import NOT_RUN, NOTHING, Entry, Table
from .runs import BESIDE, Collection, Run, Sweep

PUBLISHED = {"2": table2.ROWS, "7": table7.ROWS, "8": table8.ROWS}
DATA = {"cifar10": "CIFAR-10", "stl10": "STL-10", "imagenet128": "ImageNet"}


def command(table: str, sweep: Sweep | None = None, seeds: int = 3) -> str:
    """The command that makes the runs of a table, or those that a sweep still lacks."""
    dataset, scale = (sweep.dataset, sweep.scale) if sweep else ("cifar10", "paper")
    folder = sweep.folder if sweep else f"runs/{'table' * table.isdigit()}{table}"
    folder = shlex.quote(str(folder))
    return " ".join((f"sngan sweep --table={table} --dataset={dataset} "
                     f"--scale={scale} --seeds={seeds} --workdir={folder}",
                     *(shlex.quote(f"--config.{change}") for change in (
                         sweep.changes if sweep else ()))))


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


def headings(columns: Sequence[tuple[str, str]]) -> list[str]:
    """The headings of the paper's columns."""
    return [f"paper: {metric}, {DATA[data]}" for metric, data in columns]


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
        variant = next(left) if is_ours(row) else None
        why = ""
        if variant is None:
            why = f"quoted from {row.quoted_from}" if row.quoted_from else "no generator"
        elif variant.datasets and sweep.dataset not in variant.datasets:
            why = f"only for {', '.join(variant.datasets)}"
        elif variant.paper_scale and sweep.scale != "paper":
            why = "only at --scale=paper"
        rows.append(Place(row.label, variant.name if variant else "",
                          variant.settings if variant else (), row, why))
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


def published(row: Row | None, column: tuple[str, str]) -> Entry:
    """The paper's number of a row in one of `paper_columns`, as printed there; or a dash."""
    value = row.values.get(column) if row else None
    if row is None or value is None:
        return Entry(NOTHING, "none", title=row.footnote if row else "")
    notes = [row.footnote, f"quoted from {row.quoted_from}" if row.quoted_from else ""]
    digits = 2 if column[0] == "IS" and column[1] != "imagenet128" else 1
    std = "" if value.std is None else f" ± {value.std:.2f}"
    return Entry(f"{value.mean:.{digits}f}{std}", "paper", title="; ".join(filter(None, notes)))


def command_like(found: Collection, table: str) -> str:
    """The command for the runs of a table, on the data and scale of the report's first sweep."""
    same = next((sweep for sweep in found.sweeps if sweep.table), None)
    own = next((sweep for sweep in found.sweeps if sweep.table == table), None)
    if own or not same:
        return command(table, own)
    return command(table, same._replace(folder=Path("runs") / table), 1)


def settings_table(found: Collection) -> Table:
    """Table 1, with the settings with which the runs of this report were trained."""
    lines, records = [], []
    for name, setting in table1.SETTINGS.items():
        runs = [run for run in found.runs if run.setting == name]
        used = {field: [str(one) for one in sorted({run.config.get(field) or 0 for run in runs})]
                for field in setting._fields}
        lines.append((
            Entry(name), *(Entry(str(value), "paper") for value in setting),
            *(Entry(", ".join(there), "ours") if runs else Entry(NOT_RUN, "missing")
              for there in used.values()),
            *(Entry(text, "none") for text in (
                str(len(runs)), table1.ORIGINS[name] or "the paper's own"))))
        records += [{"table": "1", "setting": name, "metric": field, "runs": len(runs),
                     "value": " ".join(used[field]), "state": "" if runs else NOT_RUN,
                     "paper_value": value} for field, value in setting._asdict().items()]
    words = ("α", "β₁", "β₂", "n_dis")
    return Table("table1", "Table 1: settings of Adam and updates of D per update of G",
                 "The paper's settings, and those in the configs of the runs of this report "
                 "(Figure 11 varies n_dis in setting D).",
                 ("setting", *(f"paper: {w}" for w in words), *(f"ours: {w}" for w in words),
                  "runs here", "from"), tuple(lines), tuple(records))


def unrun_table(name: str, what: str, rows: Sequence[Row], how: str) -> Table:
    """A table of the paper of which no folder of this report has runs."""
    columns = list(dict.fromkeys(key for row in rows for key in row.values))
    lines = [(Entry(row.label),
              Entry(NOT_RUN, "missing") if is_ours(row) else Entry(NOTHING, "none"),
              *(published(row, column) for column in columns)) for row in rows]
    records = [{"table": name, "method": row.label.strip(), "metric": metric, "state": NOT_RUN,
                "paper_data": data, "paper_value": value.mean, "paper_std": value.std}
               for row in rows for (metric, data), value in row.values.items()]
    return Table(name.lower().replace(" ", ""), f"{name}: {what}",
                 f"No folder of this report has its runs. Make them with: {how}",
                 ("method", "ours", *headings(columns)), tuple(lines), tuple(records))
