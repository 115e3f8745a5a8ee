"""Many runs: a table of the paper, or all combinations of some fields' values, with several seeds.

    sngan sweep --table=2 --dataset=digits --scale=tiny --seeds=3 --workdir=runs/t2
    sngan sweep --table=2 … --methods=sn,wgan_gp --settings=A,C --dry-run

    sngan sweep --config=digits --workdir=runs/sweep \\
        --grid=arg=sn,wgan_gp+A --grid=learning_rate=1e-3,2e-4 --seeds=3 --parallel=2
    sngan sweep … --dry-run
    sngan sweep … --launcher=slurm --slurm=partition=gpu --slurm=gpus_per_node=1

Running the same command again skips finished runs and resumes those that were cut off, however they
ended. Each run is a folder in --workdir, named by its values, and is what `sngan train` makes.
--table=2, 7, 8, figure4, figure11, figure15, conditional, steps, lipschitz or norms plans method x
setting x seed at a named scale; --table=all plans all of them (docs/reproduce.md). `sngan report`
makes a page from the finished runs. --config=NAME[:ARGUMENT] and --config.FIELD=VALUE hold for all
runs; a grid of `arg` lists arguments of the config. '+' stands for ',' in arg, augment and
evaluate_metrics: --grid=augment=,color+cutout compares none with both. Exit status: 0 when all are
finished, 1 if one failed (its output is in --workdir/jobs), 2 for bad input, 130 when interrupted,
with every run saved.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.run.interruption import SIGNALS
from sngan_jax.run.workdir import is_run, make_workdir

from . import cli
from .sweeps.launch import LAUNCHERS, launch, make_executor
from .sweeps.plan import Planned, check_runs, listing, parse_grid, plan, remaining
from .sweeps.table_progress import Display, grid_summary, table_listing
from .sweeps.tables import (
    ALL,
    DATASETS,
    SCALES,
    SWEEP,
    TABLES,
    Cell,
    Request,
    check_sweep,
    folder_of,
    open_sweep,
    plan_table,
    tables_of,
)


def arguments(parser: cli.Parser) -> None:
    """The flags of `sweep`."""
    parser.add_config(required=False)
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="folder of the sweep")
    parser.add_argument("--table", type=cli.one_of((*TABLES, ALL)), metavar="TABLE",
                        help=f"a table or figure of the paper: {', '.join((*TABLES, ALL))} "
                        "(docs/reproduce.md)")
    parser.add_argument("--dataset", type=cli.one_of(DATASETS), metavar="|".join(DATASETS),
                        help="data set of the table's runs")
    parser.add_argument("--scale", type=cli.one_of(SCALES), metavar="|".join(SCALES),
                        help="how far the runs are reduced; paper: not at all")
    parser.add_argument("--methods", type=cli.names, default=[], metavar="METHOD,METHOD",
                        help="rows of the table; otherwise all")
    parser.add_argument("--settings", type=cli.names, default=[], metavar="A,B", help="settings of "
                        "the table, A-F, or own for the residual networks; otherwise all")
    parser.add_argument("--grid", action="append", default=[], metavar="FIELD=VALUE,VALUE",
                        help="values of a field to combine, may be repeated; the field arg takes "
                        "arguments of the config")
    parser.add_argument("--seeds", type=cli.whole(1), default=1, metavar="N",
                        help="runs of each combination, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--launcher", type=cli.one_of(LAUNCHERS), default="local",
                        metavar="|".join(LAUNCHERS), help="how the runs are started")
    parser.add_argument("--parallel", type=cli.whole(0), default=0, metavar="N", help="runs at a "
                        "time; 0: one on this machine, as many as SLURM allows")
    parser.add_argument("--slurm", action="append", default=[], metavar="NAME=VALUE", help="option "
                        "of the job, with submitit's name: partition=gpu, time=600 (minutes), "
                        "cpus_per_task=8; may be repeated")
    parser.add_switch("--dry-run", "list the runs, how far each is and what is left, and exit")


def main(options: argparse.Namespace) -> int:
    """Plans the runs, lists them, starts them and waits."""
    sweep = Path(options.workdir).absolute()
    if sweep.exists() and not sweep.is_dir():
        raise UserError(f"--workdir={options.workdir} is a file: give a folder")
    if is_run(sweep):
        raise UserError(f"{sweep} is the workdir of a run: choose another --workdir")
    options.slurm = dict(map(_option, options.slurm))
    if options.slurm and options.launcher != "slurm":
        raise UserError("--slurm needs --launcher=slurm: without it the runs start on this machine")
    if options.table == ALL:
        return _all(_request(options), sweep, options)
    if options.table:
        request = _request(options)
        return _table(request, sweep, plan_table(request), options)
    for name in ("dataset", "scale", "methods", "settings"):
        if getattr(options, name):
            raise UserError(f"--{name} needs --table, which is missing")
    if not options.config:
        raise UserError("--config is missing: give a config of the package, such as digits:sn, or "
                        "a file; or give a --table")
    grid = parse_grid(options.grid)
    if "seed" in (*dict(grid), *(change.partition("=")[0] for change in options.changes)):
        raise UserError("--seeds=N sets the seeds of the runs, 0, 1, …: leave out --config.seed "
                        "and --grid=seed")
    runs = plan(options.config, grid, options.seeds, options.changes)
    if (sweep / SWEEP).exists():
        raise UserError(f"{sweep} is the folder of a table's sweep (it has a {SWEEP}): choose "
                        "another --workdir")
    check_runs(runs, sweep)
    if options.dry_run:
        print("\n".join((*listing(runs, sweep), *grid_summary(runs, sweep))))
        return 0
    return _run(runs, sweep, options, lambda line: print(line, flush=True))


def _request(options: argparse.Namespace) -> Request:
    """The table that the flags ask for."""
    for name in ("config", "grid"):
        if getattr(options, name):
            raise UserError(f"--{name} and --table exclude each other: the table has its own "
                            "configs; --config.FIELD=VALUE changes a field of all of them")
    for name, there in (("dataset", DATASETS), ("scale", SCALES)):
        if not getattr(options, name):
            raise UserError(f"--table needs --{name}: one of {', '.join(there)}")
    return Request(options.table, options.dataset, options.scale, options.seeds,
                   tuple(options.methods), tuple(options.settings), tuple(options.changes))


def _all(request: Request, sweep: Path, options: argparse.Namespace) -> int:
    """All tables at this scale, one after another, each in its own folder."""
    for name in ("methods", "settings"):
        if getattr(options, name):
            raise UserError(f"--{name} selects from one table, but --table={ALL} is all of them")
    requests = [request._replace(table=table) for table in tables_of(request)]
    planned = [(one, sweep / folder_of(one.table), plan_table(one)) for one in requests]
    for one, folder, _ in planned:  # before any of them starts
        check_sweep(one, folder)
    return max(_table(*of_one, options) for of_one in planned)


def _table(request: Request, sweep: Path, cells: Sequence[Cell], options: argparse.Namespace
           ) -> int:
    """The planned runs of a table, with its progress."""
    if options.dry_run:
        check_sweep(request, sweep)
        print("\n".join((request.title(), *table_listing(cells, sweep))))
        return 0
    open_sweep(request, sweep)
    display = Display(request.title(), cells, sweep)
    return _run([cell.run for cell in cells], sweep, options, display.say, display)


def _run(runs: Sequence[Planned], sweep: Path, options: argparse.Namespace,
         say: Callable[[str], None], display: Display | None = None) -> int:
    """Starts the remaining runs and waits; returns the exit status."""
    left = remaining(runs, sweep)
    print(f"{len(runs)} runs, {len(runs) - len(left)} of them finished", flush=True)
    ended = {}
    if left:
        executor = make_executor(options.launcher, make_workdir(sweep) / "jobs", options.slurm)
        at_once = options.parallel or (1 if options.launcher == "local" else len(left))
        for number in SIGNALS:  # like Ctrl-C
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
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
              f"{sweep / 'jobs'}; run the same command to continue")
    return 1 if failed else 0


def _option(text: str) -> tuple[str, str | int]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"--slurm={text}: write NAME=VALUE")
    number = value.isascii() and value.isdigit() and (value == "0" or value[0] != "0")
    return name, int(value) if number else value


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "sweep"))
