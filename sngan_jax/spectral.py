"""Spectral normalisation on arrays: power iteration, the largest singular value, W / σ(W).

Nothing here knows Flax. Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative
Adversarial Networks", ICLR 2018 (arXiv 1802.05957): section 2 and Algorithm 1; equation numbers
are that paper's.

A weight of any shape becomes a matrix whose rows are its outputs by a *layout*: a string with one
letter for each axis of the weight,

    o  output          i  input          s  spatial position in a convolution's window
    b  block: every index along such an axis is a matrix of its own, and the whole is
       block-diagonal (locally connected layers, batch dimensions)

so a `Dense` kernel is 'io', a two-dimensional `Conv` kernel 'ssio'. The paper reshapes a
convolution's kernel to d_out rows of d_in·h·w numbers (section 2.1); so does 'ssio'.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

# What a power iteration gives: σ, u and v.
Triplet = tuple[jax.Array, jax.Array, jax.Array]
Linear = Callable[[jax.Array], jax.Array]


def iteration_dtype(dtype: DTypeLike) -> np.dtype:
    """The dtype in which σ is computed for a weight of `dtype`: float32, or float64 for float64.

    Raises:
      TypeError: if `dtype` is not a real floating dtype.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"a weight of dtype {jnp.dtype(dtype).name} has no spectral normalisation here: "
            "use a real floating dtype such as float32 or bfloat16"
        )
    return jnp.promote_types(dtype, jnp.float32)


def matricize(weight: jax.Array, layout: str, rows: str = "o") -> jax.Array:
    """The weight as the matrix (rows, rest), or (blocks, rows, rest) if the layout has a 'b'.

    Args:
      weight: array with one axis for each letter of `layout`.
      layout: letters of 'o', 'i', 's', 'b', see the module's text.
      rows: the letter whose axes become the rows: 'o' is the paper's reshape, 'i' the second one
        of bidirectional spectral normalisation (Lin, Sekar, Fanti, NeurIPS 2021).

    Returns:
      array of shape (rows, rest) or (blocks, rows, rest) and of the weight's dtype; the columns
      keep the order of the remaining axes. Without such a letter there is one row.

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
    sizes = [_size(weight, axes) for axes in (blocks, first, rest)]
    if blocks + rest + first == list(range(weight.ndim)):
        # The usual layout: a reshape and a transpose that the compiler folds into the product.
        matrix = weight.reshape(sizes[0], sizes[2], sizes[1]).swapaxes(1, 2)
    else:
        matrix = weight.transpose(blocks + first + rest).reshape(sizes)
    return matrix if blocks else matrix[0]


def spectrum(weight: jax.Array, layout: str = "oi") -> jax.Array:
    """All singular values of the weight's matrix, by SVD, in descending order.

    Args:
      weight: float array with one axis for each letter of `layout`.
      layout: see the module's text; by default a matrix as in the paper.

    Returns:
      array (n,), n the smaller side of the matrix; for a block-diagonal one those of all blocks.
      float32, or float64 for float64.
    """
    matrix = matricize(weight.astype(iteration_dtype(weight.dtype)), layout)
    values = jnp.linalg.svd(matrix, compute_uv=False)
    return jnp.sort(values.reshape(-1), descending=True)


def unit(x: jax.Array, fallback: jax.Array) -> jax.Array:
    """x / ‖x‖₂, or `fallback` where x is zero; no square overflows or underflows.

    Args:
      x: array of any shape; its norm is taken over all of it.
      fallback: array of x's shape. Keeping the previous vector there, a power iteration that met
        W = 0 goes on when W is no longer zero.
    """
    largest = jnp.max(jnp.abs(x))
    scaled = x / jnp.where(largest > 0, largest, 1)
    length = jnp.sqrt(jnp.sum(jnp.square(scaled)))
    return jnp.where(largest > 0, scaled / jnp.where(largest > 0, length, 1), fallback)


def power_iteration(matrix: jax.Array, u: jax.Array, v: jax.Array, steps: int = 1) -> Triplet:
    """`steps` rounds of power iteration, and σ with its gradient (Algorithm 1, equations 9-12).

    One round is v ← Wᵀu / ‖Wᵀu‖ and then u ← Wv / ‖Wv‖ (equations 19, 20). The last product Wv also
    gives σ = uᵀWv, so a forward pass costs two products of a matrix and a vector a round, and one
    without a round. u and v are constants for differentiation: dσ/dW = u vᵀ.

    Args:
      matrix: float array (rows, columns), the paper's W.
      u: float array (rows,), a unit vector: the estimate of the left singular vector.
      v: float array (columns,): that of the right one.
      steps: rounds, 0 or more; 0 evaluates σ with u and v as they are.

    Returns:
      (σ, u, v): a scalar and the vectors after the rounds.

    Raises:
      ValueError: if `steps` is negative or the shapes do not fit together.
    """
    _check_vectors(matrix, u, v, steps)
    constant = lax.stop_gradient(matrix)
    return operator_power_iteration(
        lambda x: _matvec(matrix, x),
        lambda x: _matvec(constant, x),
        lambda y: _matvec(constant.T, y),
        u, v, steps,
    )


def operator_power_iteration(apply: Linear, constant: Linear, transpose: Linear, u: jax.Array,
                             v: jax.Array, steps: int = 1) -> Triplet:
    """`power_iteration` for a linear map given by functions.

    Args:
      apply: x of v's shape → array of u's shape, linear; σ is differentiated through it.
      constant: the same function, held constant for differentiation.
      transpose: its transpose, y of u's shape → array of v's shape, held constant.
      u, v: float arrays of any shape, of norm one.
      steps: rounds, 0 or more.

    Returns:
      (σ, u, v), as `power_iteration`.
    """
    u, v = lax.stop_gradient((u, v))
    if steps > 1:

        def step(_: jax.Array, vectors: tuple[jax.Array, jax.Array]
                 ) -> tuple[jax.Array, jax.Array]:
            u, v = vectors
            v = unit(transpose(u), v)
            return unit(constant(v), u), v

        u, v = lax.fori_loop(0, steps - 1, step, (u, v))
    if steps:
        v = unit(transpose(u), v)
    image = apply(v)
    if steps:
        u = unit(lax.stop_gradient(image), u)
    return jnp.sum(u * image), u, v


def spectral_norm(matrix: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """σ = uᵀWv with the vectors as they are: one product, no iteration (equation 21).

    Args and errors as `power_iteration`; the result is a scalar of the matrix' dtype, the largest
    singular value once u and v have converged, and a lower bound of it before.
    """
    return power_iteration(matrix, u, v, steps=0)[0]


def block_power_iteration(matrix: jax.Array, u: jax.Array, v: jax.Array, steps: int = 1) -> Triplet:
    """`power_iteration` of a block-diagonal matrix: σ is the largest of its blocks' σ.

    The blocks are iterated apart, each with unit vectors of its own: all converge, and the largest
    is found even where several are close.

    Args:
      matrix: float array (blocks, rows, columns), or (rows, columns) for a single block.
      u: float array (blocks·rows,): the blocks' left vectors, one after the other.
      v: float array (blocks·columns,).
      steps: rounds, 0 or more.

    Returns:
      (σ, u, v), of the shapes of `power_iteration`.
    """
    if matrix.ndim == 2:
        return power_iteration(matrix, u, v, steps)
    blocks, rows, columns = matrix.shape
    sigma, u, v = jax.vmap(lambda matrix, u, v: power_iteration(matrix, u, v, steps))(
        matrix, u.reshape(blocks, rows), v.reshape(blocks, columns)
    )
    return jnp.max(sigma), u.reshape(-1), v.reshape(-1)


def length(x: jax.Array, axes: Sequence[int] | None = None) -> jax.Array:
    """The Euclidean norm over `axes`, which are kept with size 1 (None: all axes, a scalar).

    No square overflows or underflows, and the gradient at x = 0 is 0 instead of NaN.
    """
    keep = axes is not None
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=axes, keepdims=True))
    zero = largest == 0
    squares = jnp.sum(jnp.square(x / jnp.where(zero, 1, largest)), axis=axes, keepdims=True)
    norm = jnp.where(zero, 0, largest * jnp.sqrt(jnp.where(zero, 1, squares)))
    return norm if keep else norm.reshape(())


def divide(weight: jax.Array, sigma: jax.Array, lipschitz: float = 1.0, cap: bool = False
           ) -> jax.Array:
    """K·W/σ (equation 8 with K = 1), safe for every σ.

    The result and its derivatives of any order are those of K·W/σ, without forming 1/σ², which
    float32 cannot hold for σ = 1e-30: with s a constant equal to σ, W/σ = (W/s) / (σ/s).
    Where σ = 0 (below 1.2e-38 in float32), W is only multiplied by K, so that W = 0 gives 0 and
    finite gradients.

    Args:
      weight: array.
      sigma: array that broadcasts against it.
      lipschitz: K > 0.
      cap: divide only where σ > K, so W / max(1, σ/K) (Gouk, Frank, Pfahringer, Cree,
        "Regularisation of neural networks by enforcing Lipschitz continuity", 2018, equation 9).

    Returns:
      array of the weight's shape and dtype.
    """
    constant = lax.stop_gradient(sigma)
    scale = jnp.where(constant == 0, 1, constant)
    relative = jnp.where(constant == 0, 1, sigma / scale)
    divided = weight / scale / relative
    if lipschitz != 1:
        divided = divided * lipschitz
    if cap:
        divided = jnp.where(sigma > lipschitz, divided, weight)
    return divided


def _matvec(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    # Full float32 on accelerators too, whose default products are in fewer bits.
    return jnp.matmul(matrix, vector, precision=lax.Precision.HIGHEST)


def _size(weight: jax.Array, axes: Sequence[int]) -> int:
    size = 1
    for axis in axes:
        size *= weight.shape[axis]
    return size


def _check_vectors(matrix: jax.Array, u: jax.Array, v: jax.Array, steps: int) -> None:
    if steps < 0:
        raise ValueError(f"steps is {steps}: the number of power steps must be 0 or more")
    if matrix.ndim != 2 or u.shape != matrix.shape[:1] or v.shape != matrix.shape[1:]:
        raise ValueError(
            f"a matrix of shape {tuple(matrix.shape)}, u of {tuple(u.shape)} and v of "
            f"{tuple(v.shape)} do not fit: expected (rows, columns), (rows,) and (columns,)"
        )
