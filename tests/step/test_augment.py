"""The augmentations against NumPy on the same random numbers; gradients, and use in the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sngan_jax.activation_norms import BatchNorm
from sngan_jax.data.pipeline import example_keys
from sngan_jax.layers import SNConv, SNDense
from sngan_jax.losses import LOSSES
from sngan_jax.step.augment import AUGMENTATIONS, FEW_IMAGES, augment, augmentations, chosen
from sngan_jax.step.batches import fake_batch, real_batch
from sngan_jax.step.recipe import Inputs, Recipe, now
from sngan_jax.step.state import create_state
from tests.step.small_networks import SmallDiscriminator, SmallGenerator

ALL = tuple(AUGMENTATIONS)
SIZES = [(16, 16, 3), (12, 20, 3), (9, 8, 1)]


def _images(shape, count=40):
    images = np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)
    return images, example_keys(jax.random.key(1), 0, count)


def _draws(keys, name, draw):
    number = list(AUGMENTATIONS).index(name)
    return np.asarray(jax.vmap(lambda key: draw(jax.random.fold_in(key, number)))(keys))


@pytest.mark.parametrize("shape", SIZES)
def test_color_is_that_of_numpy(shape):
    images, keys = _images(shape)
    draws = _draws(keys, "color", lambda key: jax.random.uniform(key, (3,)))
    for x, (b, s, c), found in zip(images, draws, augment(images, keys, ("color",)), strict=True):
        x = x + (b - 0.5)
        grey = x.mean(-1, keepdims=True)
        x = grey + 2 * s * (x - grey)
        np.testing.assert_allclose(found, x.mean() + (c + 0.5) * (x - x.mean()), atol=1e-5)


@pytest.mark.parametrize("shape", SIZES)
def test_translation_is_that_of_numpy(shape):
    images, keys = _images(shape)
    h, w, _ = shape
    reach = np.array([int(h / 8 + 0.5), int(w / 8 + 0.5)])
    shifts = _draws(keys, "translation", lambda key: jax.random.randint(
        key, (2,), -jnp.array(reach), jnp.array(reach) + 1))
    assert (shifts.min(0) == -reach).all() and (shifts.max(0) == reach).all()
    for x, (down, right), found in zip(images, shifts, augment(images, keys, ("translation",)),
                                       strict=True):
        wide = np.pad(x, ((h, h), (w, w), (0, 0)))
        np.testing.assert_array_equal(
            found, wide[h - down:2 * h - down, w - right:2 * w - right])


@pytest.mark.parametrize("shape", SIZES)
def test_cutout_is_that_of_numpy(shape):
    images, keys = _images(shape)
    sides = np.array([int(size / 2 + 0.5) for size in shape[:2]])
    ends = np.array(shape[:2]) + 1 - sides % 2
    middles = _draws(keys, "cutout", lambda key: jax.random.randint(key, (2,), 0, jnp.array(ends)))
    for x, middle, found in zip(images, middles, augment(images, keys, ("cutout",)), strict=True):
        top, left = np.maximum(middle - sides // 2, 0)
        bottom, right = middle - sides // 2 + sides
        expected = x.copy()
        expected[top:bottom, left:right] = 0
        assert (expected == 0).any()
        np.testing.assert_array_equal(found, expected)


def test_gradients_are_those_of_differences_and_need_no_scatter():
    images, keys = _images((8, 8, 3), 2)

    def loss(images):
        return jnp.sum(jnp.sin(augment(images, keys, ALL)))

    with jax.enable_x64(True):
        check_grads(jax.jit(loss), (jnp.asarray(images, jnp.float64),), order=1, atol=1e-6,
                    rtol=1e-5)
    assert np.abs(jax.grad(loss)(images)).max() > 0
    compiled = jax.jit(jax.grad(loss)).lower(images).compile().as_text()
    assert " scatter(" not in compiled and " gather(" not in compiled


def test_what_happens_to_an_image_depends_on_its_key_alone():
    images, keys = _images((8, 8, 1), 6)
    whole = augment(images, keys, ALL)
    np.testing.assert_allclose(whole[4:], augment(images[4:], keys[4:], ALL), atol=1e-6)
    # What one draws does not depend on the others.
    steps = augment(augment(augment(images, keys, ALL[:1]), keys, ALL[1:2]), keys, ALL[2:])
    np.testing.assert_allclose(whole, steps, atol=1e-6)
    assert augment(images, keys, ()) is images


def _recipe(**changes):
    g = SmallGenerator(BatchNorm)
    return Recipe(g, SmallDiscriminator(SNConv, SNDense), LOSSES["hinge"], 8, 8, 1, 5, (4, 4, 1),
                  lambda it: 1.0, flip=True)._replace(**changes)


@pytest.mark.slow
def test_real_and_fake_batches_are_augmented_alike_on_any_number_of_devices():
    plain, recipe = _recipe(), _recipe(augment=ALL)
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1), np.uint8)
    inputs = Inputs(images, None, jax.random.key(7), 1e-2, 0.5, 0.9, 0)
    g = create_state(jax.random.key(0), plain).generator
    at, key = now(0, inputs, plain), jax.random.key(3)

    def both(recipe, position=0):
        inputs_ = inputs._replace(position=position)
        # Without batch norm's batch, whose statistics are those of a device's part here.
        fixed = {"params": g.params, "batch_stats": g.batch_stats}
        fake, _ = fake_batch(fixed, key, 8, inputs_, recipe, power_step=False)
        return real_batch(0, key, at, inputs_, recipe).images, fake.images

    (real, fake), (seen_real, seen_fake) = both(plain), both(recipe)
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))
    np.testing.assert_allclose(seen_real, augment(real, keys(example_keys(key, 0, 8)), ALL),
                               atol=1e-6)
    z_key = jax.random.split(key)[0]
    np.testing.assert_allclose(seen_fake, augment(fake, keys(example_keys(z_key, 0, 8)), ALL),
                               atol=1e-5)
    halves = [both(recipe._replace(device_count=2), position)[0] for position in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves), seen_real)


def test_names_and_auto():
    assert augmentations("") == () and augmentations("auto") == ALL
    assert augmentations("cutout, color") == ("cutout", "color")
    for wrong in ("colour", "color,color"):
        with pytest.raises(ValueError, match="expected auto or, once each, some of color"):
            augmentations(wrong)
    assert chosen("cutout", 10**6) == "cutout" and chosen("", 5) == ""
    assert chosen("auto", FEW_IMAGES) == "color,translation,cutout"
    assert chosen("auto", FEW_IMAGES + 1) == ""
