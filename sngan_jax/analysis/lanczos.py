"""The norm of a linear map that is given as a function, from above."""

import math

import jax.numpy as jnp
import numpy as np

from sngan_jax.spectral import Linear


def lanczos_norm(normal: Linear, input_shape: tuple[int, ...], *, tolerance: float = 1e-4,
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
      tolerance: largest residual, relative to σ².
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
