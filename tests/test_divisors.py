"""σ by SVD in each forward pass, against numpy's and against the power iteration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax.divisors import Spec
from sngan_jax.layers import normalized
from sngan_jax.network import sigmas, specs

KEY = jax.random.key(0)


def draw(seed, shape, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def measure(weight, layout):
    return Spec(layout, "svd").measure(weight, {}, 0)[0]


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([("io", (3, 5)), ("oi", (6, 2)), ("ssio", (2, 3, 2, 4)),
                        ("bio", (3, 2, 4))]), st.integers(0, 99),
       st.sampled_from([1e-30, 1.0, 1e15]))
def test_sigma_and_its_gradient_are_those_of_numpys_svd(kind, seed, scale):
    layout, shape = kind
    w = draw(seed, shape, scale)
    order = [layout.index(c) for c in "bo" if c in layout]
    rest = [i for i in range(len(shape)) if i not in order]
    matrix = np.float64(w).transpose(order + rest)
    matrix = matrix.reshape(*matrix.shape[:len(order)], -1) if "b" in layout else matrix.reshape(
        1, matrix.shape[0], -1)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    sigma, gradient = jax.value_and_grad(measure)(w, layout)
    assert sigma == pytest.approx(s[:, 0].max(), rel=1e-5)
    want = np.zeros_like(matrix)
    block = s[:, 0].argmax()
    want[block] = np.outer(u[block, :, 0], vt[block, 0])  # dσ/dW = u vᵀ (paper, eq. 10)
    got = np.asarray(gradient).transpose(order + rest).reshape(matrix.shape)
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("base", [lambda **o: normalized(nn.Dense, **o)(5, use_bias=False),
                                  lambda **o: normalized(nn.Conv, **o)(3, (2, 2)),
                                  lambda **o: normalized(nn.Embed, **o)(4, 3)])
def test_a_layer_is_the_spectral_one_after_convergence(base):
    exact, iterated = base(divisor="svd"), base(warmup_steps=300)
    x = jnp.arange(4) if "Embed" in type(exact).__name__ else draw(0, (2, 4, 4, 3))
    a, b = (jax.jit(layer.init)(KEY, x) for layer in (exact, iterated))
    assert set(a) == {"params"}
    for p, q in zip(*map(jax.tree.leaves, (a["params"], b["params"])), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-6)  # the plain layer's

    def loss(layer, variables):
        def of(params):
            return jnp.sum(jnp.sin(layer.apply({**variables, "params": params}, x)))
        return jax.jit(jax.value_and_grad(of))(variables["params"])

    for p, q in zip(*(jax.tree.leaves(loss(*pair)) for pair in ((exact, a), (iterated, b))),
                    strict=True):
        np.testing.assert_allclose(p, q, atol=2e-5)


def test_zero_weights_give_zero_and_finite_gradients():
    layer = normalized(nn.Conv, divisor="svd")(3, (2, 2), kernel_init=nn.initializers.zeros)
    x = draw(0, (1, 4, 4, 2))
    value, gradient = jax.value_and_grad(lambda v: layer.apply(v, x).sum())(layer.init(KEY, x))
    assert value == 0 and all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_under_vmap_and_scan_each_weight_has_its_own_sigma():
    w = draw(3, (4, 5, 6))
    want = np.linalg.svd(w, compute_uv=False)[:, 0]
    np.testing.assert_allclose(jax.vmap(lambda w: measure(w, "io"))(w), want, rtol=1e-5)

    class Repeated(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack = nn.scan(lambda layer, x, _: (layer(x), None), length=3,
                            variable_axes={"params": 0}, split_rngs={"params": True})
            return stack(normalized(nn.Dense, divisor="svd")(4, use_bias=False), x, None)[0]

    x = draw(4, (2, 4))
    variables = Repeated().init(KEY, x)
    (kernels,) = jax.tree.leaves(variables)
    expected = x
    for kernel in np.asarray(kernels):
        expected = expected @ (kernel / np.linalg.norm(kernel, 2))
    np.testing.assert_allclose(Repeated().apply(variables, x), expected, rtol=1e-4, atol=1e-6)


def test_a_mask_counts():
    mask = (np.arange(12).reshape(3, 4) % 3 > 0).astype(np.float32)[None, None]
    layer = normalized(nn.Conv, divisor="svd")(4, (1, 1), mask=mask, use_bias=False)
    x = np.eye(3, dtype=np.float32).reshape(3, 1, 1, 3)
    variables = layer.init(KEY, x)
    masked = (variables["params"]["kernel"] * mask)[0, 0]
    bar = layer.apply(variables, x).reshape(3, 4)
    np.testing.assert_allclose(bar, masked / np.linalg.norm(masked, 2), rtol=1e-5)


def test_it_has_no_vectors_and_takes_no_steps():
    layer = normalized(nn.Dense, divisor="svd")(3)
    variables = layer.init(KEY, np.ones((1, 2), np.float32))
    found = specs(layer, np.ones((1, 2)))
    assert found[("kernel",)].divisor == "svd"
    assert sigmas({**variables, "spectral": {}}, found) == {}
    assert not Spec("io", "svd").shapes(None)
    with pytest.raises(ValueError, match="divisor='svd' needs no power iteration, so leave out"):
        normalized(nn.Dense, divisor="svd", n_steps=2)
    # The scale of Appendix E starts at σ itself.
    layer = normalized(nn.Dense, divisor="svd", learnable_scale=True)(3, use_bias=False)
    variables = layer.init(KEY, np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(layer.apply(variables, np.eye(2, dtype=np.float32)),
                               variables["params"]["kernel"], rtol=1e-5)
