"""One iteration of training: a generator update, then n_dis discriminator updates.

In the order, and with the batches, of the official code (sngan_projection `updater.py`): the
generator first, with fresh latents; then every discriminator update with new real images and
fresh fakes, D(real) and D(fake) in separate forward passes, each of which takes a power step. The
generator's update takes one too.

All randomness is a function of (key, iteration, the example's position in the *global* batch), so
that a run does not depend on how many devices share it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from sngan_jax.data.pipeline import batch_indices, dequantize, example_keys, scale
from sngan_jax.losses import Loss
from sngan_jax.train.state import TrainState

AXIS = "batch"


class StepSettings(NamedTuple):
    """What `make_train_step` needs to know; every batch size is global.

    learning_rate: iteration (int32) -> float; ema_decay: 0 for none.
    """

    batch_size: int
    generator_batch_size: int
    n_dis: int
    latent_size: int
    learning_rate: Callable[[jax.Array], jax.Array]
    ema_decay: float
    dequantize: bool
    conditional: bool


class Data(NamedTuple):
    """A data set on the device: images uint8 (n, h, w, c); labels int32 (n,) or None."""

    images: jax.Array
    labels: jax.Array | None


def sample_latents(keys: jax.Array, size: int) -> jax.Array:
    """z ~ N(0, I): one row for each key, (n, size)."""
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)


def linear_decay(learning_rate: float, iterations: int, start: float) -> Callable:
    """Constant up to the fraction `start` of the run, then linear to zero at its end.

    start = 1 is constant; 0 is the paper's CIFAR ResNet; 400/450 its ImageNet.
    """
    first = start * iterations

    def schedule(iteration: jax.Array) -> jax.Array:
        past = jnp.maximum(iteration - first, 0) / max(iterations - first, 1)
        return learning_rate * (1 - jnp.minimum(past, 1))

    return schedule


def make_train_step(generator: nn.Module, discriminator: nn.Module, loss: Loss,
                    optimizer: optax.GradientTransformation, settings: StepSettings,
                    devices: list[jax.Device]) -> Callable:
    """The pmap-ed iteration over `devices`, which donates its state.

    Returns:
      (state, data, key, device positions) -> (state, metrics). State, data and key are replicated
      over the devices; the positions are 0, 1, … one a device (`loop.replicate` and
      `loop.positions` place them). Metrics are float32 scalars: losses, the means of D on real
      and fake images of the last discriminator update, and the learning rate.
    """
    def iteration(state, data, key, position):
        return train_iteration(state, data, key, position, len(devices), generator, discriminator,
                               loss, optimizer, settings)

    return jax.pmap(iteration, axis_name=AXIS, in_axes=(None, None, None, 0), out_axes=None,
                    devices=devices, donate_argnums=(0,))


def train_iteration(state: TrainState, data: Data, key: jax.Array, position: jax.Array,
                    device_count: int, generator: nn.Module, discriminator: nn.Module, loss: Loss,
                    optimizer: optax.GradientTransformation, settings: StepSettings):
    """One device's part of an iteration; `position` is its place among `device_count`."""
    it, learning_rate = state.iteration, settings.learning_rate(state.iteration)
    data_key, noise_key = jax.random.split(key)
    noise_key = jax.random.fold_in(noise_key, it)
    num_classes = generator.num_classes

    def my_keys(key: jax.Array, global_batch: int) -> jax.Array:
        count = global_batch // device_count
        return example_keys(key, position * count, count)

    def generate(params: Any, batch_stats: Any, key: jax.Array, global_batch: int):
        """Fakes, their labels (None where unconditional) and the new batch statistics."""
        z_key, y_key = jax.random.split(key)
        z = sample_latents(my_keys(z_key, global_batch), settings.latent_size)
        y = None
        if num_classes:
            y = jax.vmap(lambda k: jax.random.randint(k, (), 0, num_classes))(
                my_keys(y_key, global_batch))
        x, updated = generator.apply({"params": params, "batch_stats": batch_stats}, z, y,
                                     mutable=["batch_stats"])
        return x, y, updated.get("batch_stats", {})

    def discriminate(params: Any, collections: dict[str, Any], x: jax.Array, y: Any):
        """Logits, and the collections after the forward pass (one power step)."""
        logits, updated = discriminator.apply({"params": params, **collections}, x, y,
                                              mutable=list(collections))
        return logits, {**collections, **updated}

    def adam_step(gradients: Any, opt_state: optax.OptState, params: Any):
        direction, opt_state = optimizer.update(gradients, opt_state, params)
        return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction), opt_state

    # The generator's update.
    def generator_loss(params: Any):
        x, y, batch_stats = generate(params, g.batch_stats, jax.random.fold_in(noise_key, 0),
                                     settings.generator_batch_size)
        logits, collections = discriminate(d.params, d.mutable, x, y)
        return loss.generator(logits), (batch_stats, collections)

    g, d = state.generator, state.discriminator
    (g_loss, (g_stats, d_collections)), gradients = jax.value_and_grad(
        generator_loss, has_aux=True)(g.params)
    g_loss, gradients = lax.pmean((g_loss, gradients), AXIS)
    g_params, g_opt = adam_step(gradients, g.opt_state, g.params)

    # The discriminator's updates.
    def discriminator_update(carry, i: jax.Array):
        params, collections, opt_state, g_stats = carry
        real_key, fake_key = jax.random.split(jax.random.fold_in(noise_key, i + 1))
        real, real_y = real_batch(data, data_key, it * settings.n_dis + i,
                                  my_keys(real_key, settings.batch_size),
                                  position, settings)
        fake, fake_y, g_stats = generate(g_params, g_stats, fake_key, settings.batch_size)

        def discriminator_loss(params: Any):
            real_logits, updated = discriminate(params, collections, real, real_y)
            fake_logits, updated = discriminate(params, updated, fake, fake_y)
            metrics = {"d_loss": loss.discriminator(real_logits, fake_logits),
                       "d_real": jnp.mean(real_logits), "d_fake": jnp.mean(fake_logits)}
            return metrics["d_loss"], (updated, metrics)

        (_, (collections, metrics)), gradients = jax.value_and_grad(
            discriminator_loss, has_aux=True)(params)
        gradients, metrics = lax.pmean((gradients, metrics), AXIS)
        params, opt_state = adam_step(gradients, opt_state, params)
        return (params, collections, opt_state, g_stats), metrics

    (d_params, d_collections, d_opt, g_stats), d_metrics = _repeat(
        discriminator_update, (d.params, d_collections, d.opt_state, g_stats), settings.n_dis)

    g = g.replace(params=g_params, batch_stats=g_stats, opt_state=g_opt)
    if settings.ema_decay:
        g = g.replace(ema_params=_ema(g.ema_params, g_params, settings.ema_decay, it),
                      ema_batch_stats=_ema(g.ema_batch_stats, g_stats, settings.ema_decay, it))
    d = d.replace(params=d_params, opt_state=d_opt, **d_collections)
    metrics = {"g_loss": g_loss, **d_metrics, "learning_rate": learning_rate}
    return TrainState(it + 1, g, d), metrics


def _repeat(body: Callable, carry: Any, times: int):
    """body(carry, i) -> (carry, y) for i = 0 … times - 1; returns the last carry and the last y."""
    if jax.default_backend() == "cpu":
        # Unrolled: XLA's CPU back end is a hundred times slower on a convolution's gradient inside
        # a loop, and so is a scan of length one.
        for i in range(times):
            carry, y = body(carry, jnp.int32(i))
        return carry, y
    carry, ys = lax.scan(body, carry, jnp.arange(times))
    return carry, jax.tree.map(lambda y: y[-1], ys)


def real_batch(data: Data, key: jax.Array, batch_number: jax.Array, keys: jax.Array,
               position: jax.Array, settings: StepSettings):
    """This device's part of a global batch of real images in [-1, 1], and its labels or None."""
    count = keys.shape[0]
    rows = batch_indices(key, batch_number, batch_size=settings.batch_size, n=len(data.images),
                         start=position * count, count=count)
    images = jnp.take(data.images, rows, axis=0)
    x = dequantize(images, keys) if settings.dequantize else scale(images)
    return x, jnp.take(data.labels, rows) if settings.conditional else None


def _ema(average: Any, new: Any, decay: float, iteration: jax.Array) -> Any:
    # The first iterations would weigh the initial values for long: a shorter memory until then.
    decay = jnp.minimum(decay, (1 + iteration) / (10 + iteration))
    return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, average, new)
