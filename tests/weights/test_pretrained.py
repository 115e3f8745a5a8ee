"""The weights that come with the package, used offline."""

from pathlib import Path

import numpy as np
import pytest

from experiments.digit_grades import Grader
from sngan_jax import weights
from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import load as load_images
from sngan_jax.metrics.classifier import cached_classifier, classifier_extractor

FOLDER = Path(weights.__file__).parent
FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_each_file_is_small_and_has_its_card():
    assert weights.NAMES == ("digits", "fashion_mnist")
    for name in weights.NAMES:
        file = FOLDER / f"{name}.npz"
        assert file.stat().st_size < 10e6
        with np.load(file) as arrays:
            kinds = {arrays[key].dtype for key in arrays if "/params/" in key}
        assert kinds == {np.dtype(np.float16)}
        text = weights.card(name)
        for word in ("Data", "Command", "Commit", "Scores", "machine"):
            assert word.lower() in text.lower(), f"the card of {name} says nothing of its {word}"
    with pytest.raises(UserError, match="there is no card for 'cats': there are cards for digits"):
        weights.card("cats")


@pytest.fixture(scope="module")
def digits():
    return weights.load("digits")


def test_the_digits_are_those_that_are_asked_for(digits):
    """Checks the labels with an independent classifier, a support vector machine on the pixels."""
    grade = Grader().grade(digits, 500, seed=1)
    assert grade["classifier_accuracy"] >= 0.98
    assert grade["class_agreement"] >= 0.9 and grade["least"] > 0.05


@pytest.mark.parametrize(("labels", "sentence"), [
    ([3, 10], "the label 10 is not a class: classes are whole numbers from 0 to 9"),
    (np.array([-1]), "the label -1 is not a class"), ([0.5], "the label 0.5 is not a class"),
    (3, r"labels have the shape \(\): give one label for each image"), ([], r"the shape \(0,\)")])
def test_labels_that_are_no_classes(digits, labels, sentence):
    with pytest.raises(UserError, match=sentence):
        digits.sample(labels)


def test_the_clothes_have_names():
    run = weights.load("fashion_mnist")
    assert run.class_names[7] == "sneaker" and len(run.class_names) == run.num_classes == 10
    assert run.config.image_size == 32


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_the_clothes_are_those_that_are_asked_for(tmp_path):
    run = weights.load("fashion_mnist")
    trained = cached_classifier(load_images(f"idx:{FASHION}", image_size=32), tmp_path)
    assert trained.accuracy >= 0.9
    labels = np.arange(2000) % 10
    extractor = classifier_extractor(trained)
    logits = extractor.function(extractor.params, run.sample(labels, seed=0))[1]
    assert np.mean(np.argmax(logits, 1) == labels) >= 0.93  # the card: 94.8 %
