"""The extractor by name."""

import numpy as np
import pytest
from PIL import Image

from sngan_jax.base.errors import UserError
from sngan_jax.data.streaming import open_stream
from sngan_jax.metrics import choice, classifier
from sngan_jax.metrics.choice import make_extractor


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNGAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "STEPS", 2)


def test_no_weights_is_one_sentence():
    with pytest.raises(UserError, match="once with sngan get-inception"):
        make_extractor("inception")


def test_a_classifier_without_a_set_is_one_sentence():
    with pytest.raises(UserError, match="needs a labelled set"):
        make_extractor("classifier")


def test_a_classifier_of_a_set_that_is_streamed(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for i in range(24):
        file = tmp_path / "x" / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    stream = open_stream(f"folder:{tmp_path}/x", image_size=8)
    monkeypatch.setattr(choice, "_MOST_BYTES", 20 * 8 * 8 * 3)
    extractor = make_extractor("classifier", stream, batch_size=5)
    assert (extractor.family, extractor.num_classes, extractor.batch_size) == ("classifier", 2, 5)
    assert len(list((tmp_path / "cache").iterdir())) == 1
