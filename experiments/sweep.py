"""Many runs: a table of the paper, or every combination of some fields' values, with several seeds.

    python -m experiments.sweep --table=2 --dataset=digits --scale=tiny --seeds=3 --workdir=runs/t2
    python -m experiments.sweep --table=2 … --methods=sn,wgan_gp --settings=A,C --dry-run

    python -m experiments.sweep --config=experiments/configs/digits.py --workdir=runs/sweep \\
        --grid=arg=sn,wgan_gp+A --grid=learning_rate=1e-3,2e-4 --seeds=3 --parallel=2
    python -m experiments.sweep … --dry_run
    python -m experiments.sweep … --launcher=slurm --slurm=partition=gpu --slurm=gpus_per_node=1

The same command again skips what is finished and goes on with what was cut off, however it ended.
Each run is a folder of --workdir, named by its values, and is what `experiments.train` makes.
--table=2, 7, 8, figure4, figure11, figure15, conditional, steps or norms plans method x setting x
seed at a named scale, --table=all every one (docs/reproduce.md); `experiments.report` makes a page
of what is finished.
--config=FILE[:ARGUMENT]; --set=FIELD=VALUE holds for all runs; a grid of `arg` is over arguments of
the config file, '+' for ','. Exit status: 0 when all are finished, 1 where one failed (its output
is in --workdir/jobs), 2 for bad input, 130 when interrupted, with every run saved.
"""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from experiments import cli
from experiments.sweeps.launch import LAUNCHERS, launch, make_executor
from experiments.sweeps.plan import Planned, listing, parse_grid, plan, remaining
from experiments.sweeps.table_progress import Display, table_listing
from experiments.sweeps.tables import (
    ALL,
    DATASETS,
    SCALES,
    TABLES,
    Cell,
    Request,
    check_sweep,
    folder_of,
    open_sweep,
    plan_table,
    tables_of,
)
from sngan_jax.base.errors import UserError

CONFIG = flags.DEFINE_string("config", None, "A config file, as experiments/configs/digits.py:sn.")
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the sweep.")
TABLE = flags.DEFINE_enum("table", None, [*TABLES, ALL], "A table or figure of the paper; "
                          "conditional, steps, norms: docs/reproduce.md.")
DATASET = flags.DEFINE_enum("dataset", None, DATASETS, "Of the table's runs.")
SCALE = flags.DEFINE_enum("scale", None, SCALES, "What is reduced; paper: nothing.")
METHODS = flags.DEFINE_list("methods", [], "Rows of the table; empty: all.")
SETTINGS = flags.DEFINE_list("settings", [], "Of the table, A-F, or own for the residual networks; "
                             "empty: all.")
GRID = flags.DEFINE_multi_string("grid", [], "FIELD=VALUE,VALUE…; may be repeated.")
SET = flags.DEFINE_multi_string("set", [], "FIELD=VALUE of all runs; may be repeated.")
SEEDS = flags.DEFINE_integer("seeds", 1, "Runs of each combination, with seeds 0, 1, …")
LAUNCHER = flags.DEFINE_enum("launcher", "local", LAUNCHERS, "Who starts the runs.")
PARALLEL = flags.DEFINE_integer("parallel", 0, "Runs at a time; 0: one on this machine, all that "
                                "SLURM will.", lower_bound=0)
SLURM = flags.DEFINE_multi_string("slurm", [], "NAME=VALUE of the job, as submitit names it: "
                                  "partition=gpu, time=600 (minutes), cpus_per_task=8.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "List the runs, and how far each is, and end.")
flags.DEFINE_alias("dry-run", "dry_run")


def main() -> int:
    """Plans, lists, starts and waits."""
    sweep = Path(WORKDIR.value).absolute()
    if TABLE.value == ALL:
        return _all(_request(), sweep)
    if TABLE.value:
        request = _request()
        return _table(request, sweep, plan_table(request))
    for flag in (DATASET, SCALE, METHODS, SETTINGS):
        if flag.value:
            raise UserError(f"--{flag.name} goes with --table, which is missing")
    if not CONFIG.value:
        raise UserError(f"--config is missing: {flags.FLAGS['config'].help} Or give a --table")
    runs = plan(CONFIG.value, parse_grid(GRID.value), SEEDS.value, SET.value)
    if DRY_RUN.value:
        print("\n".join(listing(runs, sweep)))
        return 0
    return _run(runs, sweep, lambda line: print(line, flush=True))


def _request() -> Request:
    """Table that the flags ask for."""
    for flag in (CONFIG, GRID):
        if flag.value:
            raise UserError(f"--{flag.name} and --table exclude each other: the table has its own "
                            "configs; --set=FIELD=VALUE changes a field of all of them")
    for flag in (DATASET, SCALE):
        if not flag.value:
            there = DATASETS if flag is DATASET else SCALES
            raise UserError(f"--table needs --{flag.name}: one of {', '.join(there)}")
    return Request(TABLE.value, DATASET.value, SCALE.value, SEEDS.value, tuple(METHODS.value),
                   tuple(SETTINGS.value), tuple(SET.value))


def _all(request: Request, sweep: Path) -> int:
    """Every table that there is at this scale, one after the other, each in a folder of its own."""
    for flag in (METHODS, SETTINGS):
        if flag.value:
            raise UserError(f"--{flag.name} chooses of one table, and --table={ALL} is all of them")
    requests = [request._replace(table=table) for table in tables_of(request)]
    planned = [(one, sweep / folder_of(one.table), plan_table(one)) for one in requests]
    for one, folder, _ in planned:  # before any of them starts
        check_sweep(one, folder)
    return max(_table(*of_one) for of_one in planned)


def _table(request: Request, sweep: Path, cells: Sequence[Cell]) -> int:
    """The planned runs of a table, with its progress."""
    if DRY_RUN.value:
        check_sweep(request, sweep)
        print("\n".join((request.title(), *table_listing(cells, sweep))))
        return 0
    open_sweep(request, sweep)
    display = Display(request.title(), cells, sweep)
    return _run([cell.run for cell in cells], sweep, display.say, display)


def _run(runs: Sequence[Planned], sweep: Path, say: Callable[[str], None],
         display: Display | None = None) -> int:
    """Starts what is left and waits: the exit status."""
    left = remaining(runs, sweep)
    print(f"{len(runs)} runs, {len(runs) - len(left)} of them finished", flush=True)
    ended = {}
    if left:
        executor = make_executor(LAUNCHER.value, sweep / "jobs", dict(map(_option, SLURM.value)))
        at_once = PARALLEL.value or (1 if LAUNCHER.value == "local" else len(left))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        try:
            ended = launch(left, sweep, executor, at_once, say, display and display.look)
        except KeyboardInterrupt:
            if display:
                display.finish()
            raise
    if display:
        display.finish(ended=ended)
    failed = remaining(runs, sweep)
    if failed:
        print(f"not finished: {', '.join(run.name for run in failed)}; their output is in "
              f"{sweep / 'jobs'}, and the same command goes on")
    return 1 if failed else 0


def _option(text: str) -> tuple[str, str | int]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"--slurm={text}: write NAME=VALUE")
    return name, int(value) if value.isdigit() else value


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
