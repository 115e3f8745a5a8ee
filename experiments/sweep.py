"""Many runs of a config: every combination of some fields' values, each with several seeds.

    python -m experiments.sweep --config=experiments/configs/digits.py --workdir=runs/sweep \\
        --grid=arg=sn,wgan_gp+A --grid=learning_rate=1e-3,2e-4 --seeds=3 --parallel=2
    python -m experiments.sweep … --dry_run
    python -m experiments.sweep … --launcher=slurm --slurm=partition=gpu --slurm=gpus_per_node=1

The same command again skips what is finished and goes on with what was cut off, however it ended.
Each run is a folder of --workdir, named by its values, and is what `experiments.train` makes.
--config=FILE[:ARGUMENT]; --set=FIELD=VALUE holds for all runs; a grid of `arg` is over arguments of
the config file, '+' for ','. Exit status: 0 when all are finished, 1 where one failed (its output
is in --workdir/jobs), 2 for bad input, 130 when interrupted, with every run saved.
"""

import signal
from pathlib import Path

from absl import flags

from experiments import cli
from experiments.sweeps.launch import LAUNCHERS, launch, make_executor
from experiments.sweeps.plan import listing, parse_grid, plan, remaining
from sngan_jax.errors import UserError

CONFIG = flags.DEFINE_string("config", None, "A config file, as experiments/configs/digits.py:sn.")
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the sweep.")
GRID = flags.DEFINE_multi_string("grid", [], "FIELD=VALUE,VALUE…; may be repeated.")
SET = flags.DEFINE_multi_string("set", [], "FIELD=VALUE of all runs; may be repeated.")
SEEDS = flags.DEFINE_integer("seeds", 1, "Runs of each combination, with seeds 0, 1, …")
LAUNCHER = flags.DEFINE_enum("launcher", "local", LAUNCHERS, "Who starts the runs.")
PARALLEL = flags.DEFINE_integer("parallel", 0, "Runs at a time; 0: one on this machine, all that "
                                "SLURM will.", lower_bound=0)
SLURM = flags.DEFINE_multi_string("slurm", [], "NAME=VALUE of the job, as submitit names it: "
                                  "partition=gpu, time=600 (minutes), cpus_per_task=8.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "List the runs, and how far each is, and end.")


def main() -> int:
    """Plans, lists, starts and waits."""
    runs = plan(CONFIG.value, parse_grid(GRID.value), SEEDS.value, SET.value)
    sweep = Path(WORKDIR.value).absolute()
    if DRY_RUN.value:
        print("\n".join(listing(runs, sweep)))
        return 0
    left = remaining(runs, sweep)
    print(f"{len(runs)} runs, {len(runs) - len(left)} of them finished")
    if not left:
        return 0
    executor = make_executor(LAUNCHER.value, sweep / "jobs", dict(map(_option, SLURM.value)))
    at_once = PARALLEL.value or (1 if LAUNCHER.value == "local" else len(left))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    launch(left, sweep, executor, at_once, lambda line: print(line, flush=True))
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
    cli.run(main, required=("config", "workdir"))
