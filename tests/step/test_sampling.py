"""Samples: their inputs, and the statistics that batch norm uses."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sngan_jax.activation_norms import BatchNorm
from sngan_jax.data.pipeline import example_keys, to_uint8
from sngan_jax.models.resnet import ResNetGenerator
from sngan_jax.step.latents import sample_latents
from sngan_jax.step.sampling import even_labels, sample_images, standing_statistics
from sngan_jax.step.state import GeneratorState
from tests.compare import assert_same_images


@pytest.fixture(scope="module")
def model():
    g = ResNetGenerator(8, 1, (4, 4, 4, 4), norm=BatchNorm, last_norm=BatchNorm)
    variables = g.init(jax.random.key(0), jnp.zeros((1, 5)))
    return g, GeneratorState(variables["params"], variables["batch_stats"], None)


def _config(mode="running", latent="normal"):
    return SimpleNamespace(latent_size=5, latent=latent, bn_evaluation=mode, bn_decay=0.9)


@pytest.mark.parametrize("mode", ["running", "standing"])
def test_an_image_does_not_depend_on_the_batch(model, mode):
    labels = even_labels(7, 0)
    images = sample_images(*model, jax.random.key(1), labels, _config(mode))
    parts = sample_images(*model, jax.random.key(1), labels, _config(mode), batch_size=3)
    assert_same_images(images, parts)


def test_batch_statistics_are_those_of_the_samples(model):
    g, state = model
    images = sample_images(g, state, jax.random.key(1), even_labels(6, 0), _config("batch"))
    plain = ResNetGenerator(8, 1, (4, 4, 4, 4), norm=BatchNorm, last_norm=BatchNorm)
    z = sample_latents(example_keys(jax.random.key(1), 0, 6), 5)
    expected, _ = plain.apply({"params": state.params, "batch_stats": state.batch_stats}, z,
                              mutable=["batch_stats"])
    assert_same_images(images, to_uint8(expected))
    running = sample_images(g, state, jax.random.key(1), even_labels(6, 0), _config())
    assert (running != images).any()


def test_standing_statistics_are_the_mean_over_many_batches(model):
    g, state = model
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    stats = standing_statistics(g, variables, _config("standing"))
    kernel, bias = (np.asarray(state.params["dense"][k]) for k in ("kernel", "bias"))
    z = np.asarray(sample_latents(example_keys(jax.random.key(0), 0, 16 * 64), 5))
    x = (z @ kernel + bias).reshape(16, -1, 4)  # what the first norm sees, batch by batch
    np.testing.assert_allclose(stats["block1"]["norm1"]["mean"], x.mean((0, 1)), atol=1e-4)
    np.testing.assert_allclose(stats["block1"]["norm1"]["var"], x.var(1).mean(0), rtol=1e-3)


def test_the_latents_of_the_config_are_drawn(model):
    draws = [sample_images(*model, jax.random.key(1), even_labels(4, 0), _config(latent=name))
             for name in ("normal", "uniform")]
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize("latent", ["normal", "uniform"])
def test_truncated_latents_stay_within_and_images_differ_less(model, latent):
    keys = example_keys(jax.random.key(0), 0, 400)
    z = np.asarray(sample_latents(keys, 8, latent, 0.5))
    assert np.abs(z).max() <= 0.5 and z.std() == pytest.approx(0.28, abs=0.02)
    few = [sample_images(*model, jax.random.key(1), even_labels(40, 0), _config(latent=latent),
                         truncation=truncation) for truncation in (None, 0.3)]
    assert few[1].std(0).mean() < 0.8 * few[0].std(0).mean()


def test_the_moving_average_is_sampled_where_there_is_one(model):
    g, state = model
    double = jax.tree.map(lambda p: 2 * p + 0.1, state.params)
    averaged = state.replace(ema_params=double, ema_batch_stats=state.batch_stats)
    other = state.replace(params=double)
    labels = even_labels(3, 0)
    np.testing.assert_array_equal(
        sample_images(g, averaged, jax.random.key(1), labels, _config()),
        sample_images(g, other, jax.random.key(1), labels, _config()))
