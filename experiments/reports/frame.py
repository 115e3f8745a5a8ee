"""All scores as one tidy frame, of which the tables and figures are pivots."""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from sngan_jax.run.evaluation import best_of

from .published import rows_of
from .runs import FINISHED, METRICS, NOT_SCORED, Collection, RecordedProtocol, Run, free_key

_COLUMNS = ("key", "sweep", "title", "anchor", "run", "method", "setting", "seed", "protocol",
            "metric", "value", "state", "iteration", "run_folder", "commit", "best", "best_at",
            "scored")


def score_frame(found: Collection) -> pd.DataFrame:
    """A row for each run, metric and protocol, in the order of the tables' rows and of the seeds.

    An unscored sweep has a row for each run, with the protocol None and the metric ''.

    Columns:
      key: key of its tables: the sweep's key, with a number from its second protocol on.
      sweep: the sweep's key; title, anchor: of the section with the provenance.
      run: the `Run`; method, setting, seed, run_folder: its row, its column, and what tells it
        apart.
      value: the score of the last checkpoint, or NaN; state: FINISHED, or why there is none.
      iteration, commit: the score's iteration and commit; '' without one.
      best, best_at, scored: the best score of all checkpoints, its iteration, and their number.
    """
    frame = pd.DataFrame(list(_rows(found)), columns=_COLUMNS).astype(
        {"value": float, "best": float})
    # Two names may differ in characters that an anchor cannot hold.
    cell = frame.groupby(["key", "method", "setting"], sort=False).ngroup()
    shared = cell.groupby(frame["anchor"]).transform("nunique") > 1
    frame.loc[shared, "anchor"] = frame["anchor"] + "-" + cell.astype(str)
    return frame


def _rows(found: Collection) -> Iterator[dict[str, Any]]:
    taken = {sweep.key for sweep in found.sweeps}
    for sweep in found.sweeps:
        labels = {(place.variant, setting): place.label
                  for place in rows_of(sweep, found.of(sweep)) for setting in place.settings}
        order = list(labels)
        runs = sorted(found.of(sweep), key=lambda run: (
            order.index((run.variant, run.setting)), run.seed))
        for n, protocol in enumerate(_protocols(runs) or [None], 1):
            key = sweep.key if n == 1 else free_key(sweep.key, taken)
            taken.add(key)
            there = {name for run in runs if (last := last_record(run, protocol))
                     for name in last["scores"]}
            for metric in [name for name in METRICS if name in there] or [""]:
                for run in runs:
                    title = labels[run.variant, run.setting]
                    title = f"{title.strip()}, setting {run.setting}" if run.setting else title
                    anchor = re.sub(r"[^\w.-]+", "_", f"from-{key}-{run.variant}-{run.setting}")
                    yield {"key": key, "sweep": sweep.key, "title": title, "anchor": anchor,
                           **_row(run, protocol, metric)}


def _row(run: Run, protocol: RecordedProtocol | None, metric: str) -> dict[str, Any]:
    last = last_record(run, protocol)
    value = _finite(last, metric)
    if value is not None:
        state = FINISHED
    elif last and metric in last["scores"]:
        state = "no finite score"
    else:
        state = NOT_SCORED if run.state == FINISHED else run.how_far
    scored = {record["fake"]["iteration"]: score for record in run.records.get(protocol, ())
              if (score := _finite(record, metric)) is not None}
    best_at = best_of(scored, metric, scored)
    return {"run": run, "method": run.variant, "setting": run.setting, "seed": run.seed,
            "protocol": protocol, "metric": metric, "value": value, "state": state,
            "iteration": last["fake"]["iteration"] if last else "",
            "run_folder": str(run.folder),
            "commit": (last or {}).get("commit") or run.environment.get("commit") or "unknown",
            "best": None if best_at is None else scored[best_at], "best_at": best_at,
            "scored": len(scored)}


def runs_of(scores: pd.DataFrame) -> list[Run]:
    """The runs in a part of the frame, each once."""
    return list(scores.drop_duplicates("run_folder")["run"])


def last_record(run: Run, protocol: RecordedProtocol | None) -> dict[str, Any] | None:
    """The newest record of a finished run's last iteration; None if there is none.

    Records that exist only because they were the best of several checkpoints are left out.
    """
    found = [record for record in run.records.get(protocol, ()) if "best_of" not in record
             and record["fake"]["iteration"] == run.config["iterations"]]
    return found[-1] if found and run.state == FINISHED else None


def _protocols(runs: Sequence[Run]) -> list[RecordedProtocol]:
    """The protocols that scored the last iterations of finished runs, most frequent first."""
    counts = collections.Counter(protocol for run in runs for protocol in run.records
                                 if last_record(run, protocol))
    return sorted(counts, key=lambda protocol: (-counts[protocol], protocol.name != "paper"))


def _finite(record: dict[str, Any] | None, metric: str) -> float | None:
    value = (record or {}).get("scores", {}).get(metric)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None
