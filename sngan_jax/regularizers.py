"""Regularizers, added to the discriminator's loss, and constraints on its weights after an update.

They are pure functions, used by the other methods of the paper's Table 2. `REGULARIZERS` and
`CONSTRAINTS` build them from a config for the training step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sngan_jax.base.shapes import Float
from sngan_jax.base.types import Config, PyTree
from sngan_jax.linen import WEIGHTS
from sngan_jax.losses import at_least_float32


class Update(NamedTuple):
    """Inputs of a regularizer in one discriminator update, on one device.

    logits: images (n, h, w, c) -> (n,), the discriminator with `params`; it takes no power step.
    params: the discriminator's parameters, with respect to which the loss is differentiated.
    real, fake: float32 (n, h, w, c).
    keys: n keys, one for each pair of a real and a fake image.
    """

    logits: Callable[[Array], Array]
    params: PyTree
    real: Array
    fake: Array
    keys: Array


Regularizer = Callable[[Update], Array]
Constraint = Callable[[PyTree], PyTree]


def gradient_penalty(logits: Callable[[Array], Array], real: Float[Array, "n h w c"],
                     fake: Float[Array, "n h w c"], epsilon: Float[Array, " n"]
                     ) -> Float[Array, ""]:
    """E[(|| grad f(x) || - 1)^2] at x = epsilon·real + (1 - epsilon)·fake (paper eq. 29-31).

    Args:
      logits: f, images (n, h, w, c) -> (n,); each logit depends on its own image only.
      real, fake: images.
      epsilon: numbers in [0, 1].

    Returns:
      the penalty in float32, without its coefficient λ.
    """
    epsilon = epsilon.reshape(-1, *(1,) * (real.ndim - 1))
    x = epsilon * real + (1 - epsilon) * fake
    gradient = jax.grad(lambda x: jnp.sum(at_least_float32(logits(x))))(x)
    squares = jnp.sum(at_least_float32(gradient) ** 2, axis=tuple(range(1, x.ndim)))
    # The root has no derivative at zero, where a discriminator may begin.
    lengths = jnp.sqrt(jnp.maximum(squares, 1e-24))
    return jnp.mean((lengths - 1) ** 2)


def weights(params: PyTree) -> list[Array]:
    """The weights of the layers in a tree of parameters, in any shape: no biases, no scales."""
    return [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            if path[-1].key in WEIGHTS]


def orthonormal_penalty(params: PyTree) -> Float[Array, ""]:
    """Sum over the weights of ||W'W - I||^2 in the Frobenius norm (paper eq. 14).

    W is the (rest, outputs) matrix of a layer, or its transpose, whichever makes W'W the smaller:
    the two values differ by a constant, and only the smaller can be zero. The sum is in float32.
    """
    total: Array | float = 0.0
    for weight in weights(params):
        matrix = at_least_float32(weight).reshape(-1, weight.shape[-1])
        if matrix.shape[0] < matrix.shape[1]:
            matrix = matrix.T
        gram = matrix.T @ matrix
        total += jnp.sum((gram - jnp.eye(len(gram), dtype=gram.dtype)) ** 2)
    return jnp.asarray(total)


def clip_weights(params: PyTree, bound: float) -> PyTree:
    """Clips every weight to [-bound, bound]; biases stay (paper §4.1, Arjovsky et al. 2017)."""
    def clip(path: tuple[jax.tree_util.DictKey, ...], leaf: Array) -> Array:
        return jnp.clip(leaf, -bound, bound) if path[-1].key in WEIGHTS else leaf
    return jax.tree_util.tree_map_with_path(clip, params)


def project_weights(params: PyTree, bound: float) -> PyTree:
    """Replaces every weight W by W / max(1, σ(W)/bound); biases stay.

    A small weight stays as it is. Equation 9 of Gouk, Frank, Pfahringer, Cree, "Regularization
    of neural networks by enforcing Lipschitz continuity", 2018. σ is that of the (outputs, rest)
    matrix, by SVD, which is slow.
    """
    def project(path: tuple[jax.tree_util.DictKey, ...], leaf: Array) -> Array:
        if path[-1].key not in WEIGHTS:
            return leaf
        wide = at_least_float32(leaf)
        sigma = jnp.linalg.svd(wide.reshape(-1, leaf.shape[-1]), compute_uv=False)[0]
        return (wide / jnp.maximum(1, sigma / bound)).astype(leaf.dtype)
    return jax.tree_util.tree_map_with_path(project, params)


def _gradient_penalty(config: Config) -> Regularizer:
    def regularizer(update: Update) -> Array:
        epsilon = jax.vmap(jax.random.uniform)(update.keys)
        return config.gp_coefficient * gradient_penalty(
            update.logits, update.real, update.fake, epsilon)
    return regularizer


def _orthonormal(config: Config) -> Regularizer:
    return lambda update: config.orthonormal_coefficient * orthonormal_penalty(update.params)


# {name: function of the config}; the first of each does nothing.
REGULARIZERS: dict[str, Callable[[Config], Regularizer | None]] = {
    "none": lambda config: None,
    "gradient_penalty": _gradient_penalty,
    "orthonormal": _orthonormal,
}
CONSTRAINTS: dict[str, Callable[[Config], Constraint | None]] = {
    "none": lambda config: None,
    "clip": lambda config: functools.partial(clip_weights, bound=config.clip),
    "project": lambda config: functools.partial(project_weights, bound=config.lipschitz),
}
