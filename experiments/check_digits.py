"""How good are a digits run's samples? Three figures against the real 8x8 digits.

    python -m experiments.check_digits --workdir=runs/digits

A scikit-learn classifier (an RBF support vector machine on the 8x8 pixels) counts how often each
class is drawn; the Fréchet distance in the raw 8x8 pixels is given over that between two random
halves of the real digits; a conditional model's samples are compared with the class asked for.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from experiments import cli
from sngan_jax.errors import UserError
from sngan_jax.metrics.frechet import frechet_distance, moments
from sngan_jax.sampling import even_labels
from sngan_jax.train.restore import restore_run

WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run on the digits.")
NUM = flags.DEFINE_integer("num", 1000, "How many samples.", lower_bound=10)
SEED = flags.DEFINE_integer("seed", 0, "Of the latents.")


def main() -> None:
    """Samples, classifies, compares; prints sentences and one JSON line."""
    run = restore_run(Path(WORKDIR.value))
    if run.config.dataset != "digits":
        raise UserError(f"{WORKDIR.value} was trained on {run.config.dataset!r}, and these figures "
                        "are about digits")
    asked = even_labels(NUM.value, run.num_classes)
    fake = as_pixels(run.sample(asked, SEED.value))
    real, labels = load_digits(return_X_y=True)

    classifier, accuracy = train_classifier(real, labels)
    drawn = classifier.predict(fake)
    share = np.bincount(drawn, minlength=10) / len(drawn)
    ratio = frechet_distance(moments(fake), moments(real)) / halves_distance(real)
    result = {"iteration": run.iteration, "samples": len(fake), "seed": SEED.value,
              "classifier_accuracy": round(accuracy, 4), "class_share": share.round(4).tolist(),
              "least": round(share.min(), 4), "most": round(share.max(), 4),
              "frechet_over_halves": round(ratio, 3)}
    print(f"classifier: {accuracy:.1%} of held-out real digits right")
    print("share of each class: " + ", ".join(f"{i}: {s:.1%}" for i, s in enumerate(share)))
    print(f"Fréchet distance to the real digits: {ratio:.2f} times that between two real halves")
    if run.num_classes:
        result["class_agreement"] = round(float(np.mean(drawn == asked)), 4)
        print(f"class drawn is the class asked for: {result['class_agreement']:.1%}")
    print(json.dumps(result))


def as_pixels(images: np.ndarray) -> np.ndarray:
    """uint8 (n, s, s, c), s a multiple of 8 -> (n, 64) in scikit-learn's range 0..16."""
    n, size, _, channels = images.shape
    k = size // 8
    means = images.reshape(n, 8, k, 8, k, channels).mean((2, 4, 5))
    return means.reshape(n, 64) * (16 / 255)


def train_classifier(images: np.ndarray, labels: np.ndarray) -> tuple[SVC, float]:
    """The classifier and its accuracy on a held-out quarter."""
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels)
    classifier = SVC(gamma=0.001, C=10).fit(train_x, train_y)
    return classifier, classifier.score(test_x, test_y)


def halves_distance(images: np.ndarray, splits: int = 10) -> float:
    """The mean Fréchet distance between two random halves."""
    rng = np.random.default_rng(0)
    distances = []
    for _ in range(splits):
        order = rng.permutation(len(images))
        a, b = np.array_split(images[order], 2)
        distances.append(frechet_distance(moments(a), moments(b)))
    return float(np.mean(distances))


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
