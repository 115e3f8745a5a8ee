"""The layers of flax.nnx under NNX's transforms, as stacks, in checkpoints and on a mesh."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sngan_jax.nnx import (
    SNConv,
    SNLinear,
    SNMultiHeadAttention,
    SpectralVector,
    fold,
    normalized,
    power_steps,
    sigmas,
    singular_values,
)
from sngan_jax.nnx_stacks import stacks_of

X = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
IMAGE = np.random.default_rng(1).standard_normal((2, 6, 6, 2)).astype(np.float32)


def close(a, b, **kwargs):
    check = functools.partial(np.testing.assert_allclose, **{"rtol": 1e-5, "atol": 1e-6, **kwargs})
    jax.tree.map(check, a, b)


def bitwise(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def pure(model, kind=nnx.Variable):
    return nnx.to_pure_dict(nnx.state(model, kind))


def top(matrix):
    return np.linalg.svd(np.float64(matrix), compute_uv=False)[..., 0]


def stack(make, n=4, axis=0):
    """A stack of n copies of a layer, whose arrays are stacked along an axis."""
    return nnx.split_rngs(splits=n)(nnx.vmap(make, in_axes=0, out_axes=axis))(nnx.Rngs(0))


def member(model, n, axis=0):
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(lambda a: jnp.take(a, n, axis), state))


def test_vmap_over_an_ensemble():
    models = stack(lambda rngs: SNConv(2, 3, (3, 3), learnable_scale=True, rngs=rngs))
    one = [member(models, n) for n in range(4)]
    y = nnx.jit(nnx.vmap(lambda model, x: model(x), in_axes=(0, None)))(models, IMAGE)
    close(y, jnp.stack([model(IMAGE) for model in one]))
    close(pure(models), jax.tree.map(lambda *a: jnp.stack(a), *map(pure, one)))
    gradient = nnx.jit(nnx.grad(
        lambda models: nnx.vmap(lambda m: m(IMAGE))(models).sum()))(models)
    assert gradient["kernel"].shape == (4, 3, 3, 2, 3)
    assert np.isfinite(gradient["gamma"][...]).all()


def test_scan_over_layers():
    layers = stack(lambda rngs: SNLinear(6, 6, rngs=rngs))
    one = [member(layers, n) for n in range(4)]

    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
    def forward(layer, x):
        return nnx.relu(layer(x))

    y, x = nnx.jit(forward)(layers, X), X
    for layer in one:
        x = nnx.relu(layer(x))
    close(y, x)
    close(pure(layers), jax.tree.map(lambda *a: jnp.stack(a), *map(pure, one)))
    power_steps(layers, 500)
    kernels = np.asarray(layers.kernel[...])
    close(sigmas(layers)["kernel"], top(kernels))
    close(singular_values(layers)["kernel"][:, 0], top(kernels))
    # The plain stack with W̄.
    layers.eval()
    plain = fold(layers)
    assert type(plain) is nnx.Linear
    close(top(plain.kernel[...]), np.ones(4))
    close(forward(plain, X), forward(layers, X))
    assert np.isfinite(nnx.grad(lambda m: forward(m, X).sum())(layers)["kernel"][...]).all()


@pytest.mark.parametrize("axis", [1, -1])
def test_a_stack_along_any_axis(axis):
    layers = stack(lambda rngs: SNLinear(6, 3, rngs=rngs), 4, axis)
    power_steps(layers, 300)
    kernels = np.moveaxis(np.asarray(layers.kernel[...]), axis, 0)
    close(sigmas(layers)["kernel"], top(kernels), rtol=1e-4)
    close(top(np.moveaxis(np.asarray(fold(layers).kernel[...]), axis, 0)), np.ones(4), rtol=1e-4)
    assert layers.u.shape == (3, 4)


@pytest.mark.slow
def test_options_of_a_stack():
    """A mask, learnt scales, no vectors, vectors of an image."""
    mask = jnp.asarray(np.random.default_rng(2).random((2, 2, 2, 3)) > 0.5, jnp.float32)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.masked = SNConv(2, 3, (2, 2), mask=mask, rngs=rngs)
            self.rows = SNConv(3, 5, (1, 1), divisor="weight", learnable_scale=True, rngs=rngs)
            self.image = SNConv(5, 2, (2, 2), divisor="operator", input_size=(6, 6), rngs=rngs)
            self.scaled = SNLinear(2, 3, learnable_scale=True, rngs=rngs)

        def __call__(self, x):
            return self.scaled(self.image(self.rows(self.masked(x))))

    nets = stack(Net, 3)
    one = [member(nets, n) for n in range(3)]
    for net in (nets, *one):
        nnx.jit(lambda m: power_steps(m, 3))(net)
    close(pure(nets), jax.tree.map(lambda *a: jnp.stack(a), *map(pure, one)))
    close(sigmas(nets), jax.tree.map(lambda *a: jnp.stack(a), *map(sigmas, one)))
    close(pure(fold(nets)), jax.tree.map(lambda *a: jnp.stack(a), *(pure(fold(m)) for m in one)))
    one[0].eval()
    close(fold(one[0])(IMAGE), one[0](IMAGE))


def test_a_stack_whose_axis_is_unknown_is_an_error():
    layers = stack(lambda rngs: SNLinear(4, 4, rngs=rngs), 4)
    with pytest.raises(ValueError, match=r"the axis along which 'kernel' is stacked "
                                         r"\(\(4, 4, 4\) of \(4, 4\)\): call the function inside"):
        sigmas(layers)
    nnx.vmap(lambda m: power_steps(m, 300))(layers)
    close(nnx.vmap(sigmas)(layers)["kernel"], top(layers.kernel[...]))
    with pytest.raises(ValueError, match=r"called with \(4, 4, 4\): call a stack of layers under"):
        layers(X[:, :4])
    # One vector alone would not tell, both do.
    layers = stack(lambda rngs: SNLinear(6, 4, rngs=rngs), 4)
    assert layers.u.shape == (4, 4) and sigmas(layers)["kernel"].shape == (4,)
    layers = stack(lambda rngs: SNLinear(6, 3, rngs=rngs), 4)
    layers.kernel = nnx.Param(jnp.ones((5, 3)))
    with pytest.raises(ValueError, match="do not determine"):
        fold(layers)


def test_stacks_in_each_other():
    deep = stack(lambda rngs: nnx.split_rngs(splits=3)(nnx.vmap(
        lambda rngs: SNLinear(6, 5, rngs=rngs), out_axes=1))(rngs), 4)
    assert deep.kernel.shape == (4, 6, 3, 5) and deep.u.shape == (4, 5, 3)
    power_steps(deep, 300)
    want = top(np.asarray(deep.kernel[...]).swapaxes(1, 2))
    close(sigmas(deep)["kernel"], want, rtol=1e-4)
    # Vectors stacked in another order are told by the lengths, equal lengths are not.
    both = {"w": (np.ones((4, 6, 3, 5)), (6, 5))}
    assert stacks_of(both, "w")["w"].sizes == (4, 3)
    vector = {"u": (np.ones((3, 4, 5)), (5,))}
    found = stacks_of(vector, "u", (4, 3))["u"]
    x = np.arange(60.0).reshape(3, 4, 5)
    np.testing.assert_array_equal(found.front(x), x.swapaxes(0, 1))
    np.testing.assert_array_equal(found.back(found.front(x)), x)
    with pytest.raises(ValueError, match="do not determine"):
        stacks_of({"u": (np.ones((3, 3, 5)), (5,))}, "u", (3, 3))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = SNConv(2, 4, (3, 3), rngs=rngs)
        self.up = normalized(nnx.ConvTranspose)(4, 4, (3, 3), transpose_kernel=True, rngs=rngs)
        self.both = SNConv(4, 2, (2, 2), divisor="bidirectional", rngs=rngs)
        self.attention = SNMultiHeadAttention(2, 2, decode=False, rngs=rngs)

    def __call__(self, x):
        x = self.both(self.up(nnx.relu(self.conv(x))))
        return self.attention(x.reshape(len(x), -1, 2))


@nnx.jit
def made(rngs):
    return Net(rngs)


def test_remat_takes_one_step():
    results = []
    for call in (lambda m, x: m(x), nnx.remat(lambda m, x: m(x))):
        model = SNConv(2, 3, (3, 3), rngs=nnx.Rngs(0))
        gradient = nnx.jit(nnx.grad(lambda m, call=call: jnp.sum(jnp.sin(call(m, IMAGE)))))(model)
        results.append((nnx.to_pure_dict(gradient), pure(model)))
    close(*results)


def test_split_merge_clone_and_plain_jax():
    model = made(nnx.Rngs(0))
    graph, params, rest = nnx.split(model, nnx.Param, SpectralVector)
    copy, before = nnx.clone(model), pure(model, SpectralVector)
    assert {type(x) for x in jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, nnx.Variable))
            } == {nnx.Param}

    @jax.jit
    def step(params, rest):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            return jnp.sum(jnp.sin(model(IMAGE))), nnx.state(model, SpectralVector)
        return jax.grad(loss, has_aux=True)(params)

    gradient, new = step(params, rest)
    want = nnx.jit(nnx.grad(lambda m: jnp.sum(jnp.sin(m(IMAGE)))))(model)
    close(nnx.to_pure_dict(gradient), nnx.to_pure_dict(want), atol=1e-5)
    close(nnx.to_pure_dict(new), pure(model, SpectralVector))
    bitwise(pure(copy, SpectralVector), before)  # a clone has its own
    # In evaluation a model is a pytree that any transformation takes.
    model.eval()
    evaluate = jax.jit(lambda model, x: model(x))
    close(evaluate(model, IMAGE), model(IMAGE))
    total = lambda x: model(x).sum()  # noqa: E731
    tangent, gradient = jax.jit(lambda x: (
        jax.jvp(total, (x,), (jnp.ones_like(x),))[1], jax.grad(total)(x).sum()))(IMAGE)
    close(tangent, gradient, rtol=1e-3, atol=1e-4)


def test_optimizers_and_averages_leave_the_vectors_alone():
    model = SNLinear(6, 4, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    moments = nnx.state(optimizer)["opt_state"][0]["mu"]
    assert set(nnx.to_pure_dict(moments)) == {"kernel", "bias"}
    before = pure(model)
    model.eval()
    gradient = nnx.grad(lambda m: jnp.sum(m(X) ** 2))(model)
    optimizer.update(model, gradient)
    bitwise(pure(model, SpectralVector), {k: before[k] for k in "uv"})
    average = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, nnx.state(nnx.clone(model)),
                           nnx.state(model))
    nnx.update(model, average)
    assert np.isfinite(model(X)).all()


def test_orbax(tmp_path):
    import orbax.checkpoint as ocp

    model, other = made(nnx.Rngs(0)), made(nnx.Rngs(1))
    nnx.jit(lambda m: m(IMAGE))(model)
    for n, (save, load) in enumerate([
        (lambda m: nnx.state(m), lambda m, restored: nnx.update(m, restored)),
        (lambda m: nnx.to_pure_dict(nnx.state(m)),
         lambda m, restored: nnx.update(m, restored)),
    ]):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / str(n), save(model))
            checkpointer.wait_until_finished()
            restored = checkpointer.restore(tmp_path / str(n),
                                            jax.tree.map(jnp.zeros_like, save(other)))
        load(other, restored)
        bitwise(pure(model), pure(other))
        assert other.conv.u.weight == "kernel" and type(other.conv.u) is SpectralVector
        other = made(nnx.Rngs(2))


def test_bfloat16_weights_keep_float32_vectors():
    for dtype in (jnp.bfloat16, jnp.float16):
        layer = SNLinear(6, 4, param_dtype=dtype, learnable_scale=True, rngs=nnx.Rngs(0))
        y = nnx.jit(lambda m, dtype=dtype: m(X.astype(dtype)))(layer)
        assert y.dtype == layer.kernel.dtype == layer.gamma.dtype == dtype
        assert {x.dtype for x in jax.tree.leaves(pure(layer, SpectralVector))} == {
            jnp.dtype("float32")}
        gradient = nnx.grad(lambda m, dtype=dtype: m(X.astype(dtype)).sum())(layer)
        assert gradient["kernel"].dtype == dtype


def test_variables_that_hold_numpys_arrays():
    layer = SNLinear(6, 4, learnable_scale=True, rngs=nnx.Rngs(0))
    want = sigmas(layer)
    nnx.update(layer, jax.tree.map(np.asarray, nnx.state(layer)))
    assert sigmas(layer) == want
    close(fold(layer)(X), layer(X, use_running_average=True))


def test_abstract_models():
    abstract = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    assert abstract.conv.u.shape == (4,)
    assert jax.eval_shape(lambda m: sigmas(m), abstract)["conv"].shape == ()


def test_shared_layers_and_shared_weights():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.first = SNLinear(6, 6, lipschitz=2.0, rngs=rngs)
            self.again = self.first
            self.tied, self.plain = SNLinear(6, 6, rngs=rngs), nnx.Linear(6, 6, rngs=rngs)
            self.tied.kernel = self.plain.kernel = self.first.kernel

        def __call__(self, x):
            return self.plain(self.tied(self.again(self.first(x))))

    model = Tied(nnx.Rngs(0))
    nnx.jit(lambda m: m(X))(model)
    assert set(sigmas(model)) in ({"first", "tied"}, {"again", "tied"})
    model.eval()
    plain = fold(model)
    assert plain.first is plain.again
    close(plain(X), model(X))
    bitwise(plain.plain.kernel[...], model.plain.kernel[...])


MESH = """
import jax, jax.numpy as jnp, numpy as np, optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec as P
from sngan_jax.nnx import *
assert len(jax.devices()) == 8
mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.KIND,) * 2)

class Net(nnx.Module):
    def __init__(self, init, rngs):
        self.a = SNLinear(24, 16, kernel_init=init, rngs=rngs)
        self.b = SNLinear(16, 8, kernel_init=init, rngs=rngs)
    def __call__(self, x):
        return self.b(nnx.relu(self.a(x)))

init = nnx.initializers.lecun_normal()

def run(init):
    model = Net(init, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    @nnx.jit
    def step(model, optimizer, x):
        value, gradient = nnx.value_and_grad(lambda m: jnp.mean(jnp.sin(m(x))))(model)
        optimizer.update(model, gradient)
        return value
    x = np.random.default_rng(0).standard_normal((8, 24)).astype(np.float32)
    # With explicit axes, nnx.Linear's own gradient fails for a sharded batch.
    x = jax.device_put(x, NamedSharding(mesh, P("data" if "KIND" == "Auto" else None)))
    for _ in range(3):
        value = step(model, optimizer, x)
    power_steps(model, 2)
    return value, nnx.to_pure_dict(nnx.state(model)), sigmas(model), model.a.kernel[...].sharding

with jax.set_mesh(mesh):
    *many, sharding = run(nnx.with_partitioning(init, (None, "model")))
    assert sharding.spec == P(None, "model"), sharding
*one, _ = run(init)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, many)
print("same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_jit_over_a_sharded_mesh_gives_the_same(kind):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
           "NPROC": "32", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", MESH.replace("KIND", kind)], env=env,
                          capture_output=True, text=True, timeout=300,
                          cwd=Path(__file__).parents[1])
    assert done.stdout == "same\n", done.stderr


def test_the_linen_layers_do_not_load_it():
    program = "import sys, sngan_jax, sngan_jax.models.build; print('sngan_jax.nnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=300, cwd=Path(__file__).parents[1])
    assert done.stdout == "False\n", done.stderr
