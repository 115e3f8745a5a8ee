"""The tables of a sweep: ours and the paper's side by side, each cell with its source."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sngan_jax.metrics.scores import LESS_IS_BETTER

from ..configs.paper import SETTINGS
from ..sweeps.tables import OWN, name_of
from .extra import WHAT, fashion_mnist, norms_table, settings_table, steps_table, unrun_tables
from .frame import score_frame
from .parts import (
    NOT_RUN,
    NOTHING,
    Entry,
    Table,
    better,
    number,
    published,
    records_of,
    score_cell,
)
from .published import DATA, Place, command, headings, paper_columns, rows_of
from .runs import FINISHED, METRICS, Collection, RecordedProtocol, Sweep, free_key


def make_tables(found: Collection) -> list[Table]:
    """The tables of each sweep; and all of the paper's if a sweep is for one of its tables."""
    scores = score_frame(found)
    asked = {sweep.table for sweep in found.sweeps if sweep.table}
    tables = [settings_table(found)] if asked else []
    for sweep in found.sweeps:
        rows, own = rows_of(sweep, found.of(sweep)), scores[scores["sweep"] == sweep.key]
        for key, part in own.groupby("key", sort=False) if len(own) else [(sweep.key, own)]:
            tables += _of_sweep(sweep, key, rows, part)
    if any("fashion" in str(run.config.get("dataset")) for run in found.runs):
        tables.append(fashion_mnist(scores))
    tables += [extra(found) for name, extra in (("steps", steps_table), ("norms", norms_table))
               if name in asked]
    tables += unrun_tables(asked) if asked else []
    named: list[Table] = []  # the keys are names of files
    for table in tables:
        named.append(table._replace(key=free_key(table.key, [one.key for one in named])))
    return named


def _of_sweep(sweep: Sweep, key: str, rows: Sequence[Place], scores: pd.DataFrame) -> list[Table]:
    """The tables of one sweep with one protocol.

    If a row has several settings, there is a table for each score, with a column for each setting;
    otherwise one table, with a column for each score.
    """
    metrics = [metric for metric in scores["metric"].unique() if metric]
    wide = any(len(place.settings) > 1 for place in rows)
    if wide:
        settings = sorted({setting for place in rows for setting in place.settings},
                          key=[*SETTINGS, OWN].index)
        tables = [_ours(sweep, f"{key}-{metric}" if metric else key, rows, settings, [metric],
                        scores[scores["metric"] == metric]) for metric in metrics or [""]]
    else:
        tables = [_ours(sweep, key, rows, [""], metrics or [""], scores)]
    if metrics and (wide or any(
            sum(map(len, run.records.values())) > 1 for run in scores["run"])):
        tables.append(_hindsight(sweep, key, rows, metrics, scores))
    return tables


def _ours(sweep: Sweep, key: str, rows: Sequence[Place], settings: Sequence[str],
          metrics: Sequence[str], scores: pd.DataFrame) -> Table:
    """The last checkpoints' scores, a column for each setting or each score; then the paper's."""
    known = [metric for metric in metrics if metric]
    theirs = paper_columns(sweep, known or ("fid", "is"), rows)
    protocol = scores["protocol"].iloc[0] if len(scores) else None
    cells = dict(iter(scores.groupby(["method", "setting", "metric"])))
    usual = max((cell["value"].count() for cell in cells.values()), default=0)
    lines, records = [], []
    for place in rows:
        beside = [published(place.row, column) for column in theirs]
        if not place.variant and all(cell.kind == "none" for cell in beside):
            continue  # quoted, with the other score
        line = [Entry(place.label, title=place.row.footnote if place.row else "")]
        for metric in metrics:
            for setting in settings if settings[0] else place.settings or settings:
                if setting not in place.settings:
                    line.append(NOTHING._replace(title=place.why))
                    continue
                cell = cells.get((place.variant, setting, metric), scores.iloc[:0])
                line.append(score_cell(cell, usual, place.why))
                records += records_of(sweep, place, setting, metric, cell, protocol)
        lines.append((*line, *beside))
    title = f"{name_of(sweep.table)}: {WHAT.get(sweep.table, '')}" if sweep.table else sweep.title
    title = f"Numbers of {title}" if sweep.table.startswith("figure") else title
    head = ["method" if sweep.table else "run", *(
        setting or f"ours: {better(metric, ' ↓', ' ↑')}" for metric in metrics
        for setting in settings)]
    return Table(key, f"{title}; {METRICS[known[0]]}" if settings[0] and known else title,
                 _caption(sweep, known, bool(theirs), scores, protocol, lines),
                 (*head, *headings(theirs)), tuple(lines), tuple(records))


def _caption(sweep: Sweep, metrics: Sequence[str], beside: bool, scores: pd.DataFrame,
             protocol: RecordedProtocol | None, lines: Sequence[Sequence[Entry]]) -> str:
    """What a reader must know before comparing numbers."""
    seeds = sorted(map(int, scores["seed"].unique()))
    parts = [f"{sweep.title}. Folder {sweep.folder}."]
    if protocol is None:
        parts.append("No run is finished and scored.")
    else:
        way = ", ".join(f"{METRICS[m]} ({m}): {'lower' if LESS_IS_BETTER.get(m) else 'higher'} is "
                        "better" for m in metrics)
        parts.append(f"Each number is from the last checkpoint: mean ± standard deviation over "
                     f"training seeds ({', '.join(map(str, seeds))}), without ± for one seed. "
                     f"{way[0].upper()}{way[1:]}. {protocol.sentence()}.")
        if protocol.extractor.startswith("classifier"):
            parts.append("These are scores of a classifier of the data's labels, not an FID or an "
                         "Inception Score.")
    best = " in its best setting" if sweep.table == "2" else ""
    if beside and sweep.dataset in DATA:
        parts.append(f"The paper's numbers are FID and Inception Score of {DATA[sweep.dataset]} by "
                     f"its own protocol{',' * bool(best)}{best}.")
    elif beside:
        parts.append("The paper's numbers are FID and Inception Score of other data and larger "
                     f"networks{', each' * bool(best)}{best}: they are shown for their order, and "
                     "cannot be compared with ours as equals.")
    if sweep.table and (any(cell.text == NOT_RUN.text for line in lines for cell in line)
                        or any(run.state != FINISHED for run in scores["run"])):
        parts.append(f"To run the cells marked “{NOT_RUN.text}”: "
                     f"{command(sweep.table, sweep, max(seeds, default=0) + 1)}")
    return " ".join(parts)


def _hindsight(sweep: Sweep, key: str, rows: Sequence[Place], metrics: Sequence[str],
               scores: pd.DataFrame) -> Table:
    """The best of all settings and of all scored checkpoints, as the paper's tables choose it."""
    protocol = scores["protocol"].iloc[0].sentence()
    theirs = paper_columns(sweep, metrics, rows)
    named = len({setting for place in rows for setting in place.settings}) > 1
    cells = dict(iter(scores.dropna(subset="value").groupby(["method", "metric"])))
    lines, records = [], []
    for place in rows:
        line = [Entry(place.label)]
        for metric in metrics:
            if (place.variant, metric) not in cells:
                cell = scores[(scores["method"] == place.variant) & (scores["metric"] == metric)]
                line += [score_cell(cell, 0, place.why) if place.variant else NOTHING] * 2
                continue
            cell = cells[place.variant, metric]
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
