"""`experiments.compile_check` by its old name, for the TPU v3-8 where no target is given.

    python -m experiments.tpu_check --config=experiments/configs/cifar10_resnet.py --topology=v3-8
"""

from absl import flags

from experiments import cli
from experiments.compile_check import main

flags.FLAGS.set_default("target", "v3-8")

if __name__ == "__main__":
    cli.run(main, required=("config",))
