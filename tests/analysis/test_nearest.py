"""The nearest images against all distances."""

import numpy as np

from sngan_jax.analysis import nearest as module
from sngan_jax.data.image_set import ImageSet


def test_the_nearest_are_those_of_all_distances(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 4, 4, 3), np.uint8)
    samples = np.concatenate([images[[11]], rng.integers(0, 256, (4, 4, 4, 3), np.uint8)])
    found = module.nearest(samples, ImageSet(images, None, 0, "some"), 3)
    apart = samples[:, None].astype(float) - images
    order = np.argsort((apart**2).sum((2, 3, 4)), axis=1)[:, :3]
    np.testing.assert_array_equal(found, images[order])
    np.testing.assert_array_equal(found[0, 0], samples[0])
    assert module.nearest(samples, ImageSet(images[:2], None, 0, "two"), 3).shape[1] == 2


def test_large_images_one_step_apart():
    rng = np.random.default_rng(0)
    sample = rng.integers(1, 255, (1, 64, 64, 3), np.uint8)
    images = np.repeat(sample, 4, axis=0)
    images[:, 0, 0] += np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
    found = module.nearest(sample, ImageSet(images, None, 0, "near"), 4)
    np.testing.assert_array_equal(found[0], images[::-1])
