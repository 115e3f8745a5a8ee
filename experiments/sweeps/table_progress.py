"""Progress of a table's sweep: its grid of states, and the time that is left."""

from __future__ import annotations

import functools
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from sngan_jax.base.files import write_text
from sngan_jax.run.lock import is_held
from sngan_jax.run.progress import duration as duration_of_run
from sngan_jax.run.workdir import METRICS, read_metrics

from ..configs.paper import SETTINGS
from .plan import Planned, is_finished, progress
from .records import guess
from .tables import Cell

PROGRESS = "progress.txt"
FINISHED, RUNNING, CUT_OFF, FAILED, NEW = "✓", "▸", "…", "✗", "·"
LEGEND = (f"{FINISHED} finished  {RUNNING} running  {CUT_OFF} cut off  {FAILED} failed  "
          f"{NEW} not started; one mark per seed")
UNKNOWN = "unknown until a run like it has finished"
_EVERY = 5.0  # seconds between looks at the folders


def state(cell: Cell, sweep: Path, running: Collection[str] = (),
          ended: Mapping[str, int] | None = None) -> str:
    """The mark of a run: `FINISHED`, `RUNNING`, `FAILED`, `CUT_OFF` or `NEW`.

    Args:
      running, ended: names of runs, the latter with exit statuses.
    """
    name = cell.run.name
    if name in running:
        return RUNNING
    if is_finished(cell.run, sweep):
        return FINISHED
    if (ended or {}).get(name):
        return FAILED
    return CUT_OFF if progress(cell.run, sweep) else NEW


def grid(cells: Sequence[Cell], marks: Sequence[str]) -> list[str]:
    """The lines of a table: a row for each row of the paper's, a column for each setting."""
    rows = list(dict.fromkeys(cell.variant for cell in cells))
    columns = list(dict.fromkeys(cell.setting for cell in cells))
    texts: dict[tuple[str, str], str] = {}
    for cell, mark in zip(cells, marks, strict=True):
        place = cell.variant, cell.setting
        texts[place] = texts.get(place, "") + mark
    first = max(map(len, rows))
    width = max(map(len, (*columns, *texts.values())))
    return [" ".join(("".ljust(first), *(column.ljust(width) for column in columns))).rstrip(),
            *(" ".join((row.ljust(first), *(texts.get((row, column), "").ljust(width)
                                            for column in columns))).rstrip() for row in rows)]


def predicted_seconds(runs: Iterable[tuple[Planned, object]], sweep: Path
                      ) -> dict[str, float | None]:
    """{run's name: seconds that the training of an unfinished run still takes}.

    It is based on finished runs with the same key, which do the same arithmetic. The prediction
    takes their median rate and the shortest compilation, because they share one cached program.
    Loading and scores are not included. None if there is no such run.

    Args:
      runs: each run with a key.
    """
    measured: dict[object, list[tuple[float, float]]] = {}
    unfinished = []
    for run, key in runs:
        if not is_finished(run, sweep):
            unfinished.append((run, key))
        elif found := _measured_once(run.workdir(sweep)):
            measured.setdefault(key, []).append(found)
    seconds: dict[str, float | None] = {}
    for run, key in unfinished:
        alike = measured.get(key)
        seconds[run.name] = None if alike is None else (
            (run.iterations - progress(run, sweep)) * statistics.median(rate for rate, _ in alike)
            + min(compiling for _, compiling in alike))
    return seconds


def _estimated(runs: Sequence[tuple[Planned, object]], sweep: Path
               ) -> tuple[dict[str, float | None], list[str]]:
    """`predicted_seconds`, else times by this repository's records, and a line on these records."""
    seconds = predicted_seconds(runs, sweep)
    unknown = [run for run, _ in runs if seconds.get(run.name, 0) is None]
    guessed, source = guess((run.config, run.changes, run.iterations - progress(run, sweep))
                            for run in unknown)
    seconds |= dict(zip((run.name for run in unknown), guessed, strict=True))
    count = sum(value is not None for value in guessed)
    return seconds, [f"{count} of them estimated from this repository's records ({source}), until "
                     "runs like them have finished here"] if count else []


def summary(seconds: Mapping[str, float | None]) -> str:
    """The predicted time of the remaining runs, in words."""
    known = [value for value in seconds.values() if value is not None]
    unknown = len(seconds) - len(known)
    if not seconds:
        return "nothing is left to do"
    if not known:
        return f"predicted time of the {unknown} remaining run{'s' * (unknown > 1)}: {UNKNOWN}"
    text = (f"predicted training time, one run after another: {duration(sum(known))} for "
            f"{len(known)} run{'s' * (len(known) > 1)}")
    return text + (f"; {unknown} more: {UNKNOWN}" if unknown else "")


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3.5 h' or '20 days'."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 48 * 3600:
        return duration_of_run(seconds)
    return f"{seconds / 86400:,.0f} days"


def table_listing(cells: Sequence[Cell], sweep: Path) -> list[str]:
    """One line per run: how far it is and how long it will take; then the sum.

    If no run like it has finished here, the time is a guess from this repository's records.
    """
    seconds, source = _estimated([(cell.run, _alike(cell)) for cell in cells], sweep)
    lines = []
    for cell in cells:
        name, at = cell.run.name, progress(cell.run, sweep)
        if name not in seconds:
            lines.append(f"{name}: finished")
            continue
        how_far = (f"cut off at {at:,} of {cell.run.iterations:,}" if at
                   else f"new, {cell.run.iterations:,} iterations")
        if is_held(cell.run.workdir(sweep)):
            how_far = f"running, {at:,} of {cell.run.iterations:,} saved"
        value = seconds[name]
        lines.append(f"{name}: {how_far}; time: {UNKNOWN if value is None else duration(value)}")
    return [*lines, summary(seconds), *source]


def grid_summary(runs: Sequence[Planned], sweep: Path) -> list[str]:
    """The predicted time of a grid's remaining runs; runs of one config and other seeds are alike.
    """
    seconds, source = _estimated([(run, (run.config, *(
        change for change in run.changes if not change.startswith("seed="))))
        for run in runs], sweep)
    return [summary(seconds), *source]


class Display:
    """The progress table: in the sweep's `progress.txt`, and redrawn in place on the terminal.

    Args:
      title: the first line, which names the scale.
      terminal: whether the table is redrawn in place; otherwise only events are written, and the
        table at the end.
    """

    def __init__(self, title: str, cells: Sequence[Cell], sweep: Path,
                 write: Callable[[str], object] = sys.stdout.write, terminal: bool | None = None):
        self._title, self._cells, self._sweep, self._write = title, cells, sweep, write
        self._terminal = sys.stdout.isatty() if terminal is None else terminal
        self._last, self._next, self._height = "", 0.0, 0

    def look(self, running: Collection[str], ended: Mapping[str, int]) -> None:
        """Shows the states if they have changed; looks at the folders every few seconds."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        text = self.text(running, ended)
        if text != self._last:
            self._last = text
            write_text(self._sweep / PROGRESS, text)
            if self._terminal:
                self._write(f"\x1b[{self._height}F\x1b[J{text}" if self._height else text)
                columns = shutil.get_terminal_size().columns  # a longer line takes several
                self._height = sum(max(-(-len(line) // columns), 1) for line in text.splitlines())
                sys.stdout.flush()

    def say(self, line: str) -> None:
        """Prints an event if there is no terminal, and lets the next look happen at once."""
        self._next = 0.0
        if not self._terminal:
            self._write(line + "\n")
            sys.stdout.flush()

    def finish(self, ended: Mapping[str, int] | None = None) -> None:
        """Shows the last state on any output."""
        self._next = 0.0
        self.look((), ended or {})
        if not self._terminal:
            self._write(self._last)

    def text(self, running: Collection[str], ended: Mapping[str, int]) -> str:
        """Title, counts, grid, legend and predicted time."""
        marks = [state(cell, self._sweep, running, ended) for cell in self._cells]
        counts = (f"{len(marks)} runs: {marks.count(FINISHED)} finished, {marks.count(RUNNING)} "
                  f"running, {marks.count(FAILED)} failed")
        left = summary(predicted_seconds(((cell.run, _alike(cell)) for cell in self._cells),
                                         self._sweep))
        return "\n".join((self._title, counts, *grid(self._cells, marks), LEGEND, left)) + "\n"


def _alike(cell: Cell) -> tuple[str, str]:
    """The key that runs with the same arithmetic per iteration share."""
    known = SETTINGS.get(cell.setting)
    return cell.variant, str(known.n_dis) if known else cell.setting


def _measured_once(workdir: Path) -> tuple[float, float] | None:
    """`_measured`, cached: a table asks every few seconds, and a finished run's file is long."""
    file = workdir / METRICS
    return _measured(workdir, file.stat().st_mtime_ns) if file.exists() else None


@functools.cache
def _measured(workdir: Path, changed: int) -> tuple[float, float] | None:
    """Seconds per iteration and for compilation, of a finished run; None if not measured."""
    del changed  # part of the cache key: a run that was made again is measured again
    rows = read_metrics(workdir)
    rates = [row["iterations_per_second"] for row in rows if row.get("iterations_per_second")]
    compiling = [row["compile_seconds"] for row in rows if "compile_seconds" in row]
    if not rates or not compiling:
        return None
    return 1 / statistics.median(rates), statistics.median(compiling)
