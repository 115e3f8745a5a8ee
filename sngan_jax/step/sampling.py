"""Images from a generator."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from sngan_jax.base.compilation import jit
from sngan_jax.base.errors import UserError
from sngan_jax.base.types import Config, PyTree
from sngan_jax.data.pipeline import example_keys, to_uint8
from sngan_jax.network import specs, update_spectral
from sngan_jax.step.devices import gathered, own_part, replicate, spread
from sngan_jax.step.forward import Variables, generate
from sngan_jax.step.latents import sample_latents
from sngan_jax.step.state import GeneratorState

# The statistics that batch norm uses in a sampled generator. 'running': those of training, as in
# the paper; 'batch': those of the samples drawn together; 'standing': those of many batches,
# computed with the parameters that are sampled (Brock et al. 2019, "BigGAN").
BN_MODES = ("running", "batch", "standing")
_STANDING_BATCHES, _STANDING_BATCH_SIZE = 16, 64
# Power steps of averaged weights before they are sampled, starting from the training vectors.
_POWER_STEPS = 20


_NOT_FINITE = ("the generator makes images with values that are not finite (NaN or infinity): its "
               "parameters have diverged; use an earlier checkpoint, or train again with a lower "
               "learning rate")


class NotFiniteError(UserError):
    """A generator makes images with NaN or infinity."""


def sample_images(generator: nn.Module, state: GeneratorState, key: jax.Array, labels: np.ndarray,
                  config: Config, **options: Any) -> np.ndarray:
    """One image for each label: uint8 (n, h, w, c); arguments as for `sample_batches`."""
    return np.concatenate(list(sample_batches(generator, state, key, labels, config, **options)))


def sample_batches(generator: nn.Module, state: GeneratorState, key: jax.Array,
                   labels: np.ndarray, config: Config, *, batch_size: int = 256,
                   ema: bool | None = None, bn_mode: str | None = None,
                   truncation: float | None = None) -> Iterator[np.ndarray]:
    """One image for each label, made batch by batch on all devices: uint8 (n, h, w, c).

    Image i is a function of (key, i, labels[i]) alone; with the statistics of the batch, it also
    depends on the other images of its batch. Several processes share the work, so all must make the
    same call; each gets all images.

    Args:
      generator: network that is not tied to a pmap axis (`setup.recipe_of` without devices).
      state: replicated or not.
      key: PRNG key for the latents.
      labels: int (n,), ignored by an unconditional generator.
      config: fields `latent_size`, `latent`, `bn_evaluation` (one of BN_MODES) and `bn_decay`.
      batch_size: images made at a time; the last batch is padded and cut.
      ema: whether to use the moving average of the generator; None: if the state has one.
      bn_mode: one of BN_MODES; None: the config's.
      truncation: as for `latents.sample_latents`.

    Raises:
      NotFiniteError: if an image holds NaN or infinity.
      UserError: if `ema` is true and the state has no moving average, or a label is not a class.
    """
    labels = _checked(labels, generator.num_classes)
    mode, variables = bn_mode or config.bn_evaluation, variables_of(generator, state, ema, config)
    if mode == "standing":
        variables["batch_stats"] = standing_statistics(generator, variables, config)
    devices = jax.local_devices()
    variables, key = replicate((variables, key), devices)
    n = len(labels)
    # The statistics of a batch are those of a whole one, so each process makes a whole one.
    part, whole = (np.asarray, np.asarray) if mode == "batch" else (own_part, gathered)
    multiple = len(devices) * (1 if mode == "batch" else jax.process_count())
    batch_size = -(-min(batch_size, n) // multiple) * multiple
    for start in range(0, n, batch_size):
        rows = part(np.arange(start, start + batch_size, dtype=np.int32))
        drawn, good = _draw(generator, config.latent_size, config.latent, mode == "batch",
                            truncation, variables, key, spread(rows, devices),
                            spread(np.take(labels, rows, mode="wrap").astype(np.int32), devices))
        images, finite = whole(drawn), whole(good)
        if not finite[:n - start].all():
            raise NotFiniteError(_NOT_FINITE)
        yield images[:n - start]


def _checked(labels: npt.ArrayLike, num_classes: int) -> np.ndarray:
    """Labels as an array; UserError if one is not a class.

    Without classes, only their number matters.
    """
    found = np.asarray(labels)
    if found.ndim != 1 or not len(found):
        raise UserError(f"labels have the shape {found.shape}: give one label for each image, "
                        "for example np.full(64, 3)")
    if num_classes and not (np.issubdtype(found.dtype, np.integer)
                            and found.min() >= 0 and found.max() < num_classes):
        wrong = next((x for x in found.tolist() if x not in range(num_classes)), found[0])
        raise UserError(f"the label {wrong!r} is not a class: classes are whole numbers from 0 to "
                        f"{num_classes - 1}")
    return found


def images_of(generator: nn.Module, state: GeneratorState, z: jax.Array, y: jax.Array | None,
              config: Config, *, ema: bool | None = None, bn_mode: str | None = None) -> np.ndarray:
    """The images of given latents, made in one batch on one device: uint8 (n, h, w, c).

    Args:
      state: not replicated.
      z: float (n, latent_size).
      y: None for an unconditional generator; else integers (n,), or weights of the classes
        (n, num_classes), which mix the rows of the conditional batch norms (`latent.class_walk`).
      config, ema, bn_mode: as for `sample_batches`; the batch of 'batch' is z.

    Raises:
      NotFiniteError, UserError: as for `sample_batches`.
    """
    mode, variables = bn_mode or config.bn_evaluation, variables_of(generator, state, ema, config)
    if mode == "standing":
        variables["batch_stats"] = standing_statistics(generator, variables, config)
    images, finite = _compiled_images(generator, mode == "batch", variables, z, y)
    if not finite.all():
        raise NotFiniteError(_NOT_FINITE)
    return np.asarray(images)


def variables_of(generator: nn.Module, state: GeneratorState, ema: bool | None, config: Config
                 ) -> Variables:
    """Variables with which a generator draws samples; the arguments are those of `sample_images`.

    Averaged weights of a normalized G get their own spectral vectors. UserError if an average is
    asked for and there is none.
    """
    has = state.ema_params is not None
    if ema and not has:
        raise UserError("this run kept no moving average of its generator (config.ema_decay is 0): "
                        "score it without one")
    if has and ema is not False:
        averaged = {"params": state.ema_params, "batch_stats": state.ema_batch_stats,
                    "spectral": state.spectral}
        if state.spectral:
            return _with_own_vectors(generator, config.latent_size, averaged)
        return averaged
    return state.variables


@functools.partial(jit, static_argnums=(0, 1))
def _with_own_vectors(generator: nn.Module, latent_size: int, variables: Variables) -> Variables:
    """Averaged weights with their own spectral vectors, by power steps from training's."""
    y = jnp.zeros(2, jnp.int32) if generator.num_classes else None
    found = specs(generator, jnp.zeros((2, latent_size)), y)
    return {**variables, "spectral": update_spectral(variables, found, _POWER_STEPS)}


@functools.partial(jit, static_argnums=(0, 1, 2, 3, 4))
def _draw(generator: nn.Module, latent_size: int, latent: str, of_batch: bool,
          truncation: float | None, variables: Variables, key: jax.Array, rows: jax.Array,
          labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images, and whether each is finite."""
    z = sample_latents(jax.vmap(lambda row: jax.random.fold_in(key, row))(rows), latent_size,
                       latent, truncation)
    return _images(generator, of_batch, variables, z, labels if generator.num_classes else None)


def _images(generator: nn.Module, of_batch: bool, variables: Variables, z: jax.Array,
            y: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Images of latents, and whether each is finite."""
    images: PyTree
    if of_batch:
        images = _in_training(generator, variables, z, y)[0]
    else:
        images = generator.apply(variables, z, y)
    return to_uint8(images), jnp.isfinite(images).all((1, 2, 3))


_compiled_images = functools.partial(jit, static_argnums=(0, 1))(_images)


def standing_statistics(generator: nn.Module, variables: Variables, config: Config) -> PyTree:
    """Means and variances of batch norm, averaged over 16 batches of 64 latents.

    Labels take turns. The latents are always the same.
    """
    labels = jnp.asarray(even_labels(_STANDING_BATCH_SIZE, generator.num_classes))
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    variables, total = {**variables, "batch_stats": zeros}, zeros
    for i in range(_STANDING_BATCHES):
        start = jnp.int32(i * _STANDING_BATCH_SIZE)
        total = jax.tree.map(jnp.add, total, _from_zero(
            generator, config.latent_size, config.latent, variables, start, labels))
    # Started from zero, the running average holds this share of a batch's own statistics.
    share = _STANDING_BATCHES * (1 - config.bn_decay)
    return jax.tree.map(lambda x: x / share, total)


@functools.partial(jit, static_argnums=(0, 1, 2))
def _from_zero(generator: nn.Module, latent_size: int, latent: str, variables: Variables,
               start: jax.Array, labels: jax.Array) -> PyTree:
    """The running averages after one batch; compiled once for all the sample grids of a run."""
    keys = example_keys(jax.random.key(0), start, labels.shape[0])
    z = sample_latents(keys, latent_size, latent)
    return _in_training(generator, variables, z, labels if generator.num_classes else None)[1]


def _in_training(generator: nn.Module, variables: Variables, z: jax.Array, y: jax.Array | None
                 ) -> tuple[jax.Array, PyTree]:
    """Images and batch statistics of a forward pass in training mode, without a power step."""
    images, collections = generate(generator, variables, z, y, power_step=False)
    return images, collections["batch_stats"]


def even_labels(n: int, num_classes: int) -> np.ndarray:
    """0, 1, …, num_classes - 1, 0, 1, …: int32 (n,); zeros for an unconditional model."""
    return np.arange(n, dtype=np.int32) % max(num_classes, 1)
