"""The tables of a report: ours and the paper's side by side, each cell with its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sngan_jax.metrics.scores import LESS_IS_BETTER

from ..configs.paper import SETTINGS
from ..paper import imagenet, lucic2018
from ..sweeps.tables import OWN, name_of
from .extra import EXTRA
from .frame import score_frame
from .parts import NOT_RUN, NOTHING, Entry, Table, heading, number
from .published import (
    DATA,
    PUBLISHED,
    Place,
    command,
    headings,
    paper_columns,
    published,
    rows_of,
    settings_table,
    unrun_table,
)
from .runs import (
    BESIDE,
    FINISHED,
    METRICS,
    Collection,
    RecordedProtocol,
    Sweep,
)

_WHAT = {
    "2": "unsupervised generation with every method in every setting of Table 1",
    "7": "reparametrisations of the critic of WGAN-GP",
    "8": "WGAN-GP with an auxiliary classifier, with labels",
    "conditional": "SN with labels, by how D uses them",
    "steps": "SN with several power steps per forward pass, and exact (not in the paper)",
    "lipschitz": "SN by K, the constant of each layer of D (not in the paper)",
    "norms": "SN by other norms of a convolution (not in the paper)",
    "figure4": "width into and out of D's last layer",
    "figure11": "updates of D per update of G",
    "figure15": "the critic of WGAN-GP, reparametrised",
}


def make_tables(found: Collection) -> list[Table]:
    """The tables of each sweep; and all of the paper's if a sweep is for one of its tables."""
    scores = score_frame(found)
    asked = {sweep.table for sweep in found.sweeps if sweep.table}
    tables = [settings_table(found)] if asked else []
    for sweep in found.sweeps:
        rows = rows_of(sweep, found.of(sweep))
        own = scores[scores["sweep"] == sweep.key]
        for _, part in own.groupby("key", sort=False) if len(own) else [("", own)]:
            tables += _of_sweep(sweep, rows, part)
    if any("fashion" in str(run.config.get("dataset")) for run in found.runs):
        tables.append(_lucic(scores))
    tables += [extra(found) for name, extra in EXTRA.items() if name in asked]
    if asked:
        tables += [unrun_table(name_of(table), _WHAT[table], rows, command(table))
                   for table, rows in PUBLISHED.items() if table not in asked]
        tables.append(unrun_table(
            "ImageNet", "with labels, at 128x128 (Figure 7 and the authors' later numbers)",
            imagenet.ROWS, "sngan train --config="
            "experiments/configs/imagenet128.py:concat --workdir=runs/imagenet"))
    return tables


def _of_sweep(sweep: Sweep, rows: Sequence[Place], scores: pd.DataFrame) -> list[Table]:
    """The tables of one sweep with one protocol.

    If a row has several settings, there is a table for each score, with a column for each setting;
    otherwise one table, with a column for each score.
    """
    key = scores["key"].iloc[0] if len(scores) else sweep.key
    metrics = [metric for metric in scores["metric"].unique() if metric]
    if not any(len(place.settings) > 1 for place in rows):
        tables = [_ours(sweep, key, rows, [], metrics, scores)]
        several = any(len(run.records) > 1 for run in scores["run"])
    else:
        possible = {setting for place in rows for setting in place.settings}
        settings = sorted(possible, key=[*SETTINGS, OWN, ""].index)
        tables = [_ours(sweep, f"{key}-{metric}" if metric else key, rows, settings, [metric],
                        scores) for metric in metrics or [""]]
        several = True
    if metrics and several:
        tables.append(_hindsight(sweep, key, rows, metrics, scores))
    return tables


def _ours(sweep: Sweep, key: str, rows: Sequence[Place], settings: Sequence[str],
          metrics: Sequence[str], scores: pd.DataFrame) -> Table:
    """The last checkpoints' scores, a column for each setting or each score; then the paper's."""
    known = [metric for metric in metrics if metric]
    columns = [(metric, setting) for metric in metrics or [""] for setting in settings or [None]]
    theirs = paper_columns(sweep, known or ("fid", "is"), rows)
    scores = scores[scores["metric"].isin(metrics or [""])]
    cells = dict(iter(scores.groupby(["method", "setting", "metric"])))
    usual = max((cell["value"].count() for cell in cells.values()), default=0)
    lines, records = [], []
    for place in rows:
        beside = [published(place.row, column) for column in theirs]
        if not place.variant and all(cell.kind == "none" for cell in beside):
            continue  # quoted, with the other score
        line = [Entry(place.label, title=place.row.footnote if place.row else "")]
        for metric, wanted in columns:
            # Without a column per setting, a row has one setting.
            setting = place.settings[0] if wanted is None and place.settings else wanted
            if setting not in place.settings:
                line.append(Entry(NOTHING, "none", title=place.why))
                continue
            cell = cells.get((place.variant, setting, metric), scores.iloc[:0])
            line.append(score_cell(cell, usual, place.why))
            records += _records(sweep, place, setting, metric, cell, _protocol(scores))
        lines.append((*line, *beside))
    title = f"{name_of(sweep.table)}: {_WHAT.get(sweep.table, '')}" if sweep.table else sweep.title
    title = f"Numbers of {title}" if sweep.table.startswith("figure") else title
    head = ["method" if sweep.table else "run",
            *(setting or f"ours: {heading(metric)}" for metric, setting in columns)]
    return Table(key, f"{title}; {METRICS[known[0]]}" if settings and known else title,
                 _caption(sweep, known, bool(theirs), scores, lines),
                 (*head, *headings(theirs)), tuple(lines), tuple(records))


def _protocol(scores: pd.DataFrame) -> RecordedProtocol | None:
    """The protocol of a part of the frame that has one."""
    return scores["protocol"].iloc[0] if len(scores) else None


def score_cell(cell: pd.DataFrame, usual: int, why: str = "") -> Entry:
    """The mean over seeds, or the state of the runs.

    Args:
      cell: rows of the frame for one method, setting, metric and protocol.
      usual: number of runs in a cell of the table; fewer are mentioned.
      why: the reason if there can be no run.
    """
    if cell.empty:
        return Entry(NOT_RUN, "missing", title=why)
    source, values = cell["anchor"].iloc[0], cell["value"].dropna()
    if values.empty:
        jobs = cell["run"].iloc[0].sweep.folder / "jobs"
        return Entry("; ".join(cell["state"].unique()), "missing", source,
                     f"the output of the runs is in {jobs}" if jobs.is_dir() else "")
    seeds = [f"seed {run.seed}: {number(run.value)}"
             for run in cell.itertuples() if run.state == FINISHED]
    others = [f"seed {run.seed}: {run.state}" for run in cell.itertuples() if run.state != FINISHED]
    few = f" (n={len(values)})" if len(values) < usual else ""
    return Entry(number(values.mean(), values.std()) + few, "ours", source,
                 "; ".join((", ".join(seeds), *others)))


def _records(sweep: Sweep, place: Place, setting: str, metric: str, cell: pd.DataFrame,
             protocol: RecordedProtocol | None) -> list[dict[str, Any]]:
    """Rows for the CSV: one for the cell (seed 'all'), and one for each run."""
    theirs = {}
    for (name, data), value in (place.row.values.items() if place.row else ()):
        if name == BESIDE.get(metric):
            theirs |= {f"paper_{name}_{data}": value.mean, f"paper_{name}_{data}_std": value.std}
    same = {"table": sweep.table or sweep.folder.name, "method": place.variant,
            "setting": setting, "metric": metric,
            "protocol": protocol.sentence() if protocol else "", **theirs}
    values = cell["value"].dropna()
    state = FINISHED if len(values) else "unfinished" if len(cell) else NOT_RUN
    runs = cell[["seed", "value", "state", "iteration", "run_folder", "commit"]].assign(runs=1)
    return [{**same, "seed": "all", "value": values.mean(), "std": values.std(),
             "runs": len(values), "state": state},
            *({**same, **run} for run in runs.to_dict("records"))]


def _caption(sweep: Sweep, metrics: Sequence[str], beside: bool, scores: pd.DataFrame,
             lines: Sequence[Sequence[Entry]]) -> str:
    """What a reader must know before comparing numbers."""
    protocol = _protocol(scores)
    seeds = sorted(scores["seed"].unique())
    parts = [f"{sweep.title}. Folder {sweep.folder}."]
    if protocol is None:
        parts.append("No run is finished and scored.")
    else:
        way = ", ".join(f"{METRICS[m]} ({m}): {'less' if LESS_IS_BETTER.get(m) else 'more'} is "
                        "better" for m in metrics)
        parts.append(f"Each number is from the last checkpoint: mean ± standard deviation over "
                     f"training seeds ({', '.join(map(str, seeds))}), without ± for one seed. "
                     f"{way[0].upper()}{way[1:]}. {protocol.sentence()}.")
        if protocol.extractor.startswith("classifier"):
            parts.append("These are scores of a classifier of the data's labels, not an FID or an "
                         "Inception Score.")
    if beside:
        data = DATA.get(sweep.dataset)
        parts.append(f"The paper's numbers are FID and Inception Score of {data}" + (
            " by its own protocol, in its best setting." if sweep.table == "2" else
            " by its own protocol.") if data else
            "The paper's numbers are FID and Inception Score of other data and larger networks"
            + (", each in its best setting" if sweep.table == "2" else "")
            + ": they are shown for their order, and cannot be compared with ours as equals.")
    if sweep.table and (any(cell.text == NOT_RUN for line in lines for cell in line)
                        or any(run.state != FINISHED for run in scores["run"])):
        parts.append(f"To run the cells marked “{NOT_RUN}”: "
                     f"{command(sweep.table, sweep, len(seeds) or 1)}")
    return " ".join(parts)


def _hindsight(sweep: Sweep, key: str, rows: Sequence[Place], metrics: Sequence[str],
               scores: pd.DataFrame) -> Table:
    """The best of all settings and of all scored checkpoints, as the paper's tables choose it."""
    protocol = _protocol(scores).sentence()
    theirs = paper_columns(sweep, metrics, rows)
    named = len({setting for place in rows for setting in place.settings}) > 1
    scored = scores.dropna(subset="value")
    lines, records = [], []
    for place in rows:
        line = [Entry(place.label)]
        for metric in metrics:
            cell = scored[(scored["method"] == place.variant) & (scored["metric"] == metric)]
            if cell.empty:
                line += [Entry(NOT_RUN, "missing") if place.variant else Entry(NOTHING, "none")] * 2
                continue
            means = cell.groupby("setting")["value"].mean()
            best = means.idxmin() if LESS_IS_BETTER[metric] else means.idxmax()
            where = f" ({best})" if named else ""
            chosen = cell[cell["setting"] == best]
            source = chosen["anchor"].iloc[0]
            line += [Entry(number(means[best]) + where, "ours", source,
                           f"best of {len(means)} setting{'s' * (len(means) > 1)}"),
                     Entry(number(chosen["best"].mean()) + where, "ours", source, "; ".join(
                         f"iteration {at:,.0f}, best of {n} scored"
                         for at, n in zip(chosen["best_at"], chosen["scored"], strict=True)))]
            records += [{"table": sweep.table or sweep.folder.name, "method": run.method,
                         "setting": best, "metric": metric, "seed": run.seed, "value": run.best,
                         "state": "chosen in hindsight", "iteration": int(run.best_at),
                         "run_folder": run.run_folder, "protocol": protocol}
                        for run in chosen.itertuples()]
        lines.append((*line, *(published(place.row, column) for column in theirs)))
    name = name_of(sweep.table) if sweep.table else sweep.title
    head = ["method" if sweep.table else "run", *(text for metric in metrics for text in (
        f"{METRICS[metric]}: best setting", "… and best checkpoint of each run"))]
    return Table(f"{key}-hindsight", f"{name}, chosen in hindsight: not a result to report",
                 "The best setting by the mean of the last checkpoints, and in it the best scored "
                 "checkpoint of each run. Both are chosen by the scores that are shown, so these "
                 "are too good by an unknown amount. "
                 + ("The paper's row of a method is also the best of its settings. "
                    if sweep.table == "2" else "") + f"{protocol}.",
                 (*head, *headings(theirs)), tuple(lines), tuple(records))


def _lucic(scores: pd.DataFrame) -> Table:
    """Published FIDs on Fashion-MNIST, and those of ours with the same numbers of images."""
    column, key = ("FID", "fashion_mnist"), "fashion_mnist_fid"
    lines, records = [], []
    fids = scores[scores["metric"] == "fid"]
    for _, cell in fids.groupby(["key", "method", "setting"], sort=False):
        protocol, first = _protocol(cell), cell.iloc[0]
        if cell["value"].notna().any() and "fashion" in protocol.images and (
                protocol.real, protocol.fake, protocol.split) == (10_000, 10_000, "test"):
            sweep = first["run"].sweep
            lines.append((Entry(f"{sweep.folder.name}: {first['title']}"),
                          score_cell(cell, len(cell)), Entry(NOTHING, "none")))
            place = Place(first["title"], first["method"], (first["setting"],))
            records += _records(sweep, place, first["setting"], "fid", cell, protocol)
    for row in lucic2018.ROWS:
        lines.append((Entry(row.label), Entry(NOTHING, "none"), published(row, column)))
        records.append({"table": key, "method": row.label, "metric": "FID",
                        "paper_value": row.values[column].mean})
    how = ("sngan evaluate --workdir=RUN --num-fake=10000 --num-real=10000 "
           "--against-split=test --metrics=fid")
    return Table(key, "FID on Fashion-MNIST, beside Lucic et al. 2018",
                 "Ours: runs on data with “fashion” in the name, scored with 10,000 generated "
                 f"images against the 10,000 of the test set, with: {how}; images have the size of "
                 "the run's. Theirs: the best of a search over hyper-parameters for each loss, "
                 "without spectral normalisation, with other networks, at 28x28 pixels.",
                 ("run", "ours: FID ↓", "paper: FID, Lucic et al."), tuple(lines), tuple(records))
