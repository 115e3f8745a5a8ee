"""Time from the shell to the first finished iteration: the time that a user waits."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from sngan_jax.base.errors import UserError
from sngan_jax.run.workdir import METRICS

from .. import cli
from ..read_config import read_config
from .timing import medians, print_report, print_table

_LONGEST = 1800  # seconds, for a first start that compiles


def arguments(parser: cli.Parser) -> None:
    """The flags of `bench start`."""
    parser.add_config(required=False, default="digits")
    parser.add_argument("--repeats", type=cli.whole(1), default=5, metavar="N",
                        help="starts after the first (default: 5)")


def main(options: argparse.Namespace) -> None:
    """Prints the figures; the last line has all of them as JSON."""
    print_report(start(options.config, options.changes, options.repeats))


def start(config: str, changes: list[str], repeats: int) -> dict[str, Any]:
    """Seconds from the shell to the first iteration: the first start, which compiles, and later
    ones.

    Each is a process of `train` in a new workdir, ended by SIGTERM after its first iteration. The
    first has an empty cache of compiled programs; later ones find it filled.
    """
    read_config(config, changes, jax.local_device_count())  # for its errors, in one sentence
    first: list[float] = []
    later: list[float] = []
    imports: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench_start_") as folder:
        command = [*cli.command("train"), f"--config={config}",
                   *(f"--config.{change}" for change in changes)]
        for turn in range(1 + repeats):
            (later if turn else first).append(_first_iteration(
                command, Path(folder) / str(turn), Path(folder) / "compiled"))
            imports.append(_imports())
    seconds = medians({"first start, which compiles": first, "later starts": later,
                       "of these, imports": imports[1:]})
    print_table(("from the shell to the first iteration", "seconds"),
                [(name, f"{value:.2f}") for name, value in seconds.items()])
    return {"benchmark": "start", "config": config, "changes": changes, "repeats": repeats,
            "first_seconds": first[0], "later_seconds": seconds["later starts"],
            "import_seconds": seconds["of these, imports"], "later_all_seconds": later}


def _environment(cache: Path | None = None) -> dict[str, str]:
    return os.environ | (
        {"JAX_COMPILATION_CACHE_DIR": str(cache),
         "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
         "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"} if cache else {})


def _first_iteration(command: list[str], workdir: Path, cache: Path) -> float:
    """Seconds until the line of the first iteration is in a new run's metrics."""
    begin = time.time()
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
            [*command, f"--workdir={workdir}"], env=_environment(cache),
            stdout=subprocess.DEVNULL, stderr=errors) as process:
        try:
            while not (row := _first_row(workdir / METRICS)):
                if process.poll() is not None or time.time() - begin > _LONGEST:
                    errors.seek(0)
                    last = errors.read().strip().splitlines()[-1:]
                    raise UserError("the run did not get to its first iteration: "
                                    + "".join(last).removeprefix("error: "))
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGTERM)
    return row["time"] - begin


def _first_row(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text().splitlines()[0])
    except (OSError, IndexError, ValueError):  # does not exist, or is not complete, yet
        return None


def _imports() -> float:
    """Seconds of a process that only imports a run's modules."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sngan_jax.run.loop"], env=_environment(),
                   check=True)
    return time.perf_counter() - begin
