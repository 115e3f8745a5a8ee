"""An upper bound on the norm of a linear map that is given as a function."""

import math

import jax.numpy as jnp
import numpy as np

from sngan_jax.spectral import Linear


def lanczos_norm(normal: Linear, input_shape: tuple[int, ...], *, tolerance: float = 1e-4,
                 max_steps: int = 300) -> float:
    """The largest singular value of A, from x → AᵀAx, for use as an upper bound.

    A power iteration approaches the norm from below, and slowly if singular values lie close
    together, as for a convolution of a large image. The Lanczos iteration (with full
    reorthogonalization; Golub, Van Loan, "Matrix Computations", §10.1) is far faster. The residual
    is added to its result, so that the error is upwards. In theory it can miss the largest value
    altogether, if the first vector is orthogonal to it; a random vector is not.

    Args:
      normal: array of `input_shape` → array of `input_shape`; x → AᵀAx.
      input_shape: tuple of ints.
      tolerance: largest residual, relative to σ².
      max_steps: largest number of products; the residual may then exceed the tolerance.

    Returns:
      a Python float, at least as large as the value found.
    """
    size = math.prod(input_shape)
    steps = min(size, max_steps)
    basis = np.empty((steps, size), np.float32)  # the system allocates its pages as they are filled
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
