"""How the arrays of a stacked NNX layer are stacked, told by their shapes: for `nnx.py`.

Linen's transforms say which axes they add. NNX's do not.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from sngan_jax.divisors import Shape
from sngan_jax.packing import restacked, unstacked


class Stack(NamedTuple):
    """How an array is stacked: a member's shape, the axes as in `Spec.stack`, their lengths."""

    member: Shape
    axes: Shape
    sizes: Shape

    def front(self, x: jax.Array) -> jax.Array:
        """The array with the stack's axes in front, the outermost first."""
        return unstacked(x, self.axes)[0].reshape((*self.sizes, *self.member))

    def back(self, x: jax.Array) -> jax.Array:
        """The inverse of `front`."""
        return restacked(x.reshape(-1, *self.member), self.axes, self.sizes)


def stacks_of(held: Mapping[Any, tuple[Any, Shape]], where: str, sizes: Shape | None = None
              ) -> dict[Any, Stack]:
    """{key: how the array is stacked}, for arrays that are stacked along the same axes.

    Args:
      held: {key: (array, shape of a member)}.
      where: the name of the arrays, for the error.
      sizes: lengths of the axes, the outermost first, if known; otherwise the outermost axis comes
        first in the array.

    Raises:
      ValueError: if the shapes do not determine the axes.
    """
    common: set[Shape] | None = None
    found: dict[Any, dict[Shape, Stack]] = {}
    for key, (x, member) in held.items():
        found[key] = {stack.axes: stack for stack in _possible_stacks(x.shape, member, sizes)}
        common = set(found[key]) if common is None else common & set(found[key])
    if common is not None and len(common) != 1:
        shapes = ", ".join(f"{x.shape} of {member}" for x, member in held.values())
        raise ValueError(
            f"the shapes do not determine the axis along which '{where}' is stacked ({shapes}): "
            "call the function inside the transform, where nothing is stacked, as in "
            "nnx.vmap(sigmas)(model)")
    return {key: stacks[axes] for axes in common or () for key, stacks in found.items()}


def _possible_stacks(shape: Shape, member: Shape, sizes: Shape | None) -> Iterator[Stack]:
    for axes in itertools.permutations(range(len(shape)), max(len(shape) - len(member), 0)):
        rest = tuple(n for axis, n in enumerate(shape) if axis not in axes)
        lengths = tuple(shape[axis] for axis in axes)
        if rest == member and (axes == tuple(sorted(axes)) if sizes is None else lengths == sizes):
            places = [axis - sum(outer < axis for outer in axes[:n]) for n, axis in enumerate(axes)]
            yield Stack(member, tuple(reversed(places)), lengths)
