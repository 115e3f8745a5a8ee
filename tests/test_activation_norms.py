"""Batch norm against its formula; conditional batch norm against tables looked up by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sngan_jax.activation_norms import BatchNorm, ConditionalBatchNorm, class_rows

X = jax.random.normal(jax.random.key(0), (6, 3, 3, 4)) * 2 + 1
Y = jnp.array([0, 2, 1, 2, 2, 0])


def test_batch_norm_uses_the_batch_only_where_its_collection_is_mutable():
    layer = BatchNorm()
    variables = layer.init(jax.random.key(1), X)
    y, new = layer.apply(variables, X, mutable=["batch_stats"])
    mean, var = np.mean(X, (0, 1, 2)), np.var(X, (0, 1, 2))
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 2e-5), atol=2e-5)
    # Chainer's decay, 0.9, from means of zero and variances of one.
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)
    stats = {"params": variables["params"], **new}
    expected = (X - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var + 2e-5)
    np.testing.assert_allclose(layer.apply(stats, X), expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_norm_scales_and_shifts_by_class():
    layer = ConditionalBatchNorm(num_classes=3)
    variables = layer.init(jax.random.key(1), X, Y)
    assert {k: v.shape for k, v in variables["params"].items()} == {"gamma": (3, 4), "beta": (3, 4)}
    gamma, beta = np.arange(12.0).reshape(3, 4), np.arange(12.0).reshape(3, 4)[::-1]
    params = {"gamma": jnp.asarray(gamma), "beta": jnp.asarray(beta)}
    y, new = layer.apply({"params": params, "batch_stats": variables["batch_stats"]}, X, Y,
                         mutable=["batch_stats"])
    plain = (X - np.mean(X, (0, 1, 2))) / np.sqrt(np.var(X, (0, 1, 2)) + 2e-5)
    for image, label, got in zip(plain, Y, y, strict=True):
        np.testing.assert_allclose(got, image * gamma[label] + beta[label], atol=3e-4)
    assert set(new) == {"batch_stats"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_output_dtype(dtype):
    for layer, args in ((BatchNorm(dtype=dtype), (X,)),
                        (ConditionalBatchNorm(3, dtype=dtype), (X, Y))):
        variables = layer.init(jax.random.key(1), *args)
        assert layer.apply(variables, *args).dtype == dtype
        assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


def test_class_rows_takes_labels_or_weights():
    table = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(class_rows(table, jnp.array([2, 0])), [[4, 5], [0, 1]])
    np.testing.assert_allclose(class_rows(table, jnp.array([[0.5, 0, 0.5]])), [[2, 3]])
