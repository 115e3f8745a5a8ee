"""A batch in parts is the whole batch, in float64, to rounding: state and metrics."""

import functools

import jax
import numpy as np
import pytest

from sngan_jax.activation_norms import BatchNorm
from sngan_jax.layers import SNConv, SNDense
from sngan_jax.losses import LOSSES
from sngan_jax.regularizers import REGULARIZERS
from sngan_jax.step.iteration import train_iteration
from sngan_jax.step.parts import stepped
from sngan_jax.step.recipe import Inputs, Recipe
from sngan_jax.step.setup import normalized_weights
from sngan_jax.step.state import create_state
from tests.step.small_networks import SmallDiscriminator, SmallGenerator, in_float64


class _Options:
    gp_coefficient = 10.0


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def _no_norm(name):
    return lambda x, y=None: x


def _iteration(norm=_no_norm, **changes):
    """State and metrics after an iteration; parts get the specs that they need."""
    recipe = Recipe(SmallGenerator(norm, conv=SNConv, dense=SNDense),
                    SmallDiscriminator(SNConv, SNDense), LOSSES["non_saturating"], 4, 8, 2, 5,
                    (4, 4, 1), lambda it: 1.0)._replace(**changes)
    if recipe.accumulate > 1:
        recipe = recipe._replace(specs=normalized_weights(recipe),
                                 generator_specs=normalized_weights(recipe, of_generator=True))
    state = in_float64(jax.jit(lambda key: create_state(key, recipe))(jax.random.key(0)))
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1), np.uint8)
    if recipe.stream:
        images = images[:8].reshape(2, 4, 4, 4, 1)
    inputs = Inputs(images, None, jax.random.key(7), *map(np.float64, (1e-2, 0.5, 0.9)), 0)
    return state, *jax.jit(functools.partial(train_iteration, recipe=recipe))(state, inputs)


def _same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9), a, b)


EVERYTHING = {"ema_decay": 0.5, "augment": ("color", "translation", "cutout"), "flip": True,
              "regularizer": REGULARIZERS["gradient_penalty"](_Options)}


@pytest.mark.parametrize(("parts", "changes"), [
    (2, {"augment": ("translation",), "n_dis": 1}),
    pytest.param(2, EVERYTHING, marks=pytest.mark.slow),
    pytest.param(4, {"sigma_updates": "update", "stream": True}, marks=pytest.mark.slow),
    pytest.param(2, {"sigma_updates": "iteration"}, marks=pytest.mark.slow),
    pytest.param(2, {"together": True}, marks=pytest.mark.slow)])
def test_parts_are_the_whole_batch_without_batch_norm(parts, changes):
    (first, *whole), (_, *parted) = _iteration(**changes), _iteration(accumulate=parts, **changes)
    _same(whole, parted)
    for player in ("generator", "discriminator"):  # so that the power steps are compared too
        moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), *(
            getattr(state, player).spectral for state in (first, whole[0])))
        assert max(jax.tree.leaves(moved)) > 1e-4


@pytest.mark.slow
def test_running_statistics_move_once_an_update():
    """The means over the parts are the means of the whole batch."""
    whole, parted = (_iteration(BatchNorm, accumulate=parts, n_dis=1, decay=lambda it: 0.0)[1]
                     for parts in (1, 2))
    _same(whole.generator.batch_stats["norm"]["mean"], parted.generator.batch_stats["norm"]["mean"])
    assert (whole.generator.batch_stats["norm"]["var"]
            != parted.generator.batch_stats["norm"]["var"]).any()


def test_vectors_without_specs_are_an_error():
    with pytest.raises(ValueError, match="accumulate needs the specs"):
        stepped({}, {"spectral": {"dense": {}}, "batch_stats": {}}, None)
