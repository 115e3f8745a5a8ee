"""What was chosen in hindsight: the best setting and the best checkpoint, apart from results."""

from __future__ import annotations

from collections.abc import Sequence

from sngan_jax.metrics.scores import LESS_IS_BETTER

from ..sweeps.tables import name_of
from .parts import NOT_RUN, NOTHING, Entry, Source, Table, number, values_of
from .published import Place, headings, paper_columns, published
from .runs import (
    METRICS,
    RecordedProtocol,
    Run,
    Sweep,
    mean_std,
    recorded_protocol,
    value_of,
)


def hindsight_table(sweep: Sweep, key: str, protocol: RecordedProtocol, rows: Sequence[Place],
                    settings: Sequence[str], metrics: Sequence[str],
                    sources: dict[tuple[str, str], Source]) -> Table:
    """The best of all settings and of all scored checkpoints: what the paper's tables choose."""
    metrics = [metric for metric in metrics if metric in LESS_IS_BETTER]
    theirs = paper_columns(sweep, metrics, rows)
    head = ["method" if sweep.table else "run"]
    for metric in metrics:
        head += [f"{METRICS[metric]}: best setting", "… and best checkpoint of each run"]
    lines, records = [], []
    for place in rows:
        variant = place.variant
        cells = [Entry(place.label)]
        for metric in metrics:
            sign = 1 if LESS_IS_BETTER[metric] else -1
            means = {setting: mean_std(list(values.values()))[0] for setting in settings
                     if (variant, setting) in sources
                     and (values := values_of(sources[variant, setting], metric))}
            if not means:
                cells += [Entry(NOT_RUN if variant else NOTHING, "missing" if variant else "none")
                          ] * 2
                continue
            best = min(means, key=lambda setting: sign * means[setting])
            source = sources[variant, best]
            where = f" ({best})" if best and len(settings) > 1 else ""
            cells.append(Entry(number(means[best]) + where, "ours", source.anchor,
                              f"best of {len(means)} setting{'s'[:len(means) - 1]}"))
            chosen = [_best_checkpoint(run, protocol, metric, sign) for run, record in source.runs
                      if value_of(record, metric) is not None]
            mean, _ = mean_std([value for value, _, _ in chosen])
            cells.append(Entry(number(mean) + where, "ours", source.anchor, "; ".join(
                f"iteration {at:,}, best of {n} scored" for _, at, n in chosen)))
            records += [{"table": sweep.table or sweep.folder.name, "method": variant,
                         "setting": best, "metric": metric, "seed": run.seed, "value": value,
                         "state": "chosen in hindsight", "iteration": at,
                         "run_folder": str(run.folder), "protocol": protocol.sentence()}
                        for (value, at, _), (run, _) in zip(chosen, (
                            pair for pair in source.runs
                            if value_of(pair[1], metric) is not None), strict=True)]
        lines.append((*cells, *(published(place.row, column) for column in theirs)))
    head += headings(theirs)
    name = name_of(sweep.table) if sweep.table else sweep.title
    return Table(f"{key}-hindsight", f"{name}, chosen in hindsight: no result to report",
                 "The best setting by the mean of last checkpoints, and in it the best scored "
                 "checkpoint of each run, both chosen by the very scores that are shown: too good "
                 "by an unknown amount. "
                 + ("The paper's row of a method is the best of its settings too. "
                    if sweep.table == "2" else "") + f"{protocol.sentence()}.",
                 tuple(head), tuple(lines), tuple(records))


def _best_checkpoint(run: Run, protocol: RecordedProtocol, metric: str, sign: int
                     ) -> tuple[float, int, int]:
    """(score, iteration, of how many) of the best scored checkpoint of a run."""
    found = {record["fake"]["iteration"]: value for record in run.records
             if recorded_protocol(record) == protocol and "iteration" in record["fake"]
             and (value := value_of(record, metric)) is not None}
    at = min(found, key=lambda iteration: (sign * found[iteration], iteration))
    return found[at], at, len(found)


