"""Beside other libraries: the same weights normalized, the same files read, the same iteration."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from docs.compare_sn import INPUTS, STEPS, weight
from docs.sn_peers import PEERS
from experiments.bench.__main__ import main
from sngan_jax import SNConv, SNConvTranspose, SNDense, SNEmbed, specs, update_spectral
from sngan_jax.metrics.torch_reader import read_torch

pytestmark = pytest.mark.peers


@functools.cache
def effective(name):
    """The weight that a library uses of one with σ = 3, after many training passes."""
    layer = PEERS[name].load().dense(weight(3.0))
    for _ in range(STEPS):
        layer.train(np.eye(INPUTS))
    return np.asarray(layer.evaluate(np.eye(INPUTS)))


@pytest.mark.parametrize("name", [name for name in PEERS if name != "sngan_jax"])
def test_a_converged_layer_divides_by_what_others_divide_by(name):
    np.testing.assert_allclose(np.linalg.norm(effective("sngan_jax"), 2), 1, rtol=1e-5)
    np.testing.assert_allclose(effective(name), effective("sngan_jax"), atol=1e-5)


def test_the_gradient_of_a_convolution_is_pytorchs():
    """Both hold u and v constant, in a loss that depends on more than σ."""
    import torch
    from torch.nn.utils.parametrizations import spectral_norm

    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
    x = rng.normal(size=(2, 6, 6, 4)).astype(np.float32)
    layer = SNConv(5, (3, 3), use_bias=False)
    variables = layer.init(jax.random.key(0), x)
    variables = {**variables, "params": {"kernel": jnp.asarray(kernel)}}
    variables = {**variables, "spectral": update_spectral(variables, specs(layer, x), 500)}
    ours = jax.grad(lambda params: jnp.sum(jnp.sin(layer.apply(
        {**variables, "params": params}, x))))(variables["params"])["kernel"]

    theirs = torch.nn.Conv2d(4, 5, 3, padding=1, bias=False)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
    theirs = spectral_norm(theirs, n_power_iterations=500)
    torch.sin(theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))).sum().backward()
    gradient = theirs.parametrizations.weight.original.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(ours, gradient, atol=1e-4 * np.abs(gradient).max())


def test_a_file_that_pytorch_wrote_is_read(tmp_path):
    import torch

    torch.manual_seed(0)
    base = torch.randn(4, 6)
    tree = {"a.weight": base, "turned": base.t(), "part": base[1:3, ::2],
            "half": base.half(), "double": base.double(), "counts": torch.arange(5),
            "inner": {"scalar": torch.tensor(2.5)}, "epoch": 3}
    torch.save(tree, tmp_path / "x.pth")
    read = read_torch(tmp_path / "x.pth")
    flat = {**{k: v for k, v in tree.items() if k not in ("inner", "epoch")},
            "inner.scalar": tree["inner"]["scalar"]}
    assert set(read) == set(flat)
    for name, tensor in flat.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())
        assert read[name].dtype == tensor.numpy().dtype


def test_an_iteration_is_timed_beside_pytorchs(capsys):
    small = [part for field in ("batch_size=4", "generator_batch_size=4", "generator_width=4",
                                "discriminator_width=4", "n_dis=1") for part in ("--set", field)]
    assert main(["step", "--config=experiments/configs/cifar10_resnet.py:sn", *small,
                 "--repeats=1", "--compare=torch"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ours"]["iterations_per_second"] > 0
    assert result["torch"]["iterations_per_second"] > 0


def _pairs():
    """{name: (our layer, input, PyTorch's, its input, their weight → ours, output, dim)}."""
    import torch

    rng = np.random.default_rng(4)
    image = rng.normal(size=(2, 8, 8, 4))
    moved = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    conv = (lambda w: w.transpose(2, 3, 1, 0), lambda y: y.transpose(0, 2, 3, 1))
    line = rng.normal(size=(3, 6))
    labels = np.array([0, 2, 2, 4])
    return {
        "linear": (SNDense(5), line, torch.nn.Linear(6, 5), torch.from_numpy(line),
                   lambda w: w.T, lambda y: y, 0),
        "conv": (SNConv(6, (3, 3), padding=1), image, torch.nn.Conv2d(4, 6, 3, padding=1), moved,
                 *conv, 0),
        "strided": (SNConv(6, (4, 4), strides=2, padding=1), image,
                    torch.nn.Conv2d(4, 6, 4, stride=2, padding=1), moved, *conv, 0),
        "grouped": (SNConv(6, (3, 3), padding=1, feature_group_count=2), image,
                    torch.nn.Conv2d(4, 6, 3, padding=1, groups=2), moved, *conv, 0),
        "dilated": (SNConv(6, (3, 3), padding=2, kernel_dilation=2), image,
                    torch.nn.Conv2d(4, 6, 3, padding=2, dilation=2), moved, *conv, 0),
        "transposed": (SNConvTranspose(6, (4, 4), strides=(2, 2)), image,
                       torch.nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1), moved,
                       lambda w: w.transpose(2, 3, 0, 1)[::-1, ::-1], conv[1], 1),
        # Over the features as ours; PyTorch's default, over the classes, is half a step apart.
        "embedding": (SNEmbed(5, 3), labels, torch.nn.Embedding(5, 3), torch.from_numpy(labels),
                      lambda w: w, lambda y: y, 1),
    }


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["linear", "conv", "strided", "grouped", "dilated", "transposed",
                                  "embedding"])
def test_five_steps_of_adam_beside_pytorchs_older_hook(name):
    """The same weights, u and v: outputs, gradients and weights after each step, in float64.

    In float32, five steps of Adam amplify rounding beyond either library's own error.
    """
    import torch
    from torch.nn.utils import spectral_norm

    torch.manual_seed(0)
    ours, x, theirs, torch_x, to_ours, output, dim = _pairs()[name]
    theirs = spectral_norm(theirs.double(), dim=dim)
    original = theirs.weight_orig
    columns = np.moveaxis(original.detach().numpy(), dim, 0)
    order = np.arange(columns[0].size).reshape(columns.shape[1:])

    def ours_of(weight):
        return np.ascontiguousarray(to_ours(weight.detach().numpy()))

    # Where each number of PyTorch's v stands in our order of the columns.
    full = np.moveaxis(np.broadcast_to(order, columns.shape), 0, dim)
    kernel_order = to_ours(full)
    place = (kernel_order.reshape(-1, kernel_order.shape[-1])[:, 0])
    leaf = "embedding" if name == "embedding" else "kernel"
    variables = ours.init(jax.random.key(0), x)
    params = {**variables["params"], leaf: jnp.asarray(ours_of(original))}
    if "bias" in params:
        params["bias"] = jnp.asarray(theirs.bias.detach().numpy())
    state = {"u": jnp.asarray(theirs.weight_u.numpy()),
             "v": jnp.asarray(theirs.weight_v.numpy()[place])}
    optimizer, torch_optimizer = optax.adam(1e-2), torch.optim.Adam(theirs.parameters(), 1e-2)
    opt_state = optimizer.init(params)

    def loss(params, state):
        y, new = ours.apply({"params": params, "spectral": state}, x, mutable=["spectral"])
        return jnp.sum(jnp.sin(y)), (y, new["spectral"])

    for _ in range(5):
        torch_optimizer.zero_grad()
        torch_y = theirs(torch_x)
        torch.sin(torch_y).sum().backward()
        (_, (y, state)), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
        np.testing.assert_allclose(y, output(torch_y.detach().numpy()), rtol=1e-5, atol=1e-5)
        want = ours_of(original.grad)
        np.testing.assert_allclose(gradient[leaf], want, atol=1e-5 * max(1, np.abs(want).max()))
        np.testing.assert_allclose(state["u"], theirs.weight_u.numpy(), atol=1e-5)
        np.testing.assert_allclose(state["v"], theirs.weight_v.numpy()[place], atol=1e-5)
        torch_optimizer.step()
        updates, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params[leaf], ours_of(original), rtol=1e-5, atol=1e-5)
