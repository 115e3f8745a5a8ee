"""Two experiments beyond the paper, as tables: how exact σ must be, and which norm it is.

`steps_table`: 1, 2, 5, 20 power steps and the exact σ (sweep table `steps`): the error of σ, the
score, the time. `norms_table`: the σ of the reshaped kernel, the norm of the convolution, the mean
of two reshapes (sweep table `norms`): the product bound, the measured Lipschitz constant, the
score. The last two columns come from `sngan audit`, run on each run.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sngan_jax.base.errors import UserError
from sngan_jax.run.figures import COLOURS
from sngan_jax.run.workdir import read_metrics

from .frame import runs_of, score_frame
from .parts import NOT_RUN, Entry, Figure, Missing, Table, heading, number
from .plots import legend_below, new_figure, of_run, save, where
from .published import command_like
from .runs import FINISHED, NOT_SCORED, Collection, Run
from .spectra import spectra_of

AUDIT = "audit.json"
# The measurements of an audit: {heading: name in the CSV}.
_MEASURED = {"largest σ of a layer": "largest σ", "largest operator norm": "largest operator norm",
             "product of σ": "upper_bound_reshaped", "product bound": "upper_bound",
             "measured constant": "lower_bound"}
_FLOOR = 1e-8  # least error that is drawn, on a logarithmic axis


def steps_table(found: Collection) -> Table:
    """Error of σ, score and speed by the number of power steps."""
    runs = runs_of(_trained(found, "steps"))
    errors = {run.folder: sigma_errors(run) for run in runs}

    def measure(run: Run) -> dict[str, float | str | None]:
        by = [of for _, of in sorted(errors[run.folder].items())]
        worst = [max(of.values()) for of in by] or [None]
        return {"iterations/s": _rate(run), "σ error, first checkpoint": worst[0],
                "middle": worst[round((len(worst) - 1) / 2)], "last": worst[-1],
                "layer of the last": max(by[-1], key=by[-1].__getitem__) if by else None}

    records = [{**_csv(run), "metric": "σ error", "iteration": iteration, "layer": layer,
                "value": error} for run in runs
               for iteration, of in errors[run.folder].items() for layer, error in of.items()]
    return _table(
        found, "steps", "sigma", "Power steps: how exact is σ, and does it matter", "σ by",
        "The error is |σ used - σ by SVD| / σ by SVD in the layer where it is largest, as in a "
        "forward pass at evaluation, at the first, the middle and the last checkpoint that was "
        "kept (CSV: every layer). Means ± standard deviation over seeds. Iterations/s are those of "
        "the training itself, including other work on the machine (for ratios in turns: "
        "sngan bench methods).", measure, records)


def figure_steps(found: Collection, folder: Path) -> Figure | Missing:
    """Error of σ of each layer over the iterations, a panel for each number of power steps."""
    title = "Power steps: error of σ of each layer over iterations (not in the paper)"
    first = _trained(found, "steps").drop_duplicates("method")["run"]
    shown = [(run, errors) for run in first if (errors := sigma_errors(run))]
    if not shown:
        return Missing(title, "No run of the table `steps` has a checkpoint that can be read. Make "
                       f"some with: {command_like(found, 'steps')}")
    figure, axes = new_figure(3.4, 1, len(shown), sharey=True)
    for plot, (run, errors) in zip(axes.flat, shown, strict=True):
        at = sorted(errors)
        for i, layer in enumerate(errors[at[0]]):
            plot.plot(at, [max(errors[n].get(layer, math.nan), _FLOOR) for n in at], label=layer,
                      color=COLOURS[i % len(COLOURS)], marker="osv^DPX<>*"[i % 10], markersize=4,
                      linestyle=("-", "--")[i // len(COLOURS) % 2], linewidth=1.3)
        plot.set(yscale="log", xlabel="iteration")
        steps = run.variant.removeprefix("sn,power_steps=")
        plot.set_title({"sn_svd": "exact (SVD)", "1": "1 step"}.get(steps, f"{steps} steps"),
                       fontsize="medium")
        plot.grid(alpha=0.3)
    axes[0, 0].set_ylabel("|σ used - σ| / σ")
    legend_below(figure, axes)
    run = shown[0][0]
    return Figure(title, f"{where(run.sweep)} Setting C, seed {run.seed}, all checkpoints "
                  "that were kept. The σ used in a forward pass at evaluation is compared with "
                  f"that by SVD; errors below {_FLOOR:g} are drawn there.",
                  save(figure, folder / "figure_steps.png"),
                  tuple(of_run(run, "checkpoints " + ", ".join(map(str, sorted(errors))))
                        for run, errors in shown))


def norms_table(found: Collection) -> Table:
    """Product bounds, measured Lipschitz constant and score by the norm that σ is."""
    audits, notes, records = {}, [], []
    for run in runs_of(_trained(found, "norms")):
        try:
            audits[run.folder] = audit = read_audit(run.folder)
        except UserError as error:
            notes.append(str(error))
        else:
            records += [{**_csv(run), "metric": name, "value": audit[name]} for name in audit]
    left = f" Without an audit: {'; '.join(notes)}." if notes else ""
    return _table(
        found, "norms", "bounds", "Which norm of a convolution: bounds, measured constant, score",
        "method", "Last checkpoints; means ± standard deviation over seeds. σ is that of the "
        "reshaped kernel W̄, the operator norm that of the convolution on images of its size. The "
        "product bound multiplies the operator norms through the network and bounds D's Lipschitz "
        "constant; the product of σ, which the paper's argument uses, does not. The measured "
        f"constant is the steepest place found, a lower bound.{left}",
        lambda run: {"iterations/s": _rate(run), **{
            name: audits.get(run.folder, {}).get(of) for name, of in _MEASURED.items()}}, records)


def sigma_errors(run: Run) -> dict[int, dict[str, float]]:
    """{iteration: {layer: |σ used - σ by SVD| / σ by SVD}}, for every readable checkpoint.

    W̄ = K·W/σ used, so its own σ, by SVD, is K·σ/σ used. A weight of zero is left out.
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


def read_audit(folder: Path) -> dict[str, float]:
    """What `sngan audit` measured on a run: its bounds, and the largest norms of a layer.

    Raises:
      UserError: if it was not run, or its file is not one of its reports.
    """
    file = folder / AUDIT
    if not file.is_file():
        raise UserError(f"sngan audit --workdir={folder}")
    try:
        there = json.loads(file.read_text())
        layers = {"largest σ": "sigma", "largest operator norm": "operator_norm"}
        return {name: max(float(layer[layers[name]]) for layer in there["layers"])
                if name in layers else float(there[name]) for name in _MEASURED.values()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is not a report of sngan audit ({error!r})") from error


def _trained(found: Collection, table: str) -> pd.DataFrame:
    """The frame's part of a table's first sweep and its first protocol, for its trained runs."""
    key = next((sweep.key for sweep in found.sweeps if sweep.table == table), None)
    scores = score_frame(found)
    scores = scores[scores["key"] == key]
    return scores.loc[[run.state in (FINISHED, NOT_SCORED) for run in scores["run"]]]


def _table(found: Collection, table: str, name: str, title: str, first: str, caption: str,
           measure: Callable[[Run], dict[str, float | str | None]], records: list[dict[str, Any]]
           ) -> Table:
    """A row for each method: means of its scores, and of the measurements of each run."""
    scores, title = _trained(found, table), f"{title} (not in the paper)"
    if scores.empty:
        return Table(table, title, "No folder of this report has its runs. Make them with: "
                     f"{command_like(found, table)}", (first,), ((Entry(NOT_RUN, "missing"),),))
    runs = pd.DataFrame([
        {"method": of["method"].iloc[0], "source": of["anchor"].iloc[0],
         **{heading(metric): value for metric, value in zip(of["metric"], of["value"], strict=True)
            if metric}, **measure(of["run"].iloc[0])}
        for _, of in scores.groupby("run_folder", sort=False)])
    lines = [(Entry(method.replace("sn,power_steps=", "power steps: ").replace(
        "sn_svd", "SVD, exact")), *(_mean(of[column].dropna(), of["source"].iloc[0])
                                    for column in runs.columns[2:]))
             for method, of in runs.groupby("method", sort=False)]
    sweep = scores["run"].iloc[0].sweep
    return Table(f"{sweep.key}-{name}", title, f"{where(sweep)} {caption}",
                 (first, *runs.columns[2:]), tuple(lines), tuple(records))


def _mean(values: pd.Series, source: str) -> Entry:
    """A mean over runs; for words, the first."""
    if values.empty:
        return Entry(NOT_RUN, "missing")
    if isinstance(values.iloc[0], str):
        return Entry(values.iloc[0], "none")
    std = f" ± {values.std():.2g}" if len(values) > 1 else ""
    return Entry(number(values.mean()) + std, "ours", source, ", ".join(map(number, values)))


def _csv(run: Run) -> dict[str, Any]:
    return {"table": run.sweep.table, "method": run.variant, "seed": run.seed,
            "run_folder": str(run.folder)}


def _rate(run: Run) -> float | None:
    """The median of the iterations per second that a run logged."""
    rates = [row["iterations_per_second"] for row in read_metrics(run.folder)
             if "iterations_per_second" in row]
    return statistics.median(rates) if rates else None


# By the table of a sweep.
EXTRA = {"steps": steps_table, "norms": norms_table}
