"""The collection 'spectral' of a whole model at once: power steps, σ, singular values.

These work on the variables alone. What variables cannot tell is a convolution's geometry
(divisor='operator') and a layer's mask: for models with such layers pass `specs`, from
`layers.layer_specs(module, variables, *inputs)`; without it they end in an error, never in a
wrong matrix. Layers stacked by `nn.scan` or `nn.vmap` along axis 0 give stacked results.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax import spectral
from sngan_jax.divisors import DIVISORS, State
from sngan_jax.reparametrization import COLLECTION, WEIGHTS, Spec

Variables = Mapping[str, Any]
Path = tuple[str, ...]
Specs = Mapping[Path, Spec]


def update_spectral(variables: Variables, steps: int = 1, specs: Specs | None = None
                    ) -> dict[str, Any]:
    """Power steps for every normalised layer of a model, outside of its forward pass.

    Matrices of the same shape are iterated together, as one batch.

    Args:
      variables: dictionary with 'params' and 'spectral'; they may be traced.
      steps: rounds of power iteration, 0 or more.
      specs: see the module's text.

    Returns:
      the new collection 'spectral', of the same structure.

    Raises:
      ValueError: if a layer needs `specs`, or the collections do not belong together.
    """
    state = flatten_dict(_collection(variables))
    for entries in _batched(_entries(variables, specs)):
        _, new = _measure(entries, steps)
        for entry, vectors in zip(entries, new, strict=True):
            state.update({(*entry.scope, name): x for name, x in vectors.items()})
    return unflatten_dict(state)


def sigmas(variables: Variables, specs: Specs | None = None) -> dict[str, jax.Array]:
    """σ of every normalised layer, as the layer itself computes it at evaluation.

    Args:
      variables, specs: as `update_spectral`.

    Returns:
      {'path/of/layer': σ}, float scalars (stacked for stacked layers), in the order of the tree. A
      weight that is not called 'kernel' or 'embedding' has its name at the end; a model that is
      itself one layer has the key 'kernel' or 'embedding'. Layers without vectors
      (divisor='weight', 'frobenius') are left out.

    Raises:
      ValueError: as `update_spectral`.
    """
    found = {}
    entries = _entries(variables, specs)
    for group in _batched(entries):
        values, _ = _measure(group, 0)
        found.update({entry.key: sigma for entry, sigma in zip(group, values, strict=True)})
    return {entry.key: found[entry.key] for entry in entries}


def singular_values(variables: Variables, specs: Specs | None = None) -> dict[str, jax.Array]:
    """All singular values of the (outputs, rest) matrix of every normalised layer, by SVD.

    They are those of the weight W as stored; over `sigmas` (and times K) they are those of W̄.

    Args:
      variables, specs: as `update_spectral`; `specs` only for layers with a mask.

    Returns:
      {'path/of/layer': array (n,) in descending order}, n the smaller side of the matrix; float32,
      or float64 for float64 weights. Keys as `sigmas`.

    Raises:
      ValueError: as `update_spectral`.
    """
    result = {}
    for entry in _entries(variables, specs, geometry=False):
        values = lambda w, layout=entry.spec.layout: spectral.spectrum(w, layout)  # noqa: E731
        for _ in range(entry.stacked):
            values = jax.vmap(values)
        masked = entry.weight if entry.spec.mask is None else entry.weight * entry.spec.mask
        result[entry.key] = values(masked)
    return result


class _Entry(NamedTuple):
    """One weight: the scope of its state, its key in results, and its arrays.

    stacked: number of leading axes that `nn.scan` or `nn.vmap` added to the weight and the state.
    """

    scope: Path
    key: str
    weight: jax.Array
    state: State
    spec: Spec
    stacked: int


def _collection(variables: Variables) -> dict[str, Any]:
    if COLLECTION not in variables or "params" not in variables:
        raise ValueError(
            f"expected variables with 'params' and 'spectral', got {sorted(variables)}: pass all "
            "that init returned for a model with normalised layers"
        )
    return meta.unbox(variables[COLLECTION])


def _entries(variables: Variables, specs: Specs | None, geometry: bool = True) -> list[_Entry]:
    groups: dict[Path, dict[str, jax.Array]] = {}
    for path, value in flatten_dict(_collection(variables)).items():
        groups.setdefault(path[:-1], {})[path[-1]] = value
    params = flatten_dict(meta.unbox(variables["params"]))
    return [
        _entry(scope, group, params, specs, geometry) for scope, group in groups.items()
    ]


def _entry(scope: Path, group: State, params: dict[Path, jax.Array], specs: Specs | None,
           geometry: bool) -> _Entry:
    paths = [scope, *((*scope, name) for name in WEIGHTS)]
    path = next((p for p in paths if p in params), None)
    if path is None:
        raise ValueError(
            f"'spectral' has vectors at '{'/'.join(scope)}' and 'params' has no weight there: "
            "pass the two collections of one model"
        )
    key = "/".join(scope) or path[-1]
    state = {name: x for name, x in group.items() if name[0] in "uv"}
    weight = params[path].astype(spectral.iteration_dtype(params[path].dtype))
    if specs is not None:
        if path not in specs:
            raise ValueError(f"specs has no '{'/'.join(path)}': make it from the same model")
        spec = specs[path]
        stacked = weight.ndim - len(spec.layout)
    else:
        if ("u_operator" in state and geometry) or "masked" in group:
            raise ValueError(
                f"'{key}' has {'a mask' if 'masked' in group else 'an operator norm'}, which the "
                "variables alone do not tell: pass specs=layer_specs(module, variables, *inputs)"
            )
        spec, stacked = _spec_from_shapes(key, weight, group, state)
    return _Entry(scope, key, weight, state, spec, stacked)


def _spec_from_shapes(key: str, weight: jax.Array, group: State, state: State
                      ) -> tuple[Spec, int]:
    """The layout that the sizes of u and v tell; another one is a marker's name."""
    layout: str | None
    marker = [name for name in group if name.startswith("layout_")]
    if marker:
        layout = marker[0].removeprefix("layout_")
        stacked = weight.ndim - len(layout)
    elif "u_operator" in state:
        # One right vector is one image (*size, inputs), and a window has as many axes.
        stacked = weight.ndim - state["v_operator"].ndim - 1
        layout = "s" * (weight.ndim - stacked - 2) + "io"
    else:
        stacked = state["u"].ndim - 1
        shape = weight.shape[stacked:]
        sizes = (state["u"].shape[-1], state["v"].shape[-1])
        # A block-diagonal matrix has blocks·rows rows and blocks·columns columns.
        blocks = sizes[0] * sizes[1] // max(math.prod(shape), 1)
        layout = _trailing_layout(shape, blocks, sizes[0] // max(blocks, 1), state)
    prefix = {x.shape[:stacked] for x in state.values()}
    if layout is None or prefix != {weight.shape[:stacked]}:
        shapes = {name: tuple(x.shape) for name, x in state.items()}
        raise ValueError(
            f"'{key}': vectors of the shapes {shapes} do not belong to a weight of shape "
            f"{tuple(weight.shape)}: pass collections of one model, stacked along axis 0 if at all"
        )
    divisor = next((n for n in ("operator", "bidirectional") if _has(state, n)), "spectral")
    return Spec(divisor, layout, None, None), stacked


def _has(state: State, divisor: str) -> bool:
    return {"operator": "u_operator", "bidirectional": "u_in"}[divisor] in state


def _trailing_layout(shape: tuple[int, ...], blocks: int, rows: int, state: State) -> str | None:
    """b…(s or i)…o… by the products of sizes, or None. Axes of size 1 may go either way."""
    first = next((n for n in range(len(shape) + 1) if math.prod(shape[:n]) == blocks), None)
    last = max((n for n in range(len(shape)) if math.prod(shape[n:]) == rows), default=None)
    if first is None or last is None or first > last:
        return None
    middle = last - first
    if "u_in" in state:
        # Only a convolution has the second matrix; its inputs are the axis before the outputs.
        return "b" * first + "s" * (middle - 1) + "i" + "o" * (len(shape) - last)
    return "b" * first + "i" * middle + "o" * (len(shape) - last)


def _batched(entries: list[_Entry]) -> Collection[list[_Entry]]:
    groups: dict[Any, list[_Entry]] = {}
    for entry in entries:
        geometry = None
        if entry.spec.geometry is not None:
            plain, size = entry.spec.geometry
            geometry = (repr(plain), size)
        shape = entry.weight.shape[entry.stacked :]
        key = (entry.spec.divisor, entry.spec.layout, geometry, shape, entry.weight.dtype)
        # A mask is an array: equal ones cannot be told cheaply, so each is a group of its own.
        groups.setdefault(key if entry.spec.mask is None else entry.key, []).append(entry)
    return groups.values()


def _measure(entries: list[_Entry], steps: int) -> tuple[list[jax.Array], list[State]]:
    """(σ, state) of entries of one kind, all computed in a single batch."""
    spec = entries[0].spec
    divisor = DIVISORS[spec.divisor]

    def one(weight: jax.Array, state: State) -> tuple[jax.Array, State]:
        return divisor.measure(spec.weight(weight), state, steps)

    if len(entries) == 1 and not entries[0].stacked:
        sigma, state = one(entries[0].weight, entries[0].state)
        return [sigma], [state]

    def flat(x: jax.Array, stacked: int) -> jax.Array:
        return x.reshape(-1, *x.shape[stacked:])

    weights = jnp.concatenate([flat(e.weight, e.stacked) for e in entries])
    states = {
        name: jnp.concatenate([flat(e.state[name], e.stacked) for e in entries])
        for name in entries[0].state
    }
    sigma, states = jax.vmap(one)(weights, states)
    sigmas_, states_, start = [], [], 0
    for entry in entries:
        prefix = entry.weight.shape[: entry.stacked]
        end = start + math.prod(prefix)
        sigmas_.append(sigma[start:end].reshape(prefix))
        states_.append({k: x[start:end].reshape(*prefix, *x.shape[1:]) for k, x in states.items()})
        start = end
    return sigmas_, states_
