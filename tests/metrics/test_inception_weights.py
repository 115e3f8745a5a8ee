"""Conversion and storage of weights: two published forms agree; others are refused."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.metrics import inception_weights
from sngan_jax.metrics.inception_weights import (
    Weights,
    checked,
    from_pytorch_fid,
    from_torchscript,
    load_weights,
    save_weights,
)


@pytest.fixture(scope="module")
def flat():
    """Zeros of the network's shapes."""
    shapes = flatten_dict(inception_weights._shapes(head=True))
    return {name: np.zeros(leaf.shape, np.float32) for name, leaf in shapes.items()}


def test_both_forms_give_all_the_networks_arrays(flat):
    kernel, head = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1008, 2048), np.float32)

    class PytorchFid(dict):
        def __missing__(self, name):  # whatever it is asked for
            if name.endswith("conv.weight"):
                return kernel
            return head if name == "fc.weight" else np.ones(1, np.float32)

    assert {name for name, _ in from_pytorch_fid(PytorchFid())} == set(flat)
    script = {"output.weight": head}
    for block, *rest in {name[:-1] for name in flat if name[0] != "head"}:
        name = ".".join(["layers", *((block, *rest) if block != "stem" else rest)])
        script |= {f"{name}.{k}": np.ones(1, np.float32) for k in ("beta", "mean", "var")}
        script[f"{name}.weight"] = kernel
    assert {name for name, _ in from_torchscript(script)} == set(flat)


def test_folding_is_batch_normalization():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 3, 1, 1)).astype(np.float32)
    beta, mean, scale = rng.normal(size=(3, 4)).astype(np.float32)
    variance = rng.uniform(0.1, 2, 4).astype(np.float32)
    folded = inception_weights._fold(kernel, beta, mean, variance, scale)
    x = rng.normal(size=(5, 3))
    y = x @ kernel[:, :, 0, 0].T
    expected = (y - mean) / np.sqrt(variance + 1e-3) * scale + beta
    np.testing.assert_allclose(x @ folded["kernel"][0, 0] + folded["bias"], expected, rtol=1e-5,
                               atol=1e-5)


def test_saved_and_loaded(tmp_path, flat, monkeypatch):
    monkeypatch.setenv("SNGAN_JAX_CACHE", str(tmp_path / "cache"))
    small = checked(flat, "here")
    assert small.head and len(small.checksum) == 16
    with pytest.raises(UserError, match="sngan get-inception"):
        load_weights()
    save_weights(small, cache_folder() / inception_weights.FILE)
    assert load_weights().checksum == small.checksum
    changed = dict(flat)
    changed["stem", "conv", "bias"] = np.ones_like(flat["stem", "conv", "bias"])
    assert checked(changed, "here").checksum != small.checksum


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: f.pop(("mixed", "conv", "bias")), "mixed/conv/bias is absent"),
    (lambda f: f.update({("aux", "kernel"): np.zeros(3)}), "aux/kernel is"),
    (lambda f: f.update({("stem", "conv", "bias"): np.zeros(31)}), "expected (32,)"),
    (lambda f: f.update({("stem", "conv", "bias"): np.full(32, np.nan)}), "not finite")])
def test_weights_of_another_network(flat, change, message):
    other = dict(flat)
    change(other)
    with pytest.raises(UserError) as error:
        checked(other, "file.npz")
    assert message in str(error.value) and "file.npz" in str(error.value)


def test_damaged_files(tmp_path):
    file = tmp_path / "w.npz"
    file.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match="damaged"):
        load_weights(file)
    save_weights(Weights({"stem": {"x": np.zeros(3)}}, False, ""), file)
    with pytest.raises(UserError, match="another network"):
        load_weights(file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UserError, match="damaged"):
        load_weights(file)
