"""Numbers that are not finite, found on the device in the iteration in which they appear.

The step checks every leaf once an iteration: parameters, spectral vectors and batch statistics
that it starts from, then what it computes, losses and gradients. One boolean a leaf leaves the
device, of the first iteration of a call in which one was raised.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

Checks = dict[str, Any]  # kind of number -> tree


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by path, as 'generator/params/dense/kernel'."""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def generator_checks(g: Any, metrics: dict[str, Any], gradients: Any) -> Checks:
    """What is checked in the generator's update, in the order of cause and effect."""
    return {"parameter generator": g.params, "batch statistic generator": g.batch_stats,
            "metric": _values(metrics), "gradient of generator": gradients}


def discriminator_checks(d: Any, metrics: dict[str, Any], gradients: Any) -> Checks:
    """What is checked in an update of the discriminator, in the order of cause and effect."""
    return {"parameter discriminator": d.params, "spectral vector discriminator": d.spectral,
            "batch statistic discriminator": d.batch_stats,
            "metric": _values(metrics), "gradient of discriminator": gradients}


def _values(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in sorted(metrics) if not name.endswith("_gradient")}


def names_of_checks(checks: Checks) -> list[str]:
    """One a leaf, as 'gradient of generator/block1/conv1/kernel'."""
    return [f"{kind}{' ' if kind == 'metric' else '/'}{path}" for kind, tree in checks.items()
            for path in named_leaves(tree)]


def flags_of_checks(checks: Checks) -> jax.Array:
    """bool (leaves,): whether a leaf has a value that is not finite."""
    return jnp.stack([~jnp.isfinite(leaf).all() for tree in checks.values()
                      for leaf in named_leaves(tree).values()])


def gradient_norm(gradients: Any) -> jax.Array:
    """The Euclidean norm of all gradients together, a float32 scalar: what is logged of them."""
    return optax.tree.norm(gradients)


def first_raised(flags: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first row of bool (rows, leaves) with a flag, and its index; -1 where there is none."""
    raised = flags.any(1)
    first = jnp.argmax(raised)
    return flags[first], jnp.where(raised.any(), first, -1).astype(jnp.int32)
