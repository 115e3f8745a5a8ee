"""Convolutions with custom gradients, against lax's: values, gradients, second derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from sngan_jax.layers import SNConv
from sngan_jax.models.convolution import conv_general_dilated, conv_transpose, convolve

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _random(*shape):
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return jnp.asarray(values.astype(np.float32))


def _gradients(function, *arguments):
    """Value, first and second derivatives, as a gradient penalty takes them."""
    def penalty(*arguments):
        inner = jax.grad(lambda x: jnp.sum(jnp.sin(function(x, *arguments[1:]))))(arguments[0])
        return jnp.sum(inner ** 2)

    def loss(*arguments):
        return jnp.sum(jnp.sin(function(*arguments)))

    numbers = tuple(range(len(arguments)))
    return jax.jit(lambda *a: (function(*a), jax.grad(loss, numbers)(*a),
                               jax.grad(penalty, numbers)(*a)))(*arguments)


@settings(deadline=None, max_examples=12)
@given(k=st.integers(1, 5), stride=st.integers(1, 3), size=st.integers(2, 7),
       before=st.integers(0, 2), after=st.integers(0, 2),
       channels=st.sampled_from([(5, 1), (5, 3), (5, 6), (3, 6), (1, 5), (3, 3)]))
def test_convolve_is_laxs_to_second_order(k, stride, size, before, after, channels):
    if size + before + after < k:
        size = k
    x, kernel = _random(2, size, size + 2, channels[0]), _random(k, k, *channels)
    padding = ((before, after), (after, before))
    for ours, theirs in zip(
            jax.tree.leaves(_gradients(lambda x, w: convolve(x, w, padding, (stride, stride)),
                                       x, kernel)),
            jax.tree.leaves(_gradients(lambda x, w: lax.conv_general_dilated(
                x, w, (stride, stride), padding, dimension_numbers=DIMENSIONS), x, kernel)),
            strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * max(1, float(jnp.abs(theirs).max())))


@pytest.mark.parametrize("fields", [
    {"features": 6, "kernel_size": (4, 4), "strides": (2, 2), "padding": 1},
    {"features": 3, "kernel_size": (3, 3)},
    {"features": 6, "kernel_size": (3, 3), "strides": 2},
    {"features": 6, "kernel_size": (3, 3), "kernel_dilation": 2},
    {"features": 6, "kernel_size": (3, 3), "feature_group_count": 2, "strides": (2, 2)},
    {"features": 6, "kernel_size": (2, 2), "strides": (1, 2), "padding": "VALID"},
    {"features": 6, "kernel_size": (3, 3), "precision": "highest", "dtype": jnp.bfloat16},
])
@pytest.mark.parametrize("layer", [nn.Conv, SNConv])
def test_a_layer_stays_what_it_is(layer, fields):
    x = _random(2, 6, 8, 4)
    plain, fast = layer(**fields), layer(**fields, conv_general_dilated=conv_general_dilated)

    @jax.jit
    def both(x):
        variables = plain.init(jax.random.key(0), x)
        return plain.apply(variables, x), fast.apply(variables, x)

    theirs, ours = both(x)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours.astype(float), theirs.astype(float), atol=1e-5)


@pytest.mark.parametrize(("stride", "features"), [(2, 6), (1, 3)])
def test_bfloat16_and_vmap(stride, features):
    x, kernel = _random(3, 2, 4, 4, 8).astype(jnp.bfloat16), _random(4, 4, 8, features)

    def ours(x):
        return convolve(x, kernel.astype(x.dtype), ((1, 1), (1, 1)), (stride, stride))

    y, gradient = jax.jit(lambda x: (jax.vmap(ours)(x), jax.vmap(jax.grad(
        lambda x: ours(x).astype(jnp.float32).sum()))(x)))(x)
    assert gradient.dtype == jnp.bfloat16 and y.dtype == jnp.bfloat16
    expected = jax.jit(jax.grad(lambda x: lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS).sum()))(
            x.reshape(6, 4, 4, 8).astype(jnp.float32)).reshape(x.shape)
    np.testing.assert_allclose(gradient.astype(jnp.float32), expected, atol=0.2)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_multiplies_no_zeros(stride):
    """A strided convolution has one small convolution per phase; few channels need none."""
    def gradient(x, kernel):
        return jax.grad(lambda x: convolve(x, kernel, ((1, 1), (1, 1)), (stride, stride)).sum())(x)

    text = jax.jit(gradient).lower(jnp.ones((2, 8, 8, 8)), jnp.ones((4, 4, 8, 3))).as_text()
    assert text.count("stablehlo.convolution") == (stride ** 2 if stride > 1 else 0)
    assert "lhs_dilate = [2, 2]" not in text


@settings(deadline=None, max_examples=8)
@given(k=st.integers(1, 6), stride=st.integers(1, 3), size=st.integers(1, 5))
def test_conv_transpose_is_laxs_in_value_and_gradients(k, stride, size):
    if k < stride:
        k = stride
    x, kernel = _random(2, size, size + 1, 3), _random(k, k, 3, 2)

    def native(x, kernel):
        return lax.conv_transpose(x, kernel, (stride, stride), "SAME",
                                  dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def ours(x, kernel):
        return conv_transpose(x, kernel, stride)

    weight = _random(*jax.eval_shape(native, x, kernel).shape)

    @jax.jit
    def both(x, kernel, weight):
        return [(of(x, kernel), jax.grad(lambda *a, of=of: jnp.sum(weight * of(*a) ** 2), (0, 1))(
            x, kernel)) for of in (ours, native)]

    (y, gradients), (expected, native_gradients) = both(x, kernel, weight)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    for ours_g, native_g in zip(gradients, native_gradients, strict=True):
        np.testing.assert_allclose(ours_g, native_g, atol=1e-2, rtol=1e-3)


def test_conv_transpose_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at least as large as its stride 2"):
        conv_transpose(_random(1, 2, 2, 1), _random(1, 1, 1, 1), 2)
