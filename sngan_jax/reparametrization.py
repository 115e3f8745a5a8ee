"""W̄ in place of a weight W inside a Linen layer, and where its vectors and its scale are stored."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from flax.core import meta

from sngan_jax import spectral
from sngan_jax.divisors import Spec, checked_vectors
from sngan_jax.linen import WEIGHTS, Call, convolution_of, geometry_of, layout_of, mask_of

COLLECTION = "spectral"
NORMALIZED = "normalized"  # read-only: W̄ itself, computed outside the forward pass


def reparametrized(layer: Any, name: str, boxed: Any) -> Any:
    """W̄ for the weight that a layer declares as `name`, after a power step if one is due.

    Args:
      boxed: the weight as stored, possibly boxed with partitioning metadata; W̄ gets the same box.

    Raises:
      ValueError: for a weight that is not a matrix, and vectors or a scale of another model.
    """
    vars(layer)["_seen"] = True
    if layer.has_variable(NORMALIZED, name):
        return layer.get_variable(NORMALIZED, name)
    raw, initializing = meta.unbox(boxed), layer.is_initializing()
    spec = spec_of(layer, name, raw, vars(layer).get("_call") or ((), {}))
    weight = spec.widened(raw)
    shapes = spec.shapes(weight)
    held = meta.unbox(layer.variables.get(COLLECTION, {})) if shapes else {}
    if name not in WEIGHTS and isinstance(held, Mapping):
        held = held.get(name, {})
    if not isinstance(held, Mapping) or any(isinstance(held.get(v), Mapping) for v in shapes):
        raise ValueError(f"{where(layer)}: its vectors would have the same place in 'spectral' as "
                         "others, because a layer or a weight inside of a normalized layer is "
                         f"called {' or '.join(map(repr, shapes))}: give it another name")
    if initializing and not set(shapes) <= set(held):
        # Not from the 'params' stream: the parameters must equal those of the plain layer.
        rng = layer.make_rng(COLLECTION) if layer.has_rng(COLLECTION) else jax.random.key(0)
        held = spec.start(weight, rng)
        _store(layer, name, held)
    state = checked_vectors(held, shapes, where(layer), (
        "pass apply all the variables that init returned, {'params': …, 'spectral': …}. nn.scan, "
        "nn.vmap and nn.RNN drop collections that they are not told about: give them "
        "variable_axes={'params': 0, 'spectral': 0}, or variable_broadcast=['params', 'spectral'], "
        "and init again"))
    mutable = layer.is_mutable_collection(COLLECTION) and not initializing
    sigma, new = spec.measure(weight, state, spec.n_steps if mutable else 0)
    if mutable:
        _store(layer, name, new)
    scale = _gamma(layer, name, sigma, raw.dtype) if spec.learnable_scale else spec.lipschitz
    bar = spectral.divide(weight, sigma, scale)
    return meta.replace_boxed(boxed, bar.astype(raw.dtype))


def spec_of(layer: Any, name: str, raw: jax.Array, call: Call) -> Spec:
    """The `Spec` of a bound layer's weight; for a plain layer, that of `normalized(its class)`.

    Raises ValueError if the weight is not a matrix.
    """
    if raw.ndim < 2:
        raise ValueError(
            f"{where(layer)}: the parameter '{name}' of shape {raw.shape} is not a matrix: "
            "normalize only weights of two or more axes, and name them in normalized(…, "
            "weights={name: layout})"
        )
    own = hasattr(layer, "sn_options")  # a `Normalized` layer, whose module imports this one
    spec = layer.sn_options() if own else Spec()
    operator = None
    if spec.divisor == "operator" and (geometry := geometry_of(layer, call)):
        operator = functools.partial(convolution_of, geometry[0]), geometry[1]
    layout = (layer.sn_weights[name] if own else None) or layout_of(layer, raw, call)
    return dataclasses.replace(spec, layout=layout, mask=mask_of(layer), operator=operator)


def state_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path in 'spectral' of the vectors for the weight at `path` in 'params'."""
    return path[:-1] if path[-1] in WEIGHTS else path


def gamma_of(name: str) -> str:
    """The name of the learnt scale that belongs to a weight."""
    return "gamma" if name in WEIGHTS else name + "_gamma"


def where(layer: nn.Module) -> str:
    """The class of a bound layer and, within a model, its path, for errors."""
    return type(layer).__name__ + (f" at '{'/'.join(layer.path)}'" if layer.path else "")


def _store(layer: nn.Module, name: str, state: Mapping[str, jax.Array]) -> None:
    if layer.is_mutable_collection(COLLECTION) and state:
        for key, value in (state.items() if name in WEIGHTS else [(name, dict(state))]):
            layer.put_variable(COLLECTION, key, value)


def scale_of(gamma: jax.Array, sigma: jax.Array, what: str) -> jax.Array:
    """A learnt scale in the shape of the divisor; ValueError if it has another number of values."""
    if gamma.size != sigma.size:
        raise ValueError(f"{what} has the shape {gamma.shape}, but the divisor has {sigma.size} "
                         "value(s): use parameters of a model with the same options")
    return gamma.reshape(sigma.shape)


def _gamma(layer: Any, name: str, sigma: jax.Array, dtype: Any) -> jax.Array:
    key = gamma_of(name)
    if not layer.has_variable("params", key):
        if not layer.is_initializing():
            raise ValueError(
                f"{where(layer)} finds no '{key}' in 'params': learnable_scale=True adds it, so "
                "init the model with the options that it is applied with"
            )
        # Not through `param`, which would advance the RNG stream and change later parameters.
        start = jax.lax.stop_gradient(sigma)
        layer.put_variable("params", key, start.reshape(-1 if start.ndim else ()).astype(dtype))
    gamma = meta.unbox(layer.get_variable("params", key)).astype(sigma.dtype)
    return scale_of(gamma, sigma, f"{where(layer)}: '{key}'")
