"""One iteration of training: a generator update, then n_dis discriminator updates.

In the order, and with the batches, of the official code (sngan_projection `updater.py`): the
generator first, with fresh latents; then every discriminator update with new real images and
fresh fakes, D(real) and D(fake) in separate forward passes, each of which takes a power step. The
generator's update takes one too.

All randomness is a function of (key, iteration, the example's position in the *global* batch), so
that a run does not depend on how many devices share it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from sngan_jax.compilation import Lowerable, compile_at_first_call
from sngan_jax.data.pipeline import batch_indices, dequantize, example_keys, scale
from sngan_jax.losses import Loss, classification
from sngan_jax.regularizers import Constraint, Regularizer, Update
from sngan_jax.train.health import (
    discriminator_looks,
    first_raised,
    flags_of_looks,
    generator_looks,
    norm,
)
from sngan_jax.train.state import TrainState, adam

AXIS = "batch"

# In which forward passes of D a power step is taken: of the generator's update, of the real and of
# the fake images of each discriminator update. The first is the paper's code.
SIGMA_UPDATES = {"call": (True, True, True), "update": (False, True, False),
                 "iteration": (True, False, False)}


class Objective(NamedTuple):
    """What both players descend, and what holds the discriminator.

    regularizer, constraint: see `regularizers`; None for none.
    class_weights: of the auxiliary classifier in D's and in G's loss; used where D has one.
    """

    loss: Loss
    regularizer: Regularizer | None = None
    constraint: Constraint | None = None
    class_weights: tuple[float, float] = (1.0, 0.1)


class StepSettings(NamedTuple):
    """What `make_train_step` needs to know; every batch size is global.

    decay: iteration (int32) -> what multiplies the learning rate.
    ema_decay: 0 for none.
    latent: a key of LATENTS.
    flip: mirror real images at random.
    sigma_updates: a key of SIGMA_UPDATES.
    together: D sees real and fake images in one batch, in one forward pass.
    stream: the data are the batches of a call, and not the whole set.
    iterations_per_call: done one after the other without a return to Python.
    average_statistics: of batch norm's running ones over the devices, for networks whose batch norm
      is per device.
    image_shape: of a whole set whose images are rows; None where they have their shape.
    """

    batch_size: int
    generator_batch_size: int
    n_dis: int
    latent_size: int
    decay: Callable[[jax.Array], jax.Array | float]
    ema_decay: float = 0.0
    dequantize: bool = True
    conditional: bool = False
    latent: str = "normal"
    flip: bool = False
    sigma_updates: str = "call"
    together: bool = False
    stream: bool = False
    iterations_per_call: int = 1
    average_statistics: bool = False
    image_shape: tuple[int, int, int] | None = None


class Constants(NamedTuple):
    """What is the same in all calls of a run.

    Inputs of the program, so that runs which differ in nothing else, as the settings of Table 1
    with the same n_dis, share one compilation.

    key: typed PRNG key, of all randomness of a run.
    learning_rate, beta1, beta2: of Adam, float32 scalars.
    """

    key: jax.Array
    learning_rate: Any
    beta1: Any
    beta2: Any


class Data(NamedTuple):
    """Images uint8 and labels int32 (or None) on the device.

    The whole set, (n, h, w, c) or rows (n, h·w·c), and (n,); or, streamed, what this device needs
    in one call, (iterations, n_dis, batch, h, w, c) and (iterations, n_dis, batch). A TPU takes
    rows as they lie; of images it would first copy the whole set to another layout, in each call.
    """

    images: jax.Array
    labels: jax.Array | None


# z ~ N(0, I), the paper's; or uniform in [-1, 1], as chainer-gan-lib's DCGAN.
LATENTS: dict[str, Callable[..., jax.Array]] = {
    "normal": jax.random.normal,
    "uniform": functools.partial(jax.random.uniform, minval=-1.0)}


def sample_latents(keys: jax.Array, size: int, latent: str = "normal") -> jax.Array:
    """One row of latents for each key: float32 (n, size)."""
    return jax.vmap(lambda key: LATENTS[latent](key, (size,)))(keys)


def linear_decay(iterations: int, start: float) -> Callable[[jax.Array], jax.Array]:
    """Iteration, an int32 scalar -> 1 up to the fraction `start` of the run, then linear to 0.

    start = 1 is constant; 0 is the paper's CIFAR ResNet; 400/450 its ImageNet.
    """
    first = start * iterations

    def schedule(iteration: jax.Array) -> jax.Array:
        past = jnp.maximum(iteration - first, 0) / max(iterations - first, 1)
        return 1 - jnp.minimum(past, 1)

    return schedule


def make_train_step(generator: nn.Module, discriminator: nn.Module, objective: Objective,
                    settings: StepSettings, devices: list[jax.Device]) -> Lowerable:
    """The pmap-ed call of one iteration or more over `devices`, which donates its state.

    Returns:
      (state, data, constants, device positions) -> (state, metrics). State and `Constants` are
      replicated over the devices, and so are data that are the whole set; streamed ones have a
      leading axis of devices. The positions are 0, 1, … one a device (`feed.replicate`,
      `feed.spread`). Metrics are float32 scalars of the last iteration: losses, the means of D on
      real and fake images of the last discriminator update, the norms `g_gradient` and
      `d_gradient`, the learning rate, and `penalty`, `d_class` and `g_class` where they exist.
      `health` has the `iteration` of the call in which a number first was not finite (0: none) and
      the `flags` of `train.health`.
    """
    platform = devices[0].platform

    def call(state: TrainState, data: Data, constants: Constants, position: jax.Array
             ) -> tuple[TrainState, dict[str, Any]]:
        def iteration(state: TrainState, i: jax.Array) -> tuple[TrainState, dict[str, Any]]:
            now = jax.tree.map(lambda a: a[i], data) if settings.stream else data
            return train_iteration(state, now, constants, position, len(devices), generator,
                                   discriminator, objective, settings, platform)

        state, all_metrics = _repeat(iteration, state, settings.iterations_per_call, platform)
        flags, first = first_raised(all_metrics.pop("flags"))
        begun = state.iteration - settings.iterations_per_call
        return state, {**jax.tree.map(lambda y: y[-1], all_metrics), "health": {
            "iteration": jnp.where(first < 0, 0, begun + first + 1), "flags": flags}}

    return compile_at_first_call(jax.pmap(
        call, axis_name=AXIS, in_axes=(None, 0 if settings.stream else None, None, 0),
        out_axes=None, devices=devices, donate_argnums=(0,)))


def train_iteration(state: TrainState, data: Data, constants: Constants, position: jax.Array,
                    device_count: int, generator: nn.Module, discriminator: nn.Module,
                    objective: Objective, settings: StepSettings, platform: str
                    ) -> tuple[TrainState, dict[str, Any]]:
    """One device's part of an iteration.

    Args:
      data: what `Data` says of shapes.
      position: the device's place among `device_count`.
      platform: of the device, as "tpu": how the discriminator's updates are repeated.
    """
    it = state.iteration
    learning_rate = constants.learning_rate * settings.decay(it)
    optimizer = adam(constants.beta1, constants.beta2)
    data_key, noise_key = jax.random.split(constants.key)
    noise_key = jax.random.fold_in(noise_key, it)
    num_classes = generator.num_classes
    g_steps, real_steps, fake_steps = SIGMA_UPDATES[settings.sigma_updates]

    def my_keys(key: jax.Array, global_batch: int) -> jax.Array:
        count = global_batch // device_count
        return example_keys(key, position * count, count)

    def generate(params: Any, batch_stats: Any, key: jax.Array, global_batch: int
                 ) -> tuple[jax.Array, jax.Array | None, Any]:
        """Fakes, their labels (None where unconditional) and the new batch statistics."""
        z_key, y_key = jax.random.split(key)
        z = sample_latents(my_keys(z_key, global_batch), settings.latent_size, settings.latent)
        y = None
        if num_classes:
            y = jax.vmap(lambda k: jax.random.randint(k, (), 0, num_classes))(
                my_keys(y_key, global_batch))
        x, updated = generator.apply({"params": params, "batch_stats": batch_stats}, z, y,
                                     mutable=["batch_stats"])
        return x, y, updated.get("batch_stats", {})

    def discriminate(params: Any, collections: dict[str, Any], x: jax.Array, y: Any,
                     power_step: bool) -> tuple[jax.Array, jax.Array | None, dict[str, Any]]:
        """Logits, class logits (None without a classifier), and the collections afterwards."""
        mutable = [name for name in collections if power_step or name != "spectral"]
        output, updated = discriminator.apply({"params": params, **collections}, x, y,
                                              mutable=mutable)
        logits, classes = output if isinstance(output, tuple) else (output, None)
        return logits, classes, {**collections, **updated}

    def adam_step(gradients: Any, opt_state: optax.OptState, params: Any
                  ) -> tuple[Any, optax.OptState]:
        direction, opt_state = optimizer.update(gradients, opt_state, params)
        return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction), opt_state

    def shared(metrics: Any, gradients: Any, g_stats: Any, d_collections: Any
               ) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Means over the devices, in one all-reduce; what is equal there already is left out."""
        d_stats = d_collections["batch_stats"]
        statistics = (g_stats, d_stats) if settings.average_statistics else ()
        # XLA makes one all-reduce of a tree; the power iteration's state is equal by itself.
        metrics, gradients, statistics = lax.pmean((metrics, gradients, statistics), AXIS)
        g_stats, d_stats = statistics or (g_stats, d_stats)
        return metrics, gradients, g_stats, {**d_collections, "batch_stats": d_stats}

    # The generator's update.
    def generator_loss(params: Any) -> tuple[jax.Array, tuple[Any, dict[str, Any], dict[str, Any]]]:
        x, y, batch_stats = generate(params, g.batch_stats, jax.random.fold_in(noise_key, 0),
                                     settings.generator_batch_size)
        logits, classes, collections = discriminate(d.params, d.mutable, x, y, g_steps)
        metrics = {"g_loss": objective.loss.generator(logits)}
        total = metrics["g_loss"]
        if classes is not None:
            assert y is not None  # a classifier has classes
            metrics["g_class"] = classification(classes, y)
            total += objective.class_weights[1] * metrics["g_class"]
        return total, (batch_stats, collections, metrics)

    g, d = state.generator, state.discriminator
    gradients, (g_stats, d_collections, g_metrics) = jax.grad(
        generator_loss, has_aux=True)(g.params)
    g_metrics, gradients, g_stats, d_collections = shared(
        g_metrics, gradients, g_stats, d_collections)
    g_flags = flags_of_looks(generator_looks(g, g_metrics, gradients))
    g_metrics["g_gradient"] = norm(gradients)
    g_params, g_opt = adam_step(gradients, g.opt_state, g.params)

    # The discriminator's updates.
    def discriminator_update(carry: tuple[Any, ...], i: jax.Array
                             ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        params, collections, opt_state, g_stats = carry
        real_key, fake_key, penalty_key = jax.random.split(
            jax.random.fold_in(noise_key, i + 1), 3)
        real, real_y = real_batch(data, data_key, it * settings.n_dis + i, i,
                                  my_keys(real_key, settings.batch_size), position, settings)
        fake, fake_y, g_stats = generate(g_params, g_stats, fake_key, settings.batch_size)

        def both(params: Any) -> tuple[jax.Array, jax.Array, jax.Array | None, dict[str, Any]]:
            """Logits and class logits of the real and of the fake images."""
            if settings.together:
                y = (None if real_y is None or fake_y is None else
                     jnp.concatenate([real_y, fake_y]))
                logits, classes, updated = discriminate(
                    params, collections, jnp.concatenate([real, fake]), y, real_steps or fake_steps)
                classes = None if classes is None else classes[:len(real)]
                real_logits, fake_logits = jnp.split(logits, 2)
                return real_logits, fake_logits, classes, updated
            real_logits, classes, updated = discriminate(params, collections, real, real_y,
                                                         real_steps)
            fake_logits, _, updated = discriminate(params, updated, fake, fake_y, fake_steps)
            return real_logits, fake_logits, classes, updated

        def discriminator_loss(params: Any
                               ) -> tuple[jax.Array, tuple[dict[str, Any], dict[str, Any]]]:
            real_logits, fake_logits, classes, updated = both(params)
            metrics = {"d_loss": objective.loss.discriminator(real_logits, fake_logits),
                       "d_real": jnp.mean(real_logits), "d_fake": jnp.mean(fake_logits)}
            total = metrics["d_loss"]
            if classes is not None:
                assert real_y is not None  # a classifier has classes
                metrics["d_class"] = classification(classes, real_y)
                total += objective.class_weights[0] * metrics["d_class"]
            if objective.regularizer is not None:
                metrics["penalty"] = objective.regularizer(Update(
                    lambda x: discriminate(params, updated, x, real_y, False)[0], params, real,
                    fake, my_keys(penalty_key, settings.batch_size)))
                total += metrics["penalty"]
            return total, (updated, metrics)

        gradients, (collections, metrics) = jax.grad(
            discriminator_loss, has_aux=True)(params)
        metrics, gradients, g_stats, collections = shared(
            metrics, gradients, g_stats, collections)
        metrics["flags"] = flags_of_looks(discriminator_looks(
            params, carry[1], metrics, gradients))
        metrics["d_gradient"] = norm(gradients)
        params, opt_state = adam_step(gradients, opt_state, params)
        if objective.constraint is not None:
            params = objective.constraint(params)
        return (params, collections, opt_state, g_stats), metrics

    begin = d.params, d_collections, d.opt_state, g_stats
    if settings.n_dis == 1 and platform == "tpu":
        end, d_metrics = _in_a_loop(discriminator_update, begin, it)
    else:
        end, d_metrics = _repeat(discriminator_update, begin, settings.n_dis, platform)
    d_params, d_collections, d_opt, g_stats = end

    g = dataclasses.replace(g, params=g_params, batch_stats=g_stats, opt_state=g_opt)
    if settings.ema_decay:
        g = dataclasses.replace(
            g, ema_params=_ema(g.ema_params, g_params, settings.ema_decay, it),
            ema_batch_stats=_ema(g.ema_batch_stats, g_stats, settings.ema_decay, it))
    d = dataclasses.replace(d, params=d_params, opt_state=d_opt, **d_collections)
    d_flags, _ = first_raised(d_metrics.pop("flags"))
    metrics = {**g_metrics, **jax.tree.map(lambda y: y[-1], d_metrics),
               "learning_rate": learning_rate, "flags": jnp.concatenate([g_flags, d_flags])}
    return TrainState(it + 1, g, d), metrics


def _repeat(body: Callable[[Any, jax.Array], tuple[Any, Any]], carry: Any, times: int,
            platform: str) -> tuple[Any, Any]:
    """body(carry, i) -> (carry, y) for i = 0 … times - 1; returns the last carry and all y.

    Written out one after the other on a CPU, whose back end is a hundred times slower on a
    convolution's gradient inside a loop, and so is a scan of length one.
    """
    if times == 1 or platform == "cpu":
        body, ys = jax.jit(body), []  # traced and lowered once
        for i in range(times):
            carry, y = body(carry, jnp.int32(i))
            ys.append(y)
        return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)
    return lax.scan(body, carry, jnp.arange(times))


def _in_a_loop(body: Callable[[Any, jax.Array], tuple[Any, Any]], carry: Any,
               iteration: jax.Array) -> tuple[Any, Any]:
    """`_repeat` of one time, in a loop that XLA cannot know to be of one.

    The TPU compiler joins the all-reduces of a loop's body and leaves those of straight code in
    pieces (docs/scaling.md).
    """
    y = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype),
                     jax.eval_shape(body, carry, jnp.int32(0))[1])
    once = 1 + (iteration < 0)  # never negative
    carry, y = lax.fori_loop(0, once, lambda i, c: body(c[0], jnp.int32(i)), (carry, y))
    return carry, jax.tree.map(lambda y: y[None], y)


def real_batch(data: Data, key: jax.Array, batch_number: jax.Array, i: jax.Array,
               keys: jax.Array, position: jax.Array, settings: StepSettings
               ) -> tuple[jax.Array, jax.Array | None]:
    """This device's part of a global batch: real images (n, h, w, c) in [-1, 1], labels or None."""
    count = keys.shape[0]
    if settings.stream:
        images, rows = data.images[i], i
    else:
        rows = batch_indices(key, batch_number, batch_size=settings.batch_size,
                             n=len(data.images), start=position * count, count=count)
        images = jnp.take(data.images, rows, axis=0)
        if settings.image_shape is not None:
            images = images.reshape(count, *settings.image_shape)
    x = dequantize(images, keys) if settings.dequantize else scale(images)
    if settings.flip:
        mirrored = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 0)))(keys)
        x = jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
    if not settings.conditional:
        return x, None
    assert data.labels is not None  # `loop.load_data` has looked
    return x, jnp.take(data.labels, rows, axis=0)


def _ema(average: Any, new: Any, decay: float, iteration: jax.Array) -> Any:
    # The first iterations would weigh the initial values for long: a shorter memory until then.
    share = jnp.minimum(decay, (1 + iteration) / (10 + iteration))
    return jax.tree.map(lambda a, b: share * a + (1 - share) * b, average, new)
