"""The text files of a run's folder: config, environment, metrics."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

import sngan_jax
from sngan_jax.errors import UserError
from sngan_jax.train.validate import ADDED

CONFIG = "config.json"
METRICS = "metrics.jsonl"


def open_workdir(path: str | os.PathLike, config: dict[str, Any], *,
                 accept_changes: bool = False) -> Path:
    """Creates the folder or checks that it is a run of this config; returns its path.

    Args:
      config: plain values, as of `ConfigDict.to_dict()`.
      accept_changes: go on in a folder of another config, and note the new one.

    Raises:
      UserError: where it cannot be written, or holds a run of another config.
    """
    workdir = Path(path)
    config = json.loads(json.dumps(config))  # tuples become lists, as in the file
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if (workdir / CONFIG).exists() and not accept_changes:
            differences = list(_differences(read_config(workdir), config))
            if differences:
                raise UserError(
                    f"{workdir} holds a run of another config ({'; '.join(differences)}): choose "
                    "another --workdir, or pass --accept_config_changes to go on with the new one")
        write_json(workdir / CONFIG, config)
        write_json(workdir / "environment.json", environment())
    except OSError as error:
        raise UserError(f"the workdir {workdir} cannot be written ({error.strerror}): choose "
                        "another --workdir") from error
    return workdir


def read_config(workdir: Path) -> dict[str, Any]:
    """The config that a folder's run was started with; UserError where there is none."""
    file = workdir / CONFIG
    try:
        return {**ADDED, **json.loads(file.read_text())}
    except FileNotFoundError:
        raise UserError(f"{workdir} is not the workdir of a run: it has no {CONFIG}; give the "
                        "--workdir of a run of experiments.train") from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): it is damaged; remove it or choose "
                        "another --workdir") from error


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here"


def write_json(file: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(file, json.dumps(value, indent=2) + "\n")


def write_text(file: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(file)


def environment() -> dict[str, Any]:
    """Versions, devices, commit and command of this process."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections")
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": commit(),
        "sngan_jax": sngan_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def commit() -> str | None:
    """The commit of the source tree, with +changes where it has been changed; None if unknown."""
    folder = Path(__file__).parent
    try:
        def git(*arguments: str) -> str:
            return subprocess.run(["git", *arguments], cwd=folder, check=True, text=True,
                                  capture_output=True, timeout=10).stdout.strip()
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, each with its `iteration`.

    Args:
      iteration: of the state that the run goes on from; later lines, of a run that was cut off,
        are dropped, so that no iteration stands there twice.
    """

    def __init__(self, workdir: Path, iteration: int):
        self._file = workdir / METRICS
        self.rows = [row for row in read_metrics(workdir) if row["iteration"] <= iteration]
        write_text(self._file, "".join(json.dumps(row) + "\n" for row in self.rows))

    def append(self, row: dict[str, Any]) -> None:
        """Adds a line and flushes it."""
        self.rows.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics; a last line that was cut off is left out."""
    file = workdir / METRICS
    if not file.exists():
        return []
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
