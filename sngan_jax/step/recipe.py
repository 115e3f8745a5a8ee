"""Arguments of an iteration: `Recipe`, static in its compilation, and `Inputs`, its arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sngan_jax.losses import Loss
from sngan_jax.network import Specs
from sngan_jax.regularizers import Constraint, Regularizer

# In which forward passes of D a power step is taken: of the generator's update, of the real and of
# the fake images of each discriminator update. The first is the paper's code.
SIGMA_UPDATES = {"call": (True, True, True), "update": (False, True, False),
                 "iteration": (True, False, False)}


class Recipe(NamedTuple):
    """Everything that is fixed when an iteration is compiled; every batch size is global.

    generator, discriminator: the networks; their batch norm averages over `axis_name`.
    image_shape: (height, width, channels).
    decay: iteration (int32) -> factor of the learning rate.
    regularizer, constraint: see `regularizers`; None for none.
    class_weights: weights of the auxiliary classifier in D's and in G's loss; used where D has one.
    ema_decay: 0 for no moving average.
    latent: a key of LATENTS.
    flip: mirror real images at random.
    augment: names of `augment.AUGMENTATIONS`, of real and generated images.
    sigma_updates: a key of SIGMA_UPDATES; a normalised G takes a step where it is called with
      gradients, and in D's updates where D's pass of fakes does.
    power_steps: whether forward passes take the steps that are due.
    accumulate: parts of each device's batch, which are taken one after the other.
    together: D sees real and fake images in one batch, in one forward pass.
    stream: the images are the batches of a call, and not the whole set.
    iterations_per_call: iterations without a return to Python.
    average_statistics: average batch norm's running statistics over the devices, for networks
      whose batch norm is per device.
    axis_name, device_count: the pmap that shares each batch; None and 1 outside pmap.
    platform: the devices', as "tpu": decides how updates are repeated.
    specs, generator_specs: of the normalised weights of D and of G (`network.specs`), where W̄ of
      all of them is computed at once before a forward pass: few launches, for a GPU, and what
      `accumulate` needs. None where each layer computes its own: less traffic, for a CPU and a TPU.
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

    Runs that differ in these alone, as the settings of Table 1 with the same n_dis, share one
    compilation.

    images, labels: uint8 and int32 (or None): the whole set, (n, h, w, c) or rows (n, h·w·c), and
      (n,); or, streamed, what this device needs in one call, (iterations, n_dis, batch, h, w, c)
      and (iterations, n_dis, batch). A TPU takes rows as they lie; of images it would first copy
      the whole set to another layout, in each call.
    key: typed PRNG key, the source of all randomness of a run.
    learning_rate, beta1, beta2: Adam's constants, float32 scalars.
    position: int32 scalar, the device's place among `Recipe.device_count`.
    """

    images: Any
    labels: Any
    key: Any
    learning_rate: Any
    beta1: Any
    beta2: Any
    position: Any = 0


class Now(NamedTuple):
    """Values that the updates of one iteration share: computed once, outside the loop over them.

    number: int32 scalar, the iterations that are done.
    learning_rate: Adam's α in this iteration.
    data_key, noise_key: the sources of the data's order (the run's) and of this iteration's
      latents, labels and noise.
    """

    number: jax.Array
    learning_rate: Any
    data_key: jax.Array
    noise_key: jax.Array


def now(number: jax.Array, inputs: Inputs, recipe: Recipe) -> Now:
    """The `Now` of the iteration that follows `number` others."""
    data_key, noise_key = jax.random.split(inputs.key)
    return Now(number, inputs.learning_rate * recipe.decay(number), data_key,
               jax.random.fold_in(noise_key, number))


def linear_decay(iterations: int, start: float) -> Callable[[jax.Array], jax.Array]:
    """Iteration, an int32 scalar -> 1 up to the fraction `start` of the run, then linear to 0.

    start = 1 is constant; 0 is the paper's CIFAR ResNet; 400/450 its ImageNet.
    """
    first = start * iterations

    def schedule(iteration: jax.Array) -> jax.Array:
        past = jnp.maximum(iteration - first, 0) / max(iterations - first, 1)
        return 1 - jnp.minimum(past, 1)

    return schedule
