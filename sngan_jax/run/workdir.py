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
from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.files import WriteError, leftovers, naming, write_text
from sngan_jax.base.output import say
from sngan_jax.base.provenance import commit
from sngan_jax.metrics.evaluate import SCORES
from sngan_jax.run.conditions import conditions
from sngan_jax.run.config import FIELDS, completed
from sngan_jax.run.extension import may_continue, why_not
from sngan_jax.run.lock import LOCK, is_lock
from sngan_jax.run.stored_checkpoints import CHECKPOINTS, StoredCheckpoints
from sngan_jax.run.validate import in_words, unknown_field
from sngan_jax.step.augment import AUTO

CONFIG, ENVIRONMENT, METRICS = "config.json", "environment.json", "metrics.jsonl"
# What a run writes into its folder.
_NAMES = {CONFIG, ENVIRONMENT, METRICS, LOCK, SCORES, CHECKPOINTS, "samples", "tensorboard",
          "losses.png", "sigma.png"}


def make_workdir(path: str | os.PathLike) -> Path:
    """Creates the folder; UserError where that cannot be done."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"the workdir {path} cannot be made ({getattr(error, 'strerror', error)}): "
                        "choose another --workdir") from error
    return Path(path)


def is_run(workdir: Path) -> bool:
    """Whether a folder holds a run: its config, or checkpoints whose config was deleted."""
    stored = StoredCheckpoints(workdir)
    return (workdir / CONFIG).exists() or bool(stored.all() and stored.are_all())


def check_workdir(workdir: Path, config: dict[str, Any], *, accept_changes: bool = False) -> None:
    """Whether a run of this config may write here; changes nothing.

    Args:
      workdir: need not exist.
      config: plain values, as of `ConfigDict.to_dict()`.
      accept_changes: whether the folder may hold a run of another config.

    Raises:
      UserError: it holds a run of another config, or something that a run would write over.
    """
    try:
        names = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
        if CONFIG in names:
            old = read_config(workdir)
            if missing := sorted(FIELDS.keys() - old.keys()):
                raise UserError(f"{workdir / CONFIG} is no run's config (it has no "
                                f"{missing[0]}), and would be written over: choose another "
                                "--workdir")
            if config["augment"] == AUTO:  # decided by the data, which must be the same
                config = {**config, "augment": old["augment"]}
            found = list(differences(old, config))
            at = max(StoredCheckpoints(workdir).all(), default=0)
            if found and not accept_changes and not may_continue(old, config, at):
                raise UserError(
                    f"{workdir} holds a run of another config ({'; '.join(found)}"
                    f"{why_not(old, config, at)}): choose another --workdir, or pass "
                    "--accept-config-changes to go on with the new one")
            return
        others = names & _NAMES
        if LOCK in others and is_lock(workdir / LOCK):
            others.remove(LOCK)
        if CHECKPOINTS in others and StoredCheckpoints(workdir).are_all():
            # A run's whose config was deleted: all of these are its own.
            others = set() if StoredCheckpoints(workdir).all() else others - {CHECKPOINTS}
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the workdir {workdir} cannot be read ({getattr(error, 'strerror', error)}"
                        "): choose another --workdir") from error
    if others:
        raise UserError(f"{workdir} is no run's folder (it has no {CONFIG}), and its "
                        f"{', '.join(sorted(others))} would be written over: choose another "
                        "--workdir")


def open_workdir(workdir: Path, config: dict[str, Any]) -> None:
    """Writes what a run begins with into a folder that `check_workdir` has passed.

    Raises:
      WriteError: it cannot be written.
    """
    try:
        write_json(workdir / CONFIG, config)
        write_json(workdir / ENVIRONMENT, {**environment(), "earlier": _starts(workdir)})
        for folder in (workdir, workdir / "samples"):
            for left in leftovers(folder):  # by a run that was killed
                left.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"the workdir {workdir} cannot be written ({error.strerror}): make room "
                         "or make it writable, or choose another --workdir") from error


def _starts(workdir: Path) -> list[Any]:
    """What environment.json says of the starts so far, the first one first."""
    try:
        last = json.loads((workdir / ENVIRONMENT).read_text())
        earlier = last.pop("earlier", [])
        return [*(earlier if isinstance(earlier, list) else []), last]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        say(f"warning: {workdir / ENVIRONMENT} is damaged: what it said of earlier starts is lost")
        return []


def read_config(workdir: Path) -> dict[str, Any]:
    """The config that a folder's run was started with.

    Raises:
      UserError: there is none, it is damaged, or has a field or a value of another kind.
    """
    file = workdir / CONFIG
    try:
        found = json.loads(file.read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        raise UserError(f"{workdir} is not the workdir of a run: it has no {CONFIG}; give the "
                        "--workdir of a run of sngan train") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({one_line(error)}): it is damaged; remove it or "
                        "choose another --workdir") from error
    config = completed(found)
    for name, value in config.items():
        if name not in FIELDS:
            raise UserError(f"{file}: {unknown_field(name)}; take the line out")
        kind = type(FIELDS[name].default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UserError(f"{file}: {name} is {one_line(ValueError(repr(value)))}, expected "
                            f"{in_words(FIELDS[name])}: put back what the run was started with")
    return config


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What two configs of plain values differ in, in words."""
    new = json.loads(json.dumps(new))  # tuples become lists, as in a file
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here"


def write_json(file: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(file, json.dumps(value, indent=2) + "\n")


def environment() -> dict[str, Any]:
    """Versions, devices, commit and command of this process."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": commit(),
        "sngan_jax": sngan_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        **conditions(),
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
                say(f"warning: line {number} of {file} is damaged and left out")
    return rows
