"""Small versions of the configs' stock data sets: TFDS prepares them, both readers agree."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from experiments.configs import digits
from sngan_jax.data.sources import load
from sngan_jax.data.streaming import open_stream
from sngan_jax.run.loop import train
from sngan_jax.run.workdir import read_metrics
from tests.compare import assert_same_losses
from tests.data import stock_sets
from tests.data.stock_sets import picture

# name, split, size, classes, side of the stored picture (height, width, channels), tolerance
CASES = [
    ("cifar100", "train", 32, 100, (32, 32, 3), 0),
    ("stl10", "train", 48, 10, (96, 96, 3), 0),
    ("stl10", "unlabelled", 48, 0, (96, 96, 3), 0),
    ("celeb_a", "train", 64, 0, (218, 178, 3), 6),
    ("mnist", "train", 32, 10, (28, 28, 1), 0),
    ("fashion_mnist", "test", 32, 10, (28, 28, 1), 0),
    ("imagenet2012", "train", 128, 1000, None, 6),
    ("imagenet2012", "validation", 64, 1000, None, 6),
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (stock_sets.Cifar100, stock_sets.Stl10, stock_sets.CelebA, stock_sets.Mnist,
                    stock_sets.FashionMnist, stock_sets.Imagenet2012):
        with contextlib.redirect_stdout(io.StringIO()):
            builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


@pytest.mark.parametrize(("name", "split", "size", "classes", "shape", "tolerance"), CASES)
def test_read_as_pillow_would(data_dir, name, split, size, classes, shape, tolerance):
    data = load(f"tfds:{name}", image_size=size, split=split, data_dir=data_dir)
    channels = shape[2] if shape else 3
    assert data.images.shape == (12, size, size, channels) and data.num_classes == classes
    for i in range(12):
        height, width = shape[:2] if shape else (150 + 20 * i, 300 - 15 * i)
        original = Image.fromarray(picture(i, height, width, channels).squeeze())
        side = min(height, width)
        expected = np.asarray(ImageOps.fit(original, (side, side), centering=(0.5, 0.5)).resize(
            (size, size), Image.Resampling.BILINEAR)).reshape(size, size, channels).astype(int)
        near = np.abs(data.images.astype(int) - expected).max((1, 2, 3))
        assert near.min() <= max(tolerance, 2 * (height - width) % 2 * 6), i
        if classes:
            label = {100: 8 * i, 10: i % 10, 1000: 83 * i}[classes]
            assert data.labels[near.argmin()] == label
    stream = open_stream(f"tfds:{name}", image_size=size, split=split, data_dir=data_dir)
    assert stream.num_classes == classes and stream.channels == channels
    images, labels = stream.read(np.arange(12))
    np.testing.assert_array_equal(images, data.images)
    assert (labels is None) == (classes == 0)
    if classes:
        np.testing.assert_array_equal(labels, data.labels)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["tfds:imagenet2012", "tfds:stl10"])
def test_a_streamed_run_is_the_run_in_memory(data_dir, tmp_path, dataset):
    losses = []
    for stream in (False, True):
        config = digits.get_config("conditional" if "imagenet" in dataset else "")
        config.update({
            "dataset": dataset, "data_dir": data_dir, "stream": stream, "image_size": 8,
            "split": "train" if "imagenet" in dataset else "unlabelled",
            "generator_width": 2, "discriminator_width": 2, "latent_size": 4, "batch_size": 4,
            "generator_batch_size": 4, "iterations": 4, "log_every": 1, "flip": True})
        if stream:  # and stopped in the middle
            config.update({"iterations": 2, "lr_decay_start": 1.0})
            train(config, tmp_path / "stream")
            config.iterations = 4
        assert train(config, tmp_path / ("stream" if stream else "memory"), accept_changes=True)
        losses.append(read_metrics(tmp_path / ("stream" if stream else "memory")))
    assert len(losses[0]) == 4
    assert_same_losses(*losses)


def test_the_configs_name_these_sets():
    from experiments.configs import (
        celeba64,
        cifar100_resnet,
        imagenet64,
        imagenet128,
        stl10_cnn,
        stl10_resnet,
    )
    for module in (celeba64, cifar100_resnet, imagenet64, imagenet128, stl10_cnn, stl10_resnet):
        config = module.get_config()
        name = config.dataset.removeprefix("tfds:")
        assert any((name, config.split) == case[:2] for case in CASES)
