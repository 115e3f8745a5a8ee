"""The runs of a sweep, and how far each is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sngan_jax.base.errors import UserError
from sngan_jax.run.config import FIELDS
from sngan_jax.run.evaluation import is_recorded
from sngan_jax.run.workdir import check_workdir

from ..cli import command
from ..read_config import read_config

# Not a field: the argument of the config file, such as a method and a setting.
ARGUMENT = "arg"
# Their values have commas, for which a grid has '+'.
LISTS = (ARGUMENT, "augment", "evaluate_metrics")


class Planned(NamedTuple):
    """One run.

    name: name of its folder in the sweep's folder; config: FILE[:ARGUMENT]; changes: FIELD=VALUE;
    iterations: length of the run by its config; scored: whether it ends with scores.
    """

    name: str
    config: str
    changes: tuple[str, ...]
    iterations: int
    scored: bool = False

    def workdir(self, sweep: Path) -> Path:
        """The folder of the run."""
        return sweep / self.name

    def command(self, sweep: Path) -> list[str]:
        """The command that trains or continues it."""
        return [*command("train"), f"--config={self.config}",
                f"--workdir={self.workdir(sweep)}",
                *(f"--config.{change}" for change in self.changes)]


def parse_grid(texts: Sequence[str]) -> list[tuple[str, list[str]]]:
    """'field=v1,v2' … -> (field, values) …; UserError for a text of another form.

    '+' stands for a comma in the values of LISTS. A value may be empty if the field's default is.
    """
    grid: list[tuple[str, list[str]]] = []
    for text in texts:
        name, separator, values = text.partition("=")
        found = [value.strip() for value in values.split(",")]
        may_be_empty = name in FIELDS and FIELDS[name].default == ""
        if not separator or not name or not any(found) or not (all(found) or may_be_empty):
            raise UserError(f"--grid={text}: write a field and its values, as in "
                            "--grid=learning_rate=1e-4,2e-4 or --grid=arg=sn+A,wgan_gp+A")
        if repeated := [value for value in found if found.count(value) > 1]:
            raise UserError(f"--grid={text}: it names {repeated[0]!r} twice: give each value once")
        if name in (known for known, _ in grid):
            raise UserError(f"--grid names {name} twice: join its values with commas")
        grid.append((name, found))
    return grid


def plan(config: str, grid: Sequence[tuple[str, Sequence[str]]], seeds: int,
         changes: Sequence[str] = ()) -> list[Planned]:
    """All runs: every combination of the grid's values, with seeds 0, 1, …, each checked.

    Args:
      config: FILE[:ARGUMENT].
      grid: result of `parse_grid`; values of ARGUMENT are added to the config's own argument.
      changes: FIELD=VALUE of all runs.

    Raises:
      UserError: the config of a run is invalid, there are no seeds, a field is given twice, or two
        runs would have one folder or one config.
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}: it must be at least 1")
    for name, _ in grid:
        if given := [change for change in changes if change.partition("=")[0] == name]:
            raise UserError(f"--grid={name}=… and --config.{given[0]} set the same field: leave "
                            "one of them out")
    runs: list[Planned] = []
    configs: dict[str, str] = {}
    for values in itertools.product(*(values for _, values in grid)):
        chosen = list(zip((name for name, _ in grid), values, strict=True))
        label = ",".join(f"{name}={value}" for name, value in chosen).replace("/", "_")
        of_run, fields = config, []
        for name, value in chosen:
            value = value.replace("+", ",") if name in LISTS else value
            if name == ARGUMENT:
                file, _, given = of_run.partition(":")
                of_run = f"{file}:{given},{value}" if given else f"{file}:{value}"
            else:
                fields.append(f"{name}={value}")
        for seed in range(seeds):
            own = (*changes, *fields, f"seed={seed}")
            made = read_config(of_run, own, 1)
            run = f"{label},seed={seed}" if label else f"seed={seed}"
            same = configs.setdefault(repr(sorted(made.to_dict().items())), run)
            if same != run:
                raise UserError(f"the runs {same!r} and {run!r} of the grid have the same config: "
                                "give each value once, or leave out one of two fields that set "
                                "the same")
            runs.append(Planned(run, of_run, own, made.iterations, bool(made.evaluate_every)))
    names = [run.name for run in runs]
    if same := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two runs of the grid would have the folder {same[0]!r}, in which '/' "
                        "becomes '_': sweep over them one at a time")
    return runs


def progress(run: Planned, sweep: Path) -> int:
    """The number of finished iterations of a run that are saved."""
    folder = run.workdir(sweep) / "checkpoints"
    saved = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    return max(saved, default=0)


def is_finished(run: Planned, sweep: Path) -> bool:
    """Whether its last iteration is saved and, if the run has scores, scored.

    Scores come after the checkpoint, and a run may be cut off in between.
    """
    return progress(run, sweep) >= run.iterations and (
        not run.scored or is_recorded(run.workdir(sweep), run.iterations))


def remaining(runs: Sequence[Planned], sweep: Path) -> list[Planned]:
    """The unfinished runs, first those that were cut off."""
    return sorted((run for run in runs if not is_finished(run, sweep)),
                  key=lambda run: not progress(run, sweep))


def check_runs(runs: Sequence[Planned], sweep: Path) -> None:
    """UserError if the folder of a run holds a run of another config; changes nothing."""
    for run in runs:
        if (folder := run.workdir(sweep)).exists():
            check_workdir(folder, read_config(run.config, run.changes, 1).to_dict(),
                          cure="choose another --workdir")


def listing(runs: Sequence[Planned], sweep: Path) -> list[str]:
    """One line per run, with its state."""
    lines = []
    for run in runs:
        at = progress(run, sweep)
        state = "finished" if is_finished(run, sweep) else (
            f"cut off at {at:,} of {run.iterations:,}" if at else "new")
        lines.append(f"{run.name}: {state}")
    return lines
