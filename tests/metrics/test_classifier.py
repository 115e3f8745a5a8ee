"""The classifier of a data set's labels, and the scores named after it."""

import jax
import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.sources import load
from sngan_jax.metrics import classifier
from sngan_jax.metrics.arrays import read_npz, write_npz
from sngan_jax.metrics.classifier import Classifier, cached_classifier, classifier_extractor
from sngan_jax.metrics.extractor import collect
from sngan_jax.metrics.scores import compute


@pytest.fixture(scope="module")
def digits():
    return load("digits", image_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(digits, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "STEPS", 150)
        return cached_classifier(digits, folder)


def test_a_classifier_that_learnt_nothing_is_warned_of(trained, capsys):
    classifier_extractor(trained)
    classifier_extractor(trained._replace(accuracy=0.98, num_classes=2))
    assert capsys.readouterr().err == ""
    classifier_extractor(trained._replace(accuracy=0.125))
    assert "right on only 12% of held-out images of 10 classes" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classifier, "STEPS", 2)
    (tmp_path / "file").touch()
    assert cached_classifier(digits, tmp_path / "file").num_classes == 10
    assert "the classifier cannot be kept in" in capsys.readouterr().err


def test_it_learns_the_digits(trained):
    assert trained.accuracy > 0.9 and trained.num_classes == 10


def test_the_same_content_is_not_trained_again(trained, digits, folder, monkeypatch):
    monkeypatch.delattr(classifier, "train_classifier")
    again = cached_classifier(ImageSet(digits.images.copy(), digits.labels, 10, "other"), folder)
    assert again.checksum == trained.checksum and again.accuracy == trained.accuracy
    with pytest.raises(NameError):
        cached_classifier(ImageSet(digits.images[1:], digits.labels[1:], 10, "digits"), folder)


def test_scores_have_their_own_names_and_tell_real_from_noise(trained, digits):
    extractor = classifier_extractor(trained)
    real = collect(extractor, [digits.images[:900]])
    other = collect(extractor, [digits.images[900:]])
    noise = collect(extractor, [np.random.default_rng(0).integers(0, 256, (900, 8, 8, 1),
                                                                  np.uint8)])
    names = ("fcd", "cs", "classes")
    labels = digits.labels[900:]
    good = compute(names, real, other, fake_labels=labels)
    bad = compute(names, real, noise)
    assert set(good) == {"fcd", "cs", "cs_std", "class_share", "class_agreement"}
    assert good["fcd"] < bad["fcd"] / 5 and good["cs"] > bad["cs"]
    assert good["class_agreement"] > 0.9 and "class_agreement" not in bad
    expected = np.bincount(labels, minlength=10) / len(labels)
    np.testing.assert_allclose(good["class_share"], expected, atol=0.03)


@pytest.mark.parametrize("size", [(4, 5), (8, 8), (33, 40), (64, 64)])
def test_any_size(size):
    images = np.zeros((2, *size, 3), np.uint8)
    (features, logits), _ = Classifier(7).init_with_output(jax.random.key(0), images)
    assert features.shape == (2, 128) and logits.shape == (2, 7)


def test_images_of_another_shape(trained):
    with pytest.raises(UserError, match="8 x 8 with 1 channel, but these are 8 x 8 with 3"):
        collect(classifier_extractor(trained), [np.zeros((4, 8, 8, 3), np.uint8)])


def test_sets_that_cannot_be_learnt(tmp_path):
    images = np.zeros((20, 8, 8, 1), np.uint8)
    with pytest.raises(UserError, match="labels of at least two classes"):
        cached_classifier(ImageSet(images, None, 0, "x"), tmp_path)
    with pytest.raises(UserError, match="at least 10 images"):
        cached_classifier(ImageSet(images[:5], np.arange(5), 5, "x"), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "shape", "about"])
def test_a_damaged_cache_is_one_sentence(trained, digits, folder, tmp_path, damage):
    (file,) = folder.iterdir()
    copy = tmp_path / file.name
    if damage == "cut":
        copy.write_bytes(file.read_bytes()[:1000])
    else:
        arrays = read_npz(file)
        if damage == "about":
            del arrays["about"]
        else:
            arrays["Dense_0/bias"] = np.zeros(3, np.float32)
        write_npz(copy, arrays)
    with pytest.raises(UserError, match=r"the classifier .* cannot be read .* remove it"):
        cached_classifier(digits, tmp_path)
