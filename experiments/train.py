"""Trains a GAN, or continues a run that was stopped.

    sngan train --config=digits --workdir=runs/digits
    python -m experiments.train --config=experiments/configs/digits.py --workdir=runs/digits

Every field of the config is a flag: --config.iterations=200 --config.batch_size=128. The same
command resumes the run. Exit status: 0 if all iterations are done, 2 for bad input, 75 if a signal
stopped the run with everything saved, 74 for a file that cannot be written, 70 for NaN or infinity.

On several hosts, start the same command on each: SLURM's srun, mpirun and GKE are recognized. A TPU
VM needs --distributed=yes, and anything else the three flags --coordinator, --num-processes and
--process-id (docs/scaling.md). Exit status 3: another process was lost.
"""

from . import stopping

if __name__ == "__main__":
    stopping.end_at_once()  # a signal may come during the other imports

import argparse
import sys

from sngan_jax.run import distributed
from sngan_jax.run.interruption import STOPPED
from sngan_jax.run.loop import train

from . import cli
from .read_config import load_config


def arguments(parser: cli.Parser) -> None:
    """The flags of `train`."""
    parser.add_config()
    parser.add_argument("--workdir", required=True, metavar="FOLDER",
                        help="folder of the run, created if missing")
    parser.add_switch("--accept-config-changes", "continue in a workdir whose run had another "
                      "config")
    parser.add_argument("--distributed", type=cli.one_of(distributed.MODES), default="auto",
                        metavar="|".join(distributed.MODES), help="whether this is one of several "
                        "processes; auto: ask the environment")
    parser.add_argument("--coordinator", default="", metavar="HOST:PORT",
                        help="address of the first process")
    parser.add_argument("--num-processes", type=cli.whole(0), default=0, metavar="N",
                        help="processes of the run, on all hosts together")
    parser.add_argument("--process-id", type=cli.whole(-1), default=-1, metavar="I",
                        help="number of this process, from 0")
    parser.add_argument("--join-within", type=cli.whole(1), default=300, metavar="SECONDS",
                        help="time in which all processes must have started (default: 300)")


def main(options: argparse.Namespace) -> int:
    """Trains the flags' config in the flags' workdir."""
    config = load_config(options.config, options.changes)
    with distributed.joined(options.distributed, options.coordinator, options.num_processes,
                            options.process_id, options.join_within):
        done = train(config, options.workdir, accept_changes=options.accept_config_changes,
                     own_process=stopping.ends_at_once())
    return 0 if done else STOPPED


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "train"))
