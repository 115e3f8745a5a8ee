"""Arguments of an iteration: `Recipe`, static in its compilation, and `Inputs`, its arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sngan_jax.base.types import Leaf
from sngan_jax.losses import Loss
from sngan_jax.network import Specs
from sngan_jax.regularizers import Constraint, Regularizer

# The forward passes of D in which a power step is taken: that of the generator's update, and those
# on the real and the fake images in each discriminator update. The first is the official code's.
SIGMA_UPDATES = {"call": (True, True, True), "update": (False, True, False),
                 "iteration": (True, False, False)}


class Recipe(NamedTuple):
    """Everything that is fixed when an iteration is compiled; every batch size is global.

    generator, discriminator: the networks; their batch norm averages over `axis_name`.
    image_shape: (height, width, channels).
    decay: iteration (int32) -> factor of the learning rate.
    regularizer, constraint: see `regularizers`; None for none.
    class_weights: weights of the auxiliary classifier in D's and in G's loss, if D has one.
    ema_decay: decay of the moving average; 0 for none.
    latent: a key of LATENTS.
    flip: mirror real images at random.
    augment: names from `augment.AUGMENTATIONS`, applied to real and generated images.
    sigma_updates: a key of SIGMA_UPDATES. A normalized G takes a step when it is called with
      gradients, and in D's updates if D's pass on the fakes takes one.
    power_steps: whether forward passes take the power steps that are due.
    accumulate: number of parts in which each device's batch is taken, one after another.
    together: D sees real and fake images as one batch, in one forward pass.
    stream: the images are the batches of one call, not the whole set.
    iterations_per_call: iterations without a return to Python.
    average_statistics: average batch norm's running statistics over the devices, for networks
      whose batch norm is per device.
    axis_name, device_count: the pmap that shares each batch; None and 1 outside pmap.
    platform: the devices' platform, such as "tpu", which decides how updates are repeated.
    specs, generator_specs: the normalized weights of D and of G (`network.specs`), if W̄ of all of
      them is computed at once before a forward pass: few launches, for a GPU; `accumulate` needs
      it. None if each layer computes its own: less traffic, for a CPU and a TPU.
    """

    generator: nn.Module
    discriminator: nn.Module
    loss: Loss
    batch_size: int
    generator_batch_size: int
    n_dis: int
    latent_size: int
    image_shape: tuple[int, int, int]
    decay: Callable[[jax.Array], jax.Array | float]
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    class_weights: tuple[float, float] = (1.0, 0.1)
    ema_decay: float = 0.0
    dequantize: bool = True
    conditional: bool = False
    latent: str = "normal"
    flip: bool = False
    augment: tuple[str, ...] = ()
    sigma_updates: str = "call"
    power_steps: bool = True
    accumulate: int = 1
    together: bool = False
    stream: bool = False
    iterations_per_call: int = 1
    average_statistics: bool = False
    axis_name: str | None = None
    device_count: int = 1
    platform: str = "cpu"
    specs: Specs | None = None
    generator_specs: Specs | None = None


class Inputs(NamedTuple):
    """The arrays that an iteration reads besides its state.

    Runs that differ only in these, such as the settings of Table 1 with the same n_dis, share one
    compilation.

    images, labels: uint8, and int32 or None. The whole set: (n, h, w, c) or rows (n, h·w·c), and
      (n,). Streamed, they are what this device needs in one call: (iterations, n_dis, batch, h, w,
      c) and (iterations, n_dis, batch). A TPU reads rows as they lie; with images it would first
      copy the whole set to another layout, in each call.
    key: typed PRNG key, the source of all randomness in a run.
    learning_rate, beta1, beta2: Adam's constants, float32 scalars.
    position: int32 scalar, the device's index among `Recipe.device_count`.
    """

    images: Leaf
    labels: Leaf
    key: Leaf
    learning_rate: Leaf
    beta1: Leaf
    beta2: Leaf
    position: Leaf = 0


class Now(NamedTuple):
    """Values that the updates of one iteration share, computed once, outside the loop over them.

    number: int32 scalar, the number of finished iterations.
    learning_rate: Adam's α in this iteration.
    data_key, noise_key: keys for the data's order (one per run), and for this iteration's latents,
      labels and noise.
    """

    number: jax.Array
    learning_rate: jax.Array
    data_key: jax.Array
    noise_key: jax.Array


def now(number: jax.Array, inputs: Inputs, recipe: Recipe) -> Now:
    """The `Now` of the iteration that follows `number` others."""
    data_key, noise_key = jax.random.split(inputs.key)
    return Now(number, inputs.learning_rate * recipe.decay(number), data_key,
               jax.random.fold_in(noise_key, number))


def linear_decay(iterations: int, start: float) -> Callable[[jax.Array], jax.Array]:
    """A function of the iteration, an int32 scalar: 1 up to the fraction `start`, then linear to 0.

    start = 1 is constant; 0 is the paper's CIFAR ResNet; 400/450 its ImageNet.
    """
    first = start * iterations

    def schedule(iteration: jax.Array) -> jax.Array:
        past = jnp.maximum(iteration - first, 0) / max(iterations - first, 1)
        return 1 - jnp.minimum(past, 1)

    return schedule
