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
    """The pair of losses of one GAN objective (paper §2, eq. 15-17; its two players).

    discriminator: (real logits (n,), fake logits (m,)) -> scalar
    generator: (fake logits (m,)) -> scalar
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


def non_saturating_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """-E[log D(x)] - E[log(1 - D(G(z)))] with D = sigmoid(logit) (paper eq. 15).

    real: (n,); fake: (m,).
    At the optimal D, twice the Jensen-Shannon divergence minus log 4, with the sign changed.
    """
    return jnp.mean(jax.nn.softplus(-_float32(real))) + jnp.mean(jax.nn.softplus(_float32(fake)))


def non_saturating_generator(fake: jax.Array) -> jax.Array:
    """-E[log D(G(z))] with D = sigmoid(logit) (paper §4: the alternative of Goodfellow et al.).

    fake: (m,).
    Against the optimal D, its gradient is that of KL(p_G, q_data) minus twice the Jensen-Shannon
    divergence (Arjovsky & Bottou 2017, Theorem 2.5).
    """
    return jnp.mean(jax.nn.softplus(-_float32(fake)))


def minimax_generator(fake: jax.Array) -> jax.Array:
    """E[log(1 - D(G(z)))] with D = sigmoid(logit) (paper §2, before the alternative of §4).

    fake: (m,).
    Against the optimal D, the generator descends twice the Jensen-Shannon divergence minus log 4;
    its gradient vanishes where D is sure.
    """
    return -jnp.mean(jax.nn.softplus(_float32(fake)))


def wasserstein_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """-E[D(x)] + E[D(G(z))] (Arjovsky et al. 2017; paper eq. 29 without its penalty).

    real: (n,); fake: (m,).
    At the optimal D among the K-Lipschitz functions, -K times the Wasserstein-1 distance; without
    such a bound it has no minimum.
    """
    return jnp.mean(_float32(fake)) - jnp.mean(_float32(real))


def wasserstein_generator(fake: jax.Array) -> jax.Array:
    """-E[D(G(z))]: descends K times the Wasserstein-1 distance against the optimal D.

    fake: (m,). Arjovsky et al. 2017.
    """
    return -jnp.mean(_float32(fake))


def hinge_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (paper eq. 16).

    real: (n,); fake: (m,).
    At the optimal D, two minus twice the total variation distance.
    """
    return jnp.mean(jax.nn.relu(1 - _float32(real))) + jnp.mean(jax.nn.relu(1 + _float32(fake)))


def hinge_generator(fake: jax.Array) -> jax.Array:
    """-E[D(G(z))] (paper eq. 17).

    fake: (m,).
    Against the optimal D, whose values are -1 and 1, it descends the total variation distance.
    """
    return wasserstein_generator(fake)


def classification(class_logits: jax.Array, y: jax.Array) -> jax.Array:
    """E[-log p(y | x)]: what an auxiliary classifier adds to a player's loss (Odena et al. 2017).

    class_logits: (n, classes); y: int (n,). Returns a float32 scalar.
    """
    log_p = jax.nn.log_softmax(_float32(class_logits))
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))


def _float32(logits: jax.Array) -> jax.Array:
    # A mean over a batch loses digits in bfloat16.
    return jnp.asarray(logits, jnp.promote_types(jnp.result_type(logits), jnp.float32))


LOSSES: dict[str, Loss] = {
    "non_saturating": Loss(non_saturating_discriminator, non_saturating_generator),
    "minimax": Loss(non_saturating_discriminator, minimax_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "hinge": Loss(hinge_discriminator, hinge_generator),
}
