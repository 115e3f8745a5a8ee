"""Real training processes of a tiny model, and what is compared of their folders."""

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

# What differs between two runs of the same numbers.
_CLOCK = ("time", "compile_seconds", "iterations_per_second", "images_per_second", "date",
          "seconds", "commit", "device")


class Outcome(NamedTuple):
    """How a fault went; notes are about the rounds that did not hold."""

    rounds: int
    held: int
    notes: list[str]
    skipped: str = ""
    figures: dict[str, Any] = {}  # noqa: RUF012


def tiny_config(**changes: Any) -> Any:
    """The config of the tiny run."""
    config = digits.get_config()
    config.update({**FIELDS, **changes})
    return config


def environment() -> dict[str, str]:
    """Of the processes: one device, and the harness's own cache of compiled programs."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def command(workdir: Path, **changes: Any) -> list[str]:
    """The command line of the tiny run."""
    return [sys.executable, "-m", "tests.faults.program", "--config=experiments/configs/digits.py",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in {**FIELDS, **changes}.items())]


def start(workdir: Path, *, log: Path | None = None, variables: dict[str, str] | None = None,
          flags: Sequence[str] = (), **changes: Any) -> subprocess.Popen:
    """Starts the program; its words go to `<workdir>.log`, or to `<log>.log`."""
    words = log or workdir
    with words.with_name(words.name + ".log").open("wb") as log:
        return subprocess.Popen([*command(workdir, **changes), *flags], cwd=ROOT, stdout=log,
                                env={**environment(), **(variables or {})}, stderr=log)


def said(workdir: Path) -> str:
    """What the last process of a folder printed."""
    return workdir.with_name(workdir.name + ".log").read_text(errors="replace")


def run(workdir: Path, timeout: float = 1200, **changes: Any) -> int:
    """Runs the program to its end; its exit status."""
    process = start(workdir, **changes)
    try:
        return process.wait(timeout)
    finally:
        process.kill()


def straight(work: Path, **changes: Any) -> Path:
    """The folder of the run that nothing happens to, made once."""
    workdir = work / "straight"
    if run(workdir, **changes):
        raise RuntimeError(f"the straight run failed: {said(workdir)}")
    return workdir


def content(folder: Path) -> dict[Path, tuple[int, bytes | None]]:
    """All that is in a folder, with its dates."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in sorted(folder.rglob("*"))}


def refusal_problems(words: str, status: int | None, expected: int = 2) -> list[str]:
    """What is wrong with the end of a program that was to refuse: one sentence and its status."""
    problems = [] if status == expected else [f"exit status {status}: {words[-300:]}"]
    if words.count("error: ") != 1 or "Traceback" in words:
        problems.append(f"no sentence: {words[-300:]}")
    return problems


def differences(workdir: Path, reference: Path) -> list[str]:
    """In what a finished run is not, to the bit, the reference."""
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
    """The metrics without the clock."""
    return [_timeless(row) for row in read_metrics(workdir)]


def scores(workdir: Path) -> list[dict[str, Any]]:
    """The scores without the clock."""
    file = workdir / "scores.jsonl"
    if not file.exists():
        return []
    return [_timeless(json.loads(line)) for line in file.read_text().splitlines()]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _CLOCK}


def prefix_problem(workdir: Path, reference: Path) -> str:
    """What is wrong with the metrics of a run under way: a gap, a line twice, other numbers."""
    ours, theirs = rows(workdir), rows(reference)
    if ours != theirs[:len(ours)]:
        return f"metrics are no beginning of the straight run's ({len(ours)} lines)"
    return ""


def wait_for_iteration(workdir: Path, process: subprocess.Popen, more_than: int = 0,
                       timeout: float = 120) -> int:
    """Waits until a line of metrics beyond an iteration is there; its iteration (0: it ended)."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        found = read_metrics(workdir)
        if found and found[-1]["iteration"] > more_than:
            return found[-1]["iteration"]
        time.sleep(0.05)
    return 0


def traceback_of(workdir: Path) -> str:
    """'a traceback was shown', and how it begins and ends, where one was."""
    _, found, lines = said(workdir).partition("Traceback (most recent call")
    return f"a traceback was shown: {lines[:300]} … {lines[-600:]}" if found else ""
