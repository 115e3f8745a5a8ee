"""Trains a GAN, or goes on with one that was stopped.

    python -m experiments.train --config=experiments/configs/digits.py --workdir=runs/digits

Every field of the config is a flag: --config.iterations=200 --config.batch_size=128. The same
command again resumes. Exit status: 0 when all iterations are done, 2 for bad input, 130 when
Ctrl-C or SIGTERM stopped it with everything saved.
"""

from absl import flags

from experiments import cli
from sngan_jax.train.loop import train

cli.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run, created where missing.")
ACCEPT = flags.DEFINE_bool("accept_config_changes", False,
                           "Go on in a workdir whose run had another config.")

STOPPED = 130


def main() -> int:
    """Runs the flags' config in the flags' workdir."""
    done = train(flags.FLAGS.config, WORKDIR.value, accept_changes=ACCEPT.value)
    return 0 if done else STOPPED


if __name__ == "__main__":
    cli.run(main, required=("config", "workdir"))
