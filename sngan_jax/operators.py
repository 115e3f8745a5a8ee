"""The norm of a convolution itself, which the paper's reshaped matrix only approximates.

For a k×k convolution of stride s, σ(reshaped) ≤ ‖convolution‖ ≤ ⌈k/s⌉·σ(reshaped) for square
kernels and large inputs: every input pixel enters at most ⌈k/s⌉² windows (paper, footnote 3;
Tsuzuku, Sato, Sugiyama, 2018). Farnia, Zhang, Tse, "Generalizable Adversarial Training via Spectral
Normalization", ICLR 2019, and Gouk et al. 2018 iterate on the convolution and its transpose
instead; Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers", ICLR 2019, give all
singular values where the padding is circular.

Functions of arrays and of linear functions; nothing here knows Flax.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sngan_jax.spectral import iteration_dtype, operator_power_iteration, unit


def transpose_of(apply, input_shape, dtype=jnp.float32):
    """The transpose of a linear function, y of its output's shape → array of `input_shape`."""
    transposed = jax.linear_transpose(apply, jax.ShapeDtypeStruct(input_shape, dtype))
    return lambda y: transposed(y)[0]


def operator_norm(linear, weight, input_shape, *, steps=100, key=None):
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


def lanczos_norm(normal, input_shape, *, tolerance=1e-4, max_steps=300):
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
    diagonal, below = [], []
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
        below.append(length)
        basis[step + 1] = image / length
    return math.sqrt(max(values[-1], 0) + residual)


def operator_matrix(apply, input_shape, dtype=jnp.float32):
    """The dense matrix (outputs, inputs) of a linear function, built column by column.

    For checking on small shapes: it has as many columns as x has numbers.
    """
    size = math.prod(input_shape)
    basis = jnp.eye(size, dtype=dtype).reshape(size, *input_shape)
    return lax.map(apply, basis).reshape(size, -1).T


def convolution(
    kernel, *, strides=1, padding="SAME", input_dilation=1, kernel_dilation=1, groups=1
):
    """The linear function of one image (no batch axis) that a convolution's kernel is.

    Args:
      kernel: float array (*window, inputs / groups, outputs), Flax's layout.
      strides, input_dilation, kernel_dilation: an int, or one for each spatial axis.
      padding: 'SAME', 'VALID', 'CIRCULAR', an int, or a pair (low, high) for each spatial axis.
      groups: `feature_group_count`.

    Returns:
      function of x (*size, inputs) → array (*size', outputs).

    Raises:
      ValueError: if the kernel has no spatial axis, or an argument has not one entry for each.
    """
    window = kernel.shape[:-2]
    n = len(window)
    if n < 1:
        raise ValueError(
            f"a kernel of shape {kernel.shape} is no convolution's: expected (*window, in, out)"
        )
    strides, input_dilation, kernel_dilation = (
        _each(name, value, n)
        for name, value in [
            ("strides", strides),
            ("input_dilation", input_dilation),
            ("kernel_dilation", kernel_dilation),
        ]
    )
    circular = padding == "CIRCULAR"
    reach = [(k - 1) * d for k, d in zip(window, kernel_dilation, strict=True)]
    if circular:
        pads = [(r // 2, r - r // 2) for r in reach] + [(0, 0)]
        padding = "VALID"
    elif isinstance(padding, int):
        padding = [(padding, padding)] * n
    elif not isinstance(padding, str) and len(padding) != n:
        raise ValueError(f"padding={padding} must give a pair for each of {n} spatial axes")
    spatial = "".join(chr(ord("a") + axis) for axis in range(n))
    numbers = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")

    def apply(x):
        if circular:
            x = jnp.pad(x, pads, mode="wrap")
        return lax.conv_general_dilated(
            x[None], kernel, strides, padding, input_dilation, kernel_dilation, numbers,
            feature_group_count=groups, precision=lax.Precision.HIGHEST,
        )[0]

    return apply


def conv_operator_norm(kernel, input_size, *, steps=100, groups=1, **geometry):
    """The operator norm of a convolution: max ‖conv(x)‖₂ / ‖x‖₂ over images of one size.

    Args:
      kernel: float array (*window, inputs / groups, outputs).
      input_size: tuple of ints, the spatial size of the image.
      steps: rounds of power iteration, see `operator_norm`.
      groups, **geometry: see `convolution`.

    Returns:
      a scalar: float32, or float64 for a float64 kernel.

    Raises:
      ValueError: without a size for each spatial axis, and as `convolution`.
    """
    kernel = kernel.astype(iteration_dtype(kernel.dtype))
    size = _known_size(input_size, kernel.ndim - 2)
    linear = functools.partial(convolution, groups=groups, **geometry)
    return operator_norm(linear, kernel, (*size, kernel.shape[-2] * groups), steps=steps)


def circular_singular_values(kernel, input_size):
    """All singular values of a circular convolution of stride 1, exactly (Sedghi et al. 2019).

    The Fourier transform makes it block-diagonal: one (outputs, inputs) matrix for each frequency.

    Args:
      kernel: float array (*window, inputs, outputs); a window larger than the image wraps around.
      input_size: tuple of ints.

    Returns:
      numpy array in descending order: min(inputs, outputs) values for each frequency; float64.

    Raises:
      ValueError: without a size for each spatial axis.
    """
    kernel = np.asarray(kernel, np.float64)
    size = _known_size(input_size, kernel.ndim - 2)
    wrapped = np.zeros((*size, *kernel.shape[-2:]))
    for place in np.ndindex(*kernel.shape[:-2]):
        wrapped[tuple(p % n for p, n in zip(place, size, strict=True))] += kernel[place]
    # A shift of the window changes only the phases of the transform, and the sign of the frequency
    # only the order of the blocks.
    blocks = np.fft.fftn(wrapped, axes=range(len(size)))
    return np.sort(np.linalg.svd(blocks, compute_uv=False).reshape(-1))[::-1]


def _known_size(input_size, n):
    if input_size is None or len(tuple(input_size)) != n:
        raise ValueError(
            f"input_size is {input_size}: the norm of a convolution belongs to one size of input, "
            f"so give its {n} spatial size(s), such as {(32,) * n}"
        )
    return tuple(input_size)


def _each(name, value, n):
    values = (value,) * n if isinstance(value, int) else tuple(value)
    if len(values) != n:
        raise ValueError(f"{name}={value} must be an int or have {n} entries, one for each axis")
    return values
