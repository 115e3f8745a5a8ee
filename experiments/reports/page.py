"""Writes a report: one self-contained page, Markdown with pictures beside it, CSV files."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sngan_jax.base.errors import printable
from sngan_jax.base.files import write_text

from .parts import Entry, Figure, Missing, Source, Table
from .runs import (
    FINISHED,
    METRICS,
    Collection,
    Run,
    how_far,
    recorded_protocol,
)

PAGE, MARKDOWN, TABLES, PICTURES = "report.html", "report.md", "tables", "figures"
_COLUMNS = ("table", "method", "setting", "seed", "metric", "value", "std", "runs", "state",
            "iteration", "run_folder", "protocol", "commit")
_ABSENT = ("A figure that is not run has the command for its runs beside it; their folder is then "
           "given to --workdir too.")
_STYLE = """
:root { color-scheme: light; }
body { font: 1rem/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 72rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #999; }
h3 { margin: 2rem 0 .3rem; } h4 { margin: 1rem 0 .2rem; font-size: 1rem; }
a { color: #004f8a; } a:focus-visible { outline: 3px solid #d55e00; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .82rem; }
th, td { padding: .25rem .4rem; border-bottom: 1px solid #ccc; text-align: right;
         vertical-align: top; }
thead th { border-bottom: 2px solid #555; vertical-align: bottom; }
th:first-child, td:first-child, .text td, .text th { text-align: left; }
tbody th { font-weight: normal; white-space: pre; }
td.paper, th.paper { background: #eef3f7; } td.missing { color: #595959; font-style: italic; }
td { white-space: nowrap; } .text td { white-space: normal; } small { font-size: .85em; }
.caption { font-size: .9rem; color: #333; max-width: 66rem; } code { font-size: .85em; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; border: 1px solid #ddd; }
.note { background: #fff6e0; border-left: 4px solid #e69f00; padding: .3rem .8rem; }
.absent { background: #f4f4f4; border-left: 4px solid #777; padding: .3rem .8rem; }
details { font-size: .85rem; } li { overflow-wrap: anywhere; } :target { background: #fff3c4; }
@media print { details { display: none; } }
"""


class Report(NamedTuple):
    """All that is shown; about: sentences under the title."""

    title: str
    about: tuple[str, ...]
    found: Collection
    tables: tuple[Table, ...]
    figures: tuple[Figure | Missing, ...]


def write_report(report: Report, folder: Path) -> None:
    """Writes `PAGE`, `MARKDOWN` and the CSV files; those of an earlier report are replaced.

    Raises:
      OSError: one of them cannot be written.
    """
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    for old in (folder / TABLES).glob("*.csv"):
        old.unlink()
    for table in report.tables:
        write_text(folder / TABLES / f"{table.key}.csv", csv_text(table))
    write_text(folder / MARKDOWN, markdown(report, folder))
    write_text(folder / PAGE, page(report))


def csv_text(table: Table) -> str:
    """A row for each cell (seed 'all') and each run behind it."""
    names = list(dict.fromkeys((*_COLUMNS, *(name for row in table.records for name in row))))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()}
                     for row in table.records)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, as the name of a folder could be."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{printable(value)}"
    return value


def page(report: Report) -> str:
    """The whole page, which needs no other file and no network."""
    sources = [source for table in report.tables for source in table.sources]
    contents = [_contents("Tables", ((slug(t.key), t.title) for t in report.tables)),
                _contents("Figures", ((slug(f.title.split(":")[0]), f.title)
                                      for f in report.figures)),
                _contents("Behind the numbers", (("provenance", "Where each number is from"),
                                                 ("runs", "All runs")))]
    body = [f"<h1>{_e(report.title)}</h1>", *(f"<p>{_rich(text)}</p>" for text in report.about),
            *(f'<p class="note">{_rich(note)}</p>' for note in report.found.notes),
            f'<nav aria-label="Contents"><h2>Contents</h2>{"".join(contents)}</nav>',
            "<h2>Tables</h2>", *map(_table, report.tables),
            "<h2>Figures</h2>", f"<p>{_ABSENT}</p>", *map(_figure, report.figures),
            '<h2 id="provenance">Where each number is from</h2>', *map(_source, sources),
            '<h2 id="runs">All runs</h2>', _runs(report.found.runs)]
    return (f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_e(report.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
            + "\n".join(body) + "\n</body>\n</html>\n")


def slug(text: str) -> str:
    """An anchor."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def _e(text: str) -> str:
    return html.escape(printable(text))


def _m(text: str) -> str:
    """A text inside Markdown, in which nothing is a tag of HTML."""
    return html.escape(printable(text), quote=False)


def _rich(text: str) -> str:
    """Escaped, with commands set as code."""
    return re.sub(r"(python -m [^;]*?)(?=\.?$|;|\)|\. )", r"<code>\1</code>", _e(text))


def _contents(name: str, entries: Iterable[tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{anchor}">{_e(title)}</a></li>' for anchor, title in entries)
    return f"<h4>{name}</h4><ul>{links}</ul>"


def _table(table: Table) -> str:
    def head(text: str) -> str:
        kind = _class("paper") if text.startswith("paper") else ""
        # A narrow column breaks no name at its hyphen.
        return f'<th scope="col"{kind}>{_e(text).replace("-", "&#8209;")}</th>'

    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in table.rows)
    return (f'<section id="{slug(table.key)}"><h3>{_e(table.title)}</h3>'
            f'<p class="caption">{_rich(table.caption)}</p><div class="wide"><table><thead><tr>'
            f"{''.join(map(head, table.head))}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
            f'<p class="caption">As CSV: {TABLES}/{_e(table.key)}.csv</p></section>')


def _cell(cell: Entry) -> str:
    title = f' title="{_e(cell.title)}"' if cell.title else ""
    value, sign, deviation = _e(cell.text).partition(" ± ")
    text = f"{value}<small>{sign}{deviation}</small>" if sign else value
    text = f'<a href="#{cell.source}">{text}</a>' if cell.source else text
    if cell.kind == "label":
        return f'<th scope="row"{title}>{text}</th>'
    return f"<td{_class(cell.kind)}{title}>{text}</td>"


def _class(name: str) -> str:
    return f' class="{name}"'


def _figure(figure: Figure | Missing) -> str:
    anchor = slug(figure.title.split(":")[0])
    if isinstance(figure, Missing):
        return (f'<section id="{anchor}"><h3>{_e(figure.title)}</h3><p class="absent">Not run. '
                f"{_rich(figure.reason)}</p></section>")
    data = base64.b64encode(figure.file.read_bytes()).decode()
    lines = "".join(f"<li>{_e(line)}</li>" for line in figure.provenance)
    origin = f"<details><summary>Where it is from</summary><ul>{lines}</ul></details>"
    return (f'<section id="{anchor}"><h3>{_e(figure.title)}</h3><figure>'
            f'<img src="data:image/png;base64,{data}" alt="{_e(figure.title)}">'
            f'<figcaption class="caption">{_rich(figure.caption)}</figcaption></figure>'
            f"{origin if lines else ''}</section>")


def _source(source: Source) -> str:
    lines = "".join(f"<li>{_e(line)}</li>" for line in provenance(source))
    by = f'<p class="caption">{_e(source.protocol.sentence())}</p>' if source.protocol else ""
    return (f'<section id="{source.anchor}"><h4>{_e(source.title)}</h4>{by}<ul>{lines}</ul>'
            "</section>")


def provenance(source: Source) -> list[str]:
    """A line for each run of a cell: folder, checkpoint, seed, scores, commits, machine, date."""
    lines = []
    for run, record in source.runs:
        words = [f"seed {run.seed}", str(run.folder)]
        if record:
            earlier = [f"{other['fake']['iteration']:,}: {_scores(other)}" for other in run.records
                       if recorded_protocol(other) == source.protocol and other is not record]
            words += [f"checkpoint of iteration {record['fake']['iteration']:,}", _scores(record),
                      f"scored {record.get('date', 'at an unknown time')} on "
                      f"{record.get('device', 'an unknown device')} by commit "
                      f"{record.get('commit') or 'unknown'}",
                      *([f"other scores, at iteration {', at '.join(earlier)}"] * bool(earlier))]
        else:
            words.append(how_far(run))
        lines.append("; ".join((*words, machine(run))))
    return lines


def _scores(record: dict[str, Any]) -> str:
    return ", ".join(f"{METRICS[name]} {value}" for name, value in record["scores"].items()
                     if name in METRICS)


def machine(run: Run) -> str:
    """Commit, device and system that a run was trained by."""
    there = run.environment
    if not there:
        return "trained on an unknown machine (no environment.json)"
    return (f"trained {there.get('date', 'at an unknown time')} by commit "
            f"{there.get('commit') or 'unknown'} on {there.get('devices', 'an unknown device')}, "
            f"{there.get('cores', '?')} cores, {there.get('platform', 'an unknown system')}")


def _runs(runs: Sequence[Run]) -> str:
    rows = "".join(f"<tr><td>{_e(str(run.folder))}</td><td>{_e(run.config['method'])}</td>"
                   f"<td>{_e(run.setting)}</td><td>{run.seed}</td><td>{_e(how_far(run))}</td></tr>"
                   for run in runs)
    finished = sum(run.state == FINISHED for run in runs)
    return (f"<p>{len(runs)} runs, {finished} of them finished and scored.</p><div class=\"wide\">"
            '<table class="text"><thead><tr><th>folder</th><th>method</th><th>setting</th>'
            f"<th>seed</th><th>state</th></tr></thead><tbody>{rows}</tbody></table></div>")


def markdown(report: Report, folder: Path) -> str:
    """The same in Markdown, with the pictures' files."""
    lines = [f"# {_m(report.title)}", "", *_paragraphs(map(_m, report.about)),
             *_paragraphs(f"**Note:** {_m(note)}" for note in report.found.notes), "## Tables", ""]
    for table in report.tables:
        lines += [f"### {_m(table.title)}", "", _m(table.caption), "", _md_row(table.head),
                  _md_row(["---"] * len(table.head)),
                  *(_md_row([_md_cell(cell) for cell in row]) for row in table.rows), ""]
    lines += ["## Figures", "", _ABSENT, ""]
    for figure in report.figures:
        lines += [f"### {_m(figure.title)}", ""]
        if isinstance(figure, Missing):
            lines += [f"Not run. {_m(figure.reason)}", ""]
        else:
            place = figure.file.relative_to(folder).as_posix()
            lines += [f"![{_m(figure.title)}]({place})", "", _m(figure.caption), "",
                      *(f"- {_m(line)}" for line in figure.provenance), ""]
    lines += ["## Where each number is from", ""]
    for source in (source for table in report.tables for source in table.sources):
        by = source.protocol.sentence() if source.protocol else "not scored"
        lines += [f'<a id="{source.anchor}"></a>**{_m(source.title)}**: {_m(by)}', "",
                  *(f"- {_m(line)}" for line in provenance(source)), ""]
    return "\n".join(lines)


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in (text, "")]


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_m(cell).replace("|", "\\|").strip() for cell in cells) + " |"


def _md_cell(cell: Entry) -> str:
    return f"[{cell.text}](#{cell.source})" if cell.source else cell.text
