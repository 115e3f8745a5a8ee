"""Inputs of a generator: random latents, and walks between latents and between classes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from sngan_jax.base.shapes import Float, Integer, Shaped

# z ~ N(0, I) as in the paper; or uniform in [-1, 1], as in chainer-gan-lib's DCGAN.
LATENTS: dict[str, Callable[..., Array]] = {
    "normal": jax.random.normal,
    "uniform": functools.partial(jax.random.uniform, minval=-1.0)}


_TRUNCATED: dict[str, Callable[..., Array]] = {
    "normal": jax.random.truncated_normal,
    "uniform": lambda key, low, high, shape: jax.random.uniform(
        key, shape, minval=jnp.maximum(low, -1.0), maxval=jnp.minimum(high, 1.0))}


def sample_latents(keys: Shaped[Array, "n ..."], size: int, latent: str = "normal",
                   truncation: float | None = None) -> Float[Array, "n {size}"]:
    """One row of float32 latents for each key.

    Args:
      latent: a key of LATENTS.
      truncation: only values of at most this size are drawn (the truncation trick: Brock et al.
        2019, "BigGAN"); samples look better and vary less. None: no limit.
    """
    if truncation is not None:
        return jax.vmap(lambda key: _TRUNCATED[latent](key, -truncation, truncation, (size,)))(keys)
    return jax.vmap(lambda key: LATENTS[latent](key, (size,)))(keys)


def sample_labels(keys: Shaped[Array, "n ..."], num_classes: int) -> Integer[Array, " n"] | None:
    """One int32 class for each key, uniformly; None if there are no classes."""
    if not num_classes:
        return None
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, num_classes))(keys)


def linear(a: Float[Array, "n d"], b: Float[Array, "n d"], steps: int
           ) -> Float[Array, "n {steps} d"]:
    """Straight lines: (1 - t)·a + t·b for equally spaced t, including both ends.

    The midpoint of two normal latents is shorter than the ends by a factor of √2 on average: a
    length for which the generator was not trained. `spherical` keeps the length. The paper does not
    say how its latents are interpolated, and its official code interpolates classes only
    (`class_walk`).

    Args:
      a, b: the ends of n walks.
      steps: number of latents in a walk, 2 or more.

    Raises:
      ValueError: for fewer than two steps, or ends of different shapes.
    """
    t = _fractions(steps)[:, None]
    _check_ends(a, b)
    return (1 - t) * a[:, None] + t * b[:, None]


def spherical(a: Float[Array, "n d"], b: Float[Array, "n d"], steps: int
              ) -> Float[Array, "n {steps} d"]:
    """Great arcs: sin((1 - t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, Ω the angle between a and b.

    They suit normal latents, whose lengths concentrate (Shoemake 1985; White, "Sampling Generative
    Networks", 2016). Ends of different lengths are mixed as they are. If the ends are parallel or
    opposite, the arc is not unique, and the walk is `linear`.

    Args:
      a, b: the ends of n walks.
      steps: number of latents in a walk, 2 or more.

    Raises:
      ValueError: as for `linear`.
    """
    line, t = linear(a, b, steps), _fractions(steps)[:, None]
    lengths = [jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b)]
    cosine = jnp.sum(a * b, axis=-1, keepdims=True) / jnp.maximum(lengths[0] * lengths[1], 1e-30)
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))[:, None]
    sine = jnp.sin(angle)
    # A float32 cosine cannot resolve a sine below 1e-3; a vector of length zero has no angle.
    flat = (sine < 1e-3) | (lengths[0] * lengths[1] == 0)[:, None]
    safe = jnp.where(flat, 1, sine)
    arc = (jnp.sin((1 - t) * angle) * a[:, None] + jnp.sin(t * angle) * b[:, None]) / safe
    return jnp.where(flat, line, arc)


WALKS = {"linear": linear, "spherical": spherical}


def class_walk(first: int, last: int, num_classes: int, steps: int
               ) -> Float[Array, "{steps} {num_classes}"]:
    """Class weights in float32 that go from one class alone to another.

    Used as labels of a conditional generator, they mix the two rows of scales and shifts in every
    conditional batch norm, in equal steps: the category morphing of Miyato & Koyama 2018, with the
    same latent throughout (sngan_projection `gen_interpolated_images.py`).

    Raises:
      ValueError: for a class that does not exist, or fewer than two steps.
    """
    for label in (first, last):
        if not 0 <= label < num_classes:
            raise ValueError(f"class {label} is not one of the {num_classes} classes 0 to "
                             f"{num_classes - 1}")
    t = _fractions(steps)[:, None]
    ends = jax.nn.one_hot(jnp.array([first, last]), num_classes)
    return (1 - t) * ends[0] + t * ends[1]


def _fractions(steps: int) -> Array:
    if steps < 2:
        raise ValueError(f"a walk of {steps} steps: it takes at least 2, its two ends")
    return jnp.linspace(0, 1, steps)


def _check_ends(a: Array, b: Array) -> None:
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"the ends of walks are two arrays (n, d), got {a.shape} and {b.shape}")
