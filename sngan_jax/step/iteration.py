"""One iteration of training: a generator update, then n_dis discriminator updates.

The order and the batches are as in the official code (sngan_projection `updater.py`). The generator
comes first, with fresh latents. Every discriminator update then gets new real images and fresh
fakes; D(real) and D(fake) are separate forward passes, and each takes a power step. The generator's
update also takes one.

All randomness is a function of (key, iteration, the example's position in the *global* batch), so
that a run does not depend on the number of devices. Each function runs on one device of a pmap
(`Recipe.axis_name`) or outside pmap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sngan_jax.base.types import PyTree
from sngan_jax.losses import classification
from sngan_jax.network import Specs, pack, unpack
from sngan_jax.regularizers import Update
from sngan_jax.step.batches import Batch, fake_batch, own_keys, real_batch
from sngan_jax.step.checks import (
    first_raised,
    flags_of_checks,
    gradient_norm,
    state_checks,
    sums_of_squares,
    update_checks,
)
from sngan_jax.step.devices import mean_over_devices
from sngan_jax.step.forward import Collections, Variables, discriminate
from sngan_jax.step.parts import Found, mean_of_parts, stepped
from sngan_jax.step.recipe import SIGMA_UPDATES, Inputs, Now, Recipe, now
from sngan_jax.step.repeat import loop_of_one, repeat
from sngan_jax.step.state import DiscriminatorState, Player, TrainState, adam, moving_average

Metrics = dict[str, jax.Array]  # name -> float32 scalar, and bool `flags`


def train_iteration(state: TrainState, inputs: Inputs, recipe: Recipe
                    ) -> tuple[TrainState, Metrics]:
    """One update of G and n_dis of D; the metrics have `flags` in place of `health`."""
    at = now(state.iteration, inputs, recipe)
    flags = flags_of_checks(state_checks(state.generator, state.discriminator))
    state = state.replace(generator=_packed(pack, state.generator, recipe.generator_specs),
                          discriminator=_packed(pack, state.discriminator, recipe.specs))
    state, g_metrics = update_generator(state, at, inputs, recipe)
    update = functools.partial(update_discriminator, g_params=state.generator.params, at=at,
                               inputs=inputs, recipe=recipe)
    begin = state.discriminator, state.generator.collections
    if recipe.n_dis == 1 and recipe.platform == "tpu":
        (d, g_collections), d_metrics = loop_of_one(update, begin, state.iteration)
    else:
        (d, g_collections), d_metrics = repeat(update, begin, recipe.n_dis, recipe.platform)
    d = _packed(unpack, d, recipe.specs)
    g = _packed(unpack, state.generator.replace(**g_collections), recipe.generator_specs)
    if recipe.ema_decay:
        average = functools.partial(moving_average, decay=recipe.ema_decay,
                                    iteration=state.iteration)
        g = g.replace(ema_params=average(g.ema_params, g.params),
                      ema_batch_stats=average(g.ema_batch_stats, g.batch_stats))
    d_flags, _ = first_raised(d_metrics.pop("flags"))
    metrics = {**g_metrics, **jax.tree.map(lambda y: y[-1], d_metrics),
               "learning_rate": at.learning_rate,
               "flags": jnp.concatenate([flags, g_metrics["flags"], d_flags])}
    return TrainState(state.iteration + 1, g, d), metrics


def update_generator(state: TrainState, at: Now, inputs: Inputs, recipe: Recipe
                     ) -> tuple[TrainState, Metrics]:
    """G takes a step of Adam on its loss; D keeps the power step of the forward pass."""
    g, d = state.generator, state.discriminator
    if recipe.accumulate > 1:
        g = g.replace(**stepped(g.params, g.collections, recipe.generator_specs))
        if SIGMA_UPDATES[recipe.sigma_updates][0]:
            d = d.replace(**stepped(d.params, d.collections, recipe.specs))
        state = TrainState(state.iteration, g, d)

    def part(inputs: Inputs, recipe: Recipe) -> Found:
        gradients, (metrics, *collections) = jax.grad(generator_loss, has_aux=True)(
            g.params, state, at, inputs, recipe)
        return metrics, gradients, tuple(collections)

    metrics, gradients, (g_collections, d_collections) = mean_over_devices(
        *mean_of_parts(part, inputs, recipe), recipe)
    squares = sums_of_squares(gradients)
    metrics |= {"flags": flags_of_checks(update_checks("generator", metrics, squares)),
                "g_gradient": gradient_norm(squares)}
    g = update_player(g, gradients, at.learning_rate, inputs)
    return TrainState(state.iteration, g.replace(**g_collections),
                      d.replace(**d_collections)), metrics


def generator_loss(params: PyTree, state: TrainState, at: Now, inputs: Inputs, recipe: Recipe
                   ) -> tuple[jax.Array, tuple[Metrics, Collections, Collections]]:
    """The loss of G with `params` on one batch of fakes; metrics, and both players' collections."""
    power_step, _, _ = SIGMA_UPDATES[recipe.sigma_updates]
    fake, g_collections = fake_batch(
        {"params": params, **state.generator.collections},
        jax.random.fold_in(at.noise_key, 0), recipe.generator_batch_size, inputs, recipe)
    logits, classes, d_collections = discriminate(
        recipe.discriminator, state.discriminator.variables, *fake,
        power_step=power_step and recipe.power_steps, specs=recipe.specs)
    metrics = {"g_loss": recipe.loss.generator(logits)}
    total = metrics["g_loss"]
    if classes is not None:
        assert fake.labels is not None  # a classifier has classes
        metrics["g_class"] = classification(classes, fake.labels)
        total += recipe.class_weights[1] * metrics["g_class"]
    return total, (metrics, g_collections, d_collections)


def update_discriminator(carry: tuple[DiscriminatorState, Collections], i: jax.Array, *,
                         g_params: PyTree, at: Now, inputs: Inputs, recipe: Recipe
                         ) -> tuple[tuple[DiscriminatorState, Collections], Metrics]:
    """D takes its i-th step of Adam in an iteration.

    Args:
      carry: D, and G's collections, whose running statistics the fakes update.
      g_params: G's parameters, which do not change meanwhile.
    """
    d, g_collections = carry
    real_key, fake_key, penalty_key = jax.random.split(
        jax.random.fold_in(at.noise_key, i + 1), 3)
    _, real_step, fake_step = SIGMA_UPDATES[recipe.sigma_updates]
    between = None
    if recipe.accumulate > 1:
        if fake_step:
            g_collections = stepped(g_params, g_collections, recipe.generator_specs)
        if real_step or (recipe.together and fake_step):
            d = d.replace(**stepped(d.params, d.collections, recipe.specs))
        if fake_step and not recipe.together:
            between = stepped(d.params, d.collections, recipe.specs)["spectral"]

    def part(inputs: Inputs, recipe: Recipe) -> Found:
        real = real_batch(i, real_key, at, inputs, recipe)
        fake, g_after = fake_batch({"params": g_params, **g_collections}, fake_key,
                                   recipe.batch_size, inputs, recipe, power_step=fake_step)
        keys = own_keys(penalty_key, recipe.batch_size, inputs, recipe)
        gradients, (metrics, d_after) = jax.grad(discriminator_loss, has_aux=True)(
            d.params, d.collections, real, fake, keys, recipe, between)
        return metrics, gradients, (g_after, d_after)

    metrics, gradients, (g_collections, collections) = mean_over_devices(
        *mean_of_parts(part, inputs, recipe), recipe)
    squares = sums_of_squares(gradients)
    metrics |= {"flags": flags_of_checks(update_checks("discriminator", metrics, squares)),
                "d_gradient": gradient_norm(squares)}
    d = update_player(d, gradients, at.learning_rate, inputs)
    if recipe.constraint is not None:
        d = d.replace(params=recipe.constraint(d.params))
    return (d.replace(**collections), g_collections), metrics


def discriminator_loss(params: PyTree, collections: Collections, real: Batch, fake: Batch,
                       keys: jax.Array, recipe: Recipe, between: PyTree = None
                       ) -> tuple[jax.Array, tuple[Metrics, Collections]]:
    """The loss of D with `params`, including its method's penalty; metrics and D's collections.

    Args:
      keys: n keys, one for each pair of a real and a fake image, for the penalty.
      between: D's spectral vectors for the forward pass on the fakes, if computed before; None to
        use the vectors after the pass on the real images.
    """
    variables = {"params": params, **collections}
    real_logits, fake_logits, classes, collections = _logits_of_both(variables, real, fake, recipe,
                                                                     between)
    metrics = {"d_loss": recipe.loss.discriminator(real_logits, fake_logits),
               "d_real": jnp.mean(real_logits), "d_fake": jnp.mean(fake_logits)}
    total = metrics["d_loss"]
    if classes is not None:
        assert real.labels is not None
        metrics["d_class"] = classification(classes, real.labels)
        total += recipe.class_weights[0] * metrics["d_class"]
    if recipe.regularizer is not None:
        metrics["penalty"] = recipe.regularizer(Update(
            lambda x: discriminate(recipe.discriminator, variables | collections, x, real.labels,
                                   power_step=False, specs=recipe.specs)[0],
            params, real.images, fake.images, keys))
        total += metrics["penalty"]
    return total, (metrics, collections)


def _logits_of_both(variables: Variables, real: Batch, fake: Batch, recipe: Recipe, between: PyTree
                    ) -> tuple[jax.Array, jax.Array, jax.Array | None, Collections]:
    """Logits of the real and of the fake images, class logits of the real ones, collections."""
    d = functools.partial(discriminate, recipe.discriminator, specs=recipe.specs)
    _, real_step, fake_step = (step and recipe.power_steps
                               for step in SIGMA_UPDATES[recipe.sigma_updates])
    if recipe.together:
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), real, fake)
        logits, classes, collections = d(variables, *both, power_step=real_step or fake_step)
        real_logits, fake_logits = jnp.split(logits, 2)
        classes = None if classes is None else classes[:len(real.images)]
        return real_logits, fake_logits, classes, collections
    real_logits, classes, collections = d(variables, *real, power_step=real_step)
    if between is not None:
        collections = {**collections, "spectral": between}
    fake_logits, _, collections = d(variables | collections, *fake, power_step=fake_step)
    return real_logits, fake_logits, classes, collections


def _packed(change: Callable, player: Player, specs: Specs | None) -> Player:
    """A player with its vectors in a few arrays, or as stored (`network.pack`, `unpack`)."""
    if specs is None:
        return player
    return player.replace(spectral=change(player.params, player.spectral, specs))


def update_player(player: Player, gradients: PyTree, rate: jax.Array, inputs: Inputs) -> Player:
    """A player's state after a step of Adam: new parameters and moments."""
    direction, opt_state = adam(inputs.beta1, inputs.beta2).update(
        gradients, player.opt_state, player.params)
    params = jax.tree.map(lambda p, d: p - rate * d, player.params, direction)
    return player.replace(params=params, opt_state=opt_state)
