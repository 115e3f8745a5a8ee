"""A whole network at once: specs, power steps, σ and W̄, against each layer's own and SVDs."""

import dataclasses
import functools
import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from sngan_jax import (
    SNConv,
    SNConvTranspose,
    SNDense,
    fold,
    init_spectral,
    layers,
    network,
    normalize,
    normalized,
    sigmas,
    singular_values,
    specs,
    spectral,
    update_spectral,
)
from sngan_jax.divisors import Spec

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32)
LINE = X[:, 0, 0]


def close(a, b, **kwargs):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-5, **kwargs}), a, b)


def top(matrix):
    return np.linalg.svd(np.float64(matrix), compute_uv=False)[..., 0]


def warm(specs, steps):
    return {path: dataclasses.replace(spec, warmup_steps=steps) for path, spec in specs.items()}


class Net(nn.Module):
    """Layers of every divisor, with a mask and groups, one of them called twice."""

    @nn.compact
    def __call__(self, x):
        for n in range(3):
            x = nn.relu(SNConv(4, (3, 3), name=f"conv{n}")(x))
        # Four channels in and out: the shapes do not determine which axis is which.
        x = SNConvTranspose(4, (3, 3), transpose_kernel=True, name="up")(x)
        x = SNConv(4, (3, 3), divisor="bidirectional", name="both")(x)
        x = SNConv(4, (3, 3), divisor="operator", strides=2, padding="VALID", name="operator")(x)
        x = SNConv(4, (1, 1), mask=np.tri(4)[None, None], feature_group_count=1, name="masked")(x)
        x = SNConv(4, (2, 2), feature_group_count=2, lipschitz=3.0, name="groups")(x)
        x = layers.SNConvLocal(4, (1, 1), name="local")(x)
        x = nn.Dense(4, name="plain")(x)
        x = normalized(nn.Dense, divisor="weight", learnable_scale=True)(4, name="rows")(x)
        shared = SNDense(4, name="shared", learnable_scale=True)
        return SNDense(3, name="out")(shared(shared(x)).mean((1, 2)))


@pytest.fixture(scope="module")
def net():
    model = Net()
    return model, jax.jit(model.init)(KEY, X), specs(model, X)


def test_each_sigma_is_the_svds(net):
    _, variables, found = net
    assert len(found) == 12 and ("plain", "kernel") not in found

    @jax.jit
    def measured(v):
        converged = {**v, "spectral": update_spectral(v, found, 1500)}
        return sigmas(converged, found), singular_values(v, found)

    got, values = measured(variables)
    assert "rows" not in got and set(got) < set(values)
    for name, sigma in got.items():
        w = np.asarray(variables["params"][name]["kernel"], np.float64)
        if name in ("operator", "local"):
            continue
        w = w * np.tri(4) if name == "masked" else w
        rows = np.moveaxis(w, -2 if name == "up" else -1, 0)
        want = np.linalg.svd(rows.reshape(len(rows), -1), compute_uv=False)
        np.testing.assert_allclose(values[name], want, rtol=1e-5, atol=1e-6)
        if name == "both":
            want = (want + top(np.moveaxis(w, -2, 0).reshape(4, -1))) / 2
        assert sigma == pytest.approx(want[0], rel=1e-5)
    blocks = np.asarray(variables["params"]["local"]["kernel"]).reshape(-1, 4, 4)
    assert got["local"] == pytest.approx(top(blocks).max(), rel=1e-5)


def test_a_step_and_the_weights_are_those_of_the_layers(net):
    model, variables, found = net
    once = {**found}
    del once[("shared", "kernel")]  # which takes two steps in a pass
    output = lambda v: model.apply(v, X)  # noqa: E731

    @jax.jit
    def stepped(v):
        bar, same = normalize(v["params"], v["spectral"], found)
        outside = {"params": v["params"], "normalized": bar}
        return (model.apply(v, X, mutable=["spectral"])[1], update_spectral(v, once), same,
                output(v), model.apply(outside, X, mutable=["spectral"]))

    new, state, same, want, (got, written) = stepped(variables)
    close({**state, "shared": 0}, {**new["spectral"], "shared": 0}, atol=1e-6)
    assert jax.tree.structure(state) == jax.tree.structure(variables["spectral"])
    # Evaluation with W̄ from outside: the layers return it, and neither read nor write u and v.
    close(same, variables["spectral"], rtol=0)
    close(got, want, atol=1e-6)
    assert not written
    # The gradient goes through W̄ as it does inside of a layer.
    inside = jax.grad(lambda p: output({**variables, "params": p}).sum())
    through = jax.grad(lambda p: output({"params": p, "normalized": normalize(
        p, variables["spectral"], found)[0]}).sum())
    want, got = jax.jit(lambda p: (inside(p), through(p)))(variables["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * (1 + np.abs(a).max())),
                 want, got)


def test_steps_are_few_batches(net):
    _, variables, found = net
    plain = {path: spec for path, spec in found.items() if spec.divisor == "spectral"}
    text = str(jax.make_jaxpr(lambda v: update_spectral(v, plain))(variables))
    assert text.count("dot_general[") == 2  # of nine layers


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_jit_with_sharded_kernels_gives_the_same(kind):
    program = """
import contextlib, jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from flax import linen as nn
from sngan_jax import *
assert len(jax.devices()) == 8
class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return SNDense(8)(nn.relu(SNDense(16)(x)))
x = np.ones((2, 24), np.float32)
model = Net(); v = model.init(jax.random.key(0), x); found = specs(model, x)
def loss(p):
    bar, _ = normalize(p, v["spectral"], found, 1)
    y, new = model.apply({**v, "params": p}, x, mutable=["spectral"])
    return sum(jnp.sin(w).sum() for w in jax.tree.leaves(bar)) + jnp.sin(y).sum(), (bar, new, y)
def run(p):
    return (sigmas({**v, "params": p}, found), singular_values({**v, "params": p}, found),
            jax.jit(jax.grad(loss, has_aux=True))(p))
mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.KIND,))
one = run(v["params"])
for inside in (True, False):
    with jax.set_mesh(mesh) if inside else contextlib.nullcontext():
        for axes in (("d", None), (None, "d")):
            place = lambda a: jax.device_put(
                a, NamedSharding(mesh, P(*axes) if a.ndim == 2 else P()))
            many = run(jax.tree.map(place, v["params"]))
            if "KIND" == "Explicit":
                assert many[2][0]["SNDense_0"]["kernel"].sharding.spec == P(*axes)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                         one, many)
print("same")
""".replace("KIND", kind)
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
           "NPROC": "32", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True,
                          timeout=300, cwd=Path(__file__).parents[1])
    assert done.stdout == "same\n", done.stderr


class Stack(nn.Module):
    axis: int = 0
    state_axis: int = 0
    length: int = 4
    vmap: bool = False

    @nn.compact
    def __call__(self, x):
        axes = {"params": self.axis, "spectral": self.state_axis}
        if self.vmap:
            layer = nn.vmap(SNDense, variable_axes=axes, split_rngs={"params": True}, in_axes=None,
                            out_axes=0, axis_size=self.length)
            return layer(4, name="dense")(x).sum(0)
        body = nn.scan(lambda layer, x, _: (nn.tanh(layer(x)), None), variable_axes=axes,
                       split_rngs={"params": True}, length=self.length)
        return body(SNDense(4, name="dense"), x, None)[0]


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.sampled_from([0, 1, -1]), st.sampled_from([0, 1]), st.integers(2, 4), st.booleans())
def test_a_stack_along_any_axis(axis, state_axis, length, vmap):
    """The length may equal a side of a square kernel, so that shapes do not determine the axis."""
    model = Stack(axis, state_axis, length, vmap)
    found = specs(model, LINE)

    @jax.jit
    def all_of_it():
        variables = model.init(KEY, LINE)
        state = update_spectral(variables, found, 300)
        converged = {**variables, "spectral": state}
        return (variables, state, sigmas(converged, found), singular_values(converged, found),
                normalize(variables["params"], state, found)[0],
                init_spectral(variables["params"], found, KEY))

    variables, state, sigma, values, bar, made = all_of_it()
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, variables["spectral"])
    kernels = np.moveaxis(np.asarray(variables["params"]["dense"]["kernel"]),
                          axis if axis >= 0 else 2, 0)
    np.testing.assert_allclose(sigma["dense"], top(kernels), rtol=1e-4)
    np.testing.assert_allclose(values["dense"][:, 0], top(kernels), rtol=1e-4)
    got = np.moveaxis(np.asarray(bar["dense"]["kernel"]), axis if axis >= 0 else 2, 0)
    np.testing.assert_allclose(top(got), 1, rtol=1e-4)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, state)


def test_two_stacks_in_each_other():
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            inner = nn.vmap(SNDense, variable_axes={"params": 1, "spectral": 0}, axis_size=3,
                            split_rngs={"params": True}, in_axes=None, out_axes=0)
            outer = nn.scan(lambda layer, x, _: (layer(x).sum(0), None), length=2,
                            variable_axes={"params": 2, "spectral": 1}, split_rngs={"params": True})
            return outer(inner(4, name="d"), x, None)[0]

    model = Deep()
    found = specs(model, LINE)

    @jax.jit
    def all_of_it():
        variables = model.init(KEY, LINE)
        variables = {**variables, "spectral": update_spectral(variables, found, 300)}
        _, new = model.apply(variables, LINE, mutable=["spectral"])
        return variables, sigmas(variables, found), update_spectral(variables, found), new

    variables, sigma, state, new = all_of_it()
    kernels = np.asarray(variables["params"]["d"]["kernel"])
    assert kernels.shape == (4, 3, 2, 4)
    want = top(kernels.transpose(2, 1, 0, 3))
    np.testing.assert_allclose(sigma["d"], want, rtol=1e-4)
    close(state, new["spectral"], atol=1e-5)


class Autoencoder(nn.Module):
    """A model without our layers, with methods besides `__call__`, bound by a parent."""

    def setup(self):
        init = nn.initializers.normal(5.0)
        self.encoder = [nn.Dense(6, kernel_init=init), nn.Dense(3, kernel_init=init)]
        self.decoder = nn.Dense(4, kernel_init=init)

    def encode(self, x):
        for layer in self.encoder:
            x = layer(x)
        return x

    def __call__(self, x):
        return self.decoder(self.encode(x))


class Parent(nn.Module):
    def setup(self):
        self.ae = Autoencoder()

    def __call__(self, x):
        return self.ae.encode(x)


class Child(Autoencoder):
    def __call__(self, x):
        return super().__call__(x) + 1


def test_a_model_of_others_in_every_way_of_calling():
    model = Autoencoder()
    found = specs(model, LINE)

    @jax.jit
    def start():
        params = model.init(KEY, LINE)["params"]
        state = init_spectral(params, warm(found, 500), jax.random.key(1))
        return params, state, normalize(params, state, found)[0]

    params, state, bar = start()
    names = ["encoder_0", "encoder_1", "decoder"]
    assert sorted(state) == sorted(names)
    weights = {name: np.asarray(params[name]["kernel"]) / top(params[name]["kernel"])
               for name in names}
    for name in names:
        np.testing.assert_allclose(bar[name]["kernel"], weights[name], rtol=1e-4, atol=1e-6)
    encoded = LINE @ weights["encoder_0"] @ weights["encoder_1"]
    close(model.apply({"params": bar}, LINE, method="encode"), encoded, atol=1e-4)
    close(model.bind({"params": bar}).encode(LINE), encoded, atol=1e-4)
    close(Parent().apply({"params": {"ae": bar}}, LINE), encoded, atol=1e-4)
    close(Child().apply({"params": bar}, LINE), encoded @ weights["decoder"] + 1, atol=1e-4)
    # A method that reaches some of the layers, several methods, and one method more by `|`.
    some = specs(model, LINE, method="encode")
    assert len(some) == 2 and len(found) == 3
    assert specs(model, LINE, method=["encode", "__call__"]) == found == some | found
    for wrong in (normalized(Autoencoder)(), type("Sub", (normalized(Autoencoder),), {})()):
        with pytest.raises(ValueError, match=r"use sngan_jax\.specs and sngan_jax.normalize"):
            wrong.init(KEY, LINE)
        with pytest.raises(ValueError, match="encoder_0/kernel"):
            wrong.apply({"params": params}, LINE, method="encode")


def test_subclasses_of_a_normalized_layer_call_super():
    class Scaled(SNDense):
        @nn.compact
        def __call__(self, x):
            return 2 * super().__call__(x)

    layer = Scaled(3, use_bias=False, warmup_steps=300)
    variables = layer.init(KEY, LINE)
    assert top(layer.apply(variables, np.eye(4, dtype=np.float32))) == pytest.approx(2, rel=1e-4)
    assert list(specs(layer, LINE)) == [("kernel",)]
    steep = normalized(Scaled, lipschitz=3.0)(3, use_bias=False)  # normalized once, not twice
    assert top(steep.apply(variables, np.eye(4, dtype=np.float32))) == pytest.approx(6, rel=1e-4)


class Bilinear(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x @ self.param("mix", nn.initializers.normal(), (x.shape[-1], 3))

    def twice(self, x):
        return 2 * self(x)


def test_what_matches_no_weight_is_an_error():
    for wrong in (normalized(Bilinear), normalized(Bilinear, weights={"mx": "io"}),
                  normalized(Bilinear, weights={"mix": "io", "mx": "io"})):
        for method in ("__call__", "twice"):
            with pytest.raises(ValueError, match=r"declares no parameter .*but mix: name"):
                wrong().init(KEY, LINE, method=method)
    with pytest.raises(ValueError, match="but bias, scale"):
        normalized(nn.BatchNorm)(use_running_average=False).init(KEY, LINE)
    right = normalized(Bilinear, weights={"mix": "io"})(warmup_steps=300)
    variables = right.init(KEY, LINE, method="twice")
    assert top(right.apply(variables, np.eye(4))) == pytest.approx(1, rel=1e-4)
    with pytest.raises(ValueError, match="Empty has no layer whose weight"):
        specs(type("Empty", (nn.Module,), {"__call__": lambda self, x: x})(), LINE)


def test_a_transform_that_drops_the_vectors_names_the_cure():
    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, x):
            body = nn.scan(lambda layer, x, _: (layer(x), None), length=2,
                           variable_axes={"params": 0}, split_rngs={"params": True})
            return body(SNDense(4), x, None)[0]

    class Cell(nn.RNNCellBase):
        features: int = 4

        @nn.compact
        def __call__(self, carry, x):
            carry = nn.tanh(SNDense(4)(carry) + SNDense(4)(x))
            return carry, carry

        @nn.nowrap
        def initialize_carry(self, rng, input_shape):
            return jnp.zeros((*input_shape[:-1], 4))

        @property
        def num_feature_axes(self):
            return 1

    for model, x in ((Dropped(), LINE), (nn.RNN(Cell()), X[:, 0])):
        variables = jax.jit(model.init)(KEY, x)
        with pytest.raises(ValueError, match=r"variable_axes=.*'spectral': 0.*variable_broadcast"):
            model.apply(variables, x)
        with pytest.raises(ValueError, match="variable_axes or variable_broadcast"):
            specs(model, x)
    rnn = nn.RNN(Cell(), variable_broadcast=["params", "spectral"])
    found = specs(rnn, X[:, 0])

    def used():
        output, variables = rnn.init_with_output(KEY, X[:, 0])
        return sigmas(variables, found), output, rnn.apply(variables, X[:, 0])

    sigma, *outputs = jax.eval_shape(used)
    assert len(sigma) == 2 and [x.shape for x in outputs] == [(2, 6, 4)] * 2


def test_the_first_sigma_is_never_negative():
    layer = SNDense(6, warmup_steps=0)
    found = specs(layer, LINE)

    @jax.jit
    def first(seed):
        variables = layer.init({"params": KEY, "spectral": jax.random.key(seed)}, LINE)
        return variables["params"]["kernel"], sigmas(variables, found)["kernel"]

    for seed in range(20):
        kernel, sigma = first(seed)
        true = top(kernel)
        assert 0.2 * true < sigma <= true * 1.0001
    layer = SNDense(6, warmup_steps=0, learnable_scale=True, use_bias=False)
    variables = layer.init(KEY, LINE)  # γ starts at the layer's own σ, so that W̄ = W
    close(layer.apply(variables, np.eye(4)), variables["params"]["kernel"], atol=1e-6)


def test_sigma_does_not_depend_on_the_vectors_lengths(net):
    """A moving average of all state makes the vectors shorter."""
    model, variables, found = net
    shrunk = {**variables, "spectral": jax.tree.map(lambda x: 0.3 * x, variables["spectral"])}
    measured = jax.jit(lambda v: (sigmas(v, found), model.apply(v, X)))
    (got, images), (want, expected) = measured(shrunk), measured(variables)
    close(got, want, rtol=1e-5)
    close(images, expected, atol=1e-5)


def test_a_field_of_the_class_stays_its_own_and_classes_can_be_pickled():
    class Own(nn.Module):
        lipschitz: str = "mine"

        @nn.compact
        def __call__(self, x):
            return x @ self.param("kernel", nn.initializers.normal(), (x.shape[-1], 3))

    layer = normalized(Own, lipschitz=2.0)(lipschitz="yours", warmup_steps=300)
    assert layer.lipschitz == "yours"
    variables = layer.init(KEY, LINE)
    assert top(layer.apply(variables, np.eye(4))) == pytest.approx(2, rel=1e-4)
    made = normalized(nn.Dense, lipschitz=3.0)
    assert pickle.loads(pickle.dumps(made)) is made
    assert pickle.loads(pickle.dumps(normalized(Bilinear))) is normalized(Bilinear)
    assert pickle.loads(pickle.dumps(SubDense)) is SubDense
    with pytest.raises(TypeError, match=r"takes a layer class of Linen such as nn\.Dense, not an"):
        normalized(nn.Dense(3))


class SubDense(SNDense):
    pass


def test_an_eager_init_compiles_once():
    SNConv(16, (3, 3)).init(KEY, X)
    compiled = spectral.compiled_power_iteration._cache_size()
    SNConv(16, (3, 3), strides=2).init(KEY, X)
    assert spectral.compiled_power_iteration._cache_size() == compiled


def test_specs_by_hand_for_any_tree():
    """Trees like Haiku's dictionaries, and objects like Equinox's."""
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Linear:
        weight: jax.Array
        bias: jax.Array

    rng = np.random.default_rng(3)
    w = [rng.standard_normal((5, 7)).astype(np.float32) for _ in range(2)]
    tree = {"layers": [Linear(jnp.asarray(w[0]), jnp.ones(5)), {"w": jnp.asarray(w[1])}]}
    found = {("layers", "0", "weight"): Spec("oi"), ("layers", "1", "w"): Spec("io", lipschitz=2)}
    state = init_spectral(tree, warm(found, 300), KEY)
    bar, state = normalize(tree, state, found, steps=1)
    close(bar["layers"][0].weight, w[0] / top(w[0]), rtol=1e-4, atol=1e-6)
    close(bar["layers"][1]["w"], 2 * w[1] / top(w[1]), rtol=1e-4, atol=1e-6)
    close(bar["layers"][0].bias, np.ones(5))


class Deployed(nn.Module):
    conv: type = nn.Conv
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(self.conv(4, (3, 3))(x))
        x = nn.Conv(4, (1, 1))(x)
        x = self.conv(4, (3, 3))(x)
        return self.dense(2)(self.dense(3, name="named")(x))


def test_a_folded_network_runs_without_the_collection():
    model = Deployed(SNConv, normalized(nn.Dense, learnable_scale=True))
    variables = jax.jit(model.init)(KEY, X)
    found = specs(model, X)
    assert len(found) == 4
    folded = jax.jit(lambda v: fold(model, v, found, names="plain"))(variables)
    assert jax.tree.structure(folded) == jax.tree.structure(
        jax.eval_shape(Deployed().init, KEY, X))
    close(*jax.jit(lambda v, f: (model.apply(v, X), Deployed().apply(f, X)))(variables, folded),
          atol=1e-5)
    own = fold(model, variables, found)
    assert set(own["params"]) == set(variables["params"]) and set(own) == {"params", "batch_stats"}
    assert "gamma" not in own["params"]["named"]
    with pytest.raises(ValueError, match="names='short': use 'own', or 'plain' with"):
        fold(model, variables, found, names="short")
    with pytest.raises(ValueError, match=r"with the result of sngan_jax.specs\(Deployed"):
        fold(model, variables, dict(found), names="plain")


class Transformed(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.remat(self.dense)(6)(nn.remat(self.dense)(6)(x))
        x = nn.Dropout(0.5, deterministic=not train)(nn.jit(self.dense)(6)(x))
        return nn.Sequential([self.dense(5), nn.relu, self.dense(3)])(x)


def test_layers_inside_of_transforms_are_told_apart():
    model, plain = Transformed(SNDense), Transformed()
    found = specs(model, LINE, train=True)

    @jax.jit
    def folded():
        variables = model.init(KEY, LINE)
        folded = fold(model, variables, found, names="plain")
        return (sigmas(variables, found), folded, plain.apply(folded, LINE),
                model.apply(variables, LINE))

    sigma, folded, got, want = folded()
    assert len(found) == len(sigma) == 5
    assert jax.tree.structure(folded) == jax.tree.structure(jax.eval_shape(plain.init, KEY, LINE))
    close(got, want, atol=1e-5)


class Attentive(nn.Module):
    dense: type = nn.Dense
    attention: type = nn.MultiHeadDotProductAttention

    @nn.compact
    def __call__(self, x):
        return self.dense(4)(self.attention(2, qkv_features=4)(x))


class Uncalled(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        _, first, second = (self.dense(4) for _ in range(3))
        return second(first(x))


class Reversed(nn.Module):
    """Two classes that become one, called in another order than that in which they are made."""

    dense: type = nn.Dense
    rows: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        last, first = self.dense(4), self.rows(4)
        return last(nn.tanh(first(x)))


class MySNDense(nn.Module):
    """Its name ends in that of a layer, with which it shares the scope."""

    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        layer = self.dense(4)
        nn.share_scope(self, layer)
        return layer(x)


class Sharing(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        return self.dense(4)(MySNDense(self.dense)(x))


class Lifted(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        axes = {"variable_axes": {"params": 0, "spectral": 0}, "split_rngs": {"params": True}}
        x = nn.vmap(self.dense, **axes)(4)(self.dense(4)(x))
        loop = nn.scan(lambda layer, x, _: (layer(x), None), length=3, **axes)
        return loop(self.dense(4), x, None)[0]


class Block(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        return nn.tanh(self.dense(4)(x))


class Numbered(nn.Module):
    """Names given by hand that look like Linen's own, in another order."""

    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        for n in (2, 1, 0):
            x = x + Block(self.dense, name=f"Block_{n}")(x)
        for n in (1, 3, 2):
            x = nn.tanh(self.dense(4, name=f"Layer_{n}")(x))
        return nn.Dense(4, name="Dense_7")(Block(self.dense, name="Block_09")(x))


class Unused(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        _ = nn.Dense(3)
        return self.dense(4)(x)


@pytest.mark.parametrize("plain", [Attentive, Uncalled, Reversed, Sharing, Lifted, Numbered,
                                   Unused])
def test_plain_names_are_those_that_linen_gives(plain):
    ours = {"dense": SNDense, "rows": normalized(nn.Dense, divisor="weight"),
            "attention": layers.SNMultiHeadDotProductAttention}
    model = plain(**{name: kind for name, kind in ours.items() if name in plain.__annotations__})
    x, found = X[:, 0], specs(model, X[:, 0])
    variables = jax.jit(model.init)(KEY, x)
    folded = fold(model, variables, found, names="plain")
    close(plain().apply(folded, x), model.apply(variables, x), atol=1e-5)
    assert jax.tree.structure(folded) == jax.tree.structure(jax.eval_shape(plain().init, KEY, x))


@pytest.mark.parametrize("names", ["own", "plain"])
def test_a_model_that_is_a_single_layer_is_folded(names):
    layer, x = SNDense(4), X[:, 0]
    variables = layer.init(KEY, x)
    folded = fold(layer, variables, specs(layer, x), names=names)
    close(nn.Dense(4).apply(folded, x), layer.apply(variables, x), atol=1e-5)


def test_names_given_by_hand_stay():
    class Model(nn.Module):
        dense: type = nn.Dense

        @nn.compact
        def __call__(self, x):
            x = nn.tanh(self.dense(4, name="Dense_1")(x))
            return nn.Dense(4, name="Dense_2")(nn.tanh(self.dense(4, name="Dense_0")(x)))

    model, x = Model(SNDense), X[:, 0]
    variables = model.init(KEY, x)
    folded = fold(model, variables, specs(model, x), names="plain")
    close(Model().apply(folded, x), model.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize("other", [functools.partial(SNDense, 4),
                                   functools.partial(nn.LayerNorm, use_bias=False)])
def test_two_modules_cannot_get_one_name(other):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return SNDense(4, use_bias=False)(other(name="Dense_0")(x))

    x = X[:, 0]
    variables = Model().init(KEY, x)
    with pytest.raises(ValueError, match=r"two modules would be called 'Dense_0': .*names='own'"):
        fold(Model(), variables, specs(Model(), x), names="plain")


@pytest.mark.parametrize("divisor", ["spectral", "weight"])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_learnt_scale_in_a_stack(axis, divisor):
    class Ensemble(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = dict.fromkeys(("params", "spectral", "normalized"), axis)
            stacked = nn.vmap(SNDense, in_axes=None, axis_size=3, split_rngs={"params": True},
                              variable_axes=axes)
            return stacked(5, learnable_scale=True, divisor=divisor)(x)

    model = Ensemble()
    variables, found = jax.jit(model.init)(KEY, LINE), specs(model, LINE)
    gamma = variables["params"]["VmapSNDense_0"]["gamma"]
    trained = {"VmapSNDense_0": variables["params"]["VmapSNDense_0"] | {
        "gamma": gamma * jnp.arange(1, gamma.size + 1).reshape(gamma.shape)}}
    variables = {**variables, "params": trained}
    bar = normalize(trained, variables.get("spectral", {}), found)[0]
    close(model.apply({"params": trained, "normalized": bar}, LINE), model.apply(variables, LINE),
          atol=1e-5)
    folded = fold(model, variables, found)["params"]["VmapSNDense_0"]
    assert set(folded) == {"kernel", "bias"}


def test_functions_of_a_model_without_vectors():
    layer = SNDense(3, divisor="svd")
    variables, found = layer.init(KEY, LINE), specs(layer, LINE)
    assert sigmas(variables, found) == update_spectral(variables, found) == {}
    close(singular_values(variables, found)["kernel"],
          np.linalg.svd(variables["params"]["kernel"], compute_uv=False))


class _Beside(nn.Module):
    """A kernel of its own, and a layer called like one of the kernel's vectors."""

    child: Any
    first: bool = False

    @nn.compact
    def __call__(self, x):
        if self.first:
            x = self.child(x.shape[-1], name="v")(x)
        x = x @ self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 6))
        return x if self.first else self.child(3, name="v")(x)


def test_a_layer_called_like_the_vectors():
    layer = normalized(_Beside)(nn.Dense)
    variables = layer.init(KEY, LINE)
    assert set(specs(layer, LINE)) == {("kernel",)}
    assert sigmas(variables, specs(layer, LINE))
    for first in (False, True):
        layer = normalized(_Beside)(SNDense, first)
        with pytest.raises(ValueError, match=r"a layer or a weight inside of a normalized layer is "
                                             "called 'u' or 'v': give it another name"):
            layer.init(KEY, LINE)
    layer = normalized(_Beside)(normalized(nn.Dense, divisor="frobenius"))
    assert set(specs(layer, LINE)) == {("kernel",), ("v", "kernel")}
    assert layer.apply(layer.init(KEY, LINE), LINE).shape == (2, 3)


class _Inner(nn.Module):
    layer: Any

    @nn.compact
    def __call__(self, x):
        return self.layer(5, name="a")(x)


class _Outer(nn.Module):
    layer: Any

    @nn.compact
    def __call__(self, x):
        return self.layer(2, name="b")(_Inner(self.layer, name="inner")(x))


def test_a_folded_network_has_no_learnt_scales():
    model = _Outer(normalized(nn.Dense, learnable_scale=True))
    variables = model.init(KEY, LINE)
    folded = fold(model, variables, specs(model, LINE))
    assert {path[-1] for path in flatten_dict(folded["params"])} == {"kernel", "bias"}
    close(_Outer(nn.Dense).apply(folded, LINE), model.apply(variables, LINE), atol=1e-6)


def test_learnt_scales_of_another_divisor():
    rows = normalized(nn.Dense, divisor="weight", learnable_scale=True)(3)
    whole = SNDense(3, learnable_scale=True)
    params, state = rows.init(KEY, LINE)["params"], whole.init(KEY, LINE)["spectral"]
    for call in (lambda: whole.apply({"params": params, "spectral": state}, LINE),
                 lambda: normalize(params, state, specs(whole, LINE))):
        with pytest.raises(ValueError, match=r"has the shape .*3.*, but the divisor has 1 value"):
            call()


def test_another_divisor_of_a_convolution_s_spec():
    """Only a layer with divisor="operator" can use the norm of the convolution itself."""
    x = X[:1]
    params = nn.Conv(3, (3, 3)).init(KEY, x)["params"]
    found = specs(SNConv(3, (3, 3), divisor="operator"), x)
    changed = {path: dataclasses.replace(spec, divisor="spectral") for path, spec in found.items()}
    state = init_spectral(params, warm(changed, 300), KEY)
    assert sigmas({"params": params, "spectral": state}, changed)["kernel"] == pytest.approx(
        top(np.reshape(params["kernel"], (-1, 3))), rel=1e-4)
    changed = {path: dataclasses.replace(spec, divisor="operator")
               for path, spec in specs(nn.Conv(3, (3, 3)), x).items()}
    with pytest.raises(ValueError, match="use such a layer, or divisor='spectral'"):
        init_spectral(params, changed, KEY)


@pytest.mark.parametrize("wrapper", [nn.SpectralNorm, nn.WeightNorm])
def test_linens_own_normalization_is_named(wrapper):
    class Wrapped(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"update_stats": False} if wrapper is nn.SpectralNorm else {}
            return wrapper(nn.Dense(3))(x, **options)

    name = wrapper.__name__
    with pytest.raises(ValueError, match=f"Linen's own {name} at '{name}_0': remove this"):
        specs(Wrapped(), LINE)


def test_a_weight_normalized_layer_of_linens_beside_ours():
    class Beside(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.WeightNorm(nn.Dense(3))(SNDense(4)(x))

    assert list(specs(Beside(), LINE)) == [("SNDense_0", "kernel")]


def test_a_jitted_method_is_traced_each_time():
    """nn.jit keeps traces, which would neither mark weights nor name layers."""
    class Jitted(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x):
            return SNDense(2)(SNDense(4)(x))

    model = Jitted()
    before = model.init(KEY, LINE)
    first, second = specs(model, LINE), specs(model, LINE)
    assert list(first) == list(second) == [(f"SNDense_{n}", "kernel") for n in (1, 0)]
    assert first.named == second.named and len(first.named) == 2
    assert set(fold(model, before, second, names="plain")["params"]) == {"Dense_0", "Dense_1"}
    jax.tree.map(np.testing.assert_array_equal, model.init(KEY, LINE), before)


def test_two_weights_whose_vectors_would_have_one_name():
    class Both(nn.Module):
        @nn.compact
        def __call__(self, x):
            kernel, embedding = (self.param(name, nn.initializers.normal(), (4, 4))
                                 for name in ("kernel", "embedding"))
            return x @ kernel @ embedding

    with pytest.raises(ValueError, match="a parameter 'kernel' and a parameter 'embedding', whose"):
        normalized(Both)().init(KEY, LINE)
    layer = normalized(Both, weights={"kernel": "io"})()
    _, variables = layer.init_with_output(KEY, LINE)
    assert set(variables["spectral"]) == {"u", "v"}


def test_pure_functions_under_grad_and_vmap():
    layer = SNDense(3)
    found = specs(layer, LINE)

    @jax.jit
    def all_of_it(keys):
        stacked = jax.vmap(lambda k: layer.init(k, LINE))(keys)
        inside = jax.vmap(lambda v: sigmas(v, found))(stacked)["kernel"]
        one = jax.tree.map(lambda a: a[0], stacked)
        sigma, gradient = jax.value_and_grad(
            lambda p: sigmas({**one, "params": p}, found)["kernel"])(one["params"])
        return one, inside, sigma, gradient

    one, inside, sigma, gradient = all_of_it(jax.random.split(KEY, 2))
    assert inside[0] == pytest.approx(float(sigma), rel=1e-6)
    u, v = one["spectral"]["u"], one["spectral"]["v"]
    np.testing.assert_allclose(gradient["kernel"], np.outer(v, u), atol=1e-6)


def test_forward_mode_and_second_derivatives():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return SNDense(1)(nn.tanh(SNConv(3, (3, 3))(x)).reshape(1, -1)).sum()

    model, x = Two(), X[:1, :4, :4, :2]

    @jax.jit
    def derivatives():
        variables = model.init(KEY, x)
        loss = lambda p: model.apply({**variables, "params": p}, x)  # noqa: E731
        params = variables["params"]
        direction = jax.tree.map(jnp.ones_like, params)
        return (jax.jvp(loss, (params,), (direction,))[1],
                jax.linearize(loss, params)[1](direction), jax.grad(loss)(params),
                jax.hessian(lambda x: model.apply(variables, x))(x))

    tangent, linearized, gradient, hessian = derivatives()
    want = sum(np.sum(leaf) for leaf in jax.tree.leaves(gradient))
    assert tangent == pytest.approx(float(want), rel=1e-4, abs=1e-5)
    assert linearized == pytest.approx(float(want), rel=1e-4, abs=1e-5)
    assert np.isfinite(hessian).all() and np.abs(hessian).max() > 0


def test_errors(net):
    layer = SNDense(3)
    variables, found = layer.init(KEY, LINE), specs(layer, LINE)
    for guess in (lambda: sigmas(variables), lambda: update_spectral(variables, 100),
                  lambda: singular_values(variables)):
        with pytest.raises(ValueError, match=r"pass specs=sngan_jax.specs\(model, \*inputs\)"):
            guess()
    with pytest.raises(ValueError, match="expected variables with 'params' and 'spectral'"):
        sigmas({"params": variables["params"]}, found)
    with pytest.raises(ValueError, match="the weight 'kernel' of params is missing"):
        sigmas({"params": {"other": jnp.ones(3)}, "spectral": variables["spectral"]}, found)
    with pytest.raises(ValueError, match=r"'u' in 'spectral' has the shape \(1, 3\)"):
        sigmas({"params": {"kernel": jnp.ones((5, 7))}, "spectral": variables["spectral"]}, found)
    with pytest.raises(ValueError, match="specs gives it the layout 'io'"):
        sigmas({"params": {"kernel": jnp.ones(5)}, "spectral": variables["spectral"]}, found)
    with pytest.raises(ValueError, match="the weight 'kernel' finds no u in"):
        normalize(variables["params"], {}, found)
    for steps in (-1, 1.5, "1", True):
        with pytest.raises(ValueError, match=f"steps is {steps!r}: the number of power steps"):
            update_spectral(variables, found, steps)
    for other in (variables["params"], [1], nnx.Linear(3, 3, rngs=nnx.Rngs(0))):
        for function in (functools.partial(fold, layer), sigmas, singular_values):
            with pytest.raises(ValueError, match="expected variables with 'params' and 'spectral'"):
                function(other, found)
    with pytest.raises(ValueError, match=r"not an object of type ArrayImpl: [^\n]*\Z"):
        fold(layer, variables, jnp.ones((30, 30)))
    with pytest.raises(ValueError, match=r"pass variables\['params'\], not all variables"):
        init_spectral(variables, found, KEY)
    for model in (SNDense, variables, nnx.Linear(3, 3, rngs=nnx.Rngs(0))):
        with pytest.raises(TypeError, match=r"takes a Linen model, .* not (the class|an obj)"):
            specs(model, LINE)
    with pytest.raises(ValueError, match="divisor='nuclear' is unknown"):
        Spec("io", "nuclear")


def test_a_reader_crosses_five_frames():
    """Counts functions from a layer's call to the power iteration; none of them is long."""
    seen = []
    last = inspect.unwrap(spectral.power_iteration).__code__  # without the checks of shapes

    def trace(frame, event, argument):
        if event == "call" and frame.f_code is last and not seen:
            while frame:
                if "sngan_jax" in frame.f_code.co_filename and "tests" not in (
                        frame.f_code.co_filename.rpartition("/")[2]):
                    seen.append(frame.f_code)
                frame = frame.f_back

    layer = SNDense(3)
    variables = layer.init(KEY, LINE)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        layer.apply(variables, LINE, mutable=["spectral"])
    finally:
        sys.settrace(before)
    package = str(Path(network.__file__).parent)
    codes = [code for code in seen if code.co_filename.startswith(package)]
    assert codes[0].co_name == "power_iteration" and len(codes) <= 5
    for code in codes:
        lines, _ = inspect.getsourcelines(code)
        text = "".join(lines)
        body = text.split('"""')[2] if text.count('"""') >= 2 else text
        assert body.count("\n") <= 40, code
    lines, _ = inspect.getsourcelines(spectral.power_iteration)
    assert "".join(lines).split('"""')[2].count("\n") <= 30
