"""Writes a report: one self-contained page, Markdown with pictures beside it, CSV files.

The look of the pages is in templates/. All text is escaped there unless it is `Markup`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sngan_jax.base.errors import printable
from sngan_jax.base.files import write_text

from .frame import last_record, runs_of, score_frame
from .parts import Entry, Figure, Missing, Table
from .runs import (
    METRICS,
    Collection,
    RecordedProtocol,
    Run,
    how_far,
    recorded_protocol,
)

PAGE, MARKDOWN, TABLES, PICTURES = "report.html", "report.md", "tables", "figures"
_COLUMNS = ("table", "method", "setting", "seed", "metric", "value", "std", "runs", "state",
            "iteration", "run_folder", "protocol", "commit")
_COMMAND = re.compile(r"(sngan [a-z][^;]*? --[^;]*?)(?=\.?$|;|\)|\. )")


class Report(NamedTuple):
    """The content of a report; about: sentences under the title."""

    title: str
    about: tuple[str, ...]
    found: Collection
    tables: tuple[Table, ...]
    figures: tuple[Figure | Missing, ...]


def write_report(report: Report, folder: Path) -> None:
    """Writes `PAGE`, `MARKDOWN` and the CSV files; those of an earlier report are replaced.

    Raises:
      OSError: if one of them cannot be written.
    """
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    for old in (folder / TABLES).glob("*.csv"):
        old.unlink()
    for table in report.tables:
        write_text(folder / TABLES / f"{table.key}.csv", csv_text(table))
    shown = {"report": report, "runs": _runs(report.found), "sources": sources_of(report.found)}
    for name, environment in ((MARKDOWN, _markdown(folder)), (PAGE, _html())):
        write_text(folder / name, environment.get_template(name).render(shown))


def csv_text(table: Table) -> str:
    """A row for each cell (seed 'all') and each run behind it; no text begins like a formula."""
    names = list(dict.fromkeys((*_COLUMNS, *(name for row in table.records for name in row))))
    rows = [[_cell(row.get(name)) for name in names] for row in table.records]
    return pd.DataFrame(rows, columns=names, dtype=object).to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, as it could do with the name of a folder."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    if formula and not re.fullmatch(r"[+-][\d.]+(e[+-]?\d+)?", value):
        return f"'{printable(value)}"
    return value


def _html() -> Environment:
    def data(file: Path) -> str:
        return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"

    copied = _markdown(Path()).get_template("table.md").module.table
    return _environment(escape, lambda command: Markup("<code>{}</code>").format(command),
                        data=data, copied=lambda table: escape(str(copied(table, links=False))))


def _markdown(folder: Path) -> Environment:
    def mark(text: str) -> Markup:
        return Markup(re.sub(r"[\\`*[\]<|]|&(?=#?\w+;)|(?<!\w)_|_(?!\w)", r"\\\g<0>", text))

    def code(command: str) -> Markup:
        fence = "`" * (1 + max(map(len, re.findall("`+", command)), default=0))
        return Markup(f"{fence}{command}{fence}")

    return _environment(mark, code, place=lambda file: file.relative_to(folder).as_posix())


def _environment(mark: Callable[[str], Markup], code: Callable[[str], Markup],
                 **filters: Callable[..., str]) -> Environment:
    """Templates whose values are escaped by `mark`; `rich` values pass commands to `code`."""
    def finalize(value: Any) -> Markup:
        return value if isinstance(value, Markup) else mark(printable(str(value)))

    def rich(text: str) -> Markup:
        return Markup("").join(code(printable(part)) if n % 2 else finalize(part)
                               for n, part in enumerate(_COMMAND.split(text)))

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), undefined=StrictUndefined,
        autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rich": rich, "slug": _slug, **filters}
    return environment


def _slug(text: str) -> str:
    """An anchor."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def sources_of(found: Collection) -> list[dict[str, Any]]:
    """Each row and setting of each protocol: anchor, title, protocol, and a line for each run."""
    return [{"anchor": of["anchor"].iloc[0], "title": of["title"].iloc[0],
             "protocol": protocol.sentence() if protocol else "not scored",
             "lines": [_provenance(run, protocol) for run in runs_of(of)]}
            for _, of in score_frame(found).groupby(["key", "method", "setting"], sort=False)
            for protocol in of["protocol"].iloc[:1]]


def _provenance(run: Run, protocol: RecordedProtocol | None) -> str:
    """Folder, checkpoint, seed, scores, commits, machine, date of a run behind a cell."""
    record, there = last_record(run, protocol), run.environment
    words = [f"seed {run.seed}", str(run.folder)]
    if record:
        earlier = [f"{other['fake']['iteration']:,}: {_scores(other)}" for other in run.records
                   if recorded_protocol(other) == protocol and other is not record]
        words += [f"checkpoint of iteration {record['fake']['iteration']:,}", _scores(record),
                  f"scored {record.get('date', 'at an unknown time')} on "
                  f"{record.get('device', 'an unknown device')} by commit "
                  f"{record.get('commit') or 'unknown'}",
                  *([f"other scores, at iteration {', at '.join(earlier)}"] * bool(earlier))]
    else:
        words.append(how_far(run))
    words.append(
        f"trained {there.get('date', 'at an unknown time')} by commit "
        f"{there.get('commit') or 'unknown'} on {there.get('devices', 'an unknown device')}, "
        f"{there.get('cores', '?')} cores, {there.get('platform', 'an unknown system')}"
        if there else "trained on an unknown machine (no environment.json)")
    return "; ".join(words)


def _scores(record: dict[str, Any]) -> str:
    return ", ".join(f"{METRICS[name]} {value}" for name, value in record["scores"].items()
                     if name in METRICS)


def _runs(found: Collection) -> Table:
    """All runs, and their states."""
    lines = tuple((Entry(str(run.folder), "text"), Entry(run.config["method"], "text"),
                   Entry(run.setting, "text"), Entry(str(run.seed), "text"),
                   Entry(how_far(run), "text")) for run in found.runs)
    return Table("", "", "", ("folder", "method", "setting", "seed", "state"), lines)
