"""A whole network at once: which weights it normalizes, their power steps, σ and W̄.

    found = specs(model, x)                                # one abstract trace
    state = init_spectral(params, found, jax.random.key(0))
    bar, state = normalize(params, state, found, steps=1)  # training; steps=0 in evaluation
    y = model.apply({"params": bar}, x)                    # a plain model, in every way of calling

`params` is any tree of arrays: Linen's, or that of NNX, Haiku or Equinox with specs written by
hand. For a model of SN layers, `state` is its collection 'spectral', and the results equal those
of its layers.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax import spectral
from sngan_jax.divisors import STATELESS, Shape, Spec
from sngan_jax.layers import FAMILY, Normalized
from sngan_jax.linen import LINEAR, WEIGHTS
from sngan_jax.packing import (
    Packed,
    Path,
    Variables,
    entries_of,
    leaves_of,
    measured,
    packed_of,
    restacked,
    unpacked_of,
)
from sngan_jax.reparametrization import COLLECTION, gamma_of, scale_of, spec_of, state_path

_TRACES = itertools.count()


class Specs(dict[Path, Spec]):
    """{path of a weight in 'params': its `Spec`}, with the names that `fold` needs.

    Attributes:
      named: {path of a module that Linen named: name of its plain class}, in the order in which the
        modules were made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[Path, str] = {}


@dataclasses.dataclass
class _Trace:
    """What an abstract `init` records besides the variables.

    weights: paths in the order of the calls; modules: {path of a module that Linen named: name of
    its class}, in the order of creation; plain: {name of a class: name of its plain class};
    wrapped: a sentence on each of Linen's wrappers.
    """

    weights: dict[Path, None] = dataclasses.field(default_factory=dict)
    modules: dict[Path, str] = dataclasses.field(default_factory=dict)
    plain: dict[str, str] = dataclasses.field(default_factory=lambda: {
        kind.__name__: kind.plain_class.__name__ for kind in FAMILY})
    wrapped: list[str] = dataclasses.field(default_factory=list)


class _Marked(struct.PyTreeNode, meta.AxisMetadata):
    """A weight, its learnt scale, or one of its vectors.

    Flax tells the box which axes `nn.scan`, `nn.vmap` add.

    spec: the `Spec` of a weight; None for a scale or a vector. normal: whether the layer is a
      normalized one.
    """

    value: Any
    ndim: int = struct.field(pytree_node=False)
    spec: Spec | None = struct.field(pytree_node=False, default=None)
    normal: bool = struct.field(pytree_node=False, default=False)
    stack: Shape = struct.field(pytree_node=False, default=())

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "_Marked":
        return self.replace(value=val)

    def add_axis(self, index: int, params: Any) -> "_Marked":
        return self.replace(stack=(*self.stack, index % (self.ndim + len(self.stack) + 1)))

    def remove_axis(self, index: int, params: Any) -> "_Marked":
        return self.replace(stack=self.stack[:-1])


def specs(model: nn.Module, *inputs: Any, method: Any = "__call__", **kwargs: Any) -> Specs:
    """The weights of a Linen model that are, or can be, normalized, by an abstract `init`.

    In a model with normalized layers, these are the weights of those layers, with their options. In
    a plain model, they are the weights of all of Linen's own linear layers, treated as `normalized`
    would treat them. The result is a dictionary: leave weights out, or change one with
    `dataclasses.replace`.

    Args:
      model: an unbound module.
      *inputs, **kwargs: arguments of the method; arrays may be `jax.ShapeDtypeStruct`s.
      method: a name or a function, as in `model.init`; or a list of them, with the same arguments.

    Raises:
      TypeError: if the model is not a Linen module.
      ValueError: for a model without such weights, one whose stacked layers lose their vectors, or
        one with Linen's own wrappers `SpectralNorm` or `WeightNorm`.
    """
    if not isinstance(model, nn.Module):
        found = (f"the class {model.__name__}" if isinstance(model, type) else
                 f"an object of type {type(model).__name__}")
        raise TypeError(f"specs() takes a Linen model, as specs(Critic(), x), not {found}; a model "
                        "of NNX needs no specs: sngan_jax.nnx has sigmas, power_steps and fold")
    leaves, tree = jax.tree.flatten((inputs, kwargs))
    result, trace = Specs(), _Trace()
    record = functools.partial(_record, trace)

    def init(arrays: dict[int, Any], method: Any) -> Any:
        inputs, kwargs = jax.tree.unflatten(tree, [arrays.get(n, x) for n, x in enumerate(leaves)])
        key = jax.random.key(0)
        with nn.intercept_methods(record):  # a new stream keeps nn.jit from an old trace
            return model.init({"params": key, f"specs {next(_TRACES)}": key}, *inputs,
                              method=method, **kwargs)

    boxes: dict[Path, Any] = {}
    vectors: dict[Path, Any] = {}
    arrays = {n: leaf for n, leaf in enumerate(leaves) if hasattr(leaf, "shape")}
    for one in method if isinstance(method, tuple | list) else [method]:
        variables = jax.eval_shape(functools.partial(init, method=one), arrays)
        for collection, marked in (("params", boxes), (COLLECTION, vectors)):
            found = leaves_of(variables.get(collection, {}), _Marked)
            marked |= {path: box for path, box in found.items() if isinstance(box, _Marked)}
    own = any(box.normal for box in boxes.values())
    if trace.wrapped and not own:
        raise ValueError(trace.wrapped[0])
    result.named |= {path: trace.plain.get(kind, kind) for path, kind in trace.modules.items()}
    places = {path: n for n, path in enumerate(trace.weights)}
    for path, box in sorted(boxes.items(), key=lambda item: places.get(item[0], -1)):
        if box.spec is None or (own and not box.normal):
            continue
        stacks = {vector.stack for at, vector in vectors.items() if at[:-1] == state_path(path)}
        if not box.normal or box.spec.divisor in STATELESS:
            stacks = {tuple(range(len(box.stack)))}
        if [len(stack) for stack in stacks] != [len(box.stack)]:
            raise ValueError(f"the vectors of '{'/'.join(path)}' are not stacked as the weight is: "
                             "add 'spectral' beside 'params' to variable_axes or "
                             "variable_broadcast of the nn.scan, nn.vmap or nn.RNN around it")
        gamma = boxes.get((*path[:-1], gamma_of(path[-1])), box)
        result[path] = dataclasses.replace(box.spec, stack=box.stack, state_stack=stacks.pop(),
                                           gamma_stack=gamma.stack)
    if not result:
        raise ValueError(f"{type(model).__name__} has no layer whose weight is normalized or which "
                         "is Linen's own: write its specs by hand, {path: Spec(layout)}")
    return result


def _record(trace: _Trace, call_next: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Interceptor for `init` that marks a layer's weights and their vectors after its call."""
    if isinstance(context.module, nn.SpectralNorm | nn.WeightNorm):
        trace.wrapped.append(
            f"the model has Linen's own {type(context.module).__name__} at "
            f"'{'/'.join(context.module.path)}': remove this wrapper, because specs and normalize "
            "treat the layer itself")
        if isinstance(context.module, nn.SpectralNorm):  # it would read our marks
            raise ValueError(trace.wrapped[-1])
    result, layer, method = call_next(*args, **kwargs), context.module, context.method_name
    # A module that is applied inside the model has variables of its own.
    if layer.scope is None or not layer.is_mutable_collection("params"):
        return result
    trace.plain[type(layer).__name__] = _plain_name(type(layer))
    # Linen's own names, by its count of them: a name that the user gave may look the same.
    own = {f"{kind}_{n}": kind for kind, count in layer._state.autoname_cursor.items()
           for n in range(count)}
    for name in layer.scope.reservations:  # in the order of creation, also of uncalled modules
        if name in own:
            trace.modules.setdefault((*layer.path, name), own[name])
    if method == "setup":
        return result
    normal, linear = isinstance(layer, Normalized), isinstance(layer, LINEAR)
    if linear and method not in ("__call__", "attend"):
        return result
    params, state = (layer.variables.get(name, {}) for name in ("params", COLLECTION))
    for name in layer.sn_weights if normal else WEIGHTS if linear else ():
        if name not in params or isinstance(params[name], _Marked):
            continue  # a second call, or the same one seen from around a transform
        raw = meta.unbox(params[name])
        spec = spec_of(layer, name, raw, (args, kwargs))
        layer.put_variable("params", name, _Marked(raw, raw.ndim, spec, normal))
        trace.weights.setdefault((*layer.path, name))
        if spec.learnable_scale:
            gamma = meta.unbox(params[gamma_of(name)])
            layer.put_variable("params", gamma_of(name), _Marked(gamma, gamma.ndim))
        if not normal or spec.divisor in STATELESS:
            continue  # `state` may be a vector of the layer around it, with this one's name
        for entry in state if name in WEIGHTS else {name} & set(state):
            layer.put_variable(COLLECTION, entry, jax.tree.map(
                lambda x: _Marked(x, x.ndim), meta.unbox(state[entry])))
    return result


def _plain_name(kind: Any) -> str:
    """'Conv' for SNConv, 'CheckpointConv' for nn.remat(SNConv); your own class keeps its name."""
    own = kind
    while own.__module__ == nn.transforms.__name__:
        own = own.__bases__[0]
    made = "made_from" in vars(own) or Normalized in own.__bases__
    name = own.plain_class.__name__ if made else own.__name__
    return kind.__name__.removesuffix(own.__name__) + name


def init_spectral(params: Any, specs: Mapping[Path, Spec], key: jax.Array) -> dict[str, Any]:
    """The vectors u and v of all weights, from random ones by `warmup_steps` power steps.

    Args:
      params: tree of arrays.
      specs: from `specs`, or {path: `Spec`} by hand; the parts of a path are keys, attributes or
        indices of the tree, as strings.
      key: PRNG key.

    Returns:
      a nested dictionary, laid out like the layers' collection 'spectral'.

    Raises:
      ValueError: as for `normalize`.
    """
    new: dict[Path, jax.Array] = {}
    for n, entry in enumerate(entries_of(params, None, specs)):
        keys = jax.random.split(jax.random.fold_in(key, n), len(entry.weight))
        new |= entry.stored(jax.vmap(entry.spec.start)(entry.weight, keys))
    return unflatten_dict(new)


def normalize(params: Any, state: Variables, specs: Mapping[Path, Spec], steps: int = 0
              ) -> tuple[Any, dict[str, Any]]:
    """(params with W̄ for each W, the state after `steps` power steps), differentiable in `params`.

    Args:
      params: tree of arrays, possibly boxed with partitioning metadata; the boxes are kept.
      state: from `init_spectral`, or a model's collection 'spectral'.
      specs: as for `init_spectral`.
      steps: 1 for a forward pass in training (Algorithm 1), 0 in evaluation. Matrices of similar
        size take their steps as one batch.

    Raises:
      ValueError: if params, state and specs do not belong together.
    """
    entries = entries_of(params, None if isinstance(state, Packed) else state or {}, specs)
    sigmas, packed = measured(entries, state if isinstance(state, Packed) else packed_of(entries),
                              steps)
    leaves, tree = jax.tree.flatten(params, is_leaf=lambda x: isinstance(x, meta.AxisMetadata))
    for entry, sigma in zip(entries, sigmas, strict=True):
        sigma = sigma.reshape(len(sigma), *(sigma.shape[1:] or (1,) * len(entry.spec.layout)))
        scale = entry.spec.lipschitz if entry.gamma is None else scale_of(
            entry.gamma, sigma, f"the learnt scale of '{'/'.join(entry.path)}'")
        bar, boxed = spectral.divide(entry.weight, sigma, scale), leaves[entry.place]
        leaves[entry.place] = meta.replace_boxed(boxed, restacked(
            bar.astype(meta.unbox(boxed).dtype), entry.spec.stack, entry.sizes))
    bar = jax.tree.unflatten(tree, leaves)
    return bar, packed if isinstance(state, Packed) else unpacked_of(entries, packed, state)


def pack(params: Any, state: Variables, specs: Mapping[Path, Spec]) -> Packed:
    """The `Packed` of a state, for several passes in one program.

    Arguments and errors are those of `normalize`.
    """
    return packed_of(entries_of(params, state or {}, specs))


def unpack(params: Any, packed: Packed, specs: Mapping[Path, Spec]) -> dict[str, Any]:
    """The state of a `Packed`. Raises ValueError as `normalize` does."""
    return unpacked_of(entries_of(params, None, specs), packed, {})


def update_spectral(variables: Variables, specs: Mapping[Path, Spec] | None = None,
                    steps: int = 1) -> dict[str, Any]:
    """The collection 'spectral' after power steps of all weights, outside a forward pass.

    Args:
      variables: {'params': …, 'spectral': …}.
      specs, steps: as for `normalize`; so is the ValueError.
    """
    params, state = _both(variables, specs)
    entries = entries_of(params, state, specs)
    return unpacked_of(entries, measured(entries, packed_of(entries), steps)[1], state)


def sigmas(variables: Variables, specs: Mapping[Path, Spec] | None = None) -> dict[str, jax.Array]:
    """{'path/of/layer': σ} of the stored weights, as the layers compute it at evaluation.

    The values are scalars, or stacks of them for stacked layers. A weight not called 'kernel' or
    'embedding' has its own name at the end of the path; in a model that is a single layer, the path
    is that name alone. Weights without vectors (divisor='weight', 'frobenius', 'svd') are left out.
    Arguments and errors (ValueError) are those of `update_spectral`.
    """
    entries = [entry for entry in entries_of(*_both(variables, specs), specs) if entry.state]
    found, _ = measured(entries, packed_of(entries), 0)
    return {entry.key: sigma.reshape(entry.sizes)
            for entry, sigma in zip(entries, found, strict=True)}


def singular_values(variables: Variables, specs: Mapping[Path, Spec] | None = None
                    ) -> dict[str, jax.Array]:
    """{'path/of/layer': all singular values of the (outputs, rest) matrix of W}, by SVD.

    The arrays (n,) are descending, with n the smaller side of the matrix; stacked layers give
    stacks of them. Divided by `sigmas` and times K, they are the singular values of W̄. Arguments
    and errors (ValueError) are those of `update_spectral`.
    """
    result = {}
    for entry in entries_of(_both(variables, {})[0], None, specs):
        matrices = jax.vmap(lambda w, layout=entry.spec.layout: spectral.matricize(w, layout))
        values = jnp.linalg.svd(matrices(spectral.gathered(entry.weight)), compute_uv=False)
        result[entry.key] = jnp.sort(values.reshape(*entry.sizes, -1), descending=True)
    return result


def fold(model: nn.Module, variables: Variables, specs: Mapping[Path, Spec], names: str = "own"
         ) -> dict[str, Any]:
    """Variables of the plain network: W̄ as its weights, without 'spectral' and learnt scales.

    Args:
      model: the model that `specs` was traced from.
      variables: its variables, in any collections.
      specs: from `specs`.
      names: 'own' keeps the layers' names; 'plain' uses the names that Linen would give the plain
        layers, 'Conv_0' for 'SNConv_0', numbered in the order in which the modules are made. Names
        that the model gives stay.

    Returns:
      the variables, for the same model with Linen's own layers in place of ours.

    Raises:
      ValueError: for unknown `names`, if two modules would have one name, and as for `normalize`.
    """
    if names not in ("own", "plain") or (names == "plain" and not isinstance(specs, Specs)):
        raise ValueError(f"names={names!r}: use 'own', or 'plain' with the result of "
                         f"sngan_jax.specs({type(model).__name__}(…), *inputs) itself")
    params, state = _both(variables, {})
    flat = flatten_dict(normalize(params, state, specs)[0])
    for path, spec in specs.items():
        if spec.learnable_scale:
            del flat[(*path[:-1], gamma_of(path[-1]))]
    folded = {name: tree for name, tree in variables.items() if name != COLLECTION}
    folded["params"] = unflatten_dict(flat)
    renamed = _renamed(specs.named) if isinstance(specs, Specs) and names == "plain" else {}

    def new(path: Path) -> Path:
        return tuple(renamed.get(path[:n + 1], name) for n, name in enumerate(path))

    modules = {path[:n] for tree in folded.values() for path in flatten_dict(tree)
               for n in range(1, len(path))}
    for taken, count in collections.Counter(map(new, modules)).items():
        if count > 1:
            raise ValueError(f"two modules would be called '{'/'.join(taken)}': give them other "
                             "names in the model, or use names='own'")
    return {collection: unflatten_dict({new(path): leaf for path, leaf in
                                        flatten_dict(tree).items()})
            for collection, tree in folded.items()}


def _renamed(named: Mapping[Path, str]) -> dict[Path, str]:
    """{path of a module: its name among plain layers}, numbered in the order of creation."""
    numbers: dict[tuple[Path, str], Iterator[int]] = {}
    return {path: f"{plain}_{next(numbers.setdefault((path[:-1], plain), itertools.count()))}"
            for path, plain in named.items()}


def _both(variables: Variables, specs: Any) -> tuple[Any, Any]:
    """(params, state), where the state may be missing if no weight in `specs` needs vectors."""
    given = isinstance(variables, Mapping)
    needless = isinstance(specs, Mapping) and all(
        isinstance(spec, Spec) and spec.divisor in STATELESS for spec in specs.values())
    missing: Any = {} if needless else None
    if not given or "params" not in variables or variables.get(COLLECTION, missing) is None:
        found = (sorted(map(str, variables)) if given else
                 f"an object of type {type(variables).__name__}")
        raise ValueError(f"expected variables with 'params' and 'spectral', got {found}: pass all "
                         "that init returned for a model with normalized layers, or of a plain "
                         "model {'params': …, 'spectral': init_spectral(…)}")
    return variables["params"], variables.get(COLLECTION, missing)
