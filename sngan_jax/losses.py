"""Losses of the two players: pure functions of logits, named in `LOSSES`.

D(x) is the raw, un-squashed output of the discriminator. Every function returns the scalar
(float32) that its player *minimizes*, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sngan_jax.base.shapes import Float, Integer, Shaped


class Loss(NamedTuple):
    """The pair of losses of one GAN objective (paper §2, eq. 15-17), one for each player.

    discriminator: (real logits (n,), fake logits (m,)) -> scalar
    generator: (fake logits (m,)) -> scalar
    """

    discriminator: Callable[[Array, Array], Array]
    generator: Callable[[Array], Array]


def non_saturating_discriminator(real: Float[Array, " n"], fake: Float[Array, " m"]
                                 ) -> Float[Array, ""]:
    """-E[log D(x)] - E[log(1 - D(G(z)))] with D = sigmoid(logit) (paper eq. 15).

    At the optimal D its value is log 4 minus twice the Jensen-Shannon divergence.
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def non_saturating_generator(fake: Float[Array, " m"]) -> Float[Array, ""]:
    """-E[log D(G(z))] with D = sigmoid(logit) (paper §4: the alternative of Goodfellow et al.).

    Against the optimal D, its gradient is the gradient of KL(p_G, q_data) minus twice the
    Jensen-Shannon divergence (Arjovsky & Bottou 2017, Theorem 2.5).
    """
    return jnp.mean(jax.nn.softplus(-at_least_float32(fake)))


def minimax_generator(fake: Float[Array, " m"]) -> Float[Array, ""]:
    """E[log(1 - D(G(z)))] with D = sigmoid(logit) (paper §2, before the alternative of §4).

    Against the optimal D, the generator descends twice the Jensen-Shannon divergence minus log 4;
    its gradient vanishes where D is confident.
    """
    return -jnp.mean(jax.nn.softplus(at_least_float32(fake)))


def wasserstein_discriminator(real: Float[Array, " n"], fake: Float[Array, " m"]
                              ) -> Float[Array, ""]:
    """-E[D(x)] + E[D(G(z))] (Arjovsky et al. 2017; paper eq. 29 without its penalty).

    At the optimal D among K-Lipschitz functions its value is -K times the Wasserstein-1 distance;
    without such a bound it has no minimum.
    """
    return jnp.mean(at_least_float32(fake)) - jnp.mean(at_least_float32(real))


def wasserstein_generator(fake: Float[Array, " m"]) -> Float[Array, ""]:
    """-E[D(G(z))] (Arjovsky et al. 2017).

    Against the optimal D, it descends K times the Wasserstein-1 distance.
    """
    return -jnp.mean(at_least_float32(fake))


def hinge_discriminator(real: Float[Array, " n"], fake: Float[Array, " m"]) -> Float[Array, ""]:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (paper eq. 16).

    At the optimal D its value is two minus twice the total variation distance.
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))


def hinge_generator(fake: Float[Array, " m"]) -> Float[Array, ""]:
    """-E[D(G(z))] (paper eq. 17).

    Against the optimal D, whose values are -1 and 1, it descends twice the total variation
    distance.
    """
    return wasserstein_generator(fake)


def classification(class_logits: Float[Array, "n classes"], y: Integer[Array, " n"]
                   ) -> Float[Array, ""]:
    """E[-log p(y | x)]: an auxiliary classifier's term in a player's loss (Odena et al. 2017)."""
    log_p = jax.nn.log_softmax(at_least_float32(class_logits))
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))


def at_least_float32(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """An array in float32, or in its own wider type: bfloat16 loses digits in a sum."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


LOSSES: dict[str, Loss] = {
    "non_saturating": Loss(non_saturating_discriminator, non_saturating_generator),
    "minimax": Loss(non_saturating_discriminator, minimax_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "hinge": Loss(hinge_discriminator, hinge_generator),
}
