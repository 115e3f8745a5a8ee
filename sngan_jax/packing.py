"""The weights of a network as a list, and their vectors as a few arrays: for `network.py`."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax import spectral
from sngan_jax.divisors import STATELESS, Shape, Spec, State, checked_vectors
from sngan_jax.reparametrization import gamma_of, state_path

Path = tuple[str, ...]
Variables = Mapping[str, Any]


class Packed(NamedTuple):
    """A network's vectors as a few arrays, which `normalize` takes and returns in place of `state`.

    u, v: for each of the `_sections`, usually one, arrays (matrices, rows) and (matrices, columns),
      padded with zeros, which change neither σ nor the vectors.
    others: {path of a weight: its vectors}, for norms of convolutions themselves.
    """

    u: list[jax.Array]
    v: list[jax.Array]
    others: dict[Path, State]


class Entry(NamedTuple):
    """One weight. The first axis of its arrays runs over the members of its stack (1 without one).

    place: index among the leaves of params; sizes: lengths of the stack's axes.
    """

    path: Path
    spec: Spec
    place: int
    sizes: Shape
    weight: jax.Array
    state: State
    gamma: jax.Array | None

    @property
    def key(self) -> str:
        """'path/of/layer', as in the results of `network.sigmas`."""
        return "/".join(state_path(self.path)) or self.path[-1]

    @property
    def iterates_on_matrices(self) -> bool:
        """Whether its vectors belong to matrices: False for a convolution itself, or no vectors."""
        return self.spec.divisor not in STATELESS and self.spec.operator is None

    def stored(self, vectors: State) -> dict[Path, jax.Array]:
        """{path in 'spectral': vector}, stacked as they are stored."""
        return {(*state_path(self.path), name): restacked(x, self.spec.state_stack, self.sizes)
                for name, x in vectors.items()}


def entries_of(params: Any, state: Variables | None, specs: Any) -> list[Entry]:
    """The weights that `specs` names; arguments as in `network.normalize`, where state may be None.

    Raises:
      ValueError: if the three do not belong together.
    """
    if not isinstance(specs, Mapping) or not all(isinstance(s, Spec) for s in specs.values()):
        given = "None" if specs is None else f"an object of type {type(specs).__name__}"
        raise ValueError(f"expected specs, not {given}: the variables alone do not determine "
                         "the matrix of a weight; pass specs=sngan_jax.specs(model, *inputs)")
    leaves = leaves_of(params)
    places = {path: n for n, path in enumerate(leaves)}
    entries, seen = [], set[Path]()
    for path, spec in specs.items():
        if not isinstance(path, tuple) or not all(isinstance(part, str) for part in path):
            raise ValueError(f"specs has the path {path!r}: write a tuple of strings, such as "
                             "('Dense_0', 'kernel')")
        where = f"the weight '{'/'.join(path)}'"
        value = meta.unbox(leaves.get(path))
        if value is None or value.ndim != len(spec.stack) + len(spec.layout):
            there = next(("/".join(leaf) for leaf in leaves if value is None
                          and any(leaf[n:n + len(path)] == path for n in range(len(leaf)))), "")
            raise ValueError(f"{where} of params {'is missing' if value is None else value.shape}: "
                             f"specs gives it the layout {spec.layout!r}; " + (
                                 "pass variables['params'], not all variables"
                                 if ("params", *path) in leaves else "make specs from the same "
                                 "model" + (f", or write its path as in {there}" if there else "")))
        if spec.divisor == "operator" and spec.operator is None and "s" in spec.layout:
            raise ValueError(f"{where}: divisor='operator' needs the convolution's strides and "
                             "input size, which a layer made with divisor='operator' gives to "
                             "specs: use such a layer, or divisor='spectral'")
        raw, sizes = unstacked(value, spec.stack)
        weight = spec.widened(raw)
        vectors: State = {}
        if state is not None:
            held: Any = meta.unbox(state)
            for name in state_path(path):
                held = held.get(name, {}) if isinstance(held, Mapping) else {}
            held = held if isinstance(held, Mapping) else {}
            shapes = spec.shapes(jax.ShapeDtypeStruct(weight.shape[1:], weight.dtype))
            found = {name: x for name, x in held.items() if name in shapes and hasattr(x, "shape")}
            vectors = checked_vectors(
                {name: unstacked(x, spec.state_stack)[0] for name, x in found.items()},
                {name: (len(weight), *shape) for name, shape in shapes.items()}, where,
                "pass params and 'spectral' of one model, or make them by init_spectral")
        gamma = None
        if spec.learnable_scale:
            learnt = (*path[:-1], gamma_of(path[-1]))
            if learnt not in leaves:
                raise ValueError(f"{where}: learnable_scale=True needs the parameter "
                                 f"'{'/'.join(learnt)}', which params lacks: add it, or leave "
                                 "learnable_scale False")
            gamma = unstacked(meta.unbox(leaves[learnt]), spec.gamma_stack)[0].astype(weight.dtype)
        if state_path(path) in seen:
            raise ValueError(f"{where} and another weight of the same layer would store their "
                             "vectors under the same name: rename 'kernel' or 'embedding'")
        if spec.divisor not in STATELESS:
            seen.add(state_path(path))
        entries.append(Entry(path, spec, places[path], sizes, weight, vectors, gamma))
    return entries


class _Job(NamedTuple):
    """Matrices (n, rows, columns) of an entry, and the suffix of their u and v."""

    entry: int
    suffix: str
    matrix: jax.Array


def _sections(entries: list[Entry]) -> list[list[list[_Job]]]:
    """The matrices in batches of similar size, and the batches in sections.

    A batch is one product of a power step. A section, usually one with all batches, keeps its u in
    one array and its v in another, so that one reduction gives all lengths. Padding may double the
    numbers of either, or add 2^20; more kernels would cost a GPU more.
    """
    jobs = [_Job(n, suffix, matrix.reshape(-1, *matrix.shape[-2:]))
            for n, entry in enumerate(entries) if entry.iterates_on_matrices
            for suffix, matrix in jax.vmap(entry.spec.matrices)(
                spectral.gathered(entry.weight)).items()]
    batches: list[list[_Job]] = []
    # By path, so that the order of specs does not matter.
    for job in sorted(jobs, key=lambda job: (-math.prod(job.matrix.shape[1:]),
                                             entries[job.entry].path, job.suffix)):
        for batch in batches:
            if _may_join([*batch, job], math.prod):
                batch.append(job)
                break
        else:
            batches.append([job])
    return [batches] if _may_join(list(itertools.chain(*batches)), sum) else [[b] for b in batches]


def _may_join(jobs: list[_Job], size: Callable[[Shape], int]) -> bool:
    """Whether matrices have one dtype, and arrays of `size(shape)` numbers need little padding."""
    if len({job.matrix.dtype for job in jobs}) != 1:
        return False
    padded = size(_largest(jobs)) * sum(len(job.matrix) for job in jobs)
    return padded <= 2 * sum(len(job.matrix) * size(job.matrix.shape[1:]) for job in jobs) + 2**20


def measured(entries: list[Entry], packed: Packed, steps: int) -> tuple[list[jax.Array], Packed]:
    """(the divisor of each entry, the vectors after `steps` power steps).

    Raises:
      ValueError: if `steps` is not a number of steps, or `packed` belongs to other entries.
    """
    spectral.check_steps(steps)
    found: dict[int, list[jax.Array]] = {}
    new = Packed([], [], {})
    for section, u, v in _paired(entries, packed):
        stacks = [jnp.concatenate([_padded(job.matrix, *_largest(batch)) for job in batch])
                  for batch in section]
        sigma, new_u, new_v = _iterate(stacks, u, v, steps)
        new.u.append(new_u)
        new.v.append(new_v)
        for job, part in _parts(section):
            # The largest over the blocks, as in `divisors`.
            members = sigma[part].reshape(len(entries[job.entry].weight), -1)
            found.setdefault(job.entry, []).append(jnp.max(members, axis=1))
    for n, entry in enumerate(entries):
        if not entry.iterates_on_matrices:
            measure = jax.vmap(functools.partial(entry.spec.measure, steps=steps))
            sigma, new.others[entry.path] = measure(entry.weight, packed.others[entry.path])
            found[n] = [sigma]
    return [found[n][0] if len(found[n]) == 1 else jnp.mean(jnp.stack(found[n]), axis=0)
            for n in range(len(entries))], new


@functools.partial(jax.jit, static_argnames="steps")
def _iterate(stacks: list[jax.Array], u: jax.Array, v: jax.Array, steps: int) -> spectral.Triplet:
    """`spectral.power_iteration` of stacks of matrices, with the vectors of all in order."""
    ends = list(itertools.accumulate(map(len, stacks)))[:-1]

    def products(equation: str, x: jax.Array, inputs: int, length: int) -> jax.Array:
        return jnp.concatenate([
            _padded(jnp.einsum(equation, w, part[:, :w.shape[inputs]],
                               precision=jax.lax.Precision.HIGHEST), length)
            for w, part in zip(stacks, jnp.split(x, ends), strict=True)])

    return spectral.power_iteration(spectral.LinearMap(
        lambda v: products("nij,nj->ni", v, 2, u.shape[1]),
        lambda u: products("nij,ni->nj", u, 1, v.shape[1]), axis=1), u, v, steps)


def packed_of(entries: list[Entry]) -> Packed:
    """The entries' vectors, in sections."""
    packed = Packed([], [], {entry.path: entry.state for entry in entries
                             if not entry.iterates_on_matrices})
    for section in _sections(entries):
        jobs = list(itertools.chain(*section))
        for letter, arrays, length in zip("uv", packed[:2], _largest(jobs), strict=True):
            arrays.append(jnp.concatenate([
                _padded(entries[job.entry].state[letter + job.suffix].reshape(len(job.matrix), -1),
                        length) for job in jobs]))
    return packed


def unpacked_of(entries: list[Entry], packed: Packed, state: Variables) -> dict[str, Any]:
    """`state` with the vectors of `packed`; ValueError as for `measured`."""
    pairs = _paired(entries, packed)
    new = flatten_dict(meta.unbox(state))
    for entry in entries:
        new |= entry.stored(packed.others.get(entry.path, {}))
    for section, u, v in pairs:
        for job, part in _parts(section):
            entry, (_, rows, columns) = entries[job.entry], job.matrix.shape
            members = len(entry.weight)
            new |= entry.stored({"u" + job.suffix: u[part, :rows].reshape(members, -1),
                                 "v" + job.suffix: v[part, :columns].reshape(members, -1)})
    return unflatten_dict(new)


def _paired(entries: list[Entry], packed: Packed
            ) -> list[tuple[list[list[_Job]], jax.Array, jax.Array]]:
    """Each section with its u and v; ValueError if `packed` is not of these entries."""
    sections = _sections(entries)
    jobs = [list(itertools.chain(*section)) for section in sections]
    shapes = [(sum(len(job.matrix) for job in own), *_largest(own)) for own in jobs]
    others = {entry.path for entry in entries if not entry.iterates_on_matrices}
    if others != set(packed.others) or shapes != [
            (*u.shape, v.shape[1]) for u, v in zip(packed.u, packed.v, strict=True)]:
        raise ValueError("the packed vectors are those of other specs or parameters: make them by "
                         "pack(params, state, specs)")
    return list(zip(sections, packed.u, packed.v, strict=True))


def _parts(section: list[list[_Job]]) -> Iterator[tuple[_Job, slice]]:
    begin = 0
    for job in itertools.chain(*section):
        yield job, slice(begin, begin := begin + len(job.matrix))


def _largest(jobs: list[_Job]) -> Shape:
    return tuple(max(job.matrix.shape[axis] for job in jobs) for axis in (1, 2))


def _padded(x: jax.Array, *shape: int) -> jax.Array:
    return jnp.pad(x, [(0, 0), *((0, to - n) for to, n in zip(shape, x.shape[1:], strict=True))])


def unstacked(x: jax.Array, stack: Shape) -> tuple[jax.Array, Shape]:
    """The stack's axes as one in front, the outermost slowest; and their lengths."""
    for depth, axis in enumerate(reversed(stack)):
        x = jnp.moveaxis(x, axis + depth, depth)
    return x.reshape(-1, *x.shape[len(stack):]), x.shape[:len(stack)]


def restacked(x: jax.Array, stack: Shape, sizes: Shape) -> jax.Array:
    """The inverse of `unstacked`."""
    x = x.reshape(*sizes, *x.shape[1:])
    for depth, axis in reversed(list(enumerate(reversed(stack)))):
        x = jnp.moveaxis(x, depth, axis + depth)
    return x


def leaves_of(tree: Any, kind: type = meta.AxisMetadata) -> dict[Path, Any]:
    """{path as strings: leaf}, with boxes left unopened."""
    flat = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: isinstance(x, kind))
    return {tuple(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path):
            leaf for path, leaf in flat}
