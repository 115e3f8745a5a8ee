"""Spectral normalization in the generator: the weights, σ of each, and samples."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.paper import paper_defaults
from sngan_jax.models.build import build_models
from sngan_jax.network import normalize, specs, update_spectral
from sngan_jax.step.sampling import even_labels, sample_images
from sngan_jax.step.state import GeneratorState


def _generator(model="resnet32", classes=0, **changes):
    config = paper_defaults()
    config.update({"model": model, "image_size": 8, "generator_width": 4, "power_warmup": 60,
                   "generator_layers": "sn", **changes})
    return build_models(config, channels=1, num_classes=classes)[0]


@pytest.mark.parametrize("model", ["cnn", "sndcgan", "resnet32"])
def test_every_weight_but_the_tables_is_divided_by_its_sigma(model):
    g, plain = _generator(model, 3), _generator(model, 3, generator_layers="")
    z, y = jnp.zeros((2, 6)), jnp.zeros(2, jnp.int32)
    variables = jax.jit(g.init)(jax.random.key(0), z, y)
    expected = jax.eval_shape(plain.init, jax.random.key(0), z, y)
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(
        jnp.shape, expected["params"])
    found = specs(g, z, y)
    assert {path[-1] for path in found} == {"kernel"}
    kernels = [path for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
               if path[-1].key == "kernel"]
    assert len(found) == len(kernels)
    bar = jax.jit(lambda v: normalize(v["params"], v["spectral"], found)[0])(variables)
    for path in found:
        weight = bar
        for name in path:
            weight = weight[name]
        matrix = np.asarray(weight).reshape(-1, weight.shape[-1])
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, rel=0.02), path


def test_averaged_weights_are_sampled_with_vectors_of_their_own():
    """Training's vectors are for the raw weights, and the average has another σ."""
    g = _generator()
    init = jax.jit(g.init)
    variables = init(jax.random.key(0), jnp.zeros((1, 6)))
    average = init(jax.random.key(1), jnp.zeros((1, 6)))["params"]
    state = GeneratorState(variables["params"], variables["batch_stats"], None,
                           spectral=variables["spectral"], ema_params=average,
                           ema_batch_stats=variables["batch_stats"])
    config = SimpleNamespace(latent_size=6, latent="normal", bn_evaluation="running", bn_decay=0.9)
    found = specs(g, jnp.zeros((1, 6)))
    own = jax.jit(lambda v: update_spectral(v, found, 200))(
        {"params": average, "spectral": variables["spectral"]})
    converged = state.replace(params=average, spectral=own)
    labels, key = even_labels(4, 0), jax.random.key(2)
    images = sample_images(g, state, key, labels, config).astype(int)
    exact = sample_images(g, converged, key, labels, config, ema=False).astype(int)
    stale = sample_images(g, state.replace(params=average), key, labels, config, ema=False)
    assert np.abs(images - exact).mean() < 1 < np.abs(stale.astype(int) - exact).mean()
