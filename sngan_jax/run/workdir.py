"""The text files of a run's folder: config, environment, metrics."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

import sngan_jax
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError, naming, write_text
from sngan_jax.base.provenance import commit
from sngan_jax.run.config import completed
from sngan_jax.run.extension import may_continue, why_not
from sngan_jax.run.stored_checkpoints import StoredCheckpoints

CONFIG = "config.json"
METRICS = "metrics.jsonl"


def make_workdir(path: str | os.PathLike) -> Path:
    """Creates the folder; UserError where that cannot be done."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"the workdir {path} cannot be made ({getattr(error, 'strerror', error)}): "
                        "choose another --workdir") from error
    return Path(path)


def open_workdir(path: str | os.PathLike, config: dict[str, Any], *,
                 accept_changes: bool = False) -> Path:
    """Writes what a run begins with, or checks that the folder is a run of this config.

    Args:
      path: an existing folder.
      config: plain values, as of `ConfigDict.to_dict()`.
      accept_changes: go on in a folder of another config, and note the new one.

    Raises:
      UserError: where it cannot be written, or holds a run of another config.
    """
    workdir = Path(path)
    config = json.loads(json.dumps(config))  # tuples become lists, as in the file
    try:
        if (workdir / CONFIG).exists() and not accept_changes:
            there = read_config(workdir)
            differences = list(_differences(there, config))
            at = max(StoredCheckpoints(workdir).all(), default=0)
            if differences and not may_continue(there, config, at):
                raise UserError(
                    f"{workdir} holds a run of another config ({'; '.join(differences)}"
                    f"{why_not(there, config, at)}): choose another --workdir, or pass "
                    "--accept-config-changes to go on with the new one")
        write_json(workdir / CONFIG, config)
        write_json(workdir / "environment.json", environment())
    except OSError as error:
        raise WriteError(f"the workdir {workdir} cannot be written ({error.strerror}): make room "
                         "or make it writable, or choose another --workdir") from error
    return workdir


def read_config(workdir: Path) -> dict[str, Any]:
    """The config that a folder's run was started with; UserError where there is none."""
    file = workdir / CONFIG
    try:
        return completed(json.loads(file.read_text()))
    except FileNotFoundError:
        raise UserError(f"{workdir} is not the workdir of a run: it has no {CONFIG}; give the "
                        "--workdir of a run of sngan train") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({error}): it is damaged; remove it or choose "
                        "another --workdir") from error


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here"


def write_json(file: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(file, json.dumps(value, indent=2) + "\n")


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


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, each with its `iteration`.

    Args:
      iteration: of the state that the run goes on from; later lines, of a run that was cut off,
        are dropped, so that no iteration stands there twice.
    """

    def __init__(self, workdir: Path, iteration: int):
        self._path = workdir / METRICS
        self.rows = [row for row in read_metrics(workdir) if row["iteration"] <= iteration]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def append(self, row: dict[str, Any]) -> None:
        """Adds a line and hands it to the system."""
        self.rows.append(row)
        with naming(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def sync(self) -> None:
        """Returns when every line is on the disk, as it must be before a checkpoint is."""
        with naming(self._path), self._path.open("rb") as file:
            os.fsync(file.fileno())


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics; those that were cut off or damaged are left out."""
    return read_lines(workdir / METRICS, lambda row: isinstance(row["iteration"], int))


def read_lines(file: Path, holds: Callable[[Any], bool]) -> list[Any]:
    """The JSON values of a file's lines, one each.

    A last line without an end was cut off when the run was, and is left out; another one that is
    no JSON, or is not what it should be, is left out with a warning.

    Args:
      holds: whether a value is what a line should be; may raise KeyError or TypeError for no.
    """
    if not file.exists():
        return []
    rows = []
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        try:
            row = json.loads(line)
            if not holds(row):
                raise ValueError
            rows.append(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            if line.endswith(b"\n"):
                print(f"warning: line {number} of {file} is damaged and left out", file=sys.stderr)
    return rows
