"""Bounds against networks whose constant is known, and lower ≤ upper for every method."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.configs.paper import paper_defaults
from sngan_jax.activation_norms import BatchNorm
from sngan_jax.analysis.lipschitz import (
    NoBoundError,
    Points,
    ascend,
    between,
    measure,
    pair_ratio,
    reshaped_bound,
    upper_bound,
)
from sngan_jax.analysis.spectra import linear_layers
from sngan_jax.methods import METHODS
from sngan_jax.models.build import build_models
from sngan_jax.models.cnn import CNNDiscriminator
from sngan_jax.models.resnet import ResNetDiscriminator
from tests.analysis.test_spectra import filled


def _built(num_classes=0, **changes):
    config = paper_defaults()
    config.update({"model": "resnet32", "image_size": 8, "discriminator_width": 2,
                   "lipschitz": 1.5, **changes})
    d = build_models(config, channels=1, num_classes=num_classes)[1]
    # Two blocks show what four do, and compile in half the time.
    return d.clone(widths=(2, 2), **({"downsampling": 1} if config.model == "resnet32" else {}))


def _bounds(d, variables, classes=0, size=8, channels=1):
    inputs = [jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)]
    inputs += [jax.ShapeDtypeStruct((1,), jnp.int32)] * bool(classes)
    layers = linear_layers(d, variables, *inputs)
    return upper_bound(d, variables, layers), reshaped_bound(d, variables, layers)


def _images(n, size=8, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("method", [
    pytest.param(name, marks=[] if name in ("sn", "batch_norm") else pytest.mark.slow)
    for name in METHODS if name != "layer_norm"])
def test_measured_is_never_above_the_bound(method):
    """A residual network with classes, with any batch statistics."""
    d = _built(3, method=method)
    variables = filled(d, _images(1), jnp.zeros(1, jnp.int32))
    labels = np.arange(8, dtype=np.int32) % 3
    points = measure(d, variables, _images(8), labels)
    largest, ratio = ascend(d, variables, points, steps=3, rate=0.3)
    upper, reshaped = _bounds(d, variables, 3)
    assert points.lengths.max() <= largest <= upper * (1 + 1e-5)
    assert max(ratio, pair_ratio(points), reshaped) <= upper * (1 + 1e-5)
    assert largest > 0 and ratio > 0


def test_layer_norm_has_no_bound_in_words():
    d = _built(method="layer_norm")
    variables = filled(d, _images(1))
    with pytest.raises(NoBoundError, match=r"layer norm divides .* 1/√ε = 1,000 per layer"):
        _bounds(d, variables)


def _linear_cnn(**options):
    """A CNN without activation (slope 1), so that D is linear, and its constant known exactly."""
    return CNNDiscriminator((2,), slope=1.0, **options)


def test_one_linear_layer_and_a_head_against_the_dense_matrix():
    """conv -> dense is linear: ‖∇D‖ is its constant; the bound is the product of two norms."""
    d = _linear_cnn()
    variables = filled(d, _images(1))
    upper, reshaped = _bounds(d, variables)
    kernel = np.asarray(variables["params"]["conv0"]["kernel"], np.float64)
    conv = np.asarray(jax.jit(lambda x: nn.Conv(2, (3, 3), padding=1, use_bias=False).apply(
        {"params": {"kernel": kernel}}, x))(jnp.eye(64).reshape(64, 8, 8, 1)))
    w = np.asarray(variables["params"]["head"]["dense"]["kernel"], np.float64)
    expected = np.linalg.norm(conv.reshape(64, -1), 2) * np.linalg.norm(w)
    assert upper == pytest.approx(expected, rel=2e-4)
    assert reshaped == pytest.approx(
        np.linalg.norm(kernel.reshape(-1, 2), 2) * np.linalg.norm(w), rel=1e-5)
    points = measure(d, variables, _images(3), None)
    exact = np.linalg.norm(conv.reshape(64, -1) @ w)
    np.testing.assert_allclose(points.lengths, exact, rtol=1e-4)
    assert pair_ratio(points) <= exact * (1 + 1e-4) < upper


def _with_kernel(d, variables, change):
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: change("/".join(key.key for key in path), leaf), variables)


@pytest.mark.parametrize(("pool", "fusion"), [("sum", "all"), ("mean", "none")])
def test_the_bound_of_a_residual_network_is_attained_where_only_shortcuts_are_left(pool, fusion):
    """Zero branches: D = w·pool(relu(shortcuts)); a constant image attains every factor.

    mean2x2 halves twice, the sum over 2x2 positions gives √4, the mean 1/√4.
    """
    d = ResNetDiscriminator((1, 1, 1), 2, pool=pool, fusion=fusion)
    variables = _with_kernel(d, filled(d, _images(1)), lambda path, leaf: (
        jnp.full_like(leaf, {"shortcut": 3.0, "dense": 5.0}[path.split("/")[2]])
        if path.endswith("kernel") and "conv" not in path else 0 * leaf))
    upper, _ = _bounds(d, variables)
    assert upper == pytest.approx((3 / 2) ** 2 * 5 * {"sum": 2, "mean": 1 / 2}[pool], rel=1e-4)
    points = measure(d, variables, np.ones((1, 8, 8, 1), np.float32), None)
    assert points.lengths[0] == pytest.approx(upper, rel=1e-4)


def test_projection_adds_the_row_of_the_worst_class():
    d = _linear_cnn(num_classes=3)
    variables = filled(d, _images(1), jnp.zeros(1, jnp.int32))
    plain = CNNDiscriminator((2,), slope=1.0)
    conv = {"conv0": variables["params"]["conv0"]}
    dense, rows = (variables["params"]["head"][name] for name in ("dense", "embed"))
    for_class = [_bounds(plain, {"params": {**conv, "head": {"dense": {
        **dense, "kernel": dense["kernel"] + row[:, None]}}}})[0] for row in rows["embedding"]]
    assert _bounds(d, variables, 3)[0] == pytest.approx(max(for_class), rel=1e-5)
    assert min(for_class) < 0.99 * max(for_class)


@pytest.mark.parametrize("conditioning", ["concat", "auxiliary"])
@pytest.mark.parametrize("model", ["cnn", "resnet32"])
def test_other_conditionings(model, conditioning):
    d = _built(3, model=model, conditioning=conditioning, method="none")
    if model == "cnn" and conditioning == "concat":  # before the seventh layer
        d = d.clone(widths=(2,) * 7)
    variables = filled(d, _images(1), jnp.zeros(1, jnp.int32))
    points = measure(d, variables, _images(4), np.array([0, 1, 2, 0], np.int32))
    upper, _ = _bounds(d, variables, 3)
    assert 0 < points.lengths.max() <= upper


def test_batch_norm_is_its_largest_scale():
    """Two layers, the second normalized: the plain bound times max 1/√(var + ε)."""
    d = CNNDiscriminator((2, 3), slope=1.0, norm=BatchNorm)
    variables = filled(d, _images(1))
    norm = {"scale": jnp.array([2.0, -1.0, 0.5]), "bias": jnp.ones(3)}
    variables = {"params": {**variables["params"], "norm1": norm},
                 "batch_stats": {"norm1": {"mean": jnp.ones(3), "var": jnp.array([4.0, 0.01, 9])}}}
    rest = {k: v for k, v in variables["params"].items() if k != "norm1"}
    without, _ = _bounds(d.clone(norm=None), {"params": rest})
    upper, _ = _bounds(d, variables)
    assert upper == pytest.approx(without / np.sqrt(0.01 + 2e-5), rel=1e-5)
    assert measure(d, variables, _images(2), None).lengths.max() <= upper


class _Wrapped(nn.Module):
    features: int
    window: tuple

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.features, self.window)(x)


def _wrapped(features, window, strides=1, padding="SAME", kernel_init=None, dtype=None, name=None):
    return _Wrapped(features, window, name=name)


class _OwnNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0] ** 3


class _Sine(nn.Module):
    @nn.compact
    def __call__(self, x, y=None):
        return jnp.sin(x)


@pytest.mark.parametrize(("d", "sentence"), [
    (_OwnNet(), "_OwnNet is not one of CNNDiscriminator, ResNetDiscriminator"),
    (ResNetDiscriminator((2, 2), 1, conv=_wrapped, fusion="none"),
     "ResNetDiscriminator has another structure at 'block1/conv1"),
    (ResNetDiscriminator((2, 2), 1, norm=_Sine), "no rule here for the activation norm _Sine")])
def test_what_has_no_rule_is_a_sentence(d, sentence):
    variables = filled(d, _images(1))
    with pytest.raises(NoBoundError, match=sentence):
        _bounds(d, variables)


@pytest.mark.parametrize("padding", ["CIRCULAR", "REFLECT"])
def test_a_convolution_padded_otherwise_has_its_own_norm(padding):
    """A constant image and a positive kernel: circular and reflected borders add up, zeros not."""
    def conv(*args, padding=None, own=padding, **kwargs):
        return nn.Conv(*args, padding=own, **kwargs)

    d = CNNDiscriminator((1,), slope=1.0, conv=conv)
    variables = filled(d, _images(1))
    variables["params"]["conv0"]["kernel"] = jnp.ones((3, 3, 1, 1))
    head = np.linalg.norm(variables["params"]["head"]["dense"]["kernel"])
    upper, reshaped = _bounds(d, variables)
    if padding == "CIRCULAR":  # every pixel is in nine windows: the norm is 9 exactly
        assert upper == pytest.approx(9 * head, rel=2e-4)
    assert upper > 9 * head * (1 - 1e-6)
    assert reshaped == pytest.approx(3 * head, rel=1e-5)
    zero_padded, _ = _bounds(d.clone(conv=nn.Conv), variables)
    assert zero_padded < 8.9 * head


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.booleans(), st.integers(0, 1000))
def test_pair_ratio_against_all_pairs_one_by_one(n, labelled, seed):
    rng = np.random.default_rng(seed)
    x, logits = rng.normal(size=(n, 2, 2, 1)).astype(np.float32), rng.normal(size=n)
    x[-1] = x[0]  # a pair without a distance says nothing
    labels = rng.integers(3, size=n) if labelled else None
    expected = max((abs(logits[i] - logits[j]) / np.linalg.norm(x[i] - x[j])
                    for i in range(n) for j in range(i)
                    if (labels is None or labels[i] == labels[j]) and (x[i] != x[j]).any()),
                   default=0)
    assert pair_ratio(Points(x, labels, logits, x)) == pytest.approx(expected)


def test_measure_in_batches_equals_finite_differences():
    d = _linear_cnn()
    variables = filled(d, _images(1))
    x = _images(5)
    points = measure(d, variables, x, None, batch_size=2)
    step = np.zeros_like(x)
    step[:, 3, 4, 0] = 0.5
    moved = measure(d, variables, x + step, None)
    np.testing.assert_allclose((moved.logits - points.logits) / 0.5, points.gradients[:, 3, 4, 0],
                               rtol=1e-3, atol=1e-4)
    assert points.lengths.dtype == np.float64 and points.logits.shape == (5,)


def test_ascent_finds_the_steepest_place():
    """D = (w·x + b)³ with |w| equal: 3 (‖w‖₁ + b)² ‖w‖₂ in the corner sign(w), for b > 0."""
    signs = np.where(_images(1).reshape(-1) > 0, 1, -1)
    variables = {"params": {"Dense_0": {"kernel": jnp.asarray(signs[:, None] / 8.0),
                                        "bias": jnp.ones(1)}}}
    start = measure(_OwnNet(), variables, 0.1 * _images(3), None)
    largest, ratio = ascend(_OwnNet(), variables, start, steps=30, rate=0.5)
    assert largest == pytest.approx(3 * 9**2 * 1, rel=1e-4)
    assert start.lengths.max() < ratio <= largest
    assert ascend(_OwnNet(), variables, start, 0, 0.5) == (start.lengths.max(), 0)


def test_between_is_on_the_lines():
    def points(x):
        return Points(x, None, np.zeros(len(x)), x)

    low, high = (points(np.full((6, 2, 2, 1), v, np.float32)) for v in (-1, 1))
    x = between(low, high, seed=3)
    assert x.shape == low.x.shape and x.dtype == np.float32 and np.abs(x).max() < 1
    assert (x == x[:, :1, :1]).all() and len(np.unique(x)) == 6
    np.testing.assert_array_equal(x, between(low, high, seed=3))
