"""Repetition of a function in a compiled program: unrolled, or as a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Carry = TypeVar("Carry")
Y = TypeVar("Y")
Body = Callable[[Carry, jax.Array], tuple[Carry, Y]]


def repeat(body: Body[Carry, Y], carry: Carry, times: int, platform: str) -> tuple[Carry, Y]:
    """body(carry, i) -> (carry, y) for i = 0 … times - 1; returns the last carry and all y.

    Unrolled on a CPU, whose back end is a hundred times slower on a convolution's gradient inside a
    loop. A scan of length one is also such a loop.
    """
    if times == 1 or platform == "cpu":
        body, ys = jax.jit(body), []  # traced and lowered once
        for i in range(times):
            carry, y = body(carry, jnp.int32(i))
            ys.append(y)
        return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)
    return lax.scan(body, carry, jnp.arange(times))


def loop_of_one(body: Body[Carry, Y], carry: Carry, iteration: jax.Array) -> tuple[Carry, Y]:
    """`repeat` once, in a loop whose length XLA cannot know.

    The TPU compiler joins the all-reduces in a loop's body, but leaves those of straight-line code
    in pieces (docs/scaling.md).
    """
    y = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype),
                     jax.eval_shape(body, carry, jnp.int32(0))[1])
    once = 1 + (iteration < 0)  # never negative
    carry, y = lax.fori_loop(0, once, lambda i, c: body(c[0], jnp.int32(i)), (carry, y))
    return carry, jax.tree.map(lambda y: y[None], y)
