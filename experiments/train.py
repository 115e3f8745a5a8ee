"""Trains a GAN, or goes on with one that was stopped.

    python -m experiments.train --config=experiments/configs/digits.py --workdir=runs/digits

Every field of the config is a flag: --config.iterations=200 --config.batch_size=128. The same
command again resumes. Exit status: 0 when all iterations are done, 2 for bad input, 75 when Ctrl-C
or SIGTERM stopped it with everything saved, 1 for what came later (a full disk, NaN).

On several hosts, start the same command on each: SLURM's srun, mpirun and GKE are recognised, a TPU
VM needs --distributed=yes, and anything else the three flags --coordinator, --num_processes and
--process_id (docs/scaling.md). Exit status 3: another process was lost.
"""

import experiments.stopping  # noqa: F401, I001  (first: a signal may come while the rest is read)

from absl import flags

from experiments import cli
from sngan_jax.run import distributed
from sngan_jax.run.interruption import STOPPED
from sngan_jax.run.loop import train

cli.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run, created where missing.")
ACCEPT = flags.DEFINE_bool("accept_config_changes", False,
                           "Go on in a workdir whose run had another config.")

DISTRIBUTED = flags.DEFINE_enum("distributed", "auto", distributed.MODES, "Whether this is one of "
                                "several processes: as the environment says, yes, no.")
COORDINATOR = flags.DEFINE_string("coordinator", "", "host:port of the first process.")
PROCESSES = flags.DEFINE_integer("num_processes", 0, "Of the run, on all hosts together.",
                                 lower_bound=0)
PROCESS = flags.DEFINE_integer("process_id", -1, "Of this process, from 0.", lower_bound=-1)
JOIN_WITHIN = flags.DEFINE_integer("join_within", 300, "Seconds in which all must have started.",
                                   lower_bound=1)


def main() -> int:
    """Runs the flags' config in the flags' workdir."""
    with distributed.joined(DISTRIBUTED.value, COORDINATOR.value, PROCESSES.value, PROCESS.value,
                            JOIN_WITHIN.value):
        done = train(flags.FLAGS.config, WORKDIR.value, accept_changes=ACCEPT.value,
                     own_process=True)
    return 0 if done else STOPPED


if __name__ == "__main__":
    cli.run(main, required=("config", "workdir"))
