"""The normalized layers one by one: against the plain Linen layer, and against numpy's SVD."""

import functools
import math
import pickle
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax import layers, sigmas, singular_values, specs, update_spectral
from sngan_jax.layers import normalized

KEY = jax.random.key(0)


def random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def bitwise(a, b):
    same = jax.tree.map(
        lambda x, y: x.dtype == y.dtype and (np.asarray(x) == np.asarray(y)).all(), a, b
    )
    return jax.tree.all(same)


def mask(*shape):
    return jnp.asarray(np.random.default_rng(5).random(shape) > 0.4, jnp.float32)


IMAGE, LINE = random(2, 7, 6, 4), random(2, 9, 4)
conv = functools.partial(dict, features=6, kernel_size=(3, 3))
# (layer, arguments, input); between them every constructor argument of every layer.
CASES = [
    (nn.Dense, {"features": 5}, IMAGE),
    (nn.Dense, {"features": 1, "use_bias": False, "dtype": jnp.bfloat16}, LINE),
    (nn.Dense, {"features": 5, "dot_general": jax.lax.dot_general, "precision": "highest"}, LINE),
    (nn.Dense, {"features": 5, "kernel_init": nn.initializers.normal(3.0)}, random(2, 1)),
    (nn.DenseGeneral, {"features": (2, 3), "axis": (1, -1)}, IMAGE),
    (nn.DenseGeneral, {"features": 3, "batch_dims": (0,), "axis": (-2, -1)}, IMAGE),
    (nn.Einsum, {"shape": (4, 2, 3), "einsum_str": "bhwc,cde->bhwde"}, IMAGE),
    (nn.Einsum, {"shape": (3, 4, 7), "einsum_str": "bhwc,ech->bwhe"}, IMAGE),
    (nn.Einsum, {"shape": (6, 4), "einsum_str": "...wc,wc->...", "use_bias": False}, IMAGE),
    (nn.Conv, conv(), IMAGE),
    (nn.Conv, conv(kernel_size=(1, 1), features=1, use_bias=False), IMAGE),
    (nn.Conv, conv(strides=(2, 1), padding="VALID", kernel_dilation=(1, 2)), IMAGE),
    (nn.Conv, conv(strides=3, padding=[(2, 0), (0, 1)], input_dilation=2), IMAGE),
    (nn.Conv, conv(feature_group_count=2, padding="CIRCULAR"), IMAGE),
    (nn.Conv, conv(padding="REFLECT", mask=mask(3, 3, 4, 6)), IMAGE),
    (nn.Conv, conv(kernel_size=(4,), padding="CAUSAL"), LINE),
    (nn.Conv, conv(kernel_size=3, dtype=jnp.float16), LINE),
    (nn.Conv, conv(kernel_size=(2, 2, 2)), random(5, 4, 3, 2)),  # no batch axis
    (nn.Conv, conv(), random(2, 3, 5, 5, 2)),  # two batch axes
    (nn.Conv, conv(param_dtype=jnp.bfloat16), IMAGE),
    (nn.ConvLocal, {"features": 3, "kernel_size": (2, 2), "strides": 3}, IMAGE),
    (nn.ConvLocal, {"features": 3, "kernel_size": (2,), "padding": "CIRCULAR"}, LINE),
    (nn.ConvTranspose, conv(strides=(2, 2)), IMAGE),
    (nn.ConvTranspose, conv(strides=(2, 2), transpose_kernel=True), IMAGE),
    (nn.ConvTranspose, conv(features=4, transpose_kernel=True, padding="VALID"), IMAGE),
    (nn.ConvTranspose, conv(padding="CIRCULAR", mask=mask(3, 3, 4, 6)), IMAGE),
    (nn.Embed, {"num_embeddings": 7, "features": 3}, np.arange(6).reshape(2, 3)),
    (nn.Embed, {"num_embeddings": 1, "features": 4, "dtype": jnp.bfloat16}, np.zeros(3, int)),
]
# The others run with -m slow.
QUICK = {1, 4, 5, 7, 11, 13, 14, 19, 21, 23, 24, 26}
each_case = pytest.mark.parametrize(
    "plain, kwargs, x",
    [
        pytest.param(
            *case, id=f"{n}-{case[0].__name__}", marks=() if n in QUICK else pytest.mark.slow
        )
        for n, case in enumerate(CASES)
    ],
)


def names(plain):
    return "embedding" if plain is nn.Embed else "kernel"


def dense_matrix(plain, kwargs, weight):
    """The paper's (outputs, rest) matrix, written out for each layer; blocks on a diagonal."""
    w = np.asarray(weight, np.float64) * kwargs.get("mask", 1)
    if plain is nn.ConvTranspose and kwargs.get("transpose_kernel"):
        return np.moveaxis(w, -2, 0).reshape(w.shape[-2], -1)
    if plain is nn.Einsum:
        return {
            "bhwc,cde->bhwde": lambda: w.reshape(4, 6).T,
            "bhwc,ech->bwhe": lambda: block_diagonal(np.moveaxis(w, -1, 0)),
            "...wc,wc->...": lambda: w.reshape(1, 24),
        }[kwargs["einsum_str"]]()
    if plain is nn.ConvLocal:
        return block_diagonal(w.reshape(-1, *w.shape[-2:]))
    if plain is nn.DenseGeneral and kwargs.get("batch_dims"):
        return block_diagonal(w.reshape(w.shape[0], -1, w.shape[-1]))
    outputs = math.prod(np.atleast_1d(kwargs["features"]))
    return w.reshape(-1, outputs).T


def block_diagonal(blocks):
    n, rows, columns = blocks.shape
    dense = np.zeros((n, rows, n, columns))
    dense[range(n), :, range(n), :] = blocks
    return dense.reshape(n * rows, n * columns)


@each_case
def test_drop_in(plain, kwargs, x):
    """One test per case, in one compilation, because each step needs the step before it."""
    plain_layer, layer = plain(**kwargs), normalized(plain)(**kwargs)

    @jax.jit
    def run(x):
        reference, variables = plain_layer.init(KEY, x), layer.init(KEY, x)
        found = specs(layer, x)
        state = update_spectral(variables, found, 1000)
        converged = {**variables, "spectral": state}
        (sigma,) = sigmas(converged, found).values()
        (values,) = singular_values(converged, found).values()
        y, new = layer.apply(converged, x, mutable=["spectral"])
        # With W itself as W̄.
        forced = {**variables, "normalized": {names(plain): variables["params"][names(plain)]}}
        return {
            "reference": reference, "variables": variables, "state": state, "sigma": sigma,
            "values": values, "y": y, "new": new,
            "everything": layer.apply(converged, x, mutable=True)[1],
            "plain_y": plain_layer.apply(reference, x),
            "forced_y": layer.apply(forced, x),
        }

    r = types.SimpleNamespace(**run(x))
    assert sorted(r.variables) == ["params", "spectral"]
    # The parameters are the plain layer's, bit for bit, and stay so.
    assert bitwise(r.variables["params"], r.reference["params"])
    assert bitwise(r.everything["params"], r.reference["params"])

    # Converged, σ is the SVD's.
    weight = r.variables["params"][names(plain)]
    want = np.linalg.svd(dense_matrix(plain, kwargs, weight), compute_uv=False)
    # (Within one compilation XLA does not round the bfloat16 weight that it returns.)
    rel = 5e-3 if kwargs.get("param_dtype") else 1e-5
    assert r.sigma == pytest.approx(want[0], rel=rel) and r.sigma.dtype == jnp.float32
    np.testing.assert_allclose(r.values, want[: len(r.values)], rtol=10 * rel, atol=rel)

    # A training pass writes 'spectral' and nothing else, and keeps its structure.
    assert list(r.new) == ["spectral"]
    assert jax.tree.map(jnp.shape, r.new["spectral"]) == jax.tree.map(jnp.shape, r.state)

    # With W for W̄ it is the plain layer, of the same dtype.
    assert r.forced_y.dtype == r.plain_y.dtype == r.y.dtype
    assert r.forced_y.shape == r.plain_y.shape
    loose = {"float32": rel, "bfloat16": 2e-2, "float16": 2e-3}[r.y.dtype.name]
    plain_y = np.float32(r.plain_y)
    np.testing.assert_allclose(r.forced_y, plain_y, atol=loose * np.abs(plain_y).max())


def dots(function, *args):
    """The number of products in a jaxpr, loops counted once, and whether it has a loop."""
    text = str(jax.make_jaxpr(function)(*args))
    return text.count("dot_general["), "scan[" in text or "while[" in text


@pytest.mark.parametrize("plain, kwargs, x", [CASES[0], CASES[9], CASES[26]])
def test_the_products_of_a_pass(plain, kwargs, x):
    layer = normalized(plain)(**kwargs)
    variables = layer.init(KEY, x)
    own, _ = dots(lambda v: plain(**kwargs).apply({"params": v["params"]}, x), variables)
    evaluate = lambda v: layer.apply(v, x)  # noqa: E731
    train = lambda v: layer.apply(v, x, mutable=["spectral"])  # noqa: E731
    assert dots(evaluate, variables) == (own + 1, False)
    assert dots(train, variables) == (own + 2, False)
    assert bitwise(evaluate(variables), evaluate(variables))
    assert bitwise(jax.jit(evaluate)(variables), jax.jit(evaluate)(variables))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    st.sampled_from([nn.Dense, nn.Conv, nn.ConvTranspose]),
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 3),
    st.sampled_from([jnp.float32, jnp.bfloat16]),
    st.sampled_from(["spectral", "bidirectional"]),
)
def test_weights_of_any_shape_have_norm_one(plain, inputs, outputs, window, dtype, divisor):
    kwargs = {} if plain is nn.Dense else {"kernel_size": (window, 4 - window)}
    layer = normalized(plain, divisor=divisor, warmup_steps=1000)(
        outputs, **kwargs, param_dtype=dtype)
    x = random(1, 6, 5, inputs)
    variables = jax.jit(layer.init)(KEY, x)
    (sigma,) = sigmas(variables, specs(layer, x)).values()
    w = np.asarray(variables["params"]["kernel"], np.float64)
    reshaped = np.linalg.svd(w.reshape(-1, outputs), compute_uv=False)[0]
    other = np.linalg.svd(np.moveaxis(w, -2, 0).reshape(inputs, -1), compute_uv=False)[0]
    want = {"spectral": reshaped, "bidirectional": (reshaped + other) / 2}[divisor]
    assert sigma == pytest.approx(want, rel=2e-5)


def columns(module, kernel, x):
    """The dense matrix of a bias-free layer, column by column."""
    apply = jax.jit(lambda x: module.apply({"params": {"kernel": np.float32(kernel)}}, x))
    shape = (1, *x.shape[1:])
    basis = np.eye(math.prod(shape), dtype=np.float32).reshape(-1, *shape[1:])
    return np.asarray(apply(basis)).reshape(len(basis), -1).T


OPERATOR_CASES = [
    pytest.param(nn.Conv, conv(strides=2), (6, 7), marks=pytest.mark.slow),
    (nn.Conv, conv(strides=3, padding="VALID", feature_group_count=2), (7, 7)),
    pytest.param(
        nn.Conv, conv(padding="REFLECT", kernel_size=(4, 3)), (6, 5), marks=pytest.mark.slow
    ),
    (nn.Conv, conv(padding="CIRCULAR", kernel_dilation=2, mask=mask(3, 3, 2, 6)), (5, 6)),
    (nn.Conv, conv(kernel_size=(3,), padding=[(2, 1)], input_dilation=2), (9,)),
    pytest.param(
        nn.ConvTranspose, conv(strides=(2, 2), kernel_size=(4, 4), transpose_kernel=True), (3, 4),
        marks=pytest.mark.slow,
    ),
    (nn.ConvTranspose, conv(strides=(2, 1), padding="CIRCULAR", kernel_dilation=(1, 2)), (4, 5)),
    (nn.ConvLocal, conv(strides=2, features=2), (5, 5)),
]


@pytest.mark.parametrize("plain, kwargs, size", OPERATOR_CASES)
def test_operator_norm_of_layers(plain, kwargs, size):
    x = random(2, *size, 4 if kwargs.get("feature_group_count") else 2)
    layer = normalized(plain, divisor="operator")(**kwargs)
    variables = jax.jit(layer.init)(KEY, x)
    dense = columns(plain(**kwargs, use_bias=False), variables["params"]["kernel"], x)
    left, values, right = np.linalg.svd(np.float64(dense))

    # The singular vectors of the dense matrix are a fixed point, and σ is its largest value.
    old = variables["spectral"]
    exact = {
        "u_operator": np.float32(left[:, 0]).reshape(old["u_operator"].shape),
        "v_operator": np.float32(right[0]).reshape(old["v_operator"].shape),
    }
    variables = {**variables, "spectral": {**old, **exact}}

    @jax.jit
    def run(variables, x):
        found = specs(layer, x)
        stepped = {**variables, "spectral": update_spectral(variables, found)}
        two = [sigmas(v, found)["kernel"] for v in (variables, stepped)]
        return two, layer.apply(variables, x)

    two, y = run(variables, x)
    np.testing.assert_allclose(two, values[0], rtol=1e-5)
    # The normalized layer is 1-Lipschitz: its bias cancels in a difference.
    assert np.linalg.norm(y[0] - y[1]) <= 1.0001 * np.linalg.norm(x[0] - x[1])


@pytest.mark.parametrize("plain, kwargs, x", [CASES[0], CASES[23], CASES[21]])
def test_gradient_of_layers_is_the_closed_form(plain, kwargs, x):
    layer = normalized(plain)(**kwargs)
    variables = layer.init(KEY, x)
    params = variables["params"]

    def loss(params, **how):
        out = layer.apply({**variables, "params": params}, x, **how)
        y, new = out if how else (out, None)
        return jnp.sum(jnp.sin(y)), new

    found = specs(layer, x)
    spec = found[("kernel",)]

    @functools.partial(jax.jit, static_argnames="mutable")
    def both(params, mutable=False):
        how = {"mutable": ["spectral"]} if mutable else {}
        got, new = jax.grad(loss, has_aux=True)(params, **how)
        state = (new or variables)["spectral"]
        (sigma,) = sigmas({**variables, "spectral": state}, found).values()
        bar = params["kernel"] / sigma

        def plain_loss(bar):
            return jnp.sum(jnp.sin(plain(**kwargs).apply({"params": {**params, "kernel": bar}}, x)))

        def norm(w):
            return spec.measure(w, state, 0)[0]

        g, outer = jax.grad(plain_loss)(bar), jax.grad(norm)(params["kernel"])
        return got["kernel"], (g - jnp.sum(g * bar) * outer) / sigma

    for mutable in (False, True):
        got, want = both(params, mutable=mutable)
        np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def test_extreme_weights():
    x = random(2, 8)
    layer = layers.SNDense(6, use_bias=False)
    found = specs(layer, x)
    for scale in (0.0, 1e-15, 1e-8, 1e8, 1e15):
        init = nn.initializers.normal(scale)
        variables = layer.clone(kernel_init=init).init(KEY, x)
        y = layer.apply(variables, x)
        gradient = jax.grad(lambda v: layer.apply(v, x)[0, 0])(variables)["params"]["kernel"]
        assert np.isfinite(gradient).all()
        if scale == 0:
            assert (y == 0).all()
            alive = {"params": {"kernel": random(8, 6)}, "spectral": variables["spectral"]}
            state = update_spectral(alive, found, 100)
            assert sigmas({**alive, "spectral": state}, found)["kernel"] == pytest.approx(
                np.linalg.svd(alive["params"]["kernel"], compute_uv=False)[0], rel=1e-3
            )
        else:
            bar = layer.apply(variables, np.eye(8, dtype=np.float32))
            norm = np.linalg.svd(bar, compute_uv=False)[0]
            assert norm == pytest.approx(1, rel=0.02)  # after the warm-up
            state = update_spectral(variables, found, 300)
            bar = layer.apply({**variables, "spectral": state}, np.eye(8, dtype=np.float32))
            assert np.linalg.svd(bar, compute_uv=False)[0] == pytest.approx(1, abs=1e-4)


def test_init():
    x = IMAGE
    layer = layers.SNConv(6, (3, 3))
    default = layer.init(KEY, x)["spectral"]
    assert bitwise(default, layer.init(KEY, x)["spectral"])
    drawn = layer.init({"params": KEY, "spectral": jax.random.key(7)}, x)
    assert not bitwise(default, drawn["spectral"])
    assert bitwise(drawn["params"], layer.init(KEY, x)["params"])
    cold = layer.clone(warmup_steps=0).init(KEY, x)
    # Without a warm-up one step is taken all the same: random vectors may have σ < 0.
    longer = update_spectral(cold, specs(layer, x), 14)
    np.testing.assert_allclose(longer["u"], default["u"], atol=1e-5)
    assert abs(jnp.linalg.norm(cold["spectral"]["u"]) - 1) < 1e-6
    # init_with_output: the output is that of the variables it returns.
    y, variables = layer.init_with_output(KEY, x)
    np.testing.assert_allclose(y, layer.apply(variables, x), rtol=1e-6)
    # Only the parameters asked for.
    assert list(layer.init(KEY, x, mutable=["params"])) == ["params"]


def test_float64():
    with jax.enable_x64(True):
        x = random(3, 5, dtype=np.float64)
        layer = layers.SNDense(4, param_dtype=jnp.float64)
        variables = layer.init(KEY, x)
        assert {a.dtype for a in jax.tree.leaves(variables)} == {np.dtype("float64")}
        found = specs(layer, x)
        state = update_spectral(variables, found, 3000)
        sigma = sigmas({**variables, "spectral": state}, found)["kernel"]
        want = np.linalg.svd(variables["params"]["kernel"], compute_uv=False)[0]
        assert float(sigma) == pytest.approx(want, rel=1e-12)
        y, new = layer.apply(variables, x, mutable=["spectral"])
        assert y.dtype == new["spectral"]["u"].dtype == np.float64


def test_half_precision_variables_iterate_in_float32():
    x = random(3, 5)
    for dtype in (jnp.float16, jnp.bfloat16):
        layer = layers.SNDense(4, param_dtype=dtype)
        variables = layer.init(KEY, x.astype(dtype))
        y, new = layer.apply(variables, x.astype(dtype), mutable=["spectral"])
        assert y.dtype == dtype and variables["params"]["kernel"].dtype == dtype
        assert {a.dtype for a in jax.tree.leaves(new)} == {jnp.dtype("float32")}


def test_attend_and_embedding_are_normalized():
    layer = layers.SNEmbed(5, 3, warmup_steps=500)
    variables = layer.init(KEY, np.arange(5))
    rows = layer.apply(variables, np.arange(5))
    assert np.linalg.svd(rows, compute_uv=False)[0] == pytest.approx(1, rel=1e-5)
    scores = layer.apply(variables, np.eye(3, dtype=np.float32), method="attend")
    np.testing.assert_allclose(scores, rows.T, rtol=1e-6)
    np.testing.assert_allclose(layer.bind(variables).embedding, rows, rtol=1e-6)


def test_class_factory():
    assert normalized(nn.Conv) is layers.SNConv
    assert normalized(layers.SNConv) is layers.SNConv
    scaled = normalized(normalized(nn.Conv, lipschitz=2.0), n_steps=3)
    assert (scaled(1, (1,)).lipschitz, scaled(1, (1,)).n_steps) == (2.0, 3)
    assert issubclass(layers.SNConv, nn.Conv) and layers.SNConv.__name__ == "SNConv"
    assert normalized(nn.Dense, divisor="weight").__name__ == "WNDense"
    partial = functools.partial(layers.SNConv, lipschitz=3.0)(4, (3, 3), name="c")
    assert partial.lipschitz == 3.0 and partial.clone(n_steps=2).n_steps == 2
    one, other = layers.SNDense(3), layers.SNDense(3)
    assert hash(one) == hash(other) and one == other
    for cls in (layers.SNConv, layers.SNMultiHeadAttention, normalized(nn.Dense, lipschitz=2.0)):
        assert pickle.loads(pickle.dumps(cls)) is cls
