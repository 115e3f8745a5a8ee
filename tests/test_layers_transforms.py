"""The normalized layers under JAX's and Flax's transformations, and through checkpoints."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from sngan_jax import layers, normalize, sigmas, singular_values, specs, update_spectral
from sngan_jax.divisors import Spec
from sngan_jax.layers import SNConv, SNDense

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)


def close(a, b, **kwargs):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-5, **kwargs}), a, b)


def bitwise(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def step(module, variables, x=X):
    return module.apply(variables, x, mutable=["spectral"])


def test_vmap_over_an_ensemble():
    layer = SNDense(4)
    stacked = jax.vmap(lambda key: layer.init(key, X))(jax.random.split(KEY, 3))
    y, new = jax.jit(jax.vmap(lambda v: step(layer, v)))(stacked)
    for n in range(3):
        one = jax.tree.map(lambda a, n=n: a[n], stacked)
        close((y[n], jax.tree.map(lambda a, n=n: a[n], new)), step(layer, one), atol=1e-6)


def test_jit_and_grad_with_the_state_as_auxiliary_output():
    layer = SNDense(4)
    variables = layer.init(KEY, X)

    @jax.jit
    def loss(params, state):
        y, new = layer.apply({"params": params, **state}, X, mutable=["spectral"])
        return jnp.sum(y**2), new

    gradient, new = jax.grad(loss, has_aux=True)(
        variables["params"], {"spectral": variables["spectral"]}
    )
    assert np.isfinite(gradient["kernel"]).all()
    close(new, step(layer, variables)[1])


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        return nn.relu(SNDense(6, name="dense")(x)), None


def test_scan_over_depth():
    stack = nn.scan(
        Block, variable_axes={"params": 0, "spectral": 0},
        split_rngs={"params": True, "spectral": True}, length=4,
    )()
    variables = stack.init(KEY, X)
    assert variables["spectral"]["dense"]["u"].shape == (4, 6)
    (y, _), new = step(stack, variables)
    h, states = X, []
    for n in range(4):
        one = jax.tree.map(lambda a, n=n: a[n], variables)
        (h, _), state = step(Block(), one, h)
        states.append(state)
    close(y, h, atol=1e-6)
    close(new, jax.tree.map(lambda *a: jnp.stack(a), *states), atol=1e-6)
    # The functions over whole models see stacked layers.
    kernels = np.asarray(variables["params"]["dense"]["kernel"])
    found = specs(stack, X)
    state = update_spectral(variables, found, 1000)
    sigma = sigmas({**variables, "spectral": state}, found)["dense"]
    np.testing.assert_allclose(sigma, np.linalg.svd(kernels, compute_uv=False)[:, 0], rtol=1e-5)
    assert singular_values(variables, found)["dense"].shape == (4, 6)
    gradient = jax.grad(lambda p: stack.apply({**variables, "params": p}, X)[0].sum())
    assert np.isfinite(gradient(variables["params"])["dense"]["kernel"]).all()


def test_remat():
    plain, remat = SNDense(4), nn.remat(SNDense)(4)
    variables = plain.init(KEY, X)
    bitwise(variables, remat.init(KEY, X))

    def loss(layer, params):
        y, new = step(layer, {**variables, "params": params})
        return jnp.sum(jnp.sin(y)), new

    results = [
        jax.jit(jax.grad(lambda p, layer=layer: loss(layer, p), has_aux=True))(variables["params"])
        for layer in (plain, remat)
    ]
    close(*results, atol=1e-6)


def test_linen_vmap_and_jit():
    heads = nn.vmap(
        SNDense, variable_axes={"params": 0, "spectral": 0}, split_rngs={"params": True}, in_axes=0
    )(4)
    x = np.stack([X, 2 * X])
    variables = heads.init(KEY, x)
    y, new = step(heads, variables, x)
    for n in range(2):
        one = jax.tree.map(lambda a, n=n: a[n], variables)
        close(y[n], step(SNDense(4), one, x[n])[0], atol=1e-6)
    assert new["spectral"]["u"].shape == (2, 4)
    variables = SNDense(4).init(KEY, X)
    close(step(nn.jit(SNDense)(4), variables), step(SNDense(4), variables), atol=1e-6)


class Shared(nn.Module):
    embed: bool = False

    @nn.compact
    def __call__(self, x):
        if self.embed:
            table = layers.SNEmbed(5, 6, name="shared")
            return table(jnp.arange(3)) + table(jnp.arange(3))
        dense = SNDense(6, name="shared")
        return dense(dense(x))


@pytest.mark.parametrize("embed", [False, True])
def test_shared_modules_take_a_step_in_each_call(embed):
    module = Shared(embed)
    variables = module.init(KEY, X)
    _, new = step(module, variables)
    close(new["spectral"], update_spectral(variables, specs(module, X), 2), atol=1e-6)
    # init is a warm-up and nothing more, however often the layer is called in it.
    kernel = variables["params"]["shared"]["embedding" if embed else "kernel"]
    warm = Spec("io").start(kernel, jax.random.key(0))
    close(warm, variables["spectral"]["shared"], atol=1e-6)


def test_partitioning_metadata():
    init = nn.with_partitioning(nn.initializers.lecun_normal(), ("inputs", "outputs"))
    layer = SNDense(4, kernel_init=init)
    boxed = layer.init(KEY, X)
    assert isinstance(boxed["params"]["kernel"], nn.Partitioned)
    assert nn.get_partition_spec(boxed)["params"]["kernel"] == jax.sharding.PartitionSpec(
        "inputs", "outputs"
    )
    plain = nn.Dense(4, kernel_init=init).init(KEY, X)
    bitwise(plain["params"], boxed["params"])
    bare = nn.meta.unbox(boxed)
    close(step(layer, boxed), step(SNDense(4), bare), atol=1e-6)
    found = specs(layer, X)
    close(sigmas(boxed, found), sigmas(bare, found))
    bar, _ = normalize(boxed["params"], boxed["spectral"], found)
    assert bar["kernel"].names == ("inputs", "outputs")
    general = layers.SNDenseGeneral((2, 2), kernel_init=init)
    close(
        step(general, general.init(KEY, X)),
        step(layers.SNDenseGeneral((2, 2)), nn.meta.unbox(general.init(KEY, X))), atol=1e-6,
    )


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = SNConv(4, (3, 3))(x.reshape(1, 3, 6, 1))
        x = layers.SNConvTranspose(4, (3, 3), transpose_kernel=True)(x)
        x = SNConv(2, (2, 2), divisor="operator")(x)
        return layers.SNMultiHeadDotProductAttention(2)(x.reshape(1, 18, 2))


def test_flax_serialization_and_orbax(tmp_path):
    import orbax.checkpoint as ocp

    net = Net()
    variables = jax.jit(net.init)(KEY, X)
    data = flax.serialization.to_bytes(variables)
    restored = flax.serialization.from_bytes(jax.tree.map(jnp.zeros_like, variables), data)
    bitwise(variables, restored)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "net", variables)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "net", jax.tree.map(jnp.zeros_like, variables))
    bitwise(variables, restored)
    bitwise(jax.jit(net.apply)(variables, X), jax.jit(net.apply)(restored, X))


def test_interceptors_and_intermediates_see_one_call():
    layer = SNConv(4, (3, 3), divisor="operator")
    x = np.ones((1, 5, 5, 2), np.float32)
    variables = layer.init(KEY, x)
    _, state = layer.apply(variables, x, capture_intermediates=True)
    assert len(state["intermediates"]["__call__"]) == 1
    calls = []

    def interceptor(call_next, args, kwargs, context):
        calls.append((type(context.module).__name__, context.method_name))
        return call_next(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        SNDense(2).apply(SNDense(2).init(KEY, X), X)
    assert calls == [("SNDense", "__call__")] * 2


PMAP = """
    import jax, jax.numpy as jnp, numpy as np
    from flax import linen as nn
    from sngan_jax.layers import SNConv, SNDense

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.leaky_relu(SNConv(8, (3, 3), strides=2)(x))
            return SNDense(1)(x.reshape(x.shape[0], -1))

    assert jax.local_device_count() == 8
    net = Net()
    x = jax.random.normal(jax.random.key(1), (8, 2, 8, 8, 3))
    variables = net.init(jax.random.key(0), x[0])

    def train(variables, x):
        def loss(params):
            y, new = net.apply({**variables, "params": params}, x, mutable=["spectral"])
            return jnp.mean(jnp.square(y - x.mean())), new
        gradient, new = jax.grad(loss, has_aux=True)(variables["params"])
        gradient = jax.lax.pmean(gradient, "batch")
        params = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradient)
        return {"params": params, **new}

    step = jax.pmap(train, axis_name="batch")
    state = jax.tree.map(lambda a: jnp.stack([a] * 8), variables)
    for n in range(300):
        # Each device sees other data at every step; u and v depend on the weights alone.
        state = step(state, jnp.roll(x, n, axis=0) * (1 + n % 5))
        jax.block_until_ready(state)
    moved = False
    for before, after in zip(jax.tree.leaves(variables), jax.tree.leaves(state)):
        after = np.asarray(after)
        assert all((after[0] == after[d]).all() for d in range(8))
        moved = moved or not np.allclose(before, after[0])
    assert moved
    print("equal on", jax.local_device_count())
"""


@pytest.mark.slow
def test_pmap_keeps_the_replicas_equal():
    env = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "NPROC": "32",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PMAP)],
        env=env, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal on 8" in done.stdout
