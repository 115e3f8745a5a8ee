"""The layers of flax.nnx: against NNX's plain layers, the Linen layers, and numpy's SVD."""

import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from sngan_jax import layers, nnx_linen
from sngan_jax import nnx as sn
from sngan_jax.nnx import (
    SNConv,
    SNEmbed,
    SNLinear,
    SpectralVector,
    fold,
    linen_variables,
    nnx_state,
    normalized,
    power_steps,
    sigmas,
    singular_values,
)
from tests.test_layers import CASES, IMAGE, LINE, bitwise, conv, dense_matrix, mask, random

KEY = jax.random.key(0)
X = random(3, 6)
NNX = {nn.Dense: nnx.Linear, nn.DenseGeneral: nnx.LinearGeneral, nn.Einsum: nnx.Einsum,
       nn.Conv: nnx.Conv, nn.ConvTranspose: nnx.ConvTranspose, nn.Embed: nnx.Embed}


class SubLinear(SNLinear):
    pass


def test_classes_can_be_pickled():
    made = normalized(nnx.Linear, lipschitz=np.float32(2))
    assert made is normalized(nnx.Linear, lipschitz=2.0)
    for kind in (made, SNLinear, SubLinear):
        assert pickle.loads(pickle.dumps(kind)) is kind
        layer = kind(6, 4, rngs=nnx.Rngs(0))
        again = pickle.loads(pickle.dumps(layer))
        assert type(again) is kind and (again(X) == layer(X)).all()


def nnx_arguments(plain, kwargs, x):
    """Arguments of the NNX layer that corresponds to a Linen layer for this input."""
    kwargs = dict(kwargs)
    if plain is nn.Embed:
        return kwargs
    if plain is nn.Einsum:
        kwargs["kernel_shape"] = kwargs.pop("shape")
        if kwargs.pop("use_bias", True):
            kwargs["bias_shape"] = {"bhwc,cde->bhwde": (2, 3), "bhwc,ech->bwhe": (7, 3)}[
                kwargs["einsum_str"]]
        return kwargs
    kwargs["out_features"] = kwargs.pop("features")
    if plain is nn.DenseGeneral:
        axes = np.atleast_1d(kwargs["axis"])
        kwargs["in_features"] = tuple(int(x.shape[axis]) for axis in axes)
        if "batch_dims" in kwargs:
            kwargs["batch_axis"] = {axis: x.shape[axis] for axis in kwargs.pop("batch_dims")}
        return kwargs
    return {"in_features": x.shape[-1], **kwargs}


LAYERS = [case for case in CASES if case[0] in NNX]  # ConvLocal is none of NNX's
OPTIONS = [
    {}, {"n_steps": 3}, {"lipschitz": 2.0}, {"learnable_scale": True}, {"divisor": "bidirectional"},
    {"divisor": "weight"}, {"divisor": "weight", "learnable_scale": True},
    {"divisor": "frobenius"}, {"divisor": "operator"}, {"warmup_steps": 0}]


def options_for(plain, options, x, kwargs):
    """Options of NNX's class; Linen sees the size of an image by itself."""
    if options.get("divisor") == "operator" and plain in (nn.Conv, nn.ConvTranspose):
        axes = len(np.atleast_1d(kwargs["kernel_size"]))
        return {**options, "input_size": x.shape[-1 - axes:-1]}
    return options


class Linens(nn.Module):
    """Layers side by side, each with its own input."""

    cases: tuple

    @nn.compact
    def __call__(self):
        return [layers.normalized(plain)(**kwargs, **options, name=f"layer{n}")(x)
                for n, (plain, kwargs, x, options) in enumerate(self.cases)]


class Natives(nnx.Module):
    def __init__(self, cases, rngs):
        self.inputs = nnx.static(cases)
        for n, (plain, kwargs, x, options) in enumerate(cases):
            made = normalized(NNX[plain])(
                **nnx_arguments(plain, kwargs, x), **options_for(plain, options, x, kwargs),
                rngs=rngs)
            setattr(self, f"layer{n}", made)

    def __call__(self):
        return [getattr(self, f"layer{n}")(x) for n, (_, _, x, _) in enumerate(self.inputs.cases)]


class Cases:
    """Static for NNX."""

    def __init__(self, cases):
        self.cases = cases

    def __iter__(self):
        return iter(self.cases)


def loss_of(outputs):
    return sum(jnp.mean(jnp.sin(y.astype(jnp.float32))) for y in outputs)


def updated(w, g):
    return w - jnp.asarray(0.1, w.dtype) * g


def same_training(cases, steps=10):
    """Steps of gradient descent of the same layers in Linen and NNX, from the same variables."""
    linen, native = Linens(tuple(cases)), Natives(Cases(cases), nnx.Rngs(0))
    variables = linen_variables(native)

    @jax.jit
    def linen_step(variables):
        def loss(params):
            y, new = linen.apply({**variables, "params": params}, mutable=["spectral"])
            return loss_of(y), {**variables, **new}
        (value, variables), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(updated, variables["params"], gradient)
        return value, gradient, {**variables, "params": params}

    @nnx.jit
    def native_step(native):
        value, gradient = nnx.value_and_grad(lambda m: loss_of(m()))(native)
        nnx.update(native, jax.tree.map(updated, nnx.state(native, nnx.Param), gradient))
        return value, gradient

    for _ in range(steps):
        value, gradient, variables = linen_step(variables)
        native_value, native_gradient = native_step(native)
        np.testing.assert_allclose(native_value, value, rtol=1e-6)
        pure = nnx.to_pure_dict(native_gradient)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
                     pure, gradient)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
                 linen_variables(native), variables)
    native.eval()
    for a, b in zip(nnx.jit(lambda m: m())(native), jax.jit(linen.apply)(variables), strict=True):
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=1e-5, atol=1e-6)


def test_ten_training_steps_are_linens():
    same_training([
        (nn.Dense, {"features": 5}, LINE, {}),
        (nn.Dense, {"features": 4, "dtype": jnp.bfloat16}, X, {"lipschitz": 2.0}),
        (nn.Dense, {"features": 4}, X, {"divisor": "weight", "learnable_scale": True}),
        (nn.DenseGeneral, {"features": (2, 3), "axis": (1, -1)}, X[None], {"n_steps": 2}),
        (nn.Einsum, {"shape": (4, 2, 3), "einsum_str": "bhwc,cde->bhwde"}, IMAGE,
         {"divisor": "frobenius"}),
        (nn.Conv, conv(strides=(2, 1), padding="VALID"), IMAGE, {"learnable_scale": True}),
        (nn.Conv, conv(padding="REFLECT", mask=mask(3, 3, 4, 6)), IMAGE,
         {"divisor": "bidirectional"}),
        (nn.Conv, conv(strides=2), IMAGE, {"divisor": "operator", "warmup_steps": 2}),
        (nn.ConvTranspose, conv(strides=(2, 2), transpose_kernel=True), IMAGE,
         {"divisor": "svd", "lipschitz": 3.0}),
        (nn.Embed, {"num_embeddings": 7, "features": 3}, np.arange(6), {"warmup_steps": 0}),
    ])


@pytest.mark.slow
@pytest.mark.parametrize("shift", range(0, len(OPTIONS), 2))
def test_ten_training_steps_are_linens_for_all_layers_and_options(shift):
    cases = [(*case, OPTIONS[(n + shift) % len(OPTIONS)]) for n, case in enumerate(LAYERS)]
    # float16 and bfloat16 sum in another order.
    same_training([case for case in cases if case[1].get("dtype") != jnp.float16
                   and case[1].get("param_dtype") is None])


QUICK = {1, 5, 7, 12, 13, 21, 24}  # the others run with -m slow


@pytest.mark.parametrize("plain, kwargs, x", [
    pytest.param(*case, id=f"{n}-{case[0].__name__}", marks=() if n in QUICK else pytest.mark.slow)
    for n, case in enumerate(LAYERS)])
def test_drop_in(plain, kwargs, x):
    """The weights are the plain layer's, σ the SVD's, W̄ = W/σ, and W is never written."""
    arguments = nnx_arguments(plain, kwargs, x)
    reference = NNX[plain](**arguments, rngs=nnx.Rngs(0))
    layer = normalized(NNX[plain])(**arguments, rngs=nnx.Rngs(0))
    name = "embedding" if plain is nn.Embed else "kernel"
    before = nnx.to_pure_dict(nnx.state(reference, nnx.Param))
    assert bitwise(nnx.to_pure_dict(nnx.state(layer, nnx.Param)), before)
    nnx.jit(lambda m: power_steps(m, 1000))(layer)
    (sigma,), (values,) = sigmas(layer).values(), singular_values(layer).values()
    want = np.linalg.svd(dense_matrix(plain, kwargs, before[name]), compute_uv=False)
    assert sigma == pytest.approx(want[0], rel=1e-5) and sigma.dtype == jnp.float32
    np.testing.assert_allclose(values, want[: len(values)], rtol=1e-4, atol=1e-5)

    y = layer(x)
    assert type(getattr(layer, name)) is nnx.Param
    assert bitwise(nnx.to_pure_dict(nnx.state(layer, nnx.Param)), before)
    weight = getattr(reference, name)
    weight[...] = (weight[...].astype(jnp.float32) / sigma).astype(weight.dtype)
    want = reference(x)
    assert y.dtype == want.dtype
    loose = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-3}[
        "bfloat16" if kwargs.get("param_dtype") else y.dtype.name]
    np.testing.assert_allclose(np.float32(y), np.float32(want),
                               atol=loose * np.abs(np.float32(want)).max())
    # The plain layer again, W̄ in place of W.
    plain_layer = fold(layer)
    assert type(plain_layer) is NNX[plain]
    assert nnx.graphdef(plain_layer) == nnx.graphdef(reference)
    np.testing.assert_allclose(np.float32(plain_layer(x)), np.float32(y), rtol=1e-5, atol=1e-5)


class Critic(nnx.Module):
    """One network, of plain or of normalized layers."""

    def __init__(self, linear=SNLinear, convolution=SNConv, *, rngs):
        self.blocks = nnx.List([convolution(4, 6, (3, 3), rngs=rngs),
                                convolution(6, 6, (4, 4), strides=2, rngs=rngs)])
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = linear(6, 3, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = nnx.leaky_relu(block(x))
        return self.out(self.drop(self.norm(x)).mean((1, 2)))


def vectors(model):
    return nnx.to_pure_dict(nnx.state(model, SpectralVector))


def test_a_whole_models_parameters_are_the_plain_models():
    rngs, plain_rngs = nnx.Rngs(0), nnx.Rngs(0)
    model, plain = Critic(rngs=rngs), Critic(nnx.Linear, nnx.Conv, rngs=plain_rngs)
    for kind in (nnx.Param, nnx.BatchStat):
        assert bitwise(nnx.to_pure_dict(nnx.state(model, kind)),
                       nnx.to_pure_dict(nnx.state(plain, kind)))
    assert rngs.params() == plain_rngs.params()
    # A stream 'spectral' gives other vectors, and is not advanced.
    rngs = nnx.Rngs(0, spectral=1)
    other = SNLinear(6, 3, warmup_steps=0, rngs=rngs)
    default = SNLinear(6, 3, warmup_steps=0, rngs=nnx.Rngs(0))
    assert bitwise(other.kernel[...], default.kernel[...])
    assert not bitwise(vectors(other), vectors(default)) and rngs.spectral.count[...] == 0
    # The default vectors are those of the Linen layer.
    linen = layers.SNDense(3, warmup_steps=0, kernel_init=lambda *_: default.kernel[...])
    assert bitwise(linen.init(KEY, X)["spectral"], vectors(default))


def test_the_switch_is_nnxs():
    model, x = Critic(rngs=nnx.Rngs(0)), IMAGE
    model.drop.rate = 0.0

    def moved(call):
        before = vectors(model)
        call()
        return not bitwise(before, vectors(model))

    assert moved(lambda: model(x))
    model.eval()
    assert not moved(lambda: model(x)) and model.out.use_running_average
    assert bitwise(model(x), model(x))
    model.train()
    assert moved(lambda: model(x))
    evaluated = nnx.view(model, use_running_average=True, deterministic=True)
    assert not moved(lambda: evaluated(x)) and not model.out.use_running_average
    model.set_attributes(SNConv, use_running_average=True)
    before = vectors(model)
    model(x)
    after = vectors(model)
    assert bitwise(before["blocks"], after["blocks"]) and not bitwise(before["out"], after["out"])
    # The call's argument goes before the attribute.
    layer = model.blocks[0]
    assert moved(lambda: layer(x, use_running_average=False))
    layer.use_running_average = False
    assert not moved(lambda: layer(x, use_running_average=True))
    # Within jit.
    model.train()

    @nnx.jit
    def evaluate(model):
        model.eval()
        return model(x)

    assert not moved(lambda: evaluate(model))
    attention = sn.SNMultiHeadAttention(2, 6, decode=False, rngs=nnx.Rngs(0))
    before = vectors(attention)
    attention(X[None], use_running_average=True)
    assert bitwise(before, vectors(attention))
    attention(X[None])
    assert not any(bitwise(before[part], vectors(attention)[part]) for part in before)
    attention.eval()
    before = vectors(attention)
    attention(X[None])
    assert bitwise(before, vectors(attention))
    nnx.view(attention, use_running_average=False, deterministic=True)(X[None])


def test_nnx_shows_it():
    layer = SNLinear(6, 4, rngs=nnx.Rngs(0))
    assert "SNLinear" in nnx.tabulate(layer, X) and "SpectralVector" in repr(layer)


def dots(function, *args):
    text = str(jax.make_jaxpr(function)(*args))
    return text.count("dot_general["), "scan[" in text or "while[" in text


@pytest.mark.parametrize("plain, made, x", [
    (nnx.Linear, {"in_features": 6, "out_features": 4}, X),
    (nnx.Conv, {"in_features": 4, "out_features": 6, "kernel_size": (3, 3)}, IMAGE),
    (nnx.Embed, {"num_embeddings": 5, "features": 4}, np.arange(3))])
def test_the_products_of_a_pass(plain, made, x):
    def count(layer, **how):
        graph, state = nnx.split(layer)
        return dots(lambda state: nnx.merge(graph, state)(x, **how), state)

    own, _ = count(plain(**made, rngs=nnx.Rngs(0)))
    layer = normalized(plain)(**made, rngs=nnx.Rngs(0))
    assert count(layer) == (own + 2, False)
    layer.eval()
    assert count(layer) == (own + 1, False)
    assert count(layer, use_running_average=False) == (own + 2, False)


def test_two_calls_take_two_steps():
    for layer, call in [
        (SNLinear(6, 6, rngs=nnx.Rngs(0)), lambda m: m(m(X))),
        (SNEmbed(5, 6, rngs=nnx.Rngs(0)), lambda m: m.attend(m(np.arange(3)))),
    ]:
        other = nnx.clone(layer)
        nnx.jit(call)(layer)
        power_steps(other, np.int64(2))
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), vectors(layer),
                     vectors(other))


def test_gradients_are_finite_differences():
    """The layer is converged, so its σ is the largest singular value."""
    with jax.enable_x64(True):
        cases = [
            (SNLinear(5, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0)), random(3, 5)),
            (SNConv(2, 3, (3, 3), param_dtype=jnp.float64, lipschitz=2.0, rngs=nnx.Rngs(0)),
             random(1, 5, 5, 2)),
        ]
        for layer, x in cases:
            x = x.astype(np.float64)
            nnx.jit(lambda m: power_steps(m, 300))(layer)
            assert {a.dtype for a in jax.tree.leaves(vectors(layer))} == {np.dtype("float64")}
            graph, params, rest = nnx.split(layer, nnx.Param, ...)

            @jax.jit
            def loss(kernel, graph=graph, params=params, rest=rest, x=x):
                model = nnx.merge(graph, params, rest, copy=True)
                model.kernel[...] = kernel
                power_steps(model, 300)
                return jnp.sum(jnp.sin(model(x, use_running_average=True)))

            gradient = nnx.jit(nnx.grad(lambda m, x=x: jnp.sum(jnp.sin(m(x)))))(layer)[
                "kernel"][...]
            kernel, direction = layer.kernel[...], random(*layer.kernel.shape, seed=1)
            step = 1e-5 * direction.astype(np.float64)
            difference = (loss(kernel + step) - loss(kernel - step)) / 2e-5
            assert jnp.sum(gradient * direction) == pytest.approx(float(difference), rel=1e-5)


def test_attention():
    plain = nnx.MultiHeadAttention(2, 6, 4, normalize_qk=True, decode=False, rngs=nnx.Rngs(0))
    layer = sn.SNMultiHeadAttention(2, 6, 4, normalize_qk=True, decode=False, lipschitz=2.0,
                                    warmup_steps=500, rngs=nnx.Rngs(0))
    assert bitwise(nnx.to_pure_dict(nnx.state(layer, nnx.Param)),
                   nnx.to_pure_dict(nnx.state(plain, nnx.Param)))
    found = sigmas(layer)
    assert set(found) == {"key", "out", "query", "value"}
    for name, sigma in found.items():
        kernel = getattr(plain, name).kernel
        matrix = np.asarray(kernel[...]).reshape((-1, 6) if name == "out" else (6, -1))
        assert sigma == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=1e-5)
        kernel[...] = 2 * kernel[...] / sigma
    np.testing.assert_allclose(layer(X[None]), plain(X[None]), atol=1e-5)
    folded = fold(layer)
    assert nnx.graphdef(folded) == nnx.graphdef(plain)
    assert normalized(nnx.MultiHeadAttention) is sn.SNMultiHeadAttention

    class Own(nnx.MultiHeadAttention):
        def __call__(self, x):
            return 2 * super().__call__(x)

    own = normalized(Own, lipschitz=2.0, warmup_steps=500)(
        2, 6, 4, normalize_qk=True, decode=False, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(own(X[None]), 2 * layer(X[None]), atol=1e-5)


class Bilinear(nnx.Module):
    """A user's own layer, with other names and axes of weights, and methods besides `__call__`."""

    def __init__(self, features, rngs):
        self.left = nnx.Param(nnx.initializers.normal()(rngs.params(), (4, features)))
        self.right = nnx.Param(nnx.initializers.normal()(rngs.params(), (features, 4)))
        self.scale = 1.0

    def set_view(self, scale=None):
        if scale is not None:
            self.scale = scale

    def half(self, x):
        return x @ self.left[...].T

    @nnx.jit
    def __call__(self, x):
        return self.scale * self.half(x) * (x @ self.right[...])

    @staticmethod
    def zero():
        return 0


def test_a_layer_of_your_own():
    made = normalized(Bilinear, weights={"left": "oi", "right": "io"})
    layer = made(6, nnx.Rngs(0), warmup_steps=500)
    assert set(vectors(layer)) == {"left_u", "left_v", "right_u", "right_v"}
    found = sigmas(layer)
    for name in ("left", "right"):
        want = np.linalg.svd(getattr(layer, name)[...], compute_uv=False)[0]
        assert found[name] == pytest.approx(want, rel=1e-5)
    left, right = layer.left[...] / found["left"], layer.right[...] / found["right"]
    np.testing.assert_allclose(layer(X), (X @ left.T) * (X @ right), rtol=1e-4)
    np.testing.assert_allclose(layer.half(X), X @ left.T, rtol=1e-4)
    assert layer.zero() == 0
    # What nnx.view knew of the class, it knows of the new one.
    view = nnx.view(layer, scale=2.0, use_running_average=True)
    before = vectors(layer)
    np.testing.assert_allclose(view(X), 2 * layer(X, use_running_average=True), rtol=1e-4)
    assert bitwise(before, vectors(layer))
    assert "scale" in nnx.view_info(layer)
    power_steps(layer, 2)
    folded = fold(layer)
    assert type(folded) is Bilinear
    np.testing.assert_allclose(folded(X), layer(X), rtol=1e-4)


class Codebook(nnx.Embed):
    def __call__(self, x):
        self.embedding[...] = self.embedding[...] * 0.9
        return super().__call__(x)


def test_class_factory():
    assert normalized(nnx.Conv) is SNConv and normalized(SNConv) is SNConv
    steep = normalized(nnx.Conv, lipschitz=2.0)
    assert steep is normalized(nnx.Conv, lipschitz=2.0) and issubclass(steep, SNConv)
    assert steep.__name__ == "SNConv"
    assert normalized(nnx.Linear, divisor="weight").__name__ == "WNLinear"
    assert normalized(nnx.Linear, divisor="frobenius").__name__ == "FNLinear"
    assert steep(4, 2, (1, 1), rngs=nnx.Rngs(0)).sn_specs[0][1].lipschitz == 2.0
    steeper = normalized(steep, n_steps=2)(4, 2, (1, 1), rngs=nnx.Rngs(0))
    assert steeper.sn_specs[0][1].lipschitz == 2
    sized = normalized(nnx.Conv, divisor="operator", input_size=[7, 6])
    assert sized(4, 2, (3, 3), rngs=nnx.Rngs(0))(IMAGE).shape == (2, 7, 6, 2)

    # An argument of the class that has the name of an option stays the class'.
    class Steps(nnx.Linear):
        def __init__(self, n_steps, rngs):
            super().__init__(6, n_steps, rngs=rngs)

    layer = normalized(Steps, n_steps=3)(5, rngs=nnx.Rngs(0))
    assert layer(X).shape == (3, 5) and layer.sn_specs[0][1].n_steps == 3

    # A subclass of a normalized class, which reads the weight itself.
    class Doubled(SNLinear):
        def __call__(self, x):
            return x @ (2 * self.kernel[...])

    layer = Doubled(6, 4, use_bias=False, warmup_steps=500, rngs=nnx.Rngs(0))
    assert np.linalg.svd(layer(np.eye(6)), compute_uv=False)[0] == pytest.approx(2, rel=1e-5)
    with pytest.raises(ValueError, match=r"Doubled is a subclass of a normalized class and has no "
                                         r"plain class: make it a subclass of Linear"):
        fold(layer)
    with pytest.raises(ValueError, match="writes the layer's weight"):
        normalized(Codebook)(5, 4, rngs=nnx.Rngs(0))(np.arange(3))


def test_extreme_weights():
    x = random(2, 8)
    for scale in (0.0, 1e-15, 1e15):
        layer = SNLinear(8, 6, use_bias=False, kernel_init=nnx.initializers.normal(scale),
                         rngs=nnx.Rngs(0))
        gradient = nnx.grad(lambda m: m(x)[0, 0])(layer)
        assert np.isfinite(gradient["kernel"][...]).all()
        norm = np.linalg.svd(layer(np.eye(8, dtype=np.float32)), compute_uv=False)[0]
        assert norm == pytest.approx(1 if scale else 0, rel=0.02)


def test_the_norm_of_a_convolution_itself():
    layer = SNConv(2, 3, (3, 3), strides=2, divisor="operator", input_size=(5, 4), use_bias=False,
                   warmup_steps=500, rngs=nnx.Rngs(0))
    plain = nnx.clone(fold(layer))
    plain.kernel[...] = layer.kernel[...]
    basis = np.eye(40, dtype=np.float32).reshape(40, 5, 4, 2)
    dense = np.asarray(plain(basis)).reshape(40, -1)
    assert sigmas(layer)["kernel"] == pytest.approx(np.linalg.svd(dense, compute_uv=False)[0],
                                                    rel=1e-4)
    bar = np.asarray(layer(basis)).reshape(40, -1)
    assert np.linalg.svd(bar, compute_uv=False)[0] == pytest.approx(1, rel=1e-4)


WRONG = [
    (TypeError, r"SNLinear: missing a required argument: 'rngs'; it takes the arguments of Linear, "
     r"among them rngs=nnx.Rngs\(seed\), and the options divisor,", lambda r: SNLinear(6, 4)),
    (TypeError, r"SNLinear draws its weights from rngs=nnx.Rngs\(seed\), not from an object of "
     "type int", lambda r: SNLinear(6, 4, rngs=0)),
    (TypeError, "not from an object of type NoneType", lambda r: SNLinear(6, 4, rngs=None)),
    (TypeError, "unexpected keyword argument 'steps'; .* and the options divisor, n_steps",
     lambda r: SNLinear(6, 4, steps=2, rngs=r)),
    (TypeError, r"has no option 'steps', did you mean n_steps\? The options are divisor",
     lambda r: normalized(nnx.Linear, steps=2)),
    (TypeError, "takes a class of NNX such as nnx.Linear, not <class 'flax.linen",
     lambda r: normalized(nn.Dense)),
    (TypeError, "a class of NNX such as nnx.Linear, not SNLinear: pass the class",
     lambda r: normalized(SNLinear(6, 4, rngs=r))),
    (TypeError, r"weights=\['kernel'\] is not a dictionary", lambda r: normalized(
        nnx.Linear, weights=["kernel"])),
    (ValueError, "normalizes the kernels of its projections", lambda r: normalized(
        nnx.MultiHeadAttention, weights={"kernel": "io"})(2, 6, rngs=r)),
    (ValueError, "expected the variables of a Linen network", lambda r: nnx_state(
        SNLinear(6, 4, rngs=r), None)),
    (ValueError, "use_running_average='no' must be True or False",
     lambda r: SNLinear(6, 4, use_running_average="no", rngs=r)),
    (ValueError, "lipschitz=-1 must be a positive number",
     lambda r: SNLinear(6, 4, lipschitz=-1, rngs=r)),
    (ValueError, "divisor='nuclear' is unknown", lambda r: normalized(nnx.Conv, divisor="nuclear")),
    (ValueError, "needs no power iteration", lambda r: SNLinear(
        6, 4, divisor="weight", n_steps=2, rngs=r)),
    (ValueError, "learns the scale", lambda r: SNLinear(
        6, 4, learnable_scale=True, lipschitz=2.0, rngs=r)),
    (ValueError, r"input_size=\(32, 32\), for instance, not input_size=None",
     lambda r: SNConv(1, 2, (3, 3), divisor="operator", rngs=r)),
    (ValueError, "not input_size=7",
     lambda r: SNConv(1, 2, (3, 3), divisor="operator", input_size=7, rngs=r)),
    (ValueError, r"not input_size=\(0, 4\)",
     lambda r: SNConv(1, 2, (3, 3), divisor="operator", input_size=(0, 4), rngs=r)),
    (ValueError, r"input_size=\(8, 8\) belongs to divisor='operator'",
     lambda r: SNConv(1, 2, (3, 3), input_size=(8, 8), rngs=r)),
    (ValueError, "belongs to divisor='operator' of a convolution",
     lambda r: SNLinear(1, 2, divisor="operator", input_size=8, rngs=r)),
    (ValueError, r"images \(5, 5, 4\) and gets \(2, 7, 6, 4\)",
     lambda r: SNConv(4, 2, (3, 3), divisor="operator", input_size=(5, 5), rngs=r)(IMAGE)),
    (ValueError, "has no parameter 'embedding' or 'kernel'; it has bias, scale: name its weights",
     lambda r: normalized(nnx.LayerNorm)(6, rngs=r)),
    (ValueError, "has no parameter 'kernal'; it has bias, kernel",
     lambda r: normalized(nnx.Linear, weights={"kernal": "io"})(6, 4, rngs=r)),
    (ValueError, "in a module of several layers, normalize those",
     lambda r: normalized(Critic)(rngs=r)),
    (ValueError, r"the parameter 'bias' of shape \(4,\) is not a matrix",
     lambda r: normalized(nnx.Linear, weights={"bias": "o"})(6, 4, rngs=r)),
    (ValueError, "the layout 'ioo' does not describe a weight of shape",
     lambda r: normalized(nnx.Linear, weights={"kernel": "ioo"})(6, 4, rngs=r)),
    (TypeError, "complex64", lambda r: SNLinear(6, 4, param_dtype=jnp.complex64, rngs=r)),
    (ValueError, "diagonal or a sum", lambda r: sn.SNEinsum("ab,bcc->ac", (6, 2, 2), rngs=r)),
    (ValueError, "was made for 'ab,bc->ac', but in the equation of this call",
     lambda r: sn.SNEinsum("ab,bc->ac", (6, 6), rngs=r)(X, "ab,cb->ac")),
    (ValueError, "has no normalized layer: pass a model",
     lambda r: sigmas(nnx.Linear(6, 4, rngs=r))),
    (ValueError, "int has no normalized layer", lambda r: power_steps(3)),
    (ValueError, "State has no normalized layer",
     lambda r: fold(nnx.state(SNLinear(6, 4, rngs=r)))),
    (ValueError, "n=0 is not a number of power steps",
     lambda r: power_steps(SNLinear(6, 4, rngs=r), 0)),
    (ValueError, "n=1.5 is not a number", lambda r: power_steps(SNLinear(6, 4, rngs=r), 1.5)),
]


@pytest.mark.parametrize("error, sentence, use", WRONG, ids=itertools.count())
def test_wrong_use_is_one_sentence(error, sentence, use):
    with pytest.raises(error, match=sentence) as raised:
        use(nnx.Rngs(0))
    assert "\n" not in str(raised.value)


def test_a_model_that_lost_its_vectors_says_so():
    layer = SNLinear(6, 4, rngs=nnx.Rngs(0))
    nnx.pop(layer, SpectralVector)
    with pytest.raises(ValueError, match=r"SNLinear finds no u .* give the model its SpectralVect"):
        layer(X)

    class Named(nnx.Linear):
        def __init__(self, *, rngs):
            super().__init__(6, 4, rngs=rngs)
            self.u = 3

    with pytest.raises(ValueError, match="has an attribute 'u', a name that the weight"):
        normalized(Named)(rngs=nnx.Rngs(0))


def test_conversion_both_ways():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = layers.SNConv(6, (3, 3), learnable_scale=True)(x)
            x = nn.BatchNorm(use_running_average=True)(x)
            x = layers.normalized(layers.SNDense, divisor="bidirectional")(3)(x.mean((1, 2)))
            return layers.SNMultiHeadAttention(1, name="attention")(x[None])

    class Native(nnx.Module):
        def __init__(self, rngs):
            self.blocks = nnx.List([SNConv(4, 6, (3, 3), learnable_scale=True, rngs=rngs)])
            self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
            self.out = SNLinear(6, 3, divisor="bidirectional", rngs=rngs)
            self.attention = sn.SNMultiHeadAttention(1, 3, decode=False, rngs=rngs)
            self.drop = nnx.Dropout(0.1, rngs=rngs)

        def __call__(self, x):
            x = self.norm(self.blocks[0](x))
            return self.attention(self.out(x.mean((1, 2)))[None])

    net, native = Net(), Native(nnx.Rngs(3))
    variables = jax.jit(net.init)(KEY, IMAGE)
    names = {"blocks/0": "SNConv_0", "norm": "BatchNorm_0", "out": "SNDense_0"}
    nnx.update(native, nnx_state(native, variables, names))
    native.eval()
    np.testing.assert_allclose(nnx.jit(lambda m: m(IMAGE))(native),
                               jax.jit(net.apply)(variables, IMAGE), rtol=1e-5, atol=1e-6)
    assert bitwise(linen_variables(native, names), nn.meta.unbox(variables))
    for changed, sentence in [
        ({"names": {"blocks/0": "SNConv_0"}}, "'params/norm/bias' is missing, but the model has "
         r"float32\[6\] at 'norm/bias'"),
        ({"names": {**names, "conv": "Conv_0"}}, "names has 'conv', but the model has no layer"),
        ({"names": {**names, "norm": "SNConv_0"}}, "two variables of the model would be"),
        ({"variables": {**variables, "other": {"a": np.ones(3)}}}, "no place for .* 'other/a'"),
        ({"variables": jax.tree.map(lambda a: a[..., None], variables)}, r"is float32\[1, 3, 1\]"),
        ({"variables": jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables)}, "is bfloat16"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            nnx_state(native, **{"variables": variables, "names": names, **changed})
    # Weights of other names have their vectors under them.
    own = normalized(Bilinear, weights={"left": "oi", "right": "io"})(6, rngs=nnx.Rngs(0))
    assert set(linen_variables(own)["spectral"]["left"]) == {"u", "v"}
    assert bitwise(vectors(own), nnx.to_pure_dict(
        nnx.filter_state(nnx_state(own, linen_variables(own)), SpectralVector)))


def test_an_ellipsis_of_the_kernel_is_known():
    layer = nnx.Einsum("...a,...ab->...b", (5, 6, 4), rngs=nnx.Rngs(0))
    assert nnx_linen.layout(layer, layer.kernel[...]) == "bio"
    made = sn.SNEinsum("...a,ab->...b", (6, 4), rngs=nnx.Rngs(0))
    assert made.sn_specs[0][1].layout == "io" and made(X[None]).shape == (1, 3, 4)
