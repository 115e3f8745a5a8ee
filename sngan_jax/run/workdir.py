"""The text files of a run's folder: config, environment, metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.files import cannot_use, leftovers, naming, write_errors, write_text
from sngan_jax.base.output import say
from sngan_jax.base.types import JsonObject
from sngan_jax.metrics.evaluate import SCORES
from sngan_jax.run.conditions import environment
from sngan_jax.run.config import FIELDS, completed
from sngan_jax.run.extension import may_continue, why_not
from sngan_jax.run.lock import LOCK, is_lock
from sngan_jax.run.stored_checkpoints import CHECKPOINTS, StoredCheckpoints, check_name
from sngan_jax.run.validate import check_fields
from sngan_jax.step.augment import AUTO

CONFIG, ENVIRONMENT, METRICS = "config.json", "environment.json", "metrics.jsonl"
# What a run writes into its folder.
_NAMES = {CONFIG, ENVIRONMENT, METRICS, LOCK, SCORES, CHECKPOINTS, "samples", "tensorboard",
          "losses.png", "sigma.png"}


def make_workdir(path: str | os.PathLike, flag: str = "--workdir") -> Path:
    """Creates the folder that a flag names; UserError if it cannot be made."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        what = "workdir" if flag == "--workdir" else "folder"
        raise UserError(f"the {what} {path} cannot be made ({getattr(error, 'strerror', error)}): "
                        f"choose another {flag}") from error
    return Path(path)


def is_run(workdir: Path) -> bool:
    """Whether a folder holds a run: its config, or checkpoints whose config was deleted."""
    stored = StoredCheckpoints(workdir)
    return (workdir / CONFIG).exists() or bool(stored.all() and stored.are_all())


def check_workdir(workdir: Path, config: JsonObject, *, accept_changes: bool = False,
                  cure: str = "choose another --workdir, or pass --accept-config-changes to "
                              "continue with the new one") -> None:
    """Checks that a run of this config may write here; changes nothing.

    Args:
      workdir: folder, which need not exist.
      config: plain values, as from `ConfigDict.to_dict()`.
      accept_changes: whether the folder may hold a run of another config.
      cure: the end of the sentence about a run of another config, which says what to do.

    Raises:
      UserError: it holds a run of another config, or something that a run would write over; or its
        name is not UTF-8.
    """
    check_name(workdir)
    try:
        names = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
        stored = StoredCheckpoints(workdir)
        if CONFIG in names:
            old = read_config(workdir)
            if missing := sorted(FIELDS.keys() - old.keys()):
                raise UserError(f"{workdir / CONFIG} is not the config of a run (it has no "
                                f"{missing[0]}) and would be overwritten: choose another --workdir")
            if config["augment"] == AUTO:  # decided by the data, which must be the same
                config = {**config, "augment": old["augment"]}
            found = "; ".join(differences(old, config))
            at = max(stored.all(), default=0)
            if found and not accept_changes and not may_continue(old, config, at):
                raise UserError(
                    f"{workdir} holds a run of another config ({found}{why_not(old, config, at)}): "
                    + cure)
        elif not is_run(workdir):
            others = names & _NAMES
            if LOCK in others and is_lock(workdir / LOCK):
                others.remove(LOCK)
            if CHECKPOINTS in others and stored.are_all():
                others.remove(CHECKPOINTS)
            if others:
                raise UserError(f"{workdir} is not the folder of a run (it has no {CONFIG}), and "
                                f"its {', '.join(sorted(others))} would be overwritten: choose "
                                "another --workdir")
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"the workdir {workdir} cannot be read ({getattr(error, 'strerror', error)}"
                        "): choose another --workdir") from error


def open_workdir(workdir: Path, config: JsonObject) -> None:
    """Writes the config and environment into a folder that `check_workdir` accepts; WriteError."""
    with write_errors("a file of the run", workdir):
        write_json(workdir / CONFIG, config)
        write_json(workdir / ENVIRONMENT, {**environment(), "earlier": _starts(workdir)})
        for left in (*leftovers(workdir), *leftovers(workdir / "samples")):  # by a killed run
            left.unlink(missing_ok=True)


def _starts(workdir: Path) -> list[JsonObject]:
    """Descriptions of the starts so far from environment.json, oldest first."""
    try:
        last = json.loads((workdir / ENVIRONMENT).read_text())
        return [*last.pop("earlier", []), last]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        say(f"warning: {workdir / ENVIRONMENT} is damaged: what it said of earlier starts is lost")
        return []


def read_config(workdir: Path) -> JsonObject:
    """The config that a folder's run was started with.

    Raises:
      UserError: there is no config, it is damaged, or a field or value is not valid.
    """
    file = workdir / CONFIG
    try:
        found = json.loads(file.read_text())
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
    except FileNotFoundError:
        raise UserError(f"{workdir} is not the workdir of a run: it has no {CONFIG}; give the "
                        "--workdir of a run of sngan train") from None
    except OSError as error:
        raise UserError(cannot_use(error, file, "another run")) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({one_line(error)}): it is damaged; remove it or "
                        "choose another --workdir") from error
    config = completed(found)
    try:
        check_fields(config)
    except UserError as error:
        raise UserError(f"{file}: {error}: restore the value that the run was started with"
                        ) from error
    return config


def differences(old: JsonObject, new: JsonObject) -> Iterator[str]:
    """Differences between two configs of plain values, in words."""
    new = json.loads(json.dumps(new))  # tuples become lists, as in a file
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} here"


def write_json(file: Path, value: object) -> None:
    """Writes a JSON file atomically."""
    write_text(file, json.dumps(value, indent=2) + "\n")


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, each with its `iteration`.

    Args:
      iteration: iteration from which the run continues; later lines, from before it was cut off,
        are dropped, so that no iteration appears twice.
    """

    def __init__(self, workdir: Path, iteration: int):
        self._path = workdir / METRICS
        self.rows = [row for row in read_metrics(workdir) if row["iteration"] <= iteration]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def append(self, row: JsonObject) -> None:
        """Adds a line and hands it to the operating system."""
        self.rows.append(row)
        with naming(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def sync(self) -> None:
        """Syncs every line to disk, as required before a checkpoint is saved."""
        with naming(self._path), self._path.open("rb") as file:
            os.fsync(file.fileno())


def read_metrics(workdir: Path) -> list[JsonObject]:
    """Rows of a run's metrics, without lines that were cut off or damaged."""
    return read_lines(workdir / METRICS, lambda row: isinstance(row["iteration"], int))


def read_lines(file: Path, holds: Callable[[JsonObject], bool]) -> list[JsonObject]:
    """JSON values of a file, one per line.

    A last line without a newline was cut off with its run, and is left out. Other lines that are
    not JSON, or that `holds` rejects, are left out with a warning.

    Args:
      holds: test for the value of a line; may raise KeyError or TypeError instead of returning
        False.
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
