"""Real training processes of a tiny model, and comparisons of their folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.configs import digits
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.run.workdir import read_metrics

ROOT = Path(__file__).parents[2]
ITERATIONS = 400
FIELDS = {
    "generator_width": 2, "discriminator_width": 2, "latent_size": 4, "batch_size": 8,
    "generator_batch_size": 8, "n_dis": 1, "iterations": ITERATIONS, "log_every": 5,
    "sample_every": 50, "checkpoint_every": 10, "num_samples": 9, "evaluate_every": 25,
    "evaluate_metrics": "fid", "evaluate_images": 16, "learning_rate": 1e-4}

# Fields that differ between two runs with equal numbers.
_CLOCK = ("time", "compile_seconds", "iterations_per_second", "images_per_second", "date",
          "seconds", "commit", "device")


class Outcome(NamedTuple):
    """Result of a fault; `notes` are about the rounds that did not hold."""

    rounds: int
    held: int
    notes: list[str]
    skipped: str = ""
    figures: dict[str, Any] = {}  # noqa: RUF012


def tiny_config(**changes: Any) -> Any:
    """Config of the tiny run."""
    config = digits.get_config()
    config.update({**FIELDS, **changes})
    return config


def environment() -> dict[str, str]:
    """Environment of the processes: this checkout, and one CPU device."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def command(workdir: Path, **changes: Any) -> list[str]:
    """Command line of the tiny run."""
    return [sys.executable, "-m", "tests.faults.program", "--config=experiments/configs/digits.py",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in {**FIELDS, **changes}.items())]


def start(workdir: Path, *, log: Path | None = None, variables: dict[str, str] | None = None,
          flags: Sequence[str] = (), **changes: Any) -> subprocess.Popen:
    """Starts the program, with its output in `<workdir>.log` or `<log>.log`."""
    words = log or workdir
    with words.with_name(words.name + ".log").open("wb") as log:
        return subprocess.Popen([*command(workdir, **changes), *flags], cwd=ROOT, stdout=log,
                                env={**environment(), **(variables or {})}, stderr=log)


def said(workdir: Path) -> str:
    """Output of the last process of a folder."""
    return workdir.with_name(workdir.name + ".log").read_text(errors="replace")


def run(workdir: Path, timeout: float = 1200, **changes: Any) -> int:
    """Runs the program to its end, and returns its exit status."""
    process = start(workdir, **changes)
    try:
        return process.wait(timeout)
    finally:
        process.kill()


def straight(work: Path, **changes: Any) -> Path:
    """Trains a run that is not disturbed, the reference, and returns its folder."""
    workdir = work / "straight"
    if run(workdir, **changes):
        raise RuntimeError(f"the straight run failed: {said(workdir)}")
    return workdir


def content(folder: Path) -> dict[Path, tuple[int, bytes | None]]:
    """Contents and modification times of all files in a folder."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in sorted(folder.rglob("*"))}


def refusal_problems(words: str, status: int | None, expected: int = 2) -> list[str]:
    """Problems with a refusal, which must be one sentence and the expected exit status."""
    problems = [] if status == expected else [f"exit status {status}: {words[-300:]}"]
    if words.count("error: ") != 1 or "Traceback" in words:
        problems.append(f"no sentence: {words[-300:]}")
    return problems


def differences(workdir: Path, reference: Path) -> list[str]:
    """Differences between a finished run and the reference, which must be bitwise equal."""
    found = []
    ours, theirs = (restore_run(folder) for folder in (workdir, reference))
    if not same_state(ours, theirs):
        found.append("the final state differs")
    if rows(workdir) != rows(reference):
        found.append("metrics.jsonl differs")
    if scores(workdir) != scores(reference):
        found.append("scores.jsonl differs")
    pictures = [{p.name: p.read_bytes() for p in (folder / "samples").glob("*.png")}
                for folder in (workdir, reference)]
    if pictures[0] != pictures[1]:
        found.append("the sample grids differ")
    if left := [path.name for path in workdir.rglob("*.tmp")]:
        found.append(f"{', '.join(left)} was left behind")
    return found


def same_state(a: RestoredRun, b: RestoredRun) -> bool:
    """Whether two states are bitwise equal."""
    x, y = (jax.tree.leaves_with_path((run.iteration, run.state)) for run in (a, b))
    return len(x) == len(y) and all(
        p == q and np.asarray(m).dtype == np.asarray(n).dtype
        and np.asarray(m).tobytes() == np.asarray(n).tobytes()
        for (p, m), (q, n) in zip(x, y, strict=True))


def rows(workdir: Path) -> list[dict[str, Any]]:
    """Rows of the metrics, without times."""
    return [_timeless(row) for row in read_metrics(workdir)]


def scores(workdir: Path) -> list[dict[str, Any]]:
    """Score records, without times."""
    file = workdir / "scores.jsonl"
    if not file.exists():
        return []
    return [_timeless(json.loads(line)) for line in file.read_text().splitlines()]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _CLOCK}


def prefix_problem(workdir: Path, reference: Path) -> str:
    """The problem if a run's metrics are not a prefix of the reference's; empty otherwise."""
    ours, theirs = rows(workdir), rows(reference)
    if ours != theirs[:len(ours)]:
        return f"metrics are not a prefix of the straight run's ({len(ours)} lines)"
    return ""


def wait_for_iteration(workdir: Path, process: subprocess.Popen, more_than: int = 0,
                       timeout: float = 120) -> int:
    """Waits for a row of metrics after an iteration; returns its iteration, 0 if the run ended."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        found = read_metrics(workdir)
        if found and found[-1]["iteration"] > more_than:
            return found[-1]["iteration"]
        time.sleep(0.05)
    return 0


def traceback_of(workdir: Path) -> str:
    """Sentence with the beginning and end of a traceback in the output; empty if there is none."""
    _, found, lines = said(workdir).partition("Traceback (most recent call")
    return f"a traceback was shown: {lines[:300]} … {lines[-600:]}" if found else ""
