"""The norm of a convolution itself, which the paper's reshaped matrix only approximates.

For a k×k convolution of stride s, σ(reshaped) ≤ ‖convolution‖ ≤ ⌈k/s⌉·σ(reshaped) for square
kernels and large inputs: every input pixel enters at most ⌈k/s⌉² windows (paper, footnote 3;
Tsuzuku, Sato, Sugiyama, 2018). Farnia, Zhang, Tse, "Generalizable Adversarial Training via Spectral
Normalization", ICLR 2019, and Gouk et al. 2018 iterate on the convolution and its transpose
instead; Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers", ICLR 2019, give all
singular values where the padding is circular.

Functions of arrays and of linear functions; nothing here knows Flax.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from sngan_jax.spectral import Linear, operator_power_iteration, unit

Shape = tuple[int, ...]


def transpose_of(apply: Linear, input_shape: Shape, dtype: DTypeLike = jnp.float32) -> Linear:
    """The transpose of a linear function, y of its output's shape → array of `input_shape`."""
    transposed = jax.linear_transpose(apply, jax.ShapeDtypeStruct(input_shape, dtype))
    return lambda y: transposed(y)[0]


def operator_norm(linear: Callable[[jax.Array], Linear], weight: jax.Array, input_shape: Shape, *,
                  steps: int = 100, key: jax.Array | None = None) -> jax.Array:
    """The largest singular value of a linear function of arrays, by power iteration.

    Args:
      linear: weight → (x of `input_shape` → array of any shape, linear in x).
      weight: float array; the norm is differentiable in it.
      input_shape: tuple of ints.
      steps: rounds. The error falls as (σ₂/σ₁)^(2·steps), where σ₂ is the next distinct value.
      key: PRNG key of the first vector; fixed by default.

    Returns:
      a scalar of the weight's dtype.

    Raises:
      ValueError: if `steps` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: the operator norm needs at least one power step")
    constant = linear(lax.stop_gradient(weight))
    transpose = transpose_of(constant, input_shape, weight.dtype)
    v = jax.random.normal(jax.random.key(0) if key is None else key, input_shape, weight.dtype)
    v = unit(v, v)
    image = constant(v)
    u = unit(image, image)
    return operator_power_iteration(linear(weight), constant, transpose, u, v, steps)[0]


def lanczos_norm(normal: Linear, input_shape: Shape, *, tolerance: float = 1e-4,
                 max_steps: int = 300) -> float:
    """The largest singular value of A from x → AᵀAx, to be used as a bound.

    A power iteration comes up to the norm from below, and slowly where values lie close, as those
    of a convolution of a large image do. The Lanczos iteration (with full reorthogonalisation;
    Golub, Van Loan, "Matrix Computations", §10.1) is far faster, and the residual of what it finds
    is added, so that the result errs upwards. In theory it can miss the largest value altogether,
    for a first vector that is orthogonal to it; a random one is not.

    Args:
      normal: array of `input_shape` → array of `input_shape`; x → AᵀAx.
      input_shape: tuple of ints.
      tolerance: of the residual, relative to σ².
      max_steps: products at most; the residual is then what it is.

    Returns:
      a Python float, at least the value found.
    """
    size = math.prod(input_shape)
    steps = min(size, max_steps)
    basis = np.empty((steps, size), np.float32)  # of the system, memory is taken as it is filled
    start = np.random.default_rng(0).standard_normal(size)
    basis[0] = start / np.linalg.norm(start)
    diagonal: list[float] = []
    below: list[float] = []
    for step in range(steps):
        image = np.asarray(normal(jnp.asarray(basis[step].reshape(input_shape))))
        image = image.reshape(-1).astype(np.float64)
        known = basis[:step + 1]
        diagonal.append(known[step] @ image)
        for _ in range(2):
            image -= known.T @ (known @ image)
        length = np.linalg.norm(image)
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(below, 1) + np.diag(below, -1))
        residual = length * abs(vectors[-1, -1])
        if residual <= tolerance * values[-1] or step + 1 == steps:
            break
        below.append(float(length))
        basis[step + 1] = image / length
    return math.sqrt(max(values[-1], 0) + residual)
