"""Penalties against finite differences and numpy; clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax.models.cnn import CNNDiscriminator
from sngan_jax.regularizers import (
    REGULARIZERS,
    Update,
    clip_weights,
    gradient_penalty,
    orthonormal_penalty,
    project_weights,
    weights,
)


def _network(seed):
    """A smooth function of images (n, 3, 3, 2), in numpy and float64."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(18, 5)), rng.normal(size=5)

    def f(x):
        return np.tanh(x.reshape(len(x), -1) @ a) @ b

    return f, lambda x: jnp.tanh(x.reshape(len(x), -1) @ jnp.asarray(a)) @ jnp.asarray(b)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.integers(1, 4))
def test_gradient_penalty_is_that_of_finite_differences(seed, n):
    f, logits = _network(seed)
    rng = np.random.default_rng(seed + 1)
    real, fake = rng.normal(size=(2, n, 3, 3, 2))
    epsilon = rng.random(n)
    x = epsilon[:, None, None, None] * real + (1 - epsilon[:, None, None, None]) * fake
    h, lengths = 1e-5, np.zeros(n)
    for i in range(18):
        step = np.zeros(18)
        step[i] = h
        step = step.reshape(3, 3, 2)
        lengths += ((f(x + step) - f(x - step)) / (2 * h)) ** 2
    expected = ((np.sqrt(lengths) - 1) ** 2).mean()
    got = gradient_penalty(logits, jnp.asarray(real), jnp.asarray(fake), jnp.asarray(epsilon))
    assert float(got) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_gradient_penalty_of_a_constant_is_one_and_has_a_gradient():
    x = jnp.ones((2, 2, 2, 1))

    def penalty(w):
        return gradient_penalty(lambda x: w * x.sum((1, 2, 3)), x, x, jnp.ones(2))

    assert float(penalty(0.0)) == pytest.approx(1)
    assert bool(jnp.isfinite(jax.grad(penalty)(0.0)))
    assert float(jax.grad(penalty)(1.0)) == pytest.approx(2 * (2 - 1) * 2)  # length 2w


def test_the_gradient_penalty_of_a_method_draws_an_epsilon_for_each_pair():
    class Config:
        gp_coefficient = 3.0

    keys = jax.random.split(jax.random.key(0), 50)
    # The gradient is the image itself: epsilon at each of its four pixels.
    update = Update(lambda x: (x**2).sum((1, 2, 3)) / 2, {}, jnp.ones((50, 2, 2, 1)),
                    jnp.zeros((50, 2, 2, 1)), keys)
    epsilon = np.array([jax.random.uniform(key) for key in keys])
    assert epsilon.std() > 0.2
    assert float(REGULARIZERS["gradient_penalty"](Config)(update)) == pytest.approx(
        3 * ((2 * epsilon - 1) ** 2).mean(), rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 999))
def test_orthonormal_penalty_is_numpys_and_zero_at_an_orthonormal_weight(rows, columns, seed):
    w = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    small = w if rows >= columns else w.T
    expected = np.linalg.norm(small.T @ small - np.eye(min(rows, columns)), "fro") ** 2
    assert float(orthonormal_penalty({"kernel": jnp.asarray(w)})) == pytest.approx(
        expected, rel=1e-4, abs=1e-5)
    # The other orientation, printed in the paper, differs only by a constant.
    other = np.linalg.norm(small @ small.T - np.eye(max(rows, columns)), "fro") ** 2
    assert other - expected == pytest.approx(abs(rows - columns), rel=1e-3, abs=1e-3)
    q = np.linalg.qr(small)[0]
    assert float(orthonormal_penalty({"kernel": jnp.asarray(q)})) == pytest.approx(0, abs=1e-4)


def test_orthonormal_penalty_reshapes_convolutions_to_outputs_by_rest():
    w = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype(np.float32)
    matrix = w.transpose(3, 0, 1, 2).reshape(5, -1)
    expected = np.linalg.norm(matrix @ matrix.T - np.eye(5)) ** 2
    tree = {"conv": {"kernel": jnp.asarray(w), "bias": jnp.full(5, 9.0)},
            "embed": {"embedding": jnp.eye(4)}}
    assert float(orthonormal_penalty(tree)) == pytest.approx(expected, rel=1e-4)


def test_projection_divides_only_what_is_above_the_bound():
    rng = np.random.default_rng(1)
    large, small = rng.normal(size=(3, 3, 4, 5)), 0.01 * rng.normal(size=(4, 5))
    params = {"a": {"kernel": jnp.float32(large), "bias": jnp.full(5, 9.0)},
              "b": {"embedding": jnp.float32(small)}}
    projected = project_weights(params, 2.0)
    sigma = np.linalg.norm(large.reshape(-1, 5), 2)
    np.testing.assert_allclose(projected["a"]["kernel"], large * 2 / sigma, rtol=1e-5)
    np.testing.assert_array_equal(projected["b"]["embedding"], params["b"]["embedding"])
    assert (projected["a"]["bias"] == 9).all()
    # Projected once, it is inside of the bound, and grows again with the next update.
    np.testing.assert_allclose(project_weights(projected, 2.0)["a"]["kernel"],
                               projected["a"]["kernel"], rtol=1e-5)


def test_weights_and_clipping_leave_biases_and_scales_alone():
    shapes = jax.eval_shape(CNNDiscriminator((2,) * 7).init, jax.random.key(0),
                            jnp.ones((1, 8, 8, 1)))["params"]
    clip = jax.jit(lambda params: clip_weights(params, 0.5))
    for sign in (1, -1):
        params = jax.tree.map(lambda p, sign=sign: sign * np.ones(p.shape, p.dtype), shapes)
        assert len(weights(params)) == 8
        clipped = clip(params)
        assert all((w == 0.5 * sign).all() for w in weights(jax.device_get(clipped)))
        assert (clipped["conv0"]["bias"] == sign).all()
