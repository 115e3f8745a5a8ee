"""Trains a GAN, or goes on with one that was stopped.

    python -m experiments.train --config=experiments/configs/digits.py --workdir=runs/digits

Every field of the config is a flag: --config.iterations=200 --config.batch_size=128. The same
command X
"""

import experiments.stopping  # noqa: F401, I001  (first: a signal may come while the rest is read)

from absl import flags

from experiments import cli
from sngan_jax.train.interruption import STOPPED
from sngan_jax.train.loop import train

cli.define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run, created where missing.")
ACCEPT = flags.DEFINE_bool("accept_config_changes", False,
                           "Go on in a workdir whose run had another config.")


def main() -> int:
    """Runs the flags' config in the flags' workdir."""
    done = train(flags.FLAGS.config, WORKDIR.value, accept_changes=ACCEPT.value, own_process=True)
    return 0 if done else STOPPED


if __name__ == "__main__":
    cli.run(main, required=("config", "workdir"))
