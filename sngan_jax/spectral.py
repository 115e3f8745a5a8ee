"""Spectral normalization on arrays: power iteration, the largest singular value, W̄ = K·W/σ(W).

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks",
ICLR 2018 (arXiv 1802.05957). Equation numbers refer to that paper. This module does not use Flax.

A *layout* says how a weight of any shape is read as a matrix. It has one letter for each axis:

    o  output          i  input          s  position in a convolution's window
    b  block: each index along such an axis is a matrix of its own, and the weight is the
       block-diagonal matrix of them (locally connected layers, batch dimensions)

A `Dense` kernel is 'io' and a two-dimensional `Conv` kernel 'ssio': d_out rows of d_in·h·w numbers
(section 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from sngan_jax.base.shapes import Float, Shaped

Linear = Callable[[Array], Array]
Triplet = tuple[Float[Array, "..."], Float[Array, "*u"], Float[Array, "*v"]]  # σ, u and v


class LinearMap(NamedTuple):
    """A linear map x → Wx and its transpose, as functions of arrays of any shape.

    axis: the axis of a vector in these arrays, if they are stacks of vectors, one for each of
      several maps; None if an array is one vector.
    """

    apply: Linear
    transpose: Linear
    axis: int | None = None


def power_iteration(w: Float[Array, "rows columns"] | LinearMap, u: Float[Array, "*u"],
                    v: Float[Array, "*v"], steps: int = 1) -> Triplet:
    """Power steps on u and v, and σ = uᵀWv (Algorithm 1, equations 18-21).

    u and v are constants for differentiation, so that dσ/dW = u vᵀ (equations 9-12). A step costs
    two products; σ comes from the second one.

    Args:
      w: the paper's W, or a linear map.
      u: estimate of the left singular vector, (rows,) or of the shape of the map's output.
      v: estimate of the right one, (columns,) or of the shape of the map's input.
      steps: number of power steps. With 0, u and v stay as they are, and σ does not depend on their
        lengths.

    Returns:
      (σ, u, v), with unit vectors after one step or more. σ is a scalar, or has one value for each
        of several maps.

    Raises:
      ValueError: if `steps` is no number of steps or the shapes do not fit together.
    """
    apply, transpose, axis = w if isinstance(w, LinearMap) else _matrix_map(w, u, v)
    check_steps(steps)

    def step(u: Array, v: Array) -> tuple[Array, Array, Array]:
        v = lax.stop_gradient(unit(transpose(u), v, axis))
        product = apply(v)
        u = lax.stop_gradient(unit(product, u, axis))
        return product, u, v

    u, v = lax.stop_gradient((u, v))
    if steps == 0:
        return jnp.sum(unit(u, u, axis) * apply(unit(v, v, axis)), axis), u, v
    if steps > 1:
        u, v = lax.fori_loop(0, steps - 1, lambda _, vectors: step(*vectors)[1:], (u, v))
    product, u, v = step(u, v)
    return jnp.sum(u * product, axis), u, v


# Without jit, the loop would be compiled anew at every call.
compiled_power_iteration = jax.jit(power_iteration, static_argnames="steps")


def check_steps(steps: int) -> None:
    """Raises ValueError if `steps` is no number of power steps."""
    if not is_whole(steps) or steps < 0:
        raise ValueError(f"steps is {steps!r}: the number of power steps must be a whole number, 0 "
                         "or more")


def is_whole(number: object) -> bool:
    """Whether a value is a Python or NumPy integer; booleans do not count."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def unit(x: Float[Array, "*shape"], fallback: Float[Array, "*shape"], axis: int | None = None
         ) -> Float[Array, "*shape"]:
    """x / ‖x‖₂, the norm over `axis` (None: all), or `fallback` where ‖x‖₂² is 0 or infinite.

    In float32 this is right for lengths from 1e-15 to 1e15, with room to spare. x = 0 gives
    `fallback`, so the previous vector is there when W is no longer 0.
    """
    squared = jnp.sum(jnp.square(x), axis, keepdims=axis is not None)
    usable = (squared > 0) & (squared < jnp.inf)
    return jnp.where(usable, x * lax.rsqrt(jnp.where(usable, squared, 1)), fallback)


def divide(weight: Float[Array, "*shape"], sigma: Float[Array, "*#shape"],
           lipschitz: jax.typing.ArrayLike = 1.0) -> Float[Array, "*shape"]:
    """W̄ = K·W/σ (equation 8 with K = 1), by one multiplication; K·W where σ = 0.

    Args:
      weight: W, or a stack of them.
      sigma: one number, or one for each member of a stack; in float32, from 1e-15 to 1e15, or 0.
      lipschitz: K > 0.
    """
    return weight * (lipschitz / jnp.where(sigma == 0, 1, sigma))


def gathered(x: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """x whole on every device, if it is sharded over explicit axes of a mesh (`jax.make_mesh`).

    There, JAX asks for the sharding of each product. On other meshes the compiler chooses it.
    """
    sharding = jax.typeof(x).sharding
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.sharding.reshard(x, whole) if any(sharding.spec) else x


def _matrix_map(matrix: Array, u: Array, v: Array) -> LinearMap:
    """Products of a matrix, with u and v checked against its shape."""
    if matrix.ndim != 2 or u.shape != matrix.shape[:1] or v.shape != matrix.shape[1:]:
        raise ValueError(
            f"a matrix of shape {tuple(matrix.shape)}, u of {tuple(u.shape)} and v of "
            f"{tuple(v.shape)} do not fit: expected (rows, columns), (rows,) and (columns,)"
        )
    # Full float32 on accelerators too, where products have fewer bits by default.
    return LinearMap(lambda x: jnp.matmul(matrix, x, precision=lax.Precision.HIGHEST),
                     lambda y: jnp.matmul(y, matrix, precision=lax.Precision.HIGHEST))


def matricize(weight: Shaped[Array, "*axes"], layout: str, rows: str = "o"
              ) -> Shaped[Array, "blocks rows rest"]:
    """The weight as (blocks, rows, rest): one block unless the layout has a 'b'.

    Args:
      weight: array with one axis for each letter of `layout`.
      layout: letters of 'o', 'i', 's', 'b'; see the module's text.
      rows: the letter whose axes become the rows: 'o' for the paper's matrix, 'i' for the second
        one of bidirectional spectral normalization (Lin, Sekar, Fanti, NeurIPS 2021).

    Returns:
      the matrices; their columns keep the order of the remaining axes. If the layout has no such
      letter, there is one row.

    Raises:
      ValueError: if the layout does not fit the weight.
    """
    if len(layout) != weight.ndim or set(layout) - set("osib"):
        raise ValueError(
            f"the layout {layout!r} does not describe a weight of shape {tuple(weight.shape)}: "
            "give one letter of 'o', 'i', 's', 'b' for each axis"
        )
    blocks = [axis for axis, letter in enumerate(layout) if letter == "b"]
    first = [axis for axis, letter in enumerate(layout) if letter == rows]
    rest = [axis for axis, letter in enumerate(layout) if letter not in ("b", rows)]
    n_blocks, n_rows, n_rest = (
        math.prod(weight.shape[axis] for axis in axes) for axes in (blocks, first, rest)
    )
    if blocks + rest + first == list(range(weight.ndim)):
        # The usual layout: a reshape and a transpose, which the compiler folds into the product.
        return weight.reshape(n_blocks, n_rest, n_rows).swapaxes(1, 2)
    return weight.transpose(blocks + first + rest).reshape(n_blocks, n_rows, n_rest)


def iteration_dtype(dtype: DTypeLike) -> np.dtype:
    """The dtype in which σ is computed for a weight of `dtype`: float32, or float64 for float64.

    Raises:
      TypeError: if `dtype` is not a real floating dtype.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"a weight of dtype {jnp.dtype(dtype).name} has no spectral normalization here: "
            "use a real floating dtype such as float32 or bfloat16"
        )
    return np.dtype(np.float64 if jnp.dtype(dtype) == np.float64 else np.float32)
