"""The images of an update on one device: real ones from the data, fakes from the generator."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sngan_jax.data.pipeline import batch_indices, dequantize, example_keys, scale
from sngan_jax.step.augment import augment
from sngan_jax.step.forward import Collections, Variables, generate
from sngan_jax.step.latents import sample_labels, sample_latents
from sngan_jax.step.recipe import Inputs, Now, Recipe


class Batch(NamedTuple):
    """images: float32 (n, h, w, c) in [-1, 1]; labels: int32 (n,), or None."""

    images: jax.Array
    labels: jax.Array | None


def own_keys(key: jax.Array, global_batch: int, inputs: Inputs, recipe: Recipe) -> jax.Array:
    """One key for each of this device's examples in a global batch."""
    count = global_batch // recipe.device_count
    return example_keys(key, inputs.position * count, count)


def fake_batch(variables: Variables, key: jax.Array, global_batch: int, inputs: Inputs,
               recipe: Recipe, *, power_step: bool = True) -> tuple[Batch, Collections]:
    """This device's part of a global batch of fakes, and G's collections afterwards."""
    z_keys, y_keys = (own_keys(k, global_batch, inputs, recipe) for k in jax.random.split(key))
    z = sample_latents(z_keys, recipe.latent_size, recipe.latent)
    y = sample_labels(y_keys, recipe.generator.num_classes)
    x, collections = generate(recipe.generator, variables, z, y,
                              power_step=power_step and recipe.power_steps,
                              specs=recipe.generator_specs)
    return Batch(_augmented(x, z_keys, recipe), y), collections


def real_batch(i: jax.Array | int, key: jax.Array, now: Now, inputs: Inputs, recipe: Recipe
               ) -> Batch:
    """This device's part of a global batch of real images; labels if the run is conditional.

    Args:
      i: index of D's update in the iteration.
      key: PRNG key for dequantization, flips and augmentation.
    """
    keys = own_keys(key, recipe.batch_size, inputs, recipe)
    count = len(keys)
    if recipe.stream:
        images, rows = _part(inputs.images[i], count, inputs, recipe), i
    else:
        rows = batch_indices(now.data_key, now.number * recipe.n_dis + i,
                             batch_size=recipe.batch_size, n=len(inputs.images),
                             start=inputs.position * count, count=count)
        images = jnp.take(inputs.images, rows, axis=0).reshape(count, *recipe.image_shape)
    x = dequantize(images, keys) if recipe.dequantize else scale(images)
    if recipe.flip:
        mirrored = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 0)))(keys)
        x = jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
    x = _augmented(x, keys, recipe)
    if not recipe.conditional:
        return Batch(x, None)
    assert inputs.labels is not None  # checked by `preparation.load_data`
    labels = jnp.take(inputs.labels, rows, axis=0)
    return Batch(x, _part(labels, count, inputs, recipe))


def _part(batch: jax.Array, count: int, inputs: Inputs, recipe: Recipe) -> jax.Array:
    """The `count` rows of a device's batch (n, …) in one part of it (`parts.mean_of_parts`)."""
    if count == len(batch):
        return batch
    return jax.lax.dynamic_slice_in_dim(batch, inputs.position % recipe.accumulate * count, count)


def _augmented(x: jax.Array, keys: jax.Array, recipe: Recipe) -> jax.Array:
    """The images (n, h, w, c) as D sees them; keys: one for each of the n examples."""
    if not recipe.augment:
        return x
    return augment(x, jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys), recipe.augment)
