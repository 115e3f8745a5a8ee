"""A whole network at once: which weights it normalises, power steps of all of them, σ, and W̄.

    found = specs(model, x)                                # one abstract trace
    state = init_spectral(params, found, jax.random.key(0))
    bar, state = normalize(params, state, found, steps=1)  # training; steps=0 for evaluation
    y = model.apply({"params": bar}, x)                    # a plain model, in every way of calling

`params` is any tree of arrays: Linen's, or that of NNX, Haiku or Equinox with specs by hand. For a
model of SN layers `state` is its collection 'spectral', and the results are those of its layers.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax import divisors, spectral
from sngan_jax.divisors import DIVISORS, Spec, State
from sngan_jax.layers import COLLECTION, gamma_of, is_normalized, spec_of, state_path
from sngan_jax.linen import LINEAR, WEIGHTS

Path = tuple[str, ...]
Variables = Mapping[str, Any]


class Specs(dict[Path, Spec]):
    """{path of a weight in 'params': its `Spec`}; `|` joins those of several methods.

    Attributes:
      modules: (path, name of the plain class) of the modules that Linen named by their class, in
        the order of the trace.
    """

    def __init__(self, found: Mapping[Path, Spec] = {}, modules: Iterable[tuple[Path, str]] = ()):  # noqa: B006
        super().__init__(found)
        self.modules = dict(modules)

    def __or__(self, other: Any) -> "Specs":
        modules = {**getattr(other, "modules", {}), **self.modules}
        return Specs({**self, **other}, modules.items())


class _Marked(struct.PyTreeNode, meta.AxisMetadata):
    """A variable of a weight. Flax tells such a box which axes `nn.scan` and `nn.vmap` add."""

    value: Any
    key: Path = struct.field(pytree_node=False)
    ndim: int = struct.field(pytree_node=False)
    stack: tuple[int, ...] = struct.field(pytree_node=False, default=())

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "_Marked":
        return self.replace(value=val)

    def add_axis(self, index: int, params: Any) -> "_Marked":
        return self.replace(stack=(*self.stack, index % (self.ndim + len(self.stack) + 1)))

    def remove_axis(self, index: int, params: Any) -> "_Marked":
        return self.replace(stack=self.stack[:-1])


def specs(model: nn.Module, *inputs: Any, method: Any = "__call__", **kwargs: Any) -> Specs:
    """The weights of a Linen model that are, or can be, normalised, by an abstract `init`.

    Of a model with layers of `layers.normalized` they are the weights of these, with their options;
    of a plain model those of all of Linen's own linear layers, as `normalized` would treat them.
    Nothing is computed. A dictionary: leave weights out, or change one by `dataclasses.replace`.

    Args:
      model: an unbound module.
      *inputs, **kwargs: what its method is called with; arrays may be `jax.ShapeDtypeStruct`s.
      method: name or function, as of `model.init`; or a sequence of them, all called with the same
        arguments.

    Raises:
      ValueError: for a model without such weights, or whose stacked layers lose their vectors.
    """
    leaves, tree = jax.tree.flatten((inputs, kwargs))
    arrays = {n: leaf for n, leaf in enumerate(leaves) if hasattr(leaf, "shape")}
    found: dict[Path, tuple[Spec, bool]] = {}
    modules: dict[Path, str] = {}

    def record(call_next: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        result, layer = call_next(*args, **kwargs), context.module
        # A module that is applied inside of the model has variables of its own.
        if (context.method_name == "setup" or layer.scope is None
                or not layer.is_mutable_collection("params")):
            return result
        kind = type(layer)
        if re.fullmatch(rf"{kind.__name__}_\d+", layer.name or ""):
            plain = vars(kind).get("normalized_from", (kind,))[0]
            modules.setdefault(layer.path, plain.__name__)
        helper = isinstance(layer, LINEAR) and context.method_name not in ("__call__", "attend")
        if helper or not is_normalized(kind) and not isinstance(layer, LINEAR):
            return result
        params, state = (layer.variables.get(name, {}) for name in ("params", COLLECTION))
        for name in getattr(layer, "normalized_weights", WEIGHTS):
            if name not in params or isinstance(params[name], _Marked):
                continue  # a second call, or the same one seen from around a transform
            key, raw = (*layer.path, name), meta.unbox(params[name])
            found[key] = spec_of(layer, name, raw, (args, kwargs)), is_normalized(kind)
            mark = functools.partial(jax.tree.map, lambda x, key=key: _Marked(x, key, x.ndim))
            layer.put_variable("params", name, mark(raw))
            for entry in state if name in WEIGHTS else [name] if name in state else []:
                layer.put_variable(COLLECTION, entry, mark(meta.unbox(state[entry])))
        return result

    def init(arrays: dict[int, Any], method: Any) -> Any:
        inputs, kwargs = tree.unflatten([arrays.get(n, leaf) for n, leaf in enumerate(leaves)])
        with nn.intercept_methods(record):
            return model.init(jax.random.key(0), *inputs, method=method, **kwargs)

    stacks: dict[str, dict[Path, tuple[Path, tuple[int, ...]]]] = {"params": {}, COLLECTION: {}}
    for one in method if isinstance(method, tuple | list) else [method]:
        variables = jax.eval_shape(functools.partial(init, method=one), arrays)
        for collection, marked in stacks.items():
            for path, box in _leaves(variables.get(collection, {}), _Marked):
                if isinstance(box, _Marked):
                    marked.setdefault(box.key, (path, box.stack))
    own = any(normal for _, normal in found.values())
    result = {}
    for key, (path, stack) in stacks["params"].items():
        spec, normal = found[key]
        if own and not normal:
            continue
        _, state_stack = stacks[COLLECTION].get(key, ((), tuple(range(len(stack)))))
        stateless = not normal or spec.divisor in divisors.STATELESS
        if len(state_stack) != len(stack) or not (stateless or key in stacks[COLLECTION]):
            raise ValueError(
                f"the vectors of '{'/'.join(path)}' are not stacked as the weight is: name "
                "'spectral' beside 'params' in variable_axes or variable_broadcast of the nn.scan, "
                "nn.vmap or nn.RNN around it"
            )
        result[path] = dataclasses.replace(spec, stack=stack, state_stack=state_stack)
    if not result:
        raise ValueError(f"{type(model).__name__} has no layer with a weight that is normalised or "
                         "is Linen's own: write its specs by hand, {path: Spec(layout)}")
    return Specs(result, modules.items())


def init_spectral(params: Any, specs: Mapping[Path, Spec], key: jax.Array, warmup_steps: int = 15
                  ) -> dict[str, Any]:
    """Vectors u and v of all weights, from random ones by `warmup_steps` power steps, at least one.

    Args:
      params: tree of arrays.
      specs: from `specs`, or {path: `Spec`} by hand; a path's parts are keys, attributes or
        indices, as strings.
      key: PRNG key.

    Returns:
      a nested dictionary, laid out as the layers' collection 'spectral'.
    """
    state = {}
    for n, entry in enumerate(_entries(params, None, specs)):
        one = functools.partial(divisors.start, spec=entry.spec, steps=warmup_steps)
        keys, start = jax.random.fold_in(key, n), lambda w, k, one=one: one(w, key=k)
        for size in reversed(entry.stacked):
            keys, start = jax.vmap(lambda k, n=size: jax.random.split(k, n))(
                keys.reshape(-1)).reshape(*keys.shape, size), start
        for _ in entry.stacked:
            start = jax.vmap(start)
        state.update(entry.stored(start(entry.weight, keys)))
    return unflatten_dict(state)


def normalize(params: Any, state: Variables, specs: Mapping[Path, Spec], steps: int = 0
              ) -> tuple[Any, dict[str, Any]]:
    """(W̄ in place of each W, the state after `steps` power steps); differentiable in `params`.

    The power steps of matrices of similar size are one batch.

    Args:
      params: tree of arrays, perhaps in boxes of partitioning metadata.
      state: from `init_spectral`, or a model's collection 'spectral'.
      specs: as `init_spectral`.
      steps: 1 for a forward pass in training (Algorithm 1), 0 in evaluation.

    Returns:
      a tree as `params`, of its dtypes, and a dictionary as `state`.

    Raises:
      ValueError: where params, state and specs do not belong together.
    """
    entries = _entries(params, state, specs)
    leaves, tree = jax.tree_util.tree_flatten(params, is_leaf=_is_box)
    new = flatten_dict(meta.unbox(state))
    for entry, (sigma, vectors) in zip(entries, _measure(entries, steps), strict=True):
        sigma = sigma.reshape(*entry.stacked, *(sigma.shape[len(entry.stacked):]
                                                or (1,) * len(entry.spec.layout)))
        scale = entry.spec.lipschitz if entry.gamma is None else entry.gamma.reshape(sigma.shape)
        bar = _restacked(spectral.divide(entry.wide, sigma, scale), entry.spec.stack)
        boxed = leaves[entry.place]
        leaves[entry.place] = meta.replace_boxed(boxed, bar.astype(meta.unbox(boxed).dtype))
        new.update(entry.stored(vectors))
    return tree.unflatten(leaves), unflatten_dict(new)


def update_spectral(variables: Variables, specs: Mapping[Path, Spec] | None = None,
                    steps: int = 1) -> dict[str, Any]:
    """The collection 'spectral' after power steps of all weights, outside of a forward pass.

    Args:
      variables: {'params': …, 'spectral': …}.
      specs, steps: as `normalize`.
    """
    entries = _entries(*_both(variables), specs)
    new = flatten_dict(meta.unbox(variables[COLLECTION]))
    for entry, (_, vectors) in zip(entries, _measure(entries, steps), strict=True):
        new.update(entry.stored(vectors))
    return unflatten_dict(new)


def sigmas(variables: Variables, specs: Mapping[Path, Spec] | None = None) -> dict[str, jax.Array]:
    """{'path/of/layer': σ} of the weights as stored, as the layers compute it at evaluation.

    Scalars, stacked for stacked layers. A weight that is not called 'kernel' or 'embedding' has its
    name at the end, and a model that is itself one layer that name alone. Weights without vectors
    (divisor='weight', 'frobenius', 'svd') are left out.

    Args:
      variables, specs: as `update_spectral`.
    """
    entries = [entry for entry in _entries(*_both(variables), specs) if entry.state]
    return {entry.key: sigma for entry, (sigma, _) in
            zip(entries, _measure(entries, 0), strict=True)}


def singular_values(variables: Variables, specs: Mapping[Path, Spec] | None = None
                    ) -> dict[str, jax.Array]:
    """{'path/of/layer': all singular values of the (outputs, rest) matrix of W, descending}, by SVD.

    Divided by `sigmas` (and times K) they are those of W̄. Arrays (n,), n the smaller side of the
    matrix; float32, or float64 for float64 weights.

    Args:
      variables, specs: as `update_spectral`.
    """
    result = {}
    for entry in _entries(_both(variables)[0], None, specs):
        values = functools.partial(spectral.spectrum, layout=entry.spec.layout)
        for _ in entry.stacked:
            values = jax.vmap(values)
        result[entry.key] = values(entry.weight)
    return result


def fold(model: nn.Module, variables: Variables, specs: Specs, names: str = "own"
         ) -> dict[str, Any]:
    """Variables of the plain network: W̄ as its weights, without 'spectral' and learnt scales.

    Args:
      model: the model that `specs` was traced from.
      variables: its variables, of any collections.
      specs: from `specs`.
      names: 'own' keeps the names of the layers; 'plain' gives those that Linen would give the
        plain layers, 'Conv_0' for 'SNConv_0', in the order of the trace.

    Returns:
      the variables, for the same model with Linen's own layers in place of ours.

    Raises:
      ValueError: for another value of `names`, or variables of another model.
    """
    if names not in ("own", "plain"):
        raise ValueError(f"names={names!r} is unknown: use 'own' or 'plain'")
    params, state = _both({COLLECTION: {}, **variables})
    flat = flatten_dict(normalize(params, state, specs)[0])
    for path, spec in specs.items():
        if spec.learnable_scale:
            del flat[(*path[:-1], gamma_of(path[-1]))]
    folded = {**variables, "params": unflatten_dict(flat)}
    folded.pop(COLLECTION, None)
    if names == "own":
        return folded
    if not isinstance(specs, Specs):
        raise ValueError(f"names='plain' needs the trace of {type(model).__name__}: pass the result "
                         "of sngan_jax.specs itself, not a dictionary made from it")
    counts: dict[tuple[Path, str], int] = {}
    renamed: dict[Path, str] = {}
    for path, plain in specs.modules.items():
        place = path[:-1], plain
        renamed[path] = f"{plain}_{counts.setdefault(place, 0)}"
        counts[place] += 1

    def rename(path: Path) -> Path:
        return tuple(renamed.get(path[:n + 1], name) for n, name in enumerate(path))

    return {collection: unflatten_dict({rename(path): leaf for path, leaf in
                                        flatten_dict(tree).items()})
            for collection, tree in folded.items()}


class _Entry(NamedTuple):
    """One weight. Its arrays have the stack axes first, the outermost before the others.

    place: index among the leaves of params.
    stacked: lengths of the stack axes.
    wide: the weight in the dtype of the iteration; `weight`: the same, masked.
    """

    path: Path
    spec: Spec
    place: int
    stacked: tuple[int, ...]
    wide: jax.Array
    weight: jax.Array
    state: State
    gamma: jax.Array | None

    @property
    def key(self) -> str:
        return "/".join(state_path(self.path)) or self.path[-1]

    def stored(self, vectors: Mapping[str, jax.Array]) -> dict[Path, jax.Array]:
        return {(*state_path(self.path), name): _restacked(x, self.spec.state_stack)
                for name, x in vectors.items()}


def _entries(params: Any, state: Variables | None, specs: Mapping[Path, Spec] | None
             ) -> list[_Entry]:
    if not isinstance(specs, Mapping) or not all(isinstance(s, Spec) for s in specs.values()):
        raise ValueError(f"expected specs, not {specs!r}: the variables alone do not tell what a "
                         "weight's matrix is; pass specs=sngan_jax.specs(model, *inputs)")
    leaves = _leaves(params)
    places = {path: place for place, (path, _) in enumerate(leaves)}
    held = flatten_dict(meta.unbox(state or {}))
    entries = []
    for path, spec in specs.items():
        if path not in places:
            raise ValueError(f"params has no weight at '{'/'.join(path)}', which specs names: make "
                             "specs from the same model")
        value = meta.unbox(leaves[places[path]][1])
        raw = _unstacked(value, spec.stack)
        stacked = raw.shape[:len(spec.stack)]
        if raw.ndim != len(stacked) + len(spec.layout):
            raise ValueError(f"'{'/'.join(path)}' of shape {value.shape} does not have the layout "
                             f"{spec.layout!r} of its spec: make specs from the same model")
        weight = divisors.widened(raw, spec)
        shapes = {} if state is None else DIVISORS[spec.divisor].shapes(
            jax.ShapeDtypeStruct(weight.shape[len(stacked):], weight.dtype), spec)
        vectors = {}
        for name, shape in shapes.items():
            vector = held.get((*state_path(path), name))
            vectors[name] = x = None if vector is None else _unstacked(vector, spec.state_stack)
            if x is None or x.shape != (*stacked, *shape):
                got = "is missing" if vector is None else f"has the shape {vector.shape}"
                raise ValueError(
                    f"'{name}' of '{'/'.join(path)}' {got}, and the weight needs "
                    f"{(*stacked, *shape)}: pass params and 'spectral' of one model, or make them "
                    "by init_spectral"
                )
        gamma = None
        if spec.learnable_scale:
            gamma = _unstacked(meta.unbox(leaves[places[(*path[:-1], gamma_of(path[-1]))]][1]),
                               spec.stack).astype(weight.dtype)
        entries.append(_Entry(path, spec, places[path], stacked, raw.astype(weight.dtype), weight,
                              vectors, gamma))
    return entries


def _measure(entries: list[_Entry], steps: int) -> list[tuple[jax.Array, State]]:
    """(σ, state) of each entry; those that iterate on matrices in few batches."""
    results: dict[int, tuple[jax.Array, State]] = {}
    jobs = []  # (entry, suffix, matrix (n, rows, columns), u (n, rows), v (n, columns))
    for n, entry in enumerate(entries):
        spec = entry.spec
        if "u" not in entry.state:
            measure = functools.partial(DIVISORS[spec.divisor].measure, spec=spec, steps=steps)
            one = lambda w, s, measure=measure: measure(w, state=s)  # noqa: E731
            for _ in entry.stacked:
                one = jax.vmap(one)
            results[n] = one(entry.weight, entry.state)
            continue
        split = functools.partial(divisors.matrices, spec=spec)
        for _ in entry.stacked:
            split = jax.vmap(split)
        for suffix, matrix in split(entry.weight).items():
            matrix = matrix.reshape(-1, *matrix.shape[-2:])
            u, v = (entry.state[letter + suffix].reshape(len(matrix), -1) for letter in "uv")
            jobs.append((n, suffix, matrix, u, v))
    found: dict[int, list[tuple[str, jax.Array, jax.Array, jax.Array]]] = {}
    for group in _grouped(jobs):
        sigma, u, v = _iterate(group, steps)
        begin = 0
        for n, suffix, matrix, *_ in group:
            part = slice(begin, begin := begin + len(matrix))
            found.setdefault(n, []).append(
                (suffix, sigma[part], u[part, :matrix.shape[1]], v[part, :matrix.shape[2]]))
    for n, parts in found.items():
        stacked = entries[n].stacked
        # Of blocks the largest, of two matrices the mean: as `divisors`.
        each = [jnp.max(sigma.reshape(*stacked, -1), axis=-1) for _, sigma, _, _ in parts]
        vectors = {letter + suffix: x.reshape(*stacked, -1) for suffix, _, u, v in parts
                   for letter, x in (("u", u), ("v", v))}
        results[n] = sum(each) / len(each), vectors
    return [results[n] for n in range(len(entries))]


def _grouped(jobs: list[Any]) -> list[list[Any]]:
    """Matrices that are iterated as one batch, padded by zeros to the largest."""
    groups: list[list[Any]] = []
    for job in sorted(jobs, key=lambda job: -job[2][0].size):
        for group in groups:
            joined = [*group, job]
            rows, columns = (max(j[2].shape[axis] for j in joined) for axis in (1, 2))
            padded = rows * columns * sum(len(j[2]) for j in joined)
            # Padding may double what is read, or add a mebibyte to it.
            if (job[2].dtype == group[0][2].dtype
                    and padded <= 2 * sum(j[2].size for j in joined) + 2**18):
                group.append(job)
                break
        else:
            groups.append([job])
    return groups


def _iterate(group: list[Any], steps: int) -> spectral.Triplet:
    rows, columns = (max(job[2].shape[axis] for job in group) for axis in (1, 2))

    def padded(x: jax.Array, *sizes: int) -> jax.Array:
        return jnp.pad(x, [(0, 0), *((0, size - n) for n, size in zip(x.shape[1:], sizes,
                                                                      strict=True))])

    w, u, v = (jnp.concatenate([padded(job[place], *sizes) for job in group])
               for place, sizes in ((2, (rows, columns)), (3, (rows,)), (4, (columns,))))
    return jax.vmap(functools.partial(spectral.compiled_power_iteration, steps=steps))(w, u, v)


def _unstacked(x: jax.Array, stack: tuple[int, ...]) -> jax.Array:
    for depth, axis in enumerate(reversed(stack)):
        x = jnp.moveaxis(x, axis + depth, depth)
    return x


def _restacked(x: jax.Array, stack: tuple[int, ...]) -> jax.Array:
    for depth, axis in reversed(list(enumerate(reversed(stack)))):
        x = jnp.moveaxis(x, depth, axis + depth)
    return x


def _both(variables: Variables) -> tuple[Any, Any]:
    if COLLECTION not in variables or "params" not in variables:
        raise ValueError(
            f"expected variables with 'params' and 'spectral', got {sorted(variables)}: pass all "
            "that init returned for a model with normalised layers"
        )
    return variables["params"], variables[COLLECTION]


def _is_box(x: Any) -> bool:
    return isinstance(x, meta.AxisMetadata)


def _leaves(tree: Any, kind: type = meta.AxisMetadata) -> list[tuple[Path, Any]]:
    """(path as strings, leaf), boxes unopened."""
    flat = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: isinstance(x, kind))
    return [(tuple(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path),
             leaf) for path, leaf in flat]
