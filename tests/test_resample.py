"""Resampling against Linen's and lax's own operations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from sngan_jax.models.blocks import ConvTranspose
from sngan_jax.resample import average_pool, conv_transpose, upsample_nearest


def _random(*shape):
    return jax.random.normal(jax.random.key(sum(shape)), shape)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsample_repeats_pixels_and_pool_undoes_it(factor):
    x = _random(2, 3, 5, 4)
    up = upsample_nearest(x, factor)
    np.testing.assert_array_equal(up, np.asarray(x).repeat(factor, 1).repeat(factor, 2))
    np.testing.assert_allclose(average_pool(up, factor), x, rtol=1e-6)


def test_average_pool_is_linens():
    x = _random(2, 6, 4, 3)
    np.testing.assert_allclose(average_pool(x), nn.avg_pool(x, (2, 2), (2, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match="divides"):
        average_pool(_random(1, 5, 4, 1))


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

    expected = native(x, kernel)
    np.testing.assert_allclose(jax.jit(ours)(x, kernel), expected, atol=1e-4)
    weight = _random(*expected.shape)
    for ours_g, native_g in zip(
            jax.jit(jax.grad(lambda *a: jnp.sum(weight * ours(*a) ** 2), (0, 1)))(x, kernel),
            jax.jit(jax.grad(lambda *a: jnp.sum(weight * native(*a) ** 2), (0, 1)))(x, kernel),
            strict=True):
        np.testing.assert_allclose(ours_g, native_g, atol=1e-2, rtol=1e-3)


def test_conv_transpose_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at least as large as its stride 2"):
        conv_transpose(_random(1, 2, 2, 1), _random(1, 1, 1, 1), 2)


def test_layer_is_linens_with_the_same_parameters():
    x = _random(2, 4, 4, 3)
    layer, plain = ConvTranspose(5, 4, 2), nn.ConvTranspose(5, (4, 4), (2, 2), padding="SAME")
    variables = layer.init(jax.random.key(0), x)
    theirs = plain.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs)
    np.testing.assert_allclose(layer.apply(variables, x), plain.apply(variables, x), atol=1e-5)
