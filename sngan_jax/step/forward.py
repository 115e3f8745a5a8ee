"""Forward passes of both networks in training mode, which return the updated collections."""

from __future__ import annotations

import flax.linen as nn
import jax

from sngan_jax.base.types import PyTree
from sngan_jax.network import Specs, normalize
from sngan_jax.reparametrization import NORMALIZED

Collections = dict[str, PyTree]  # name -> tree; an absent collection is empty
Variables = dict[str, PyTree]  # 'params' and the collections


def generate(generator: nn.Module, variables: Variables, z: jax.Array, y: jax.Array | None, *,
             power_step: bool = True, specs: Specs | None = None
             ) -> tuple[jax.Array, Collections]:
    """Images (n, h, w, c) for latents z (n, d) and labels y, and the collections afterwards.

    specs: G's normalized weights, as in `Recipe`.
    """
    return _training(generator, variables, z, y, power_step, specs)


def discriminate(discriminator: nn.Module, variables: Variables, x: jax.Array,
                 y: jax.Array | None, *, power_step: bool,
                 specs: Specs | None = None
                 ) -> tuple[jax.Array, jax.Array | None, Collections]:
    """Logits (n,), class logits (None without a classifier), and the collections afterwards.

    Args:
      x: images (n, h, w, c).
      y: labels, or None.
      power_step: whether `'spectral'` is updated.
      specs: D's normalized weights, as in `Recipe`.
    """
    output, collections = _training(discriminator, variables, x, y, power_step, specs)
    logits, classes = output if isinstance(output, tuple) else (output, None)
    return logits, classes, collections


def _training(network: nn.Module, variables: Variables, inputs: jax.Array, y: jax.Array | None,
              power_step: bool, specs: Specs | None = None
              ) -> tuple[PyTree, Collections]:
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    mutable = [name for name in collections if power_step or name != "spectral"]
    if specs is None:
        output, updated = network.apply(variables, inputs, y, mutable=mutable)
        return output, {**collections, **updated}
    steps = max(spec.n_steps for spec in specs.values()) if power_step else 0
    bar, spectral = normalize(variables["params"], variables["spectral"], specs, steps)
    held = {name: tree for name, tree in variables.items() if name != "spectral"}
    output, updated = network.apply({**held, NORMALIZED: bar}, inputs, y, mutable=[
        name for name in mutable if name != "spectral"])
    return output, {**collections, **updated, "spectral": spectral}
