"""Images from a generator."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sngan_jax.data.pipeline import example_keys, to_uint8
from sngan_jax.train.state import GeneratorState
from sngan_jax.train.step import sample_latents


def make_sampler(generator: nn.Module, latent_size: int) -> Callable:
    """A jitted (generator state, key, start, labels) -> uint8 images (n, h, w, c).

    Uses the moving average of the generator where the state has one, and the running statistics of
    batch norm. Image i is a function of (key, start + i, its label) alone; the labels (n,) int32
    are ignored by an unconditional generator.
    """
    @jax.jit
    def sample(state: GeneratorState, key: jax.Array, start: jax.Array, labels: jax.Array):
        z = sample_latents(example_keys(key, start, labels.shape[0]), latent_size)
        if state.ema_params is None:
            variables = {"params": state.params, "batch_stats": state.batch_stats}
        else:
            variables = {"params": state.ema_params, "batch_stats": state.ema_batch_stats}
        y = labels if generator.num_classes else None
        return to_uint8(generator.apply(variables, z, y))

    return sample


def sample_images(generator: nn.Module, state: GeneratorState, key: jax.Array, labels: np.ndarray,
                  *, latent_size: int, batch_size: int = 256) -> np.ndarray:
    """As many images as labels, made batch by batch: uint8 (n, h, w, c).

    The result does not depend on `batch_size`: the last batch is padded and cut.
    """
    sampler = make_sampler(generator, latent_size)
    n = len(labels)
    batch_size = min(batch_size, n)
    padded = np.resize(labels, -(-n // batch_size) * batch_size).astype(np.int32)
    batches = [np.asarray(sampler(state, key, jnp.int32(i), padded[i:i + batch_size]))
               for i in range(0, n, batch_size)]
    return np.concatenate(batches)[:n]


def even_labels(n: int, num_classes: int) -> np.ndarray:
    """0, 1, …, num_classes - 1, 0, 1, …: int32 (n,); zeros for an unconditional model."""
    return np.arange(n, dtype=np.int32) % max(num_classes, 1)
