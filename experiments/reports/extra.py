"""Tables beside those of the sweeps: of the paper, of Fashion-MNIST, and of two more experiments.

`steps_table`: 1, 2, 5, 20 power steps and the exact σ (sweep table `steps`): the error of σ, the
score, the time. `norms_table`: the σ of the reshaped kernel, the norm of the convolution, the mean
of two reshapes (sweep table `norms`): the product bound, the measured Lipschitz constant, the
score. The last two columns come from `sngan audit`, run on each run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sngan_jax.base.errors import UserError
from sngan_jax.run.workdir import read_metrics

from ..paper import imagenet, lucic2018, table1
from ..sweeps.tables import name_of
from .frame import runs_of, score_frame
from .parts import NOT_RUN, NOTHING, Entry, Table, better, number, published, records_of, score_cell
from .plots import readable
from .published import PUBLISHED, Place, command, command_like, headings, is_ours
from .runs import Collection, Run
from .spectra import sigma_errors

# What the table of a sweep shows.
WHAT = {
    "2": "unsupervised generation with every method in every setting of Table 1",
    "7": "reparametrizations of the critic of WGAN-GP",
    "8": "WGAN-GP with an auxiliary classifier, with labels",
    "conditional": "SN with labels, by how D uses them",
    "steps": "SN with several power steps per forward pass, and exact (not in the paper)",
    "lipschitz": "SN by K, the constant of each layer of D (not in the paper)",
    "norms": "SN by other norms of a convolution (not in the paper)",
    "figure4": "width into and out of D's last layer",
    "figure11": "updates of D per update of G",
    "figure15": "the critic of WGAN-GP, reparametrized",
}
# The measurements of an audit: {heading: name in the CSV}.
_MEASURED = {"largest σ of a layer": "largest σ", "largest operator norm": "largest operator norm",
             "product of σ": "upper_bound_reshaped", "product bound": "upper_bound",
             "measured constant": "lower_bound"}


def settings_table(found: Collection) -> Table:
    """Table 1, beside the settings that this report's runs used."""
    lines, records = [], []
    for name, setting in table1.SETTINGS.items():
        runs = [run for run in found.runs if run.setting == name]
        used = {field: [str(one) for one in sorted({run.config.get(field) or 0 for run in runs})]
                for field in setting._fields}
        lines.append((
            Entry(name), *(Entry(str(value), "paper") for value in setting),
            *(Entry(", ".join(there), "ours") if runs else NOT_RUN for there in used.values()),
            Entry(str(len(runs)), "none"),
            Entry(table1.ORIGINS[name] or "the paper's own", "none")))
        records += [{"table": "1", "setting": name, "metric": field, "runs": len(runs),
                     "value": " ".join(used[field]), "state": "" if runs else NOT_RUN.text,
                     "paper_value": value} for field, value in setting._asdict().items()]
    words = ("α", "β₁", "β₂", "n_dis")
    return Table("table1", "Table 1: settings of Adam and updates of D per update of G",
                 "The paper's settings, and those in the configs of the runs of this report "
                 "(Figure 11 varies n_dis in setting D).",
                 ("setting", *(f"paper: {w}" for w in words), *(f"ours: {w}" for w in words),
                  "runs here", "from"), tuple(lines), tuple(records))


def unrun_tables(asked: set[str]) -> list[Table]:
    """The tables of the paper of which no folder of this report has runs."""
    missing = [(name_of(table), WHAT[table], rows, command(table))
               for table, rows in PUBLISHED.items() if table not in asked]
    tables = []
    for name, what, rows, how in (*missing, (
            "ImageNet", "with labels, at 128x128 (Figure 7 and the authors' later numbers)",
            imagenet.ROWS, "sngan train --config="
            "experiments/configs/imagenet128.py:concat --workdir=runs/imagenet")):
        columns = list(dict.fromkeys(key for row in rows for key in row.values))
        tables.append(Table(
            name.lower().replace(" ", ""), f"{name}: {what}",
            f"No folder of this report has its runs. Make them with: {how}",
            ("method", "ours", *headings(columns)),
            tuple((Entry(row.label), NOT_RUN if is_ours(row) else NOTHING,
                   *(published(row, column) for column in columns)) for row in rows),
            tuple({"table": name, "method": row.label.strip(), "metric": metric,
                   "state": NOT_RUN.text, "paper_data": data, "paper_value": value.mean,
                   "paper_std": value.std}
                  for row in rows for (metric, data), value in row.values.items())))
    return tables


def fashion_mnist(scores: pd.DataFrame) -> Table:
    """Published FIDs on Fashion-MNIST, and those of ours with the same numbers of images."""
    column, key = ("FID", "fashion_mnist"), "fashion_mnist_fid"
    lines, records = [], []
    fids = scores[scores["metric"] == "fid"]
    for _, cell in fids.groupby(["key", "method", "setting"], sort=False):
        first = cell.iloc[0]
        protocol, sweep = first["protocol"], first["run"].sweep
        if cell["value"].notna().any() and "fashion" in protocol.images and (
                protocol.real, protocol.fake, protocol.split) == (10_000, 10_000, "test"):
            lines.append((Entry(f"{sweep.folder.name}: {first['title']}"), score_cell(cell),
                          NOTHING))
            place = Place(first["title"], first["method"], (first["setting"],))
            records += records_of(sweep, place, first["setting"], "fid", cell, protocol)
    for row in lucic2018.ROWS:
        lines.append((Entry(row.label), NOTHING, published(row, column)))
        records.append({"table": key, "method": row.label, "metric": "fid",
                        "paper_value": row.values[column].mean})
    how = ("sngan evaluate --workdir=RUN --num-fake=10000 --num-real=10000 "
           "--against-split=test --metrics=fid")
    return Table(key, "FID on Fashion-MNIST, beside Lucic et al. 2018",
                 "Ours: runs on data with “fashion” in the name, scored with 10,000 generated "
                 f"images against the 10,000 of the test set, with: {how}; images are of the run's "
                 "size. Theirs: the best of a search over hyper-parameters for each loss, "
                 "without spectral normalization, with other networks, at 28x28 pixels.",
                 ("run", "ours: FID ↓", "paper: FID, Lucic et al."), tuple(lines), tuple(records))


def steps_table(found: Collection) -> Table:
    """Error of σ, score and speed by the number of power steps."""
    scores = _trained(found, "steps")
    errors = {run.folder: of for run, of in sigma_errors(runs_of(scores))}

    def measure(run: Run) -> dict[str, float | str | None]:
        by = [of for _, of in sorted(errors.get(run.folder, {}).items())]
        worst = [max(of.values()) for of in by] or [None]
        return {"σ error, first checkpoint": worst[0],
                "middle": worst[round((len(worst) - 1) / 2)], "last": worst[-1],
                "layer of the last": max(by[-1], key=by[-1].__getitem__) if by else None}

    return _table(
        found, "steps", "sigma", "Power steps: how exact is σ, and does it matter", "σ by",
        "The error is |σ used - σ by SVD| / σ by SVD in the layer where it is largest, as in a "
        "forward pass at evaluation, at the first, the middle and the last checkpoint that was "
        "kept (CSV: every layer). Means ± standard deviation over seeds. Iterations/s are those of "
        "the training itself, including other work on the machine (for ratios in turns: "
        "sngan bench methods).", scores, measure, lambda run: [
            {"metric": "σ error", "iteration": iteration, "layer": layer, "value": error}
            for iteration, of in errors.get(run.folder, {}).items()
            for layer, error in of.items()])


def norms_table(found: Collection) -> Table:
    """Product bounds, measured Lipschitz constant and score by the norm that σ is."""
    scores = _trained(found, "norms")
    read, lost = readable(runs_of(scores), lambda run: read_audit(run.folder), "Without an audit")
    audits = {run.folder: audit for run, audit in read}
    return _table(
        found, "norms", "bounds", "Which norm of a convolution: bounds, measured constant, score",
        "method", "Last checkpoints; means ± standard deviation over seeds. σ is that of the "
        "reshaped kernel W̄, the operator norm that of the convolution on images of its size. The "
        "product bound multiplies the operator norms through the network and bounds D's Lipschitz "
        "constant; the product of σ, which the paper's argument uses, does not. The measured "
        f"constant is the steepest place found, a lower bound.{lost}", scores,
        lambda run: {name: audits.get(run.folder, {}).get(of) for name, of in _MEASURED.items()},
        lambda run: [{"metric": name, "value": value}
                     for name, value in audits.get(run.folder, {}).items()])


def read_audit(folder: Path) -> dict[str, float]:
    """What `sngan audit` measured on a run: its bounds, and the largest norms of a layer.

    Raises:
      UserError: if it was not run, or its file is not one of its reports.
    """
    file = folder / "audit.json"
    if not file.is_file():
        raise UserError(f"sngan audit --workdir={shlex.quote(str(folder))}")
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
    return scores[(scores["key"] == key) & scores["run"].map(lambda run: run.trained)]


def _table(found: Collection, table: str, name: str, title: str, first: str, caption: str,
           scores: pd.DataFrame, measure: Callable[[Run], dict[str, float | str | None]],
           records: Callable[[Run], list[dict[str, Any]]]) -> Table:
    """A row for each method: means of its scores, its speed, and the measurements of each run."""
    title = f"{title} (not in the paper)"
    if scores.empty:
        return Table(table, title, "No folder of this report has its runs. Make them with: "
                     f"{command_like(found, table)}", (first,), ((NOT_RUN,),))
    runs = pd.DataFrame([
        {"method": of["method"].iloc[0], "source": of["anchor"].iloc[0],
         **{better(metric, " ↓", " ↑"): value
            for metric, value in zip(of["metric"], of["value"], strict=True) if metric},
         "iterations/s": _rate(of["run"].iloc[0]), **measure(of["run"].iloc[0])}
        for _, of in scores.groupby("run_folder", sort=False)])
    lines = [(Entry(method.replace("sn,power_steps=", "power steps: ").replace(
        "sn_svd", "SVD, exact")), *(_mean(of[column].dropna(), of["source"].iloc[0])
                                    for column in runs.columns[2:]))
             for method, of in runs.groupby("method", sort=False)]
    sweep = scores["run"].iloc[0].sweep
    return Table(f"{sweep.key}-{name}", title, f"{sweep.title}. {caption}",
                 (first, *runs.columns[2:]), tuple(lines), tuple(
                     {"table": table, "method": run.variant, "seed": run.seed,
                      "run_folder": str(run.folder), **record}
                     for run in runs_of(scores) for record in records(run)))


def _mean(values: pd.Series, source: str) -> Entry:
    """A mean over runs; for words, the first."""
    if values.empty:
        return NOT_RUN
    if isinstance(values.iloc[0], str):
        return Entry(values.iloc[0], "none")
    std = f" ± {values.std():.2g}" if len(values) > 1 else ""
    return Entry(number(values.mean()) + std, "ours", source, ", ".join(map(number, values)))


def _rate(run: Run) -> float:
    """The median of the iterations per second that a run logged; NaN if it logged none."""
    return pd.Series([row["iterations_per_second"] for row in read_metrics(run.folder)
                      if "iterations_per_second" in row], dtype=float).median()
