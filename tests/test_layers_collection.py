"""update_spectral, sigmas and singular_values over whole models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from sngan_jax import layers
from sngan_jax.layers import SNConv, SNConvTranspose, SNDense

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        for n in range(3):
            x = nn.relu(SNConv(4, (3, 3), name=f"conv{n}")(x))
        # Four channels in and out: the shapes do not tell which axis is which.
        x = SNConvTranspose(4, (3, 3), transpose_kernel=True, name="up")(x)
        x = SNConv(4, (3, 3), divisor="bidirectional", name="both")(x)
        x = nn.Dense(4, name="plain")(x)
        return SNDense(3, name="out")(x.mean((1, 2)))


def converged(variables, specs=None):
    return {**variables, "spectral": layers.update_spectral(variables, 1500, specs)}


def test_the_right_matrix_from_the_variables_alone():
    net = Net()
    variables = jax.jit(net.init)(KEY, X)
    got = layers.sigmas(converged(variables))
    assert list(got) == ["both", "conv0", "conv1", "conv2", "out", "up"]  # the tree's order
    values = layers.singular_values(variables)
    for name, sigma in got.items():
        w = np.asarray(variables["params"][name]["kernel"], np.float64)
        rows = np.moveaxis(w, -2 if name == "up" else -1, 0)
        want = np.linalg.svd(rows.reshape(len(rows), -1), compute_uv=False)
        np.testing.assert_allclose(values[name], want, rtol=1e-5)
        if name == "both":
            other = np.linalg.svd(np.moveaxis(w, -2, 0).reshape(4, -1), compute_uv=False)
            want = (want + other) / 2
        assert sigma == pytest.approx(want[0], rel=1e-5)
    # The same by tracing the module.
    specs = layers.layer_specs(net, variables, jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert len(specs) == 6
    again = layers.sigmas(converged(variables, specs), specs)
    for name in got:
        assert again[name] == pytest.approx(float(got[name]), rel=1e-6)


def test_update_equals_the_forward_pass_and_batches_equal_shapes():
    net = Net()
    variables = jax.jit(net.init)(KEY, X)
    _, new = jax.jit(lambda v: net.apply(v, X, mutable=["spectral"]))(variables)
    update = jax.jit(layers.update_spectral, static_argnames="steps")
    got = update(variables, steps=1)
    assert jax.tree.structure(got) == jax.tree.structure(new["spectral"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, new["spectral"])
    # conv0-2 in one batch; 'both' has two matrices, 'up' and 'out' are alone: two products each.
    jaxpr = str(jax.make_jaxpr(lambda v: layers.update_spectral(v, 1))(variables))
    assert jaxpr.count("dot_general[") == 2 * (1 + 2 + 1 + 1)
    same = layers.update_spectral(variables, 0)
    jax.tree.map(np.testing.assert_array_equal, same, variables["spectral"])


def test_pure_functions_under_grad_and_vmap():
    layer = SNDense(3)
    stacked = jax.vmap(lambda k: layer.init(k, X[0, 0]))(jax.random.split(KEY, 2))
    inside = jax.vmap(layers.sigmas)(stacked)["kernel"]
    outside = layers.sigmas(stacked)["kernel"]
    np.testing.assert_allclose(inside, outside, rtol=1e-6)
    one = jax.tree.map(lambda a: a[0], stacked)
    gradient = jax.grad(
        lambda p: layers.sigmas({**one, "params": p})["kernel"]
    )(one["params"])["kernel"]
    u, v = one["spectral"]["u"], one["spectral"]["v"]
    np.testing.assert_allclose(gradient, np.outer(v, u), atol=1e-6)


def test_what_the_variables_do_not_tell_is_an_error():
    for layer, what in [
        (SNConv(4, (3, 3), divisor="operator"), "an operator norm"),
        (SNConv(4, (3, 3), mask=jnp.ones((3, 3, 4, 4)).at[0].set(0)), "a mask"),
    ]:
        variables = layer.init(KEY, X)
        for function in (layers.sigmas, layers.update_spectral):
            with pytest.raises(ValueError, match=f"{what}.*pass specs=layer_specs"):
                function(variables)
        specs = layers.layer_specs(layer, variables, X)
        assert np.isfinite(layers.sigmas(variables, specs)["kernel"])
        # Singular values are those of the matrix, for which a geometry is not needed.
        if what == "a mask":
            with pytest.raises(ValueError, match="a mask"):
                layers.singular_values(variables)
        else:
            w = variables["params"]["kernel"].reshape(-1, 4)
            want = np.linalg.svd(w, compute_uv=False)
            np.testing.assert_allclose(layers.singular_values(variables)["kernel"], want, rtol=1e-5)


def test_errors():
    layer = SNDense(3)
    variables = layer.init(KEY, X)
    with pytest.raises(ValueError, match="expected variables with 'params' and 'spectral'"):
        layers.sigmas({"params": variables["params"]})
    with pytest.raises(ValueError, match="has no weight there"):
        layers.sigmas({"params": {"other": jnp.ones(3)}, "spectral": variables["spectral"]})
    with pytest.raises(ValueError, match="do not belong to a weight"):
        layers.sigmas({"params": {"kernel": jnp.ones((5, 7))}, "spectral": variables["spectral"]})
    with pytest.raises(ValueError, match="make it from the same model"):
        layers.sigmas(variables, specs={})
    with pytest.raises(ValueError, match="steps is -1"):
        layers.update_spectral(variables, -1)
    assert layers.sigmas({"params": variables["params"], "spectral": {}}) == {}
