"""sngan_jax.spectral against numpy's SVD, finite differences and FFT."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax import spectral
from sngan_jax.divisors import Spec
from tests.oracles import (
    circular_singular_values,
    conv_operator_norm,
    convolution,
    operator_matrix,
)

SETTINGS = settings(max_examples=8, deadline=None, derandomize=True)


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def start(matrix, seed=1):
    u, v = (random(seed + n, size) for n, size in enumerate(matrix.shape))
    return u / np.linalg.norm(u), v / np.linalg.norm(v)


@jax.jit
def converged(w, u, v):
    sigma, u, v = spectral.power_iteration(w, u, v, steps=2000)
    return sigma, u, v, spectral.power_iteration(w, u, v, 0)[0]


# A few shapes, each of which compiles once, and any values.
@SETTINGS
@given(st.sampled_from([(1, 1), (1, 9), (12, 1), (7, 7), (5, 30)]), st.integers(0, 2**16))
def test_power_iteration_converges_to_the_svd(shape, seed):
    w = random(seed, *shape)
    sigma, u, v, again = converged(w, *start(w))
    left, values, right = np.linalg.svd(w.astype(np.float64))
    assert sigma == pytest.approx(values[0], rel=1e-5)
    assert np.linalg.norm(u) == pytest.approx(1, abs=1e-6)
    assert again == pytest.approx(float(sigma), rel=1e-6)
    if min(shape) > 1 and values[0] > 1.05 * values[1]:
        np.testing.assert_allclose(np.outer(u, v), np.outer(left[:, 0], right[0]), atol=1e-3)


def test_the_order_of_a_step_is_the_papers():
    w = random(0, 4, 7)
    u, v = start(w)
    new_v = w.T @ u / np.linalg.norm(w.T @ u)
    new_u = w @ new_v / np.linalg.norm(w @ new_v)
    sigma, got_u, got_v = spectral.power_iteration(w, u, v, 1)
    np.testing.assert_allclose(got_v, new_v, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got_u, new_u, rtol=1e-5, atol=1e-6)
    assert sigma == pytest.approx(float(new_u @ w @ new_v), rel=1e-6)
    sigma, same_u, same_v = spectral.power_iteration(w, u, v, 0)
    assert sigma == pytest.approx(float(u @ w @ v), rel=1e-5)
    assert (same_u == u).all() and (same_v == v).all()
    several = spectral.power_iteration(w, u, v, 3)
    for _ in range(3):
        sigma, u, v = spectral.power_iteration(w, u, v, 1)
    np.testing.assert_allclose(several[1], u, rtol=1e-5, atol=1e-6)


@functools.partial(jax.jit, static_argnums=4)
@functools.partial(jax.grad, has_aux=True)
def gradient(w, g, u, v, steps):
    sigma, u, v = spectral.power_iteration(w, u, v, steps)
    bar = spectral.divide(w, sigma)
    return jnp.sum(g * bar), (sigma, bar, u, v)


@SETTINGS
@given(st.sampled_from([((2, 2), 1), ((6, 9), 0), ((5, 3), 4), ((3, 7), 2)]),
       st.integers(0, 2**16))
def test_gradient_is_the_closed_form(shape_and_steps, seed):
    shape, steps = shape_and_steps
    w, g = random(seed, *shape), random(seed + 7, *shape)
    got, (sigma, bar, u, v) = gradient(w, g, *start(w), steps)
    want = (g - np.sum(g * bar) * np.outer(u, v)) / sigma
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_converged_gradient_is_that_of_w_over_its_largest_singular_value():
    w, g = random(3, 4, 6), random(4, 4, 6).astype(np.float64)
    _, u, v = spectral.power_iteration(w, *start(w), 2000)
    sigma = lambda w: spectral.power_iteration(w, u, v, 0)[0]  # noqa: E731
    got = jax.grad(lambda w: jnp.sum(g * spectral.divide(w, sigma(w))))(w)

    def exact(w):
        return np.sum(g * w / np.linalg.svd(w, compute_uv=False)[0])

    want, h = np.zeros_like(g), 1e-6
    for place in np.ndindex(w.shape):
        step = np.zeros_like(g)
        step[place] = h
        want[place] = (exact(w + step) - exact(w - step)) / (2 * h)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max() + 1e-6)


def test_second_derivatives_are_those_of_w_over_sigma():
    w = random(5, 3, 4)
    u, v = start(w)
    direct = lambda w: jnp.sum(jnp.sin(w / (u @ w @ v)))  # noqa: E731
    ours = lambda w: jnp.sum(jnp.sin(spectral.divide(w, spectral.power_iteration(w, u, v, 0)[0])))  # noqa: E731
    want, got = jax.jit(lambda w: (jax.hessian(direct)(w), jax.hessian(ours)(w)))(w)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_every_scale_that_float32_holds():
    base = random(6, 20, 90)
    base /= np.linalg.svd(base, compute_uv=False)[0]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(w):
        bar = spectral.divide(w, spectral.power_iteration(w, *start(w), 300)[0])
        return jnp.sum(bar * base), bar

    _, reference = loss(base)
    for exponent in range(-15, 16, 5):
        (_, bar), gradient = loss((base.astype(np.float64) * 10.0**exponent).astype(np.float32))
        norm = np.linalg.svd(np.float64(bar), compute_uv=False)[0]
        assert norm == pytest.approx(1, abs=1e-4)
        scaled = np.float64(gradient) * 10.0**exponent
        np.testing.assert_allclose(scaled, reference, atol=1e-4 * np.abs(reference).max())


def test_zero_weight():
    w = jnp.zeros((3, 5))
    u, v = start(w)
    sigma, new_u, new_v = spectral.power_iteration(w, u, v, 4)
    assert sigma == 0 and (new_u == u).all() and (new_v == v).all()
    value, gradient = jax.value_and_grad(
        lambda w: jnp.sum(spectral.divide(w, spectral.power_iteration(w, u, v, 2)[0]))
    )(w)
    assert value == 0 and np.isfinite(gradient).all()


def test_a_step_replaces_a_vector_that_is_not_finite():
    w = random(0, 4, 7)
    u, v = start(w)
    bad_u, bad_v = u * np.array([1, np.nan, np.inf, 1], np.float32), v * np.float32("nan")
    for got in (spectral.power_iteration(w, bad_u, v), spectral.power_iteration(w, u, bad_v)):
        assert got[0] > 0 and np.isfinite(got[1]).all() and np.isfinite(got[2]).all()
    assert np.isnan(spectral.power_iteration(w, bad_u, bad_v)[0])  # and the losses with it


def test_several_maps_at_once():
    w = random(0, 3, 4, 7)
    u, v = random(1, 3, 4), random(2, 3, 7)
    together = spectral.LinearMap(lambda v: jnp.einsum("nij,nj->ni", w, v),
                                  lambda u: jnp.einsum("nij,ni->nj", w, u), axis=1)
    for steps in (0, 1, 3):
        alone = [spectral.power_iteration(*one, steps) for one in zip(w, u, v, strict=True)]
        for got, want in zip(spectral.power_iteration(together, u, v, steps),
                             zip(*alone, strict=True), strict=True):
            np.testing.assert_allclose(got, np.stack(want), rtol=1e-5, atol=1e-6)


def test_iteration_dtype():
    for dtype in ("float16", "bfloat16", "float32"):
        with jax.numpy_dtype_promotion("strict"):  # where half precision has no common dtype
            assert spectral.iteration_dtype(jnp.dtype(dtype)) == jnp.float32
    for dtype in ("float64", np.dtype("float64")):
        assert spectral.iteration_dtype(dtype) == np.float64
    for dtype in ("int32", "complex64"):
        with pytest.raises(TypeError, match=dtype):
            spectral.iteration_dtype(jnp.dtype(dtype))


def test_matricize():
    w = random(0, 2, 3, 4, 5)
    assert (spectral.matricize(w, "ssio")[0] == w.transpose(3, 0, 1, 2).reshape(5, -1)).all()
    assert (spectral.matricize(w, "ssoi")[0] == w.transpose(2, 0, 1, 3).reshape(4, -1)).all()
    assert (spectral.matricize(w, "ssio", "i")[0] == w.transpose(2, 0, 1, 3).reshape(4, -1)).all()
    assert (spectral.matricize(w, "iioo")[0] == w.reshape(6, 20).T).all()
    blocks = spectral.matricize(w, "bbio")
    assert blocks.shape == (6, 5, 4) and (blocks[4] == w[1, 1].T).all()
    for layout in ("io", "sxio"):
        with pytest.raises(ValueError, match=layout):
            spectral.matricize(w, layout)


def test_blocks_are_one_block_diagonal_matrix():
    w = random(1, 3, 4, 5)
    dense = np.zeros((12, 15), np.float32)
    for n in range(3):
        dense[4 * n : 4 * n + 4, 5 * n : 5 * n + 5] = w[n]
    state = {"u": random(2, 12), "v": random(3, 15)}
    sigma, state = Spec("boi").measure(w, state, 500)
    want = np.linalg.svd(dense, compute_uv=False)
    assert sigma == pytest.approx(want[0], rel=1e-5)
    assert state["u"].shape == (12,) and state["v"].shape == (15,)


def test_errors_of_the_core():
    w = random(0, 3, 4)
    u, v = start(w)
    with pytest.raises(ValueError, match="steps is -1"):
        spectral.power_iteration(w, u, v, -1)
    with pytest.raises(ValueError, match=r"u of \(4,\)"):
        spectral.power_iteration(w, v, u)


# --- the operator norm ---


def naive_convolution(x, kernel, strides, pads, dilation, groups):
    """y[p, o] = Σ W[k, i, o]·x[p·s + k·d − low, i], by loops over every index."""
    window, out = kernel.shape[:-2], kernel.shape[-1]
    x = np.pad(x, [*pads, (0, 0)])
    size = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(x.shape, window, strides, dilation, strict=False)
    ]
    y = np.zeros((*size, out))
    for p, k in itertools.product(np.ndindex(*size), np.ndindex(*window)):
        q = tuple(a * s + b * d for a, s, b, d in zip(p, strides, k, dilation, strict=True))
        for o in range(out):
            group = o // (out // groups)
            i = slice(group * kernel.shape[-2], (group + 1) * kernel.shape[-2])
            y[(*p, o)] += kernel[(*k, slice(None), o)] @ x[q][i]
    return y


def test_convolution_is_the_textbooks():
    kernel, x = random(0, 3, 2, 2, 4), random(1, 6, 5, 4)
    pads = [(1, 0), (2, 1)]
    got = convolution(
        kernel, strides=(2, 1), padding=pads, kernel_dilation=(1, 2), groups=2
    )(x)
    want = naive_convolution(x, kernel, (2, 1), pads, (1, 2), 2)
    np.testing.assert_allclose(got, want, atol=1e-5)


GEOMETRIES = [
    {"strides": s, "padding": p, "kernel_dilation": d, "groups": g}
    for s, p, d, g in [
        (1, "SAME", 1, 1),
        (2, "SAME", 1, 2),
        (3, "VALID", 1, 1),
        (1, "VALID", 2, 1),
        ((2, 1), [(2, 0), (0, 3)], 1, 1),
        (1, "CIRCULAR", 1, 1),
        (2, 1, 1, 1),
    ]
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_operator_norm_is_that_of_the_dense_matrix(geometry):
    cases = [((6, 7), (3, 3)), ((8, 9), (2, 4))]
    # A 2-wide window of stride 2 with padding 1 makes XLA's compiler abort (jax 0.10.2, CPU): it
    # swaps the operands of the transposed convolution wrongly.
    for seed, (size, window) in enumerate(cases if geometry["padding"] != 1 else cases[:1]):
        kernel = random(seed + 20, *window, 4 // geometry["groups"], 2)
        x = random(9, *size, 4)

        @jax.jit
        def computed(kernel, x, size=size):
            apply = convolution(kernel, **geometry)
            return (operator_matrix(apply, (*size, 4)), apply(x).reshape(-1),
                    conv_operator_norm(kernel, size, steps=4000, **geometry))

        dense, y, got = computed(kernel, x)
        np.testing.assert_allclose(dense @ x.reshape(-1), y, atol=1e-4)
        assert got == pytest.approx(np.linalg.svd(dense, compute_uv=False)[0], rel=1e-5)


def test_circular_convolution_by_fft():
    kernel = random(3, 3, 4, 3, 2)
    for size in [(2, 6)]:  # smaller than the window one way
        dense, norm = jax.jit(lambda kernel, size=size: (
            operator_matrix(convolution(kernel, padding="CIRCULAR"), (*size, 3)),
            conv_operator_norm(kernel, size, padding="CIRCULAR", steps=2000)))(kernel)
        want = np.linalg.svd(np.float64(dense), compute_uv=False)
        got = circular_singular_values(kernel, size)
        np.testing.assert_allclose(got, want[: len(got)], atol=2e-5)
        assert norm == pytest.approx(got[0], rel=1e-5)


def test_one_dimension_and_the_bounds_of_footnote_3():
    kernel = random(4, 5, 2, 3)
    dense, norm = jax.jit(lambda kernel: (
        operator_matrix(convolution(kernel), (11, 2)),
        conv_operator_norm(kernel, (11,), steps=1000)))(kernel)
    assert norm == pytest.approx(np.linalg.svd(dense, compute_uv=False)[0], rel=1e-5)
    reshaped = np.linalg.svd(kernel.reshape(-1, 3), compute_uv=False)[0]
    assert reshaped <= norm <= np.sqrt(5) * reshaped


def test_operator_norm_is_differentiable():
    kernel, size = random(5, 3, 1, 2, 2), (4, 3)
    matrix = lambda k: operator_matrix(convolution(k), (*size, 2))  # noqa: E731
    got, dense = jax.jit(lambda k: (
        jax.grad(lambda k: conv_operator_norm(k, size, steps=1000))(k), matrix(k)))(kernel)
    u, _, vt = np.linalg.svd(dense)
    (want,) = jax.jit(lambda k, outer: jax.vjp(matrix, k)[1](outer))(
        kernel, np.outer(u[:, 0], vt[0]))
    np.testing.assert_allclose(got, want, atol=2e-3)

