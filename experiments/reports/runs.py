"""What is on disk: the runs of one or several sweeps, with the records of their scores.

Files are only read, never written; a file that cannot be read becomes a note.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import CROPPED
from sngan_jax.run.evaluation import read_scores
from sngan_jax.run.lock import is_held
from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from sngan_jax.run.workdir import CONFIG, read_config

from ..sweeps.tables import OWN, SWEEP, TABLES, folder_of

# The states of a run.
FINISHED, NOT_SCORED, UNFINISHED, RUNNING = "finished", "not scored", "unfinished", "running"
# Names of scores for readers.
METRICS = {"fid": "FID", "is": "Inception Score", "kid": "KID",
           "fcd": "classifier Fréchet distance", "cs": "classifier score",
           "kcd": "classifier kernel distance"}
# The paper's column beside which a score of ours is shown.
BESIDE = {"fid": "FID", "fcd": "FID", "is": "IS", "cs": "IS"}


class Sweep(NamedTuple):
    """A folder of runs.

    key: its name, or a similar one that no other sweep of the report has.
    table: a key of `sweeps.tables.TABLES`, '' for a folder of plain runs or a grid.
    title: names data, scale and reductions; scale: of `sweeps.tables.Scale`, '' if unknown.
    changes: FIELD=VALUE of all its runs.
    """

    folder: Path
    key: str
    table: str
    dataset: str
    scale: str
    title: str
    changes: tuple[str, ...] = ()


class Run(NamedTuple):
    """A run of a sweep.

    variant, setting: its row and column; setting is '' for runs outside a table.
    records: rows of scores.jsonl by protocol; saved: iterations of its checkpoints, oldest first.
    state: FINISHED (and scored), NOT_SCORED, UNFINISHED or RUNNING.
    """

    sweep: Sweep
    folder: Path
    variant: str
    setting: str
    seed: int
    config: dict[str, Any]
    environment: dict[str, Any]
    records: dict[RecordedProtocol, list[dict[str, Any]]]
    saved: tuple[int, ...]
    state: str

    @property
    def trained(self) -> bool:
        """Whether it has all its iterations."""
        return self.state in (FINISHED, NOT_SCORED)

    @property
    def how_far(self) -> str:
        """The state in words, with the iterations of an unfinished run."""
        at, of = max(self.saved, default=0), self.config["iterations"]
        return self.state if self.trained or at >= of else f"{self.state}: {at:,} of {of:,}"


class Collection(NamedTuple):
    """All that was found; notes: sentences about what was left out, and why."""

    sweeps: tuple[Sweep, ...]
    runs: tuple[Run, ...]
    notes: tuple[str, ...]

    def of(self, sweep: Sweep) -> list[Run]:
        """The runs of a sweep."""
        return [run for run in self.runs if run.sweep == sweep]


def first_seeds(runs: Iterable[Run]) -> dict[tuple[str, str], Run]:
    """{(setting, variant): the run with checkpoints of the first seed}."""
    return {(run.setting, run.variant): run
            for run in sorted(runs, key=lambda run: -run.seed) if run.saved}


class RecordedProtocol(NamedTuple):
    """What two scores must have in common to share a table; each field comes from a record."""

    name: str
    extractor: str
    checksum: str
    resize: str
    real: int | str
    fake: int | str
    score: int | str
    splits: int | str
    images: str
    split: str
    real_seed: int | str
    bn_mode: str
    ema: float | str
    seed: int | str
    convention: str
    fit: str
    alpha: str

    def sentence(self) -> str:
        """For captions."""
        named = f"protocol “{self.name}”" if self.name != "free" else "free protocol"
        real = (f"{_count(self.real)} real images of {self.images} (split {self.split}) against "
                if self.real else "")
        parts = f", score of {_count(self.score)} in {self.splits} parts" if self.score else ""
        resize = f", resized by {self.resize}" if self.resize else ""
        resize += f", read as {self.convention} does" if self.convention else ""
        resize += "".join(f", {name} {value}" for name, value, usual in (
            ("fit", self.fit, CROPPED.fit), ("alpha", self.alpha, CROPPED.alpha))
            if value not in ("", usual))
        ema = f", moving average {self.ema} of G" if self.ema else ""
        return (f"By the {named}: {real}{_count(self.fake)} generated{parts}; extractor "
                f"{self.extractor} (checksum {self.checksum[:8]}){resize}; batch norm of G by "
                f"{self.bn_mode} statistics{ema}; latents of seed {self.seed}")


def _protocol_of(record: dict[str, Any]) -> RecordedProtocol | None:
    """The protocol of a record, '' for what it does not say; None if a field cannot be read.

    The record may be from another program.
    """
    real, fake = record.get("real") or {}, record["fake"]
    if not isinstance(real, dict) or not isinstance(fake.get("iteration"), int):
        return None
    protocol = RecordedProtocol(*("" if value is None else value for value in (
        record.get("protocol", ""), str(record.get("extractor", "")),
        str(record.get("checksum", "")), record.get("resize"), real.get("n"), fake.get("n"),
        record.get("n_score"), record.get("splits"),
        str(real.get("images") or real.get("statistics", "")),
        real.get("split"), real.get("seed"), fake.get("bn_mode"), fake.get("ema") or "",
        fake.get("seed"), record.get("convention"),
        *(real.get(name, getattr(CROPPED, name)) if "images" in real else ""
          for name in ("fit", "alpha")))))
    return None if any(isinstance(value, (dict, list)) for value in protocol) else protocol


def collect(folders: Sequence[Path]) -> Collection:
    """Reads the runs below these folders: folders of sweeps, of runs, single runs, or --table=all.

    Raises:
      UserError: if a folder does not exist, holds no run, or is given twice, or its sweep.json is
        damaged.
    """
    sweeps, runs, notes = [], [], []
    for folder in _expanded(folders):
        if folder.resolve() in (sweep.folder.resolve() for sweep in sweeps):
            raise UserError(f"--workdir names {folder} twice")
        sweep = _sweep(folder, [sweep.key for sweep in sweeps])
        alone = (folder / CONFIG).is_file()
        places = [folder] if alone else sorted(
            place for place in folder.iterdir() if (place / CONFIG).exists())
        if not places and not sweep.table:
            raise UserError(f"{folder} holds no run: it has no {SWEEP} and no folder with a "
                            f"{CONFIG}; give the --workdir of a sweep or of a run")
        sweeps.append(sweep)
        for place in places:
            try:
                runs.append(_run(sweep, place))
            except (UserError, OSError) as error:
                notes.append(f"{place} is left out: {error}")
    return Collection(tuple(sweeps), tuple(runs), tuple(notes))


def _expanded(folders: Sequence[Path]) -> list[Path]:
    """Replaces a folder of `--table=all` by the sweeps in it, in the order of the tables."""
    order = [folder_of(table) for table in TABLES]
    found = []
    for folder in folders:
        inside = [folder / name for name in order if (folder / name / SWEEP).is_file()]
        found += [folder] if (folder / SWEEP).exists() or not inside else inside
    return found


def free_key(key: str, taken: Iterable[str]) -> str:
    """`key`, or else `key-2`, `key-3`, …: the first that is not taken, whatever its case."""
    held = {name.lower() for name in taken}
    numbered = (f"{key}-{n}" for n in itertools.count(2))
    return next(name for name in itertools.chain([key], numbered) if name.lower() not in held)


def _sweep(folder: Path, taken: Sequence[str]) -> Sweep:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the --workdir of a sweep or a run")
    key = free_key(re.sub(r"[^\w.-]+", "_", folder.resolve().name), taken)
    file = folder / SWEEP
    if not file.exists():
        return Sweep(folder, key, "", "", "", f"Runs of {folder}")
    try:
        there = json.loads(file.read_text())
        sweep = Sweep(folder, key, there["table"], there["dataset"], there["scale"]["name"],
                      there["title"], tuple(there["changes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error!r}): it is damaged; repeat the sweep's "
                        "command with another folder, or remove the file to report its runs "
                        "without the paper's table") from error
    if sweep.table not in TABLES:
        raise UserError(f"{file} is for the table {sweep.table!r}, which this version does not "
                        f"know: it has {', '.join(TABLES)}")
    return sweep


def _run(sweep: Sweep, folder: Path) -> Run:
    """A run; UserError if it cannot be read, or does not belong to this sweep."""
    config = read_config(folder)
    for name, kind in (("iterations", int), ("seed", int), ("method", str)):
        if not isinstance(config.get(name), kind):
            raise UserError(f"its {CONFIG} has no {name}: it is not a run of this program")
    variant, setting = _place(sweep, folder.name, config)
    records: dict[RecordedProtocol, list[dict[str, Any]]] = {}
    for record in read_scores(folder):
        if protocol := _protocol_of(record):
            records.setdefault(protocol, []).append(record)
    saved = tuple(StoredCheckpoints(folder).all())
    scored = any(record["fake"]["iteration"] == config["iterations"]
                 for of in records.values() for record in of)
    done = scored or max(saved, default=0) >= config["iterations"]
    state = FINISHED if scored else NOT_SCORED if done else UNFINISHED
    if not done and is_held(folder):
        state = RUNNING
    return Run(sweep, folder, variant, setting, config["seed"], config, _environment(folder),
               records, saved, state)


def _place(sweep: Sweep, name: str, config: dict[str, Any]) -> tuple[str, str]:
    """The row and setting from the folder's name, which must agree with the run's config."""
    label, seed = re.fullmatch(r"(.*?),?(?:seed=(\d+))?", name, re.DOTALL).groups()
    if not sweep.table:
        return label or config["method"], ""
    for row in TABLES[sweep.table]:
        for setting in row.settings:
            named = row.name if setting == OWN else f"{row.name},{setting}"
            if label == named and row.words[0] == config["method"] and seed == str(config["seed"]):
                return row.name, setting
    raise UserError(f"it is not a run of {sweep.title.split(',')[0]}: a run's folder is named by "
                    "its row, setting and seed, as in its config")


def _environment(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "environment.json").read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _count(n: int | str) -> str:
    return f"{n:,}" if isinstance(n, int) else str(n)
