"""Losses of the two players: pure functions of logits, named in `LOSSES`.

D(x) is the raw, un-squashed output of the discriminator. Every function returns the scalar
(float32) that its player *minimises*, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Loss(NamedTuple):
    """The pair of losses of one GAN objective.

    discriminator: (real logits (n,), fake logits (m,)) -> scalar
    generator: (fake logits (m,)) -> scalar
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


def non_saturating_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """-E[log D(x)] - E[log(1 - D(G(z)))] with D = sigmoid(logit) (paper eq. 15).

    At the optimal D, twice the Jensen-Shannon divergence minus log 4, with the sign changed.
    """
    return jnp.mean(jax.nn.softplus(-_float32(real))) + jnp.mean(jax.nn.softplus(_float32(fake)))


def non_saturating_generator(fake: jax.Array) -> jax.Array:
    """-E[log D(G(z))] with D = sigmoid(logit) (paper §4: the alternative of Goodfellow et al.)."""
    return jnp.mean(jax.nn.softplus(-_float32(fake)))


def hinge_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (paper eq. 16).

    At the optimal D, two minus twice the total variation distance.
    """
    return jnp.mean(jax.nn.relu(1 - _float32(real))) + jnp.mean(jax.nn.relu(1 + _float32(fake)))


def hinge_generator(fake: jax.Array) -> jax.Array:
    """-E[D(G(z))] (paper eq. 17)."""
    return -jnp.mean(_float32(fake))


def _float32(logits: jax.Array) -> jax.Array:
    # A mean over a batch loses digits in bfloat16.
    return jnp.asarray(logits, jnp.float32)


LOSSES: dict[str, Loss] = {
    "non_saturating": Loss(non_saturating_discriminator, non_saturating_generator),
    "hinge": Loss(hinge_discriminator, hinge_generator),
}
