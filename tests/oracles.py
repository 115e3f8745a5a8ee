"""Dense matrices and exact spectra of convolutions, with which tests compare the library."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sngan_jax import spectral


def operator_matrix(apply, input_shape, dtype=jnp.float32):
    """The dense matrix (outputs, inputs) of a linear function, column by column."""
    size = math.prod(input_shape)
    basis = jnp.eye(size, dtype=dtype).reshape(size, *input_shape)
    return lax.map(apply, basis).reshape(size, -1).T


def convolution(kernel, *, strides=1, padding="SAME", kernel_dilation=1, groups=1):
    """The linear function of one image (*size, inputs) that a kernel (*window, in, out) defines."""
    window = kernel.shape[:-2]
    n = len(window)
    strides, kernel_dilation = (
        (value,) * n if isinstance(value, int) else value for value in (strides, kernel_dilation))
    pads = None
    if padding == "CIRCULAR":
        reach = [(k - 1) * d for k, d in zip(window, kernel_dilation, strict=True)]
        pads, padding = [(r // 2, r - r // 2) for r in reach] + [(0, 0)], "VALID"
    elif isinstance(padding, int):
        padding = [(padding, padding)] * n
    spatial = "abc"[:n]

    def apply(x):
        if pads:
            x = jnp.pad(x, pads, mode="wrap")
        return lax.conv_general_dilated(
            x[None], kernel, strides, padding, None, kernel_dilation,
            (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"), feature_group_count=groups,
            precision=lax.Precision.HIGHEST)[0]

    return apply


def conv_operator_norm(kernel, size, *, steps=100, groups=1, **geometry):
    """The norm of a convolution of images of one size, by the library's power iteration."""
    apply = convolution(kernel, groups=groups, **geometry)
    shape = (*size, kernel.shape[-2] * groups)
    constant = convolution(lax.stop_gradient(kernel), groups=groups, **geometry)
    transpose = jax.linear_transpose(constant, jax.ShapeDtypeStruct(shape, kernel.dtype))
    v = jax.random.normal(jax.random.key(0), shape, kernel.dtype)
    linear = spectral.LinearMap(apply, lambda y: transpose(y)[0])
    return spectral.power_iteration(linear, constant(v), v, steps)[0]


def circular_singular_values(kernel, size):
    """All singular values of a circular convolution, in descending order (Sedghi et al. 2019).

    The Fourier transform makes it block-diagonal: one (outputs, inputs) matrix for each frequency.
    """
    kernel = np.asarray(kernel, np.float64)
    wrapped = np.zeros((*size, *kernel.shape[-2:]))
    for place in np.ndindex(*kernel.shape[:-2]):
        wrapped[tuple(p % n for p, n in zip(place, size, strict=True))] += kernel[place]
    # A shift of the window changes only the phases of the transform, and the sign of the frequency
    # only the order of the blocks.
    blocks = np.fft.fftn(wrapped, axes=range(len(size)))
    return np.sort(np.linalg.svd(blocks, compute_uv=False).reshape(-1))[::-1]
