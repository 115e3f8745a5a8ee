"""Quality of a digits run's samples: three figures against the real 8x8 digits.

    python -m experiments.check_digits --workdir=runs/digits

A scikit-learn classifier (an RBF support vector machine on the 8x8 pixels) counts how often each
class is drawn; the Fréchet distance in the raw 8x8 pixels is given over that between two random
halves of the real digits; a conditional model's samples are compared with the class asked for.
"""

import json
from pathlib import Path

from absl import flags

from experiments import cli
from experiments.digit_grades import Grader
from sngan_jax.base.errors import UserError
from sngan_jax.run.restore import restore_run

WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run on the digits.")
NUM = flags.DEFINE_integer("num", 1000, "How many samples.", lower_bound=10)
SEED = flags.DEFINE_integer("seed", 0, "Of the latents.")


def main() -> None:
    """Samples, classifies, compares; prints sentences and one JSON line."""
    run = restore_run(Path(WORKDIR.value))
    if run.config.dataset != "digits":
        raise UserError(f"{WORKDIR.value} was trained on {run.config.dataset!r}, and these figures "
                        "are about digits")
    result = Grader().grade(run, NUM.value, SEED.value)
    print(f"classifier: {result['classifier_accuracy']:.1%} of held-out real digits right")
    print("share of each class: " + ", ".join(
        f"{i}: {share:.1%}" for i, share in enumerate(result["class_share"])))
    print("Fréchet distance to the real digits: "
          f"{result['frechet_over_halves']:.2f} times that between two real halves")
    if run.num_classes:
        print(f"class drawn is the class asked for: {result['class_agreement']:.1%}")
    print(json.dumps(result))


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
