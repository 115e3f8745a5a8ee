"""Checks for numbers that are not finite, on the device, in the iteration where they appear.

Once an iteration the step checks its starting point: parameters and batch statistics. In every
update it checks values that are computed anyway: losses, and each gradient's sum of squares. The
device returns one boolean per leaf, for the first iteration of a call in which one was raised.

Spectral vectors need no check: a power step replaces one that is not finite, and where u and v
both are, the losses show it.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sngan_jax.base.types import Leaf, PyTree
from sngan_jax.step.state import DiscriminatorState, GeneratorState

Checks = dict[str, PyTree]  # kind of number -> tree


def named_leaves(tree: PyTree) -> dict[str, Leaf]:
    """The leaves of a tree by path, such as 'generator/params/dense/kernel'."""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def state_checks(g: GeneratorState, d: DiscriminatorState) -> Checks:
    """Checks of the two players before an iteration."""
    return {"parameter generator": g.params, "batch statistic generator": g.batch_stats,
            "parameter discriminator": d.params, "batch statistic discriminator": d.batch_stats}


def update_checks(player: str, metrics: Mapping[str, object], gradients: PyTree) -> Checks:
    """Checks of an update of 'generator' or 'discriminator', cause before effect.

    gradients: judged by their sums of squares (`sums_of_squares`), finite exactly where they are.
    """
    return {"metric": _values(metrics), f"gradient of {player}": gradients}


def _values(metrics: Mapping[str, object]) -> dict[str, object]:
    return {name: metrics[name] for name in sorted(metrics) if not name.endswith("_gradient")}


def names_of_checks(checks: Checks) -> list[str]:
    """One name per leaf, such as 'gradient of generator/block1/conv1/kernel'."""
    return [f"{kind}{' ' if kind == 'metric' else '/'}{path}" for kind, tree in checks.items()
            for path in named_leaves(tree)]


def flags_of_checks(checks: Checks) -> jax.Array:
    """bool (leaves,): whether each leaf has a value that is not finite."""
    return jnp.stack([~jnp.isfinite(leaf).all() for tree in checks.values()
                      for leaf in named_leaves(tree).values()])


def sums_of_squares(gradients: PyTree) -> PyTree:
    """The sum of squares of each leaf, a float32 scalar; the root of their sum is the norm."""
    return jax.tree.map(lambda x: jnp.sum(jnp.square(x.astype(jnp.promote_types(
        x.dtype, jnp.float32)))), gradients)


def gradient_norm(squares: PyTree) -> jax.Array:
    """The Euclidean norm of all gradients together, from `sums_of_squares`."""
    return jnp.sqrt(sum(jax.tree.leaves(squares)))


def first_raised(flags: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first row of bool (rows, leaves) with a flag, and its index; -1 if there is none."""
    raised = flags.any(1)
    first = jnp.argmax(raised)
    return flags[first], jnp.where(raised.any(), first, -1).astype(jnp.int32)
