"""Walks between latents and between classes, and the images of conditional generators on them."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sngan_jax.activation_norms import BatchNorm, ConditionalBatchNorm
from sngan_jax.data.pipeline import example_keys
from sngan_jax.models.cnn import CNNGenerator
from sngan_jax.models.resnet import ResNetGenerator
from sngan_jax.step.latents import class_walk, linear, sample_latents, spherical
from sngan_jax.step.sampling import NotFiniteError, images_of, sample_images
from sngan_jax.step.state import GeneratorState
from tests.compare import assert_same_images

A, B = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
CONFIG = SimpleNamespace(latent_size=5, latent="normal", bn_evaluation="running", bn_decay=0.9)


@pytest.mark.parametrize("walk", [linear, spherical])
def test_walks_have_their_ends_and_equal_steps(walk):
    z = np.asarray(walk(A, B, 5))
    assert z.shape == (3, 5, 8)
    np.testing.assert_allclose(z[:, 0], A, atol=1e-6)
    np.testing.assert_allclose(z[:, -1], B, atol=1e-6)
    if walk is linear:
        np.testing.assert_allclose(z, A[:, None] + np.arange(5)[:, None] / 4 * (B - A)[:, None],
                                   atol=1e-6)


def test_a_spherical_walk_of_unit_vectors_turns_at_constant_speed_on_the_sphere():
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (A, B))
    z = np.float64(spherical(a, b, 7))
    np.testing.assert_allclose(np.linalg.norm(z, axis=2), 1, atol=1e-5)
    turns = np.arccos(np.clip((z[:, 1:] * z[:, :-1]).sum(2), -1, 1))
    whole = np.arccos((np.float64(a) * b).sum(1))
    np.testing.assert_allclose(turns, np.repeat(whole[:, None] / 6, 6, 1), rtol=1e-3)


def test_a_spherical_walk_without_an_arc_is_a_straight_line():
    for end in (A, -A, 3 * A, np.zeros_like(A)):
        np.testing.assert_allclose(spherical(A, end, 4), linear(A, end, 4), atol=1e-5)


def test_class_walks_are_weights():
    weights = class_walk(3, 1, 4, 3)
    np.testing.assert_allclose(weights, [[0, 0, 0, 1], [0, 0.5, 0, 0.5], [0, 1, 0, 0]])


def test_what_cannot_be_walked():
    for walk in (linear, spherical):
        with pytest.raises(ValueError, match="at least 2"):
            walk(A, B, 1)
        with pytest.raises(ValueError, match=r"got \(3, 8\) and \(2, 8\)"):
            walk(A, B[:2], 3)
    with pytest.raises(ValueError, match="class 4 is not one of the 4 classes 0 to 3"):
        class_walk(0, 4, 4, 3)


@pytest.fixture(scope="module", params=["cnn", "cnn by unit", "resnet"])
def conditional(request):
    """A generator of four classes with rows that differ."""
    norm = functools.partial(ConditionalBatchNorm, 4)
    if request.param == "resnet":
        g = ResNetGenerator(8, 1, (4, 4), num_classes=4, norm=norm,
                            last_norm=BatchNorm)
    else:
        g = CNNGenerator(8, 1, 2, num_classes=4, norm=norm, norm_units="unit" in request.param)
    variables = jax.jit(g.init)(jax.random.key(0), jnp.zeros((1, 5)), jnp.zeros(1, jnp.int32))
    keys = iter(jax.random.split(jax.random.key(1), 99))
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.5 * jax.random.normal(next(keys), x.shape)
        if "gamma" in str(path) or "beta" in str(path) else x, variables["params"])
    return g, GeneratorState(params, variables["batch_stats"], None)


def test_the_ends_of_a_morph_are_the_classes(conditional):
    z = sample_latents(example_keys(jax.random.key(2), 0, 3), 5)
    classes = [images_of(*conditional, z, jnp.full(3, c), CONFIG) for c in (1, 2)]
    walk = np.asarray(class_walk(1, 2, 4, 5))
    morph = images_of(*conditional, jnp.repeat(z, 5, 0), jnp.tile(walk, (3, 1)), CONFIG)
    morph = morph.reshape(3, 5, 8, 8, 1)
    assert (classes[0] != classes[1]).any()
    assert_same_images(morph[:, 0], classes[0])
    assert_same_images(morph[:, -1], classes[1])


def test_a_mixture_of_classes_is_the_class_of_the_mixed_rows(conditional):
    g, state = conditional
    z = sample_latents(example_keys(jax.random.key(2), 0, 2), 5)

    def mixed_row(path, table):
        is_table = path[-1].key in ("gamma", "beta") and table.ndim == 2
        return table.at[0].set(0.25 * table[1] + 0.75 * table[3]) if is_table else table

    rows = state.replace(params=jax.tree_util.tree_map_with_path(mixed_row, state.params))
    weights = jnp.tile(jnp.array([0, 0.25, 0, 0.75]), (2, 1))
    for mode in ("running", "batch") if isinstance(g, ResNetGenerator) else ("running",):
        got = images_of(g, state, z, weights, CONFIG, bn_mode=mode)
        want = images_of(g, rows, z, jnp.zeros(2, jnp.int32), CONFIG, bn_mode=mode)
        assert_same_images(got, want)


def test_the_images_of_latents_are_those_that_are_sampled(conditional):
    labels = np.array([0, 3, 1], np.int32)
    z = sample_latents(example_keys(jax.random.key(4), 0, 3), 5)
    sampled = sample_images(*conditional, jax.random.key(4), labels, CONFIG)
    assert_same_images(images_of(*conditional, z, labels, CONFIG), sampled)
    with pytest.raises(NotFiniteError, match="use an earlier checkpoint"):
        images_of(*conditional, z * jnp.nan, labels, CONFIG)
