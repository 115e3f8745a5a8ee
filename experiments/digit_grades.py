"""Grades samples of digits against the real 8x8 ones, without a neural network."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sngan_jax.metrics.frechet import frechet_distance, moments
from sngan_jax.run.restore import RestoredRun
from sngan_jax.step.sampling import even_labels


class Grader:
    """The classifier and the real digits' statistics, for any number of runs."""

    def __init__(self) -> None:
        real, labels = load_digits(return_X_y=True)
        self.classifier, self.accuracy = train_classifier(real, labels)
        self._moments, self._halves = moments(real), halves_distance(real)

    def grade(self, run: RestoredRun, num: int = 1000, seed: int = 0) -> dict:
        """The record of a run's samples, as described in check_digits."""
        asked = even_labels(num, run.num_classes)
        fake = as_pixels(run.sample(asked, seed))
        drawn = self.classifier.predict(fake)
        share = np.bincount(drawn, minlength=10) / len(drawn)
        ratio = frechet_distance(moments(fake), self._moments) / self._halves
        result = {"iteration": run.iteration, "samples": len(fake), "seed": seed,
                  "classifier_accuracy": round(self.accuracy, 4),
                  "class_share": share.round(4).tolist(), "least": round(share.min(), 4),
                  "most": round(share.max(), 4), "frechet_over_halves": round(ratio, 3)}
        if run.num_classes:
            result["class_agreement"] = round(float(np.mean(drawn == asked)), 4)
        return result


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
