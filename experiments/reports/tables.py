"""The tables of a report: ours and the paper's side by side, a cell each with where it is from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sngan_jax.metrics.scores import LESS_IS_BETTER

from ..configs.paper import SETTINGS
from ..paper import imagenet, lucic2018
from ..sweeps.tables import OWN, name_of
from .chosen import hindsight_table
from .extra import EXTRA
from .parts import (
    NOT_RUN,
    NOTHING,
    Entry,
    Source,
    Table,
    heading,
    number,
    values_of,
)
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
    NOT_SCORED,
    Collection,
    RecordedProtocol,
    Run,
    Sweep,
    commit_of,
    how_far,
    last_record,
    mean_std,
    metrics_of,
    protocols,
    value_of,
)

_WHAT = {
    "2": "unsupervised generation by every method in every setting of Table 1",
    "7": "reparametrisations of the critic of WGAN-GP",
    "8": "WGAN-GP with an auxiliary classifier, with labels",
    "conditional": "SN with labels, by how D takes them",
    "steps": "SN with several power steps a forward pass, and exact (not in the paper)",
    "norms": "SN by other norms of a convolution (not in the paper)",
    "figure4": "width into and out of D's last layer",
    "figure11": "updates of D for one of G",
    "figure15": "the critic of WGAN-GP, reparametrised",
}


def make_tables(found: Collection) -> list[Table]:
    """All tables: the settings, one or more for each sweep, and those of the paper without one."""
    tables = [settings_table(found)]
    for sweep in found.sweeps:
        runs = found.of(sweep)
        for n, protocol in enumerate(protocols(runs) or [None], 1):
            tables += _of_sweep(sweep, runs, protocol, n)
    if any("fashion" in str(run.config.get("dataset")) for run in found.runs):
        tables.append(_lucic([source for table in tables for source in table.sources]))
    there = {sweep.table for sweep in found.sweeps}
    tables += [extra(found) for name, extra in EXTRA.items() if name in there]
    tables += [unrun_table(name_of(table), _WHAT[table], rows, command(table))
               for table, rows in PUBLISHED.items() if table not in there]
    return [*tables, unrun_table("ImageNet", "with labels, at 128x128 (Figure 7 and the authors' "
                              "later numbers)", imagenet.ROWS,
                              "sngan train --config="
                              "experiments/configs/imagenet128.py:concat --workdir=runs/imagenet")]


def _lucic(sources: Sequence[Source]) -> Table:
    """Published FIDs of Fashion-MNIST, and those of ours that are by the same numbers of images."""
    column, key = ("FID", "fashion_mnist"), "fashion_mnist_fid"
    same = [source for source in sources if source.protocol and values_of(source, "fid")
            and "fashion" in source.protocol.images
            and (source.protocol.real, source.protocol.fake, source.protocol.split)
            == (10_000, 10_000, "test")]
    lines, records = [], []
    for source in same:
        run = source.runs[0][0]
        lines.append((Entry(f"{run.sweep.folder.name}: {source.title}"),
                      _cell(source, "fid", "", len(source.runs)), Entry(NOTHING, "none")))
        place = Place(source.title, run.variant, (run.setting,))
        records += _records(run.sweep, source, place, run.setting, "fid")
    for row in lucic2018.ROWS:
        lines.append((Entry(row.label), Entry(NOTHING, "none"), published(row, column)))
        records.append({"table": key, "method": row.label, "metric": "FID",
                        "paper_value": row.values[column].mean})
    how = ("sngan evaluate --workdir=RUN --num-fake=10000 --num-real=10000 "
           "--against-split=test --metrics=fid")
    return Table(key, "FID of Fashion-MNIST, beside Lucic et al. 2018",
                 "Ours: runs on data with “fashion” in the name, scored with 10,000 generated "
                 f"images against the 10,000 of the test set, which is done by: {how}; images are "
                 "as large as the run's. Theirs: the best of a search over hyper-parameters for "
                 "each loss, without spectral normalisation, other networks, 28x28 pixels.",
                 ("run", "ours: FID ↓", "paper: FID, Lucic et al."), tuple(lines), tuple(records))


def _of_sweep(sweep: Sweep, runs: list[Run], protocol: RecordedProtocol | None, n: int
              ) -> list[Table]:
    """The tables of one sweep by one protocol (None: nothing is scored), the n-th of them.

    Where a row has several settings there is a table for each score, with a column for each
    setting; otherwise one table, with a column for each score.
    """
    rows = rows_of(sweep, runs)
    possible = {setting for place in rows for setting in place.settings}
    settings = sorted(possible, key=[*SETTINGS, OWN, ""].index)
    metrics = metrics_of(runs, protocol) if protocol else []
    key = f"{sweep.key}-{n}" if n > 1 else sweep.key
    sources = {(place.variant, setting): _source(key, place, setting, protocol, runs)
               for place in rows for setting in place.settings}
    several = any(len(place.settings) > 1 for place in rows)
    groups = [(metric,) for metric in metrics] or [()] if several else [tuple(metrics)]
    tables = [_ours(sweep, f"{key}-{group[0]}" if several and group else key, protocol, rows,
                    settings if several else [], group, sources) for group in groups]
    tables[0] = tables[0]._replace(sources=tuple(s for s in sources.values() if s.runs))
    if protocol and (several or any(len(run.records) > 1 for run in runs)):
        tables.append(hindsight_table(sweep, key, protocol, rows, settings, metrics, sources))
    return tables


def _source(key: str, place: Place, setting: str, protocol: RecordedProtocol | None,
            runs: Sequence[Run]) -> Source:
    own = sorted((run for run in runs if (run.variant, run.setting) == (place.variant, setting)),
                 key=lambda run: run.seed)
    anchor = re.sub(r"[^\w.-]+", "_", f"from-{key}-{place.variant}-{setting}")
    title = f"{place.label.strip()}, setting {setting}" if setting else place.label
    return Source(anchor, title, protocol, tuple(
        (run, last_record(run, protocol) if protocol else None) for run in own))


def _ours(sweep: Sweep, key: str, protocol: RecordedProtocol | None, rows: Sequence[Place],
          settings: Sequence[str], metrics: tuple[str, ...],
          sources: dict[tuple[str, str], Source]) -> Table:
    """The last checkpoints' scores, a column for each setting or each score; then the paper's."""
    columns = [(metric, setting) for metric in metrics or ("",) for setting in settings or [None]]
    theirs = paper_columns(sweep, metrics or ("fid", "is"), rows)
    head = ["method" if sweep.table else "run"]
    head += [setting or f"ours: {heading(metric)}" for metric, setting in columns]
    lines, records = [], []
    usual = max((len(values_of(source, metric)) for metric, _ in columns
                 for source in sources.values()), default=0)
    for place in rows:
        published_cells = [published(place.row, column) for column in theirs]
        if not place.variant and all(cell.kind == "none" for cell in published_cells):
            continue  # quoted, of the other score
        cells = [Entry(place.label, title=place.row.footnote if place.row else "")]
        for metric, wanted in columns:
            # Without a column for each setting, a row has one.
            setting = place.settings[0] if wanted is None and place.settings else wanted
            source = sources.get((place.variant, setting))
            if source is None:
                cells.append(Entry(NOTHING, "none", title=place.why))
                continue
            cells.append(_cell(source, metric, place.why, usual))
            records += _records(sweep, source, place, setting, metric)
        lines.append((*cells, *published_cells))
    title = f"{name_of(sweep.table)}: {_WHAT.get(sweep.table, '')}" if sweep.table else sweep.title
    title = f"Numbers of {title}" if sweep.table.startswith("figure") else title
    return Table(key, f"{title}; {METRICS[metrics[0]]}" if settings and metrics else title,
                 _caption(sweep, protocol, metrics, bool(theirs), sources),
                 (*head, *headings(theirs)), tuple(lines), tuple(records))


def _caption(sweep: Sweep, protocol: RecordedProtocol | None, metrics: Sequence[str], beside: bool,
             sources: dict[tuple[str, str], Source]) -> str:
    """What a reader has to know before a number is compared with another."""
    runs = [run for source in sources.values() for run, _ in source.runs]
    seeds = sorted({run.seed for run in runs})
    parts = [f"{sweep.title}. Folder {sweep.folder}."]
    if protocol is None:
        parts.append("No run is finished and scored.")
    else:
        way = ", ".join(f"{METRICS[m]} ({m}): {'less' if LESS_IS_BETTER.get(m) else 'more'} is "
                        "better" for m in metrics)
        way = way[0].upper() + way[1:]
        parts.append(f"Each number is of the last checkpoint; mean ± standard deviation over "
                     f"training seeds ({', '.join(map(str, seeds))}), without ± of one seed. "
                     f"{way}. {protocol.sentence()}.")
        if protocol.extractor.startswith("classifier"):
            parts.append("These are scores of a classifier of the data's labels: no FID and no "
                         "Inception Score.")
    if beside:
        data = DATA.get(sweep.dataset)
        parts.append(f"The paper's numbers are FID and Inception Score of {data}" + (
            " by its own protocol, of its best setting." if sweep.table == "2" else
            " by its own protocol.") if data else
            "The paper's numbers are FID and Inception Score of other data and larger networks"
            + (", each of its best setting" if sweep.table == "2" else "")
            + ": they stand beside ours for their order, and are not to be compared as equals.")
    empty = sum(not source.runs for source in sources.values())
    if sweep.table and (empty or any(run.state != FINISHED for run in runs)):
        count = len(seeds) or 1
        parts.append(f"“{NOT_RUN}” is run by: {command(sweep.table, sweep, count)}")
    return " ".join(parts)


def _cell(source: Source, metric: str, why: str, usual: int) -> Entry:
    """A mean over seeds, or how far the runs are."""
    values = values_of(source, metric) if metric else {}
    others = [f"seed {run.seed}: {_why_none(run, record, metric)}" for run, record in source.runs
              if run.seed not in values]
    if not values:
        if not source.runs:
            return Entry(NOT_RUN, "missing", title=why)
        jobs = source.runs[0][0].sweep.folder / "jobs"
        return Entry("; ".join(dict.fromkeys(_why_none(run, record, metric)
                                            for run, record in source.runs)), "missing",
                    source.anchor, f"the output of the runs is in {jobs}" if jobs.is_dir() else "")
    mean, std = mean_std(list(values.values()))
    few = f" (n={len(values)})" if len(values) < usual else ""
    title = ", ".join(f"seed {seed}: {number(value)}" for seed, value in values.items())
    return Entry(number(mean, std) + few, "ours", source.anchor, "; ".join((title, *others)))


def _records(sweep: Sweep, source: Source, place: Place, setting: str, metric: str
             ) -> list[dict[str, Any]]:
    """Rows of the CSV: one of the cell (seed 'all'), and one of each run."""
    theirs = {}
    if place.row and metric in BESIDE:
        for (name, data), value in place.row.values.items():
            if name == BESIDE[metric]:
                column = f"paper_{name}_{data}"
                theirs |= {column: value.mean, f"{column}_std": value.std}
    values = values_of(source, metric)
    mean, std = mean_std(list(values.values())) if values else (None, None)
    same = {"table": sweep.table or sweep.folder.name, "method": place.variant,
            "setting": setting, "metric": metric,
            "protocol": source.protocol.sentence() if source.protocol else ""}
    rows = [{**same, "seed": "all", "value": mean, "std": std, "runs": len(values),
             "state": FINISHED if values else NOT_RUN if not source.runs else "unfinished",
             **theirs}]
    for run, record in source.runs:
        rows.append({**same, "seed": run.seed, "value": value_of(record, metric),
                     "runs": 1, "state": FINISHED if run.seed in values else
                     _why_none(run, record, metric),
                     "iteration": record["fake"]["iteration"] if record else "",
                     "run_folder": str(run.folder), "commit": commit_of(run, record), **theirs})
    return rows


def _why_none(run: Run, record: dict[str, Any] | None, metric: str) -> str:
    """Why a run has no score here; `record` is its last one by the protocol of the table."""
    if record and metric in record["scores"]:
        return "no finite score"
    return NOT_SCORED if run.state == FINISHED else how_far(run)
