"""W̄ and its singular values against numpy, for every method and every discriminator."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.paper import paper_defaults
from sngan_jax.analysis.spectra import (
    layer_operator_norm,
    layer_singular_values,
    layer_spectra,
    linear_layers,
    stable_rank,
)
from sngan_jax.base.errors import UserError
from sngan_jax.layers import SNConv, SNDense, normalized
from sngan_jax.methods import METHODS
from sngan_jax.models.build import MODELS, build_models, size_factor
from sngan_jax.models.resample import average_pool
from sngan_jax.network import sigmas, specs
from tests.oracles import convolution, operator_matrix


def filled(module, *inputs):
    """Variables of a module, drawn at random without the work of its `init`."""
    rng = np.random.default_rng(0)

    def draw(path, shape):
        x = rng.normal(size=shape.shape)
        return jnp.asarray(np.abs(x) + 0.1 if path[-1].key == "var" else x, shape.dtype)

    return jax.tree_util.tree_map_with_path(
        draw, jax.eval_shape(module.init, jax.random.key(0), *inputs))


def _discriminator(num_classes=0, size=8, model="resnet32", **changes):
    """(discriminator, variables filled at random, inputs)."""
    config = paper_defaults()
    config.update({"model": model, "image_size": size, "discriminator_width": 2,
                   "generator_width": 2, "lipschitz": 1.5, **changes})
    _, d = build_models(config, channels=1, num_classes=num_classes)
    inputs = (jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32),)
    if num_classes:
        inputs += (jax.ShapeDtypeStruct((2,), jnp.int32),)
    return d, filled(d, *inputs), inputs


def _sigma(w, u, v):
    """σ as the layer estimates it from its stored vectors (paper eq. 21)."""
    return u @ w.T @ v / np.linalg.norm(u) / np.linalg.norm(v)


# What each method does to a stored kernel (rest, outputs), written out with numpy.
_EFFECTIVE = {
    "sn": lambda w, gamma, *uv: 1.5 * w / _sigma(w, *uv),
    "sn_svd": lambda w, gamma: 1.5 * w / np.linalg.norm(w, 2),
    "weight_norm": lambda w, gamma: 1.5 * w / np.linalg.norm(w, axis=0),
    "frobenius": lambda w, gamma: 1.5 * w / np.linalg.norm(w),
    "sn_wgan_gp": lambda w, gamma, *uv: gamma * w / _sigma(w, *uv),
    "wn_wgan_gp": lambda w, gamma: gamma * w / np.linalg.norm(w, axis=0),
    "frobenius_wgan_gp": lambda w, gamma: gamma * w / np.linalg.norm(w),
}


@pytest.mark.parametrize("method", [
    pytest.param(name, marks=[] if name in ("sn", "weight_norm", "sn_wgan_gp") else
                 pytest.mark.slow) for name in METHODS])
def test_every_methods_effective_weight(method):
    d, variables, inputs = _discriminator(3, method=method)
    found = linear_layers(d, variables, *inputs)
    assert list(found) == [
        *(f"block1/{name}" for name in ("conv1", "conv2", "shortcut")),
        *(f"block2/{name}" for name in ("conv1", "conv2", "shortcut")),
        "block3/conv1", "block3/conv2", "block4/conv1", "block4/conv2", "head/dense", "head/embed"]
    estimated = (sigmas(variables, specs(d, *inputs))
                 if method in ("sn_operator", "sn_bidirectional") else {})
    for name, layer in found.items():
        owner, leaf = name.split("/")
        stored = variables["params"][owner][leaf]
        w = np.asarray(stored["embedding" if leaf == "embed" else "kernel"], np.float64)
        matrix = w.reshape(-1, w.shape[-1])
        state = variables.get("spectral", {}).get(owner, {}).get(leaf, {})
        if estimated:  # norms whose own tests are in test_layers_options.py
            effective = 1.5 * matrix / np.float64(estimated[name])
        else:
            effective = _EFFECTIVE.get(method, lambda w, gamma: w)(
                matrix, stored.get("gamma"), *(state[key] for key in sorted(state)))
        np.testing.assert_allclose(layer.weight.reshape(matrix.shape), effective, rtol=1e-3,
                                   atol=1e-6)
        np.testing.assert_allclose(
            layer_singular_values(layer), np.linalg.svd(layer.weight.reshape(matrix.shape),
                                                  compute_uv=False), rtol=1e-10)


@pytest.mark.parametrize(("model", "conditioning"), [
    *((model, "projection") for model in MODELS), ("cnn", "concat"), ("cnn", "auxiliary"),
    ("resnet32", "concat"), ("resnet32", "auxiliary")])
def test_every_network_is_served(model, conditioning):
    size = 2 * size_factor(model)
    d, variables, inputs = _discriminator(3, size, model, conditioning=conditioning, method="none")
    stored = {"/".join(key.key for key in path[:-1]): leaf for path, leaf in
              jax.tree_util.tree_leaves_with_path(variables["params"]) if path[-1].key != "bias"}
    spectra = layer_spectra(d, variables, *inputs)
    assert set(spectra) == set(stored)
    for name, values in spectra.items():
        matrix = np.asarray(stored[name], np.float64).reshape(-1, stored[name].shape[-1])
        np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-6)


class _Net(nn.Module):
    layer: type = nn.Conv
    options: tuple = ()

    @nn.compact
    def __call__(self, x):
        return self.layer(6, (3, 3), **dict(self.options), name="conv")(x)


@pytest.mark.parametrize("options", [
    {"padding": "CIRCULAR"}, {"padding": "REFLECT"}, {"padding": "VALID", "strides": 2},
    {"kernel_dilation": 2}, {"feature_group_count": 2}, {"mask": "half"}])
def test_layers_with_options_of_linens_own(options):
    mask = np.arange(3 * 3 * 4 * 6).reshape(3, 3, 4, 6) % 2
    options = {**options, **({"mask": mask} if "mask" in options else {})}
    net = _Net(normalized(nn.Conv, warmup_steps=100, lipschitz=2.0), tuple(options.items()))
    x = jnp.zeros((1, 8, 8, 4))
    variables = jax.jit(net.init)(jax.random.key(0), x)
    w = np.asarray(variables["params"]["conv"]["kernel"]) * options.get("mask", 1)
    expected = np.linalg.svd(w.reshape(-1, 6), compute_uv=False)
    np.testing.assert_allclose(layer_spectra(net, variables, x)["conv"],
                               2 * expected / expected[0], rtol=1e-4, atol=1e-12)


class _Masked(nn.Dense):
    """A user's own layer, whose field `mask` is not the weight's."""

    mask: object = None


def test_a_field_of_your_own_layer_called_mask_is_not_the_weights():
    x = jnp.ones((1, 5))
    variables = jax.jit(nn.Dense(4).init)(jax.random.key(0), x)
    plain, own = (layer_spectra(net, variables, x) for net in (nn.Dense(4), _Masked(4, mask=3)))
    np.testing.assert_allclose(*plain.values(), *own.values(), rtol=1e-6)


class _MeanNorm(nn.Conv):
    """A user's own layer, as in docs/extend.md."""

    def param(self, name, *args, **kwargs):
        w = super().param(name, *args, **kwargs)
        return w / jnp.abs(w).sum() if name == "kernel" else w


class _Scaled(nn.Conv):
    """A layer that changes its weight outside `param`, which cannot be seen."""

    def __call__(self, x):
        return 3 * super().__call__(x)


class _Own(nn.Module):
    features: int
    window: tuple

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", nn.initializers.normal(), (x.shape[-1], self.features))


def test_a_subclass_of_ones_own():
    net, x = _Net(_MeanNorm), jnp.zeros((1, 8, 8, 2))
    variables = jax.jit(net.init)(jax.random.key(0), x)
    w = np.asarray(variables["params"]["conv"]["kernel"], np.float64)
    np.testing.assert_allclose(layer_spectra(net, variables, x)["conv"], np.linalg.svd(
        (w / np.abs(w).sum()).reshape(-1, 6), compute_uv=False), rtol=1e-5)


@pytest.mark.parametrize(("layer", "sentence"), [
    (_Scaled, "conv does not multiply its input by the weight"),
    (functools.partial(nn.Conv, conv_general_dilated=jax.lax.conv_general_dilated),
     "conv has a conv_general_dilated of its own"),
    (_Own, "conv .*not one of Linen's linear layers")])
def test_what_cannot_be_seen_is_a_sentence(layer, sentence):
    net, x = _Net(layer), jnp.zeros((1, 8, 8, 2))
    variables = jax.jit(net.init)(jax.random.key(0), x)
    with pytest.raises(UserError, match=sentence):
        layer_spectra(net, variables, x)


def test_a_network_that_is_one_layer_and_one_with_bare_names():
    x = jnp.zeros((1, 5))
    layer = SNDense(3, warmup_steps=50)
    assert list(layer_spectra(layer, jax.jit(layer.init)(jax.random.key(0), x), x)) == ["SNDense"]
    net = nn.Sequential([SNConv(2, (1, 1)), nn.relu, nn.Dense(1)])
    x = jnp.zeros((1, 4, 4, 2))
    variables = jax.jit(net.init)(jax.random.key(0), x)
    assert list(layer_spectra(net, variables, x)) == ["layers_0", "layers_2"]


def test_weights_that_are_not_finite_are_a_sentence():
    net, x = _Net(), jnp.zeros((1, 8, 8, 2))
    variables = {"params": {"conv": {"kernel": jnp.full((3, 3, 2, 6), jnp.nan),
                                     "bias": jnp.zeros(6)}}}
    with pytest.raises(UserError, match="weight of conv holds NaN or infinity"):
        layer_spectra(net, variables, x)


@pytest.mark.parametrize(("values", "rank"), [([2, 2, 2], 3), ([3, 0, 0], 1), ([0, 0], 0),
                                              ([1e-30, 1e-30], 2)])
def test_stable_rank(values, rank):
    assert stable_rank(np.array(values, float)) == pytest.approx(rank)


@pytest.mark.parametrize(("layer", "options"), [
    (nn.Conv, {}), (nn.Conv, {"padding": "CIRCULAR"}), (nn.Conv, {"padding": "REFLECT"}),
    (nn.Conv, {"padding": "VALID", "strides": 2}), (nn.Conv, {"padding": [[2, 0], [1, 1]]}),
    (nn.Conv, {"kernel_dilation": 2}), (nn.Conv, {"feature_group_count": 2}),
    (nn.Conv, {"input_dilation": 2, "padding": 1}),
    (nn.ConvTranspose, {"strides": (2, 2)}), (nn.ConvLocal, {})])
def test_operator_norm_against_the_dense_matrix(layer, options):
    """The matrix from the layer itself, column by column: layer(e_i) - layer(0)."""
    net = _Net(layer, tuple(options.items()))
    x = jnp.eye(5 * 6 * 2).reshape(-1, 5, 6, 2)
    variables = filled(net, x)
    outputs = jax.jit(net.apply)(variables, jnp.concatenate([x, 0 * x[:1]]))
    outputs = np.asarray(outputs, np.float64).reshape(len(outputs), -1)
    dense = (outputs[:-1] - outputs[-1]).T
    found = layer_operator_norm(linear_layers(net, variables, x)["conv"])
    largest = np.linalg.norm(dense, 2)
    assert largest * (1 - 1e-6) <= found <= largest * (1 + 1e-4)


@pytest.mark.parametrize("fusion", ["none", "all"])
def test_norm_with_the_mean_after_it_is_the_same_fused_or_not(fusion):
    """Compares with the dense matrix of convolution and mean, in every form that a block uses."""
    d, variables, inputs = _discriminator(method="none", fusion=fusion)
    layer = linear_layers(d, variables, *inputs)["block1/conv2"]
    kernel = jnp.asarray(layer.weight, jnp.float32)
    both = operator_matrix(lambda x: average_pool(convolution(kernel)(x)[None])[0], (8, 8, 2))
    alone = operator_matrix(convolution(kernel), (8, 8, 2))
    pooled = layer_operator_norm(layer, pooled=True)
    assert pooled == pytest.approx(np.linalg.norm(both, 2), rel=1e-4)
    assert layer_operator_norm(layer) == pytest.approx(np.linalg.norm(alone, 2), rel=1e-4)


@pytest.mark.parametrize(("size", "value", "norm"), [(1, -3.0, 3.0), (4, 0.0, 0.0)])
def test_operator_norm_of_a_number_and_of_zero(size, value, norm):
    conv, x = nn.Conv(1, (1, 1), use_bias=False), jnp.ones((1, size, size, 1))
    layer, = linear_layers(conv, {"params": {"kernel": jnp.full((1, 1, 1, 1), value)}}, x).values()
    assert layer_operator_norm(layer) == norm
