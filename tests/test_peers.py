"""Beside other libraries: the same weights normalised, the same files read, the same iteration."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from docs.compare_sn import INPUTS, STEPS, weight
from docs.sn_peers import PEERS
from experiments.bench.__main__ import main
from sngan_jax import SNConv, specs, update_spectral
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
    """Both hold u and v constant, in a loss that is no function of σ alone."""
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
