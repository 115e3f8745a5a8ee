"""Quality of a digits run's samples: three comparisons with the real 8x8 digits.

    sngan check-digits --workdir=runs/digits

A scikit-learn classifier (an RBF support vector machine on the 8x8 pixels) counts how often each
class is drawn. The Fréchet distance in the raw 8x8 pixels is divided by that between two random
halves of the real digits. A conditional model's samples are compared with the requested class.
"""

import argparse
import json
import sys
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.run.restore import restore_run

from . import cli
from .digit_grades import Grader


def arguments(parser: cli.Parser) -> None:
    """The flags of `check-digits`."""
    parser.add_argument("--workdir", required=True, metavar="FOLDER",
                        help="the folder of a run on the digits")
    parser.add_argument("--num", type=cli.whole(10), default=1000, metavar="N",
                        help="number of samples (default: 1000)")
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed of the latents "
                        "(default: 0)")


def main(options: argparse.Namespace) -> None:
    """Samples, classifies, compares; prints sentences and one JSON line."""
    run = restore_run(Path(options.workdir))
    if run.config.dataset != "digits":
        raise UserError(f"{options.workdir} was trained on {run.config.dataset!r}, but these "
                        "figures are about digits")
    result = Grader().grade(run, options.num, options.seed)
    print(f"classifier: {result['classifier_accuracy']:.1%} of held-out real digits right")
    print("share of each class: " + ", ".join(
        f"{i}: {share:.1%}" for i, share in enumerate(result["class_share"])))
    print("Fréchet distance to the real digits: "
          f"{result['frechet_over_halves']:.2f} times that between two real halves")
    if run.num_classes:
        print(f"samples of the requested class: {result['class_agreement']:.1%}")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "check-digits"))
