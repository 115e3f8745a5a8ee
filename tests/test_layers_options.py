"""The options of the normalized layers, networks of bounded Lipschitz constant, and wrong use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from sngan_jax import layers, sigmas, specs, update_spectral
from sngan_jax.divisors import DIVISORS
from sngan_jax.layers import SNConv, SNDense, normalized

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
IMAGE = np.random.default_rng(1).standard_normal((2, 6, 6, 3)).astype(np.float32)
EYE = np.eye(6, dtype=np.float32)


def top(matrix):
    return np.linalg.svd(np.float64(matrix), compute_uv=False)[0]


def used(layer, variables):
    """The weight that a bias-free Dense layer multiplies by."""
    return layer.apply(variables, EYE)


def dense(**options):
    layer = SNDense(4, use_bias=False, **{"warmup_steps": 500, **options})
    return layer, jax.jit(layer.init)(KEY, X)


def test_number_of_steps():
    for n in (1, 3):
        layer, variables = dense(n_steps=n, warmup_steps=0)
        _, new = layer.apply(variables, X, mutable=["spectral"])
        want = update_spectral(variables, specs(layer, X), n)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new["spectral"], want
        )


@pytest.mark.parametrize("k", [0.5, 3.0])
def test_lipschitz_constant(k):
    layer, variables = dense(lipschitz=k)
    assert top(used(layer, variables)) == pytest.approx(k, rel=1e-4)
    assert sigmas(variables, specs(layer, X))["kernel"] == pytest.approx(
        top(variables["params"]["kernel"]), rel=1e-5
    )


@pytest.mark.parametrize("divisor", ["spectral", "operator", "bidirectional"])
def test_a_learnt_scale_starts_at_sigma_without_a_warm_up_too(divisor):
    """So W̄ = W once the power iteration has converged, and not only at init."""
    layer = normalized(nn.Conv, divisor=divisor, warmup_steps=0, learnable_scale=True)(
        16, (3, 3), use_bias=False)
    x = jax.random.normal(jax.random.key(1), (1, 6, 6, 8))
    variables = layer.init(jax.random.key(0), x)
    found = specs(layer, x)
    converged = {**variables, "spectral": update_spectral(variables, found, steps=500)}
    (sigma,) = sigmas(converged, found).values()
    assert variables["params"]["gamma"] == pytest.approx(float(sigma), rel=0.01)


def test_learnable_scale():
    layer, variables = dense(learnable_scale=True)
    w, gamma = variables["params"]["kernel"], variables["params"]["gamma"]
    assert gamma.shape == () and gamma == pytest.approx(top(w), rel=1e-5)
    np.testing.assert_allclose(used(layer, variables), w, rtol=1e-4)  # so W̄ starts at W
    wider = {**variables, "params": {"kernel": w, "gamma": jnp.float32(2.5)}}
    assert top(used(layer, wider)) == pytest.approx(2.5, rel=1e-4)
    gradient = jax.grad(lambda p: (used(layer, {**variables, "params": p}) * w).sum())(
        variables["params"]
    )
    assert gradient["gamma"] == pytest.approx(float((w * w).sum() / top(w)), rel=1e-4)
    # The other parameters are the plain layer's, those initialized after it too.
    biased = normalized(nn.Dense, learnable_scale=True)(4, bias_init=nn.initializers.normal())
    plain = nn.Dense(4, bias_init=nn.initializers.normal())
    np.testing.assert_array_equal(
        biased.init(KEY, X)["params"]["bias"], plain.init(KEY, X)["params"]["bias"]
    )


def test_weight_normalization():
    layer = normalized(nn.Conv, divisor="weight")(5, (3, 3), use_bias=False)
    variables = layer.init(KEY, IMAGE)
    assert list(variables) == ["params"]  # no state
    w = variables["params"]["kernel"]
    plain = nn.Conv(5, (3, 3), use_bias=False)
    lengths = np.linalg.norm(np.asarray(w).reshape(-1, 5), axis=0)
    want = plain.apply({"params": {"kernel": w / lengths}}, IMAGE)
    np.testing.assert_allclose(layer.apply(variables, IMAGE), want, atol=1e-5)
    y, new = layer.apply(variables, IMAGE, mutable=["spectral"])
    assert not new and (y == layer.apply(variables, IMAGE)).all()
    # With a learnable length for each row it starts at the plain layer.
    layer = layer.clone(learnable_scale=True)
    variables = layer.init(KEY, IMAGE)
    np.testing.assert_allclose(variables["params"]["gamma"], lengths, rtol=1e-6)
    want = plain.apply({"params": {"kernel": w}}, IMAGE)
    np.testing.assert_allclose(layer.apply(variables, IMAGE), want, atol=1e-5)


def test_frobenius_normalization_and_zero_weights():
    layer = normalized(nn.Dense, divisor="frobenius", lipschitz=2.0)(4, use_bias=False)
    variables = layer.init(KEY, X)
    assert np.linalg.norm(used(layer, variables)) == pytest.approx(2, rel=1e-6)
    for divisor in DIVISORS:
        layer = SNDense(4, divisor=divisor, use_bias=False, kernel_init=nn.initializers.zeros)
        variables = layer.init(KEY, X)
        value, gradient = jax.jit(jax.value_and_grad(lambda v, f=layer: used(f, v).sum()))(
            variables)
        assert value == 0 and np.isfinite(gradient["params"]["kernel"]).all()


def test_bidirectional():
    layer = SNConv(5, (3, 2), divisor="bidirectional", warmup_steps=1000)
    variables = jax.jit(layer.init)(KEY, IMAGE)
    w = np.asarray(variables["params"]["kernel"])
    want = (top(w.reshape(-1, 5)) + top(np.moveaxis(w, 2, 0).reshape(3, -1))) / 2
    assert sigmas(variables, specs(layer, IMAGE))["kernel"] == pytest.approx(want, rel=1e-5)
    assert {k: v.shape for k, v in variables["spectral"].items()} == {
        "u": (5,), "v": (18,), "u_in": (3,), "v_in": (30,)
    }
    layer, variables = dense(divisor="bidirectional")
    assert sorted(variables["spectral"]) == ["u", "v"]  # a matrix and its transpose
    assert top(used(layer, variables)) == pytest.approx(1, rel=1e-4)


class Critic(nn.Module):
    """A network of K-Lipschitz layers with 1-Lipschitz functions between them."""

    k: float = 1.0

    @nn.compact
    def __call__(self, x):
        conv = normalized(nn.Conv, divisor="operator", lipschitz=self.k, warmup_steps=60)
        x = nn.leaky_relu(conv(4, (3, 3))(x))
        x = nn.relu(conv(4, (4, 4), strides=2)(x))
        x = jnp.tanh(conv(4, (3, 3), padding="CIRCULAR")(x))
        return SNDense(2, lipschitz=self.k, warmup_steps=60)(x.reshape(x.shape[0], -1))


def test_a_network_of_lipschitz_layers_is_lipschitz():
    k = 1.5
    bound, critic = k**4, Critic(k)
    shape = (500, 6, 6, 2)
    variables = jax.jit(critic.init)(KEY, jnp.zeros((1, *shape[1:])))
    apply = jax.jit(lambda x: critic.apply(variables, x))

    @jax.jit
    def ratio(x, y):
        apart = lambda z: jnp.sqrt(jnp.sum(z**2, axis=tuple(range(1, z.ndim))) + 1e-30)  # noqa: E731
        return apart(apply(x) - apply(y)) / apart(x - y)

    keys = jax.random.split(KEY, 4)
    x = jax.random.normal(keys[0], shape)
    near = x + 1e-2 * jax.random.normal(keys[1], shape)
    far = 10 * jax.random.normal(keys[2], shape)
    random_pairs = max(ratio(x, near).max(), ratio(x, far).max())
    assert random_pairs <= bound * 1.01
    # Adversarial pairs: the ratio itself, climbed by gradient ascent.
    x, y = x[:100], near[:100]
    climb = jax.jit(jax.grad(lambda x, y: jnp.log(ratio(x, y)).sum(), argnums=(0, 1)))
    start = ratio(x, y).mean()
    for _ in range(60):
        dx, dy = climb(x, y)
        scale = lambda g: g / (jnp.abs(g).max(axis=(1, 2, 3), keepdims=True) + 1e-12)  # noqa: E731
        x, y = x + 0.01 * scale(dx), y + 0.01 * scale(dy)
    best = ratio(x, y)
    assert best.mean() > 1.5 * start  # the adversary is one
    assert best.max() <= bound * 1.01


def test_attention_and_other_composed_modules():
    x = np.random.default_rng(2).standard_normal((2, 5, 8)).astype(np.float32)
    plain = nn.MultiHeadDotProductAttention(2, qkv_features=4, normalize_qk=True)
    layer = layers.SNMultiHeadDotProductAttention(
        2, qkv_features=4, normalize_qk=True, warmup_steps=500, lipschitz=2.0
    )
    variables, reference = jax.jit(lambda: (layer.init(KEY, x), plain.init(KEY, x)))()
    jax.tree.map(np.testing.assert_array_equal, variables["params"], reference["params"])
    assert sorted(variables["spectral"]) == ["key", "out", "query", "value"]
    sigma = sigmas(variables, specs(layer, x))
    scaled = jax.tree.map(lambda a: a, reference["params"])
    for name, s in sigma.items():
        kernel = reference["params"][name]["kernel"]
        rows = kernel.reshape(-1, 8) if name == "out" else kernel.reshape(8, -1)
        assert s == pytest.approx(top(rows), rel=1e-5)
        scaled[name] = {**scaled[name], "kernel": 2 * kernel / s}
    want, got, (y, new) = jax.jit(lambda scaled, variables: (
        plain.apply({"params": scaled}, x), layer.apply(variables, x),
        layer.apply(variables, x, x, mutable=["spectral"])))(scaled, variables)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert list(new) == ["spectral"] and y.shape == want.shape


class Bilinear(nn.Module):
    """A user's own layer, whose weights have other names and axes."""

    @nn.compact
    def __call__(self, x):
        left = self.param("left", nn.initializers.normal(), (4, x.shape[-1]))
        right = self.param("right", nn.initializers.normal(), (x.shape[-1], 4))
        shift = self.param("shift", nn.initializers.ones, (4,))
        return (x @ left.T) * (x @ right) + shift


def test_a_layer_of_your_own():
    layer = normalized(Bilinear, weights={"left": "oi", "right": "io"})()
    variables = layer.init(KEY, X)
    assert variables["spectral"]["left"]["u"].shape == (4,)
    _, variables_ = layer.apply(variables, X, mutable=["spectral"])
    assert jax.tree.structure(variables_["spectral"]) == jax.tree.structure(variables["spectral"])
    found = specs(layer, X)
    state = update_spectral(variables, found, 500)
    sigma = sigmas({**variables, "spectral": state}, found)
    for name in ("left", "right"):
        assert sigma[name] == pytest.approx(top(variables["params"][name]), rel=1e-4)


class Masked(nn.Module):
    """A user's own layer, whose field `mask` belongs to its inputs."""

    mask: tuple[int, ...] | str

    @nn.compact
    def __call__(self, x):
        x = x if self.mask == "none" else x * jnp.asarray(self.mask)
        return x @ self.param("kernel", nn.initializers.normal(), (6, 6))


@pytest.mark.parametrize("mask", [(1, 0, 1, 1, 0, 1), "none"])
def test_a_field_of_your_own_layer_called_mask_is_not_the_weights(mask):
    layer = normalized(Masked, divisor="svd")(mask)
    variables = layer.init(KEY, EYE)
    inputs = EYE if mask == "none" else EYE * np.array(mask)
    kernel = np.asarray(variables["params"]["kernel"])
    np.testing.assert_allclose(used(layer, variables), inputs @ kernel / top(kernel), atol=1e-5)


def test_options_out_of_range():
    for options, sentence in [
        ({"lipschitz": -1.0}, "lipschitz=-1.0 must be a positive number"),
        ({"lipschitz": "two"}, "lipschitz='two' must be a positive number"),
        ({"lipschitz": float("inf")}, "lipschitz=inf must be a positive number"),
        ({"n_steps": 1.5}, "n_steps=1.5 must be a whole number"),
        ({"warmup_steps": None}, "warmup_steps=None must be a whole number"),
        ({"n_steps": True}, "n_steps=True must be a whole number"),
        ({"learnable_scale": "no"}, "learnable_scale='no' must be True or False"),
        ({"divisor": "nuclear"}, "divisor='nuclear' is unknown: use one of 'spectral'"),
        ({"n_steps": 0}, "n_steps=0 must be a whole number, 1 or more"),
        ({"warmup_steps": -2}, "warmup_steps=-2 must be a whole number, 0 or more"),
        ({"divisor": "weight", "n_steps": 2}, "needs no power iteration, so leave out n_steps=2"),
        ({"learnable_scale": True, "lipschitz": 2.0}, "choose one"),
        ({"lipschitz": "2.0"}, "lipschitz='2.0' must be a positive number"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            normalized(nn.Dense, **options)
        with pytest.raises(ValueError, match=sentence):
            SNDense(3, **options)
    for make in (lambda **k: normalized(nn.Dense, **k), lambda **k: SNDense(3, **k),
                 lambda **k: normalized(nn.Dense, divisor="weight")(3, **k)):
        with pytest.raises(TypeError, match="'lipshitz', did you mean lipschitz"):
            make(lipshitz=2.0)
        with pytest.raises(TypeError, match=r"'update_stats'.* options .*divisor, n_steps"):
            make(update_stats=True)
    for weights in ("kernel", {}, {"kernel": 2}):
        with pytest.raises(TypeError, match=f"weights={weights!r} is not a dictionary"):
            normalized(nn.Dense, weights=weights)
    assert normalized(nn.Dense, lipschitz=np.float32(2)) is normalized(nn.Dense, lipschitz=2.0)
    with pytest.raises(TypeError, match=r"Linear of flax\.nnx.*sngan_jax\.nnx\.normalized"):
        normalized(nnx.Linear)


def test_wrong_use():
    class Scale(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("kernel", nn.initializers.ones, x.shape[-1:])

    with pytest.raises(ValueError, match=r"'kernel' of shape \(6,\) is not a matrix"):
        normalized(Scale)().init(KEY, X)

    layer = SNDense(4)
    variables = layer.init(KEY, X)
    for how in ({}, {"mutable": ["spectral"]}):
        with pytest.raises(ValueError, match=r"^SNDense finds no u in the collection") as e:
            layer.apply({"params": variables["params"]}, X, **how)
        assert "pass apply all the variables that init returned" in str(e.value)

    class Window(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("kernel", nn.initializers.ones, (3, 3, 6, 6)).mean()

    with pytest.raises(ValueError, match="divisor='operator' supports Conv, ConvLocal"):
        normalized(Window, divisor="operator")().init(KEY, X)

    conv = SNConv(4, (3, 3), divisor="operator")
    variables = conv.init(KEY, IMAGE)
    with pytest.raises(ValueError, match="holds for one input size only"):
        conv.apply(variables, np.ones((2, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="finds no 'gamma'"):
        layer = SNDense(4)
        layer.clone(learnable_scale=True).apply(layer.init(KEY, X), X)
    with pytest.raises(ValueError, match="diagonal or a sum"):
        layers.SNEinsum((6, 2, 2), "ab,bcc->ac").init(KEY, X)
    with pytest.raises(TypeError, match="complex64"):
        SNDense(4, param_dtype=jnp.complex64).init(KEY, X.astype(np.complex64))
