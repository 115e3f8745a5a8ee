"""Resampling against Linen's and lax's own operations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from sngan_jax.layers import SNConv
from sngan_jax.models.blocks import ConvTranspose
from sngan_jax.models.resample import (
    as_convolution,
    average_pool,
    conv_pool,
    conv_pool_on_cpu,
    upsample_conv,
    upsample_conv_dilated,
    upsample_nearest,
)
from sngan_jax.network import sigmas, specs


def _random(*shape):
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return jnp.asarray(values.astype(np.float32))


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


def test_layer_is_linens_with_the_same_parameters():
    x = _random(2, 4, 4, 3)
    layer, plain = ConvTranspose(5, 4, 2), nn.ConvTranspose(5, (4, 4), (2, 2), padding="SAME")

    @jax.jit
    def both():
        variables = layer.init(jax.random.key(0), x)
        return (variables, plain.init(jax.random.key(0), x), layer.apply(variables, x),
                plain.apply(variables, x))

    variables, theirs, got, want = both()
    jax.tree.map(np.testing.assert_array_equal, variables, theirs)
    np.testing.assert_allclose(got, want, atol=1e-5)


def _plain_conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME",
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _plain_upsample_conv(x, kernel, factor):
    return _plain_conv(upsample_nearest(x, factor), kernel)


FUSED = {"upsample_conv": (upsample_conv, _plain_upsample_conv),
         "upsample_conv_dilated": (upsample_conv_dilated, _plain_upsample_conv),
         "conv_pool": (conv_pool, lambda x, k, f: average_pool(_plain_conv(x, k), f)),
         "conv_pool_on_cpu": (
             conv_pool_on_cpu, lambda x, k, f: average_pool(_plain_conv(x, k), f))}


@pytest.mark.parametrize("name", FUSED)
@settings(deadline=None, max_examples=6)
@given(kh=st.integers(1, 5), kw=st.integers(1, 5), factor=st.integers(1, 3),
       h=st.integers(1, 4), w=st.integers(1, 4))
def test_a_fusion_is_the_composition_in_value_and_gradients(name, kh, kw, factor, h, w):
    scale = factor if name.startswith("conv_pool") else 1

    def values(of, x, kernel):
        def loss(x, kernel):
            out = of(x, kernel, factor)
            return jnp.sum(jnp.sin(out)), out

        def twice(x, kernel):  # like the gradient penalty: a gradient's square
            return jnp.sum(jax.grad(loss, 1, has_aux=True)(x, kernel)[0] ** 2)

        return (jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernel),
                jax.grad(twice, (0, 1))(x, kernel))

    with jax.enable_x64(True):
        rng = np.random.default_rng(h)
        x = rng.standard_normal((2, scale * h, scale * w, 3))
        kernel = rng.standard_normal((kh, kw, 3, 2))
        both = jax.jit(lambda *arrays: [values(of, *arrays) for of in FUSED[name]])(x, kernel)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), *both)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-2)])
def test_a_fusion_at_a_network_s_size(name, dtype, tolerance):
    fused, plain = FUSED[name]
    x, kernel = _random(4, 8, 8, 32).astype(dtype), (_random(3, 3, 32, 16) / 17).astype(dtype)

    def value_and_gradients(of):
        def loss(x, kernel):
            out = of(x, kernel, 2)
            return jnp.sum(out.astype(jnp.float32) ** 2), out
        (_, out), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, kernel)
        return out, *gradients

    for a, b in zip(value_and_gradients(fused), value_and_gradients(plain), strict=True):
        assert a.dtype == dtype
        a, b = (np.asarray(v, np.float64) for v in (a, b))
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def test_a_fusion_as_a_layers_convolution():
    x = _random(2, 8, 8, 3)
    for fused, plain in FUSED.values():
        layer = SNConv(4, (3, 3), conv_general_dilated=as_convolution(fused))

        @jax.jit
        def both(layer=layer, plain=plain):
            variables = layer.init(jax.random.key(0), x)
            kernel = variables["params"]["kernel"]
            bar = kernel / next(iter(sigmas(variables, specs(layer, x)).values()))
            return layer.apply(variables, x), plain(x, bar, 2)

        np.testing.assert_allclose(*both(), atol=1e-5)
    for options in ({"strides": 2}, {"padding": "VALID"}, {"kernel_dilation": 2}):
        layer = SNConv(4, (3, 3), conv_general_dilated=as_convolution(conv_pool), **options)
        with pytest.raises(ValueError, match="conv_pool takes the place of a plain convolution"):
            layer.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="divides"):
        conv_pool(_random(1, 5, 4, 1), _random(3, 3, 1, 1))
