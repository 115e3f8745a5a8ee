"""A long run of a very small model, in a separate process: soak."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np

from sngan_jax.run.workdir import read_metrics
from tests.faults.runs import Outcome, said, start

_PER_CALL, _LINES = 2, 100
# Not judged: compilation, first samples, allocators that grow to their working size.
_WARM_UP = 0.2
_MEMORY, _SPEED = 0.02, 0.05


def soak(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Trains a thousand iterations per round; memory may change by 2 %, speed fall by 5 %."""
    del rng
    iterations, workdir = 1000 * rounds, work / "soak"
    every = max(iterations // _LINES // _PER_CALL, 1) * _PER_CALL
    process = start(
        workdir, iterations=iterations, iterations_per_call=_PER_CALL, log_every=every,
        sample_every=iterations // 5, checkpoint_every=iterations // 10, evaluate_every=0,
        batch_size=4, generator_batch_size=4)
    memory: list[tuple[int, int]] = []
    while process.poll() is None:
        time.sleep(0.5)
        rows = read_metrics(workdir)
        if rows and (not memory or rows[-1]["iteration"] > memory[-1][0]):
            memory.append((rows[-1]["iteration"], _resident(process.pid)))
    if process.returncode:
        return Outcome(1, 0, [said(workdir)[-500:]])
    used = [size for iteration, size in memory if size and iteration > _WARM_UP * iterations]
    rows = [row for row in read_metrics(workdir) if row["iteration"] > _WARM_UP * iterations]
    # Times are by the clock, so other work on the machine counts; medians of thirds reduce that.
    speeds = [row["iterations_per_second"] for row in rows]
    memory_change, speed_change = _change(used), _change(speeds)
    problems = []
    if abs(memory_change) > _MEMORY:
        problems.append(f"memory changed by {memory_change:+.1%}")
    if speed_change < -_SPEED:
        problems.append(f"speed changed by {speed_change:+.1%}")
    return Outcome(1, int(not problems), problems, figures={
        "iterations": iterations, "resident_mib": [round(used[0] / 2**20), round(
            used[-1] / 2**20)], "memory_change": round(memory_change, 4),
        "iterations_per_second": round(statistics.median(speeds), 1),
        "speed_change": round(speed_change, 4)})


def _change(values: list[float]) -> float:
    """Relative change from the median of the first third to the median of the last."""
    third = max(len(values) // 3, 1)
    return statistics.median(values[-third:]) / statistics.median(values[:third]) - 1


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
