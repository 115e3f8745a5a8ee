"""Two experiments that the paper lacks, as tables: how exact σ has to be, and which norm it is.

`steps_table`: 1, 2, 5, 20 power steps and the exact σ (sweep table `steps`): the error of σ, the
score, the time. `norms_table`: the σ of the reshaped kernel, the norm of the convolution, the mean
of two reshapes (sweep table `norms`): the product bound, the measured Lipschitz constant, the
score. The latter two are those of `sngan audit`, run on each run.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.run.figures import COLOURS
from sngan_jax.run.workdir import read_metrics

from ..sweeps.tables import TABLES
from .parts import (
    NOT_RUN,
    Entry,
    Figure,
    Missing,
    Source,
    Table,
    heading,
    number,
)
from .plots import legend_below, new_figure, of_run, save, where
from .published import command
from .runs import (
    FINISHED,
    NOT_SCORED,
    Collection,
    RecordedProtocol,
    Run,
    Sweep,
    last_record,
    mean_std,
    metrics_of,
    protocols,
    value_of,
)
from .spectra import spectra_of

AUDIT = "audit.json"
_STEPS_TITLE = "Power steps: how exact is σ, and does it matter (not in the paper)"
_NORMS_TITLE = "Which norm of a convolution: bounds, measured constant, score (not in the paper)"
_FLOOR = 1e-8  # of a drawn error, on a logarithmic axis


def steps_table(found: Collection) -> Table:
    """Error of σ, score and speed by the number of power steps."""
    sweep, runs = _sweep(found, "steps")
    if not runs:
        return _empty("steps", _STEPS_TITLE, command("steps", sweep))
    protocol, metrics = _scored(runs)
    head = ["σ by", *map(heading, metrics), "iterations/s", "σ error, first checkpoint",
            "middle", "last", "layer of the last"]
    lines, records, sources = [], [], []
    for variant, group in _rows(sweep, runs):
        source = _source(sweep, variant, group, protocol)
        errors = [(run, sigma_errors(run)) for run in group]
        sources.append(source)
        cells = [Entry(variant.replace("sn,power_steps=", "power steps: ").replace(
            "sn_svd", "SVD, exact")), *(_score(source, metric) for metric in metrics)]
        cells.append(_cell([rate for run in group if (rate := _rate(run))], source))
        for place in (0, 0.5, 1):
            worst = [max(of.values()) for _, by in errors if by
                     for of in [by[_at(sorted(by), place)]]]
            cells.append(_cell(worst, source))
        last = next((by[max(by)] for _, by in errors if by), {})
        cells.append(Entry(max(last, key=last.get) if last else NOT_RUN, "none"))
        lines.append(tuple(cells))
        records += [{"table": "steps", "method": variant, "metric": "σ error", "seed": run.seed,
                     "iteration": iteration, "layer": layer, "value": error,
                     "run_folder": str(run.folder)}
                    for run, by in errors for iteration, of in by.items()
                    for layer, error in of.items()]
    return Table(f"{sweep.key}-sigma", _STEPS_TITLE, f"{where(sweep)} The error is |σ used - σ by "
                 "SVD| / σ by SVD of the layer where it is largest, as a forward pass of "
                 "evaluation has it, at the first, the middle and the last checkpoint that is kept "
                 "(CSV: every layer). Means ± standard deviation over seeds. Iterations/s are of "
                 "the training itself: what else the machine did is in them (ratios in turns: "
                 "experiments.bench methods).", tuple(head), tuple(lines), tuple(records),
                 tuple(sources))


def figure_steps(found: Collection, folder: Path) -> Figure | Missing:
    """Error of σ of each layer over the iterations, a panel for each number of power steps."""
    title = "Power steps: error of σ of each layer over iterations (not in the paper)"
    sweep, runs = _sweep(found, "steps")
    shown = [(variant, group[0], errors) for variant, group in _rows(sweep, runs)
             if (errors := sigma_errors(group[0]))] if sweep else []
    if not shown:
        return Missing(title, "No run of the table `steps` has a checkpoint that can be read. Make "
                       f"some by: {command('steps', sweep)}")
    figure, axes = new_figure(3.4, 1, len(shown), sharey=True)
    for plot, (variant, _, errors) in zip(axes.flat, shown, strict=True):
        at = sorted(errors)
        for i, layer in enumerate(errors[at[0]]):
            plot.plot(at, [max(errors[n].get(layer, math.nan), _FLOOR) for n in at], label=layer,
                      color=COLOURS[i % len(COLOURS)], marker="osv^DPX<>*"[i % 10], markersize=4,
                      linestyle=("-", "--")[i // len(COLOURS) % 2], linewidth=1.3)
        plot.set(yscale="log", xlabel="iteration")
        plot.set_title(variant.replace("sn,power_steps=", "").replace("sn_svd", "exact (SVD)")
                       + (" steps" if variant[-1].isdigit() and variant[-2:] != "=1" else
                          " step" if variant[-1].isdigit() else ""), fontsize="medium")
        plot.grid(alpha=0.3)
    axes[0, 0].set_ylabel("|σ used - σ| / σ")
    legend_below(figure, axes)
    return Figure(title, f"{where(sweep)} Setting C, seed {shown[0][1].seed}, every checkpoint "
                  "that is kept. Of σ as a forward pass of evaluation uses it, against that by "
                  f"SVD; errors below {_FLOOR:g} are drawn there.",
                  save(figure, folder / "figure_steps.png"),
                  tuple(of_run(run, "checkpoints " + ", ".join(map(str, sorted(errors))))
                        for _, run, errors in shown))


def norms_table(found: Collection) -> Table:
    """Product bounds, measured Lipschitz constant and score by the norm that σ is."""
    sweep, runs = _sweep(found, "norms")
    if not runs:
        return _empty("norms", _NORMS_TITLE, command("norms", sweep))
    protocol, metrics = _scored(runs)
    head = ("method", *map(heading, metrics), "iterations/s", "largest σ of a layer",
            "largest operator norm", "product of σ", "product bound", "measured constant")
    lines, records, sources, notes = [], [], [], []
    for variant, group in _rows(sweep, runs):
        source = _source(sweep, variant, group, protocol)
        audits = []
        for run in group:
            try:
                audits.append((run, read_audit(run.folder)))
            except UserError as error:
                notes.append(str(error))
        found_of = {
            "largest σ": [max(a["sigmas"]) for _, a in audits],
            "largest operator norm": [max(a["operator_norms"]) for _, a in audits],
            "upper_bound_reshaped": [a["upper_bound_reshaped"] for _, a in audits],
            "upper_bound": [a["upper_bound"] for _, a in audits],
            "lower_bound": [a["lower_bound"] for _, a in audits]}
        sources.append(source)
        lines.append((Entry(variant), *(_score(source, metric) for metric in metrics),
                      _cell([rate for run in group if (rate := _rate(run))], source),
                      *(_cell(values, source) for values in found_of.values())))
        records += [{"table": "norms", "method": variant, "metric": name, "seed": run.seed,
                     "value": value, "run_folder": str(run.folder)}
                    for name, values in found_of.items()
                    for (run, _), value in zip(audits, values, strict=True)]
    left = f" Without an audit: {'; '.join(notes)}." if notes else ""
    return Table(f"{sweep.key}-bounds", _NORMS_TITLE, f"{where(sweep)} Last checkpoints; means ± "
                 "standard deviation over seeds. σ is that of the reshaped kernel W̄, the operator "
                 "norm that of the convolution on images of its size. The product bound multiplies "
                 "the operator norms through the network and bounds D's Lipschitz constant; the "
                 "product of σ, which the paper's argument uses, does not. The measured constant "
                 f"is the steepest place that was found, a lower bound.{left}",
                 head, tuple(lines), tuple(records), tuple(sources))


def sigma_errors(run: Run) -> dict[int, dict[str, float]]:
    """Iteration -> layer -> |σ used - σ by SVD| / σ by SVD, of every checkpoint that can be read.

    W̄ = K·W/σ used, so that its own σ, by SVD, is K·σ/σ used. A weight of zero is left out.
    """
    errors = {}
    for iteration in run.saved:
        try:
            spectra = spectra_of(run.folder, iteration)
        except UserError:
            continue
        errors[iteration] = {layer: abs(run.config.get("lipschitz", 1.0) / float(values[0]) - 1)
                             for layer, values in spectra.items() if values[0] > 0}
    return {iteration: of for iteration, of in errors.items() if of}


def read_audit(folder: Path) -> dict[str, Any]:
    """What `sngan audit` found of a run: its bounds, `sigmas` and `operator_norms`.

    Raises:
      UserError: it was not run, or its file is none of it.
    """
    file = folder / AUDIT
    if not file.is_file():
        raise UserError(f"sngan audit --workdir={folder}")
    try:
        there = json.loads(file.read_text())
        bounds = {name: float(there[name]) for name in (
            "upper_bound", "upper_bound_reshaped", "lower_bound")}
        layers = there["layers"]
        found = {**bounds, "sigmas": [float(layer["sigma"]) for layer in layers],
                 "operator_norms": [float(layer["operator_norm"]) for layer in layers]}
        if not layers:
            raise ValueError("no layers")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no report of sngan audit ({error!r})") from error
    return found


def _sweep(found: Collection, table: str) -> tuple[Sweep | None, list[Run]]:
    """The first sweep of a table, and its runs that are trained."""
    for sweep in found.sweeps:
        if sweep.table == table:
            return sweep, [run for run in found.of(sweep) if run.state in (FINISHED, NOT_SCORED)]
    return None, []


def _rows(sweep: Sweep, runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """Each row of the table that has runs, with them by seed."""
    for row in TABLES[sweep.table]:
        group = [run for run in runs if run.variant == row.name]
        if group:
            yield row.name, sorted(group, key=lambda run: run.seed)


def _scored(runs: Sequence[Run]) -> tuple[RecordedProtocol | None, list[str]]:
    """The protocol that most are scored by, and its scores."""
    protocol = next(iter(protocols(runs)), None)
    return protocol, metrics_of(runs, protocol) if protocol else []


def _source(sweep: Sweep, variant: str, group: Sequence[Run],
            protocol: RecordedProtocol | None) -> Source:
    anchor = re.sub(r"[^\w.-]+", "_", f"from-extra-{sweep.key}-{variant}")
    return Source(anchor, f"{variant}, setting C", protocol, tuple(
        (run, last_record(run, protocol) if protocol else None) for run in group))


def _score(source: Source, metric: str) -> Entry:
    values = [value_of(record, metric) for _, record in source.runs]
    return _cell([value for value in values if value is not None], source)


def _cell(values: Sequence[float], source: Source) -> Entry:
    if not values:
        return Entry(NOT_RUN, "missing")
    mean, std = mean_std(values)
    text = number(mean) + (f" ± {std:.2g}" if std is not None else "")
    return Entry(text, "ours", source.anchor, ", ".join(map(number, values)))


def _rate(run: Run) -> float | None:
    """The median of the iterations a second that a run logged."""
    rates = [row["iterations_per_second"] for row in read_metrics(run.folder)
             if "iterations_per_second" in row]
    return statistics.median(rates) if rates else None


def _at(sorted_: Sequence[int], place: float) -> int:
    """The first (0), the middle, the last (1)."""
    return sorted_[round(place * (len(sorted_) - 1))]


def _empty(table: str, title: str, how: str) -> Table:
    return Table(table, title, f"No folder of this report has its runs, which are made by: {how}",
                 ("method",), ((Entry(NOT_RUN, "missing"),),))


# By the table of a sweep.
EXTRA = {"steps": steps_table, "norms": norms_table}
