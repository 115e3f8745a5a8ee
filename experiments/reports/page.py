"""Writes a report: one self-contained page, Markdown with pictures beside it, CSV files.

The look of the pages is in templates/. All text is escaped there unless it is `Markup`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sngan_jax.base.errors import printable
from sngan_jax.base.files import write_text

from .frame import last_record, runs_of, score_frame
from .parts import Entry, Figure, Missing, Table
from .runs import METRICS, Collection

PAGE, MARKDOWN, TABLES, PICTURES = "report.html", "report.md", "tables", "figures"
_COLUMNS = ("table", "method", "setting", "seed", "metric", "value", "std", "runs", "state",
            "iteration", "run_folder", "protocol", "commit")
_COMMAND = re.compile(r"(sngan [a-z][^;]*? --[^;]*?)(?=\.?$|;|\)|\. )")


def write_report(folder: Path, about: Sequence[str], found: Collection, tables: Sequence[Table],
                 figures: Sequence[Figure | Missing]) -> None:
    """Writes `PAGE`, `MARKDOWN` and the CSV files; those of an earlier report are replaced.

    Args:
      about: sentences under the title.
      figures: their files are in the folder `PICTURES`.

    Raises:
      OSError: if one of them cannot be written.
    """
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    files = [folder / TABLES / f"{table.key}.csv" for table in tables]
    for file, table in zip(files, tables, strict=True):
        write_text(file, csv_text(table))
    runs = tuple(tuple(Entry(str(text), "text") for text in (
        run.folder, run.config["method"], run.setting, run.seed, run.how_far))
        for run in found.runs)
    markdown = _environment(_marked, _fenced)
    html = _environment(escape, Markup("<code>{}</code>").format)
    copied = markdown.get_template("table.md").module.table
    html.filters |= {"data": lambda file: base64.b64encode(file.read_bytes()).decode(),
                     "copied": lambda table: escape(str(copied(table, links=False)))}
    for name, environment in ((MARKDOWN, markdown), (PAGE, html)):
        write_text(folder / name, environment.get_template(name).render(
            about=about, notes=found.notes, tables=tables, figures=figures,
            sources=sources_of(found), runs=Table(
                "", "", "", ("folder", "method", "setting", "seed", "state"), runs)))
    for old in {*(folder / TABLES).glob("*.csv")} - {*files}:
        old.unlink()


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


def _environment(mark: Callable[[str], Markup], code: Callable[[str], Markup]) -> Environment:
    """Templates whose values are escaped by `mark`; `rich` values pass commands to `code`."""
    def finalize(value: Any) -> Markup:
        return value if isinstance(value, Markup) else mark(printable(str(value)))

    def rich(text: str) -> Markup:
        return Markup("").join(code(printable(part)) if n % 2 else finalize(part)
                               for n, part in enumerate(_COMMAND.split(text)))

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), undefined=StrictUndefined,
        autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rich": rich, "slug": _slug}
    environment.globals["metrics"] = METRICS
    return environment


def _marked(text: str) -> Markup:
    """Text in which Markdown sees no mark."""
    return Markup(re.sub(r"[\\`*[\]<|]|&(?=#?\w+(?:;|$))|(?<!\w)_|_(?!\w)", r"\\\g<0>", text))


def _fenced(command: str) -> Markup:
    """Code in Markdown."""
    fence = "`" * (1 + max(map(len, re.findall("`+", command)), default=0))
    return Markup(f"{fence}{command}{fence}")


def _slug(text: str) -> str:
    """An anchor."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def sources_of(found: Collection) -> list[dict[str, Any]]:
    """Each row and setting of each protocol: anchor, title, protocol, and the runs.

    Each run is listed with its record and with the others of that protocol.
    """
    sources = []
    for _, of in score_frame(found).groupby(["key", "method", "setting"], sort=False):
        first, runs = of.iloc[0], []
        for run in runs_of(of):
            last = last_record(run, first["protocol"])
            runs.append((run, last, [record for record in run.records.get(first["protocol"], ())
                                     if record is not last]))
        sources.append({"anchor": first["anchor"], "title": first["title"], "runs": runs,
                        "protocol": first["protocol"].sentence() if first["protocol"] else
                        "not scored"})
    return sources
