"""Tables and figures of the paper from finished runs: one page, Markdown and CSV.

    sngan report --workdir=runs/table2
    sngan report --workdir=runs/table2,runs/table7,runs/figure4 --out=runs/report

Reads the folders of `sngan sweep` (or of single runs); trains nothing and changes nothing in them.
Writes report.html, which needs no other file, report.md, tables/*.csv and figures/*.png into --out.
Cells that have not been run say so, with the command that runs them; docs/report.md explains.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import check_writable, write_errors, write_text
from sngan_jax.base.output import say
from sngan_jax.base.provenance import commit
from sngan_jax.run.workdir import make_workdir

from . import cli
from .reports.figures import FIGURES
from .reports.page import MARKDOWN, PAGE, PICTURES, TABLES, write_report
from .reports.parts import Missing
from .reports.runs import FINISHED, collect
from .reports.tables import make_tables


def arguments(parser: cli.Parser) -> None:
    """The flags of `report`."""
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="folders of sweeps or "
                        "of runs, or a single run's; separated by commas")
    parser.add_argument("--out", metavar="FOLDER", help="folder for the report; otherwise `report` "
                        "in the first --workdir")


def main(options: argparse.Namespace) -> None:
    """Collects the runs, draws the figures, writes the report."""
    # A run in a table has commas in its own name.
    whole = Path(options.workdir)
    folders = [whole] if whole.exists() else [Path(name).expanduser() for name in
                                                  options.workdir.split(",")]
    make_report(folders, Path(options.out) if options.out else folders[0] / "report",
                options.command)


def make_report(folders: Sequence[Path], out: Path, command: str = "") -> None:
    """Writes the report of these folders, and prints a summary.

    Raises:
      UserError: as for `runs.collect`, and if `out` is a folder of another kind or not writable.
    """
    found, source = collect(folders), commit()
    _check(out)
    for note in found.notes:
        say(f"warning: {note}")
    with write_errors("the report", out):
        if not (make_workdir(out, "--out") / PAGE).exists():  # a mark, should this be interrupted
            write_text(out / PAGE, "This report is not finished.")
        pictures = make_workdir(out / PICTURES, "--out")
        figures = [figure(found, pictures) for figure in FIGURES]
        tables = make_tables(found)
        finished = sum(run.state == FINISHED for run in found.runs)
        about = (*(f"{sweep.title}; folder {sweep.folder}." for sweep in found.sweeps),
                 f"{_counted(found.runs, 'run')}, {finished} of them finished and scored. Numbers "
                 "are of last checkpoints; results chosen in hindsight are in separate tables.",
                 f"Made {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by commit "
                 f"{source or 'unknown'}" + (f", by the command: {command}" if command else ""))
        write_report(out, about, found, tables, figures)
        drawn = [figure for figure in figures if not isinstance(figure, Missing)]
        for old in {*pictures.glob("*.png")} - {figure.file for figure in drawn}:
            old.unlink()  # last, so that a full disk leaves the earlier report whole
    print(f"{_counted(tables, 'table')}, {_counted(drawn, 'figure')} "
          f"({len(figures) - len(drawn)} not run) of "
          f"{_counted(found.runs, 'run')}, {finished} finished and scored: {out / PAGE}, "
          f"{MARKDOWN}, {TABLES}/*.csv")


def _counted(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def _check(out: Path) -> None:
    """UserError for a folder of another kind: a report replaces only its own files."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file: give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / PAGE).is_file():
        raise UserError(f"--out={out} is not empty and holds no report: give a new folder")
    check_writable(out / PAGE, "--out", replaced=True)


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "report"))
