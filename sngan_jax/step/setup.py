"""Builds the recipe and the inputs for a config's iterations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sngan_jax.base.types import Config
from sngan_jax.layers import Normalized
from sngan_jax.losses import LOSSES
from sngan_jax.methods import method_of
from sngan_jax.models.build import build_models
from sngan_jax.network import Specs, specs
from sngan_jax.regularizers import CONSTRAINTS, REGULARIZERS
from sngan_jax.step.augment import augmentations
from sngan_jax.step.devices import AXIS
from sngan_jax.step.recipe import Inputs, Recipe, linear_decay


def recipe_of(config: Config, channels: int, num_classes: int,
              devices: list[jax.Device] | None = None) -> Recipe:
    """The networks, losses and schedule of a config.

    Args:
      channels: number of channels of the images.
      num_classes: number of classes in the data; used if `config.conditional` is set.
      devices: devices of the pmap that shares the batches; None for networks outside pmap, as for
        samples.
    """
    generator, discriminator = build_models(
        config, channels=channels, num_classes=num_classes if config.conditional else 0,
        axis_name=AXIS if devices else None,
        device_kind=devices[0].device_kind if devices else None)
    method = method_of(config)
    return Recipe(
        generator, discriminator, LOSSES[method.loss],
        regularizer=REGULARIZERS[method.regularizer](config),
        constraint=CONSTRAINTS[method.constraint](config),
        class_weights=(config.auxiliary_discriminator, config.auxiliary_generator),
        batch_size=config.batch_size, generator_batch_size=config.generator_batch_size,
        n_dis=config.n_dis, latent_size=config.latent_size,
        image_shape=(config.image_size, config.image_width or config.image_size, channels),
        decay=linear_decay(config.iterations, config.lr_decay_start),
        ema_decay=config.ema_decay, dequantize=config.dequantize, conditional=config.conditional,
        latent=config.latent, flip=config.flip, augment=augmentations(config.augment),
        sigma_updates=config.sigma_updates,
        together=config.discriminator_batches == "together", stream=config.stream,
        accumulate=config.accumulate,
        iterations_per_call=config.iterations_per_call,
        average_statistics=config.bn_sync == "device")


def normalized_weights(recipe: Recipe, *, of_generator: bool = False) -> Specs | None:
    """The specs of the normalized weights of D, or of G; None if none is normalized."""
    network = recipe.generator if of_generator else recipe.discriminator
    conv = getattr(network, "conv", None)
    if not (isinstance(conv, type) and issubclass(conv, Normalized)):
        return None
    shape = (recipe.latent_size,) if of_generator else recipe.image_shape
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    y = jax.ShapeDtypeStruct((2,), jnp.int32) if recipe.generator.num_classes else None
    return specs(network, x, y)


def inputs_of(config: Config, key: jax.Array, images: jax.Array | None = None,
              labels: jax.Array | None = None, position: jax.Array | int = 0) -> Inputs:
    """Arguments of a config's iterations, besides the state.

    Args:
      key: typed PRNG key, a scalar.
      images, labels, position: as in `Inputs`.
    """
    return Inputs(images, labels, key, np.float32(config.learning_rate), np.float32(config.beta1),
                  np.float32(config.beta2), position)
