"""`compile-check` by its old name, with the TPU v3-8 as the default target.

    python -m experiments.tpu_check --config=experiments/configs/cifar10_resnet.py --topology=v3-8
"""

import sys

from . import cli, compile_check
from .compile_check import main


def arguments(parser: cli.Parser) -> None:
    """The flags of `compile-check`."""
    compile_check.arguments(parser)
    parser.set_defaults(target="v3-8")


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "tpu-check"))
