"""Shapes, parameter counts and structure of the paper's networks (reference: paper Tables 3-6)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.paper import paper_defaults
from sngan_jax.activation_norms import BatchNorm, ConditionalBatchNorm
from sngan_jax.base.errors import UserError
from sngan_jax.layers import SNConv, SNDense, SNEmbed
from sngan_jax.models import build
from sngan_jax.models.blocks import DiscriminatorBlock
from sngan_jax.models.build import MODELS, build_models, size_factor
from sngan_jax.models.cnn import CNNDiscriminator, CNNGenerator
from sngan_jax.models.resnet import ResNetDiscriminator, ResNetGenerator
from sngan_jax.run.validate import validate
from sngan_jax.step.state import count_parameters


def _config(model, size, **changes):
    config = paper_defaults()
    config.update({"model": model, "image_size": size, **changes})
    return config


def _counts(model, size, num_classes=0, z=128, **changes):
    g, d = build_models(_config(model, size, **changes), channels=3, num_classes=num_classes)
    y = jnp.zeros((2,), jnp.int32) if num_classes else None

    def init(key):
        return (g.init(key, jnp.zeros((2, z)), y)["params"],
                d.init(key, jnp.zeros((2, size, size, 3)), y)["params"])

    return tuple(count_parameters(p) for p in jax.eval_shape(init, jax.random.key(0)))


@pytest.mark.parametrize("model", MODELS)
def test_images_that_are_not_square(model):
    """Every model at its smallest sizes, wide and tall, in both networks."""
    factor = size_factor(model)
    for height, width in ((factor, 2 * factor), (2 * factor, factor)):
        config = _config(model, height, image_width=width, generator_width=2,
                         discriminator_width=2)
        validate(config, 1)
        g, d = build_models(config, channels=3, num_classes=0)

        def both(key, g=g, d=d):
            images, variables = g.init_with_output(key, jnp.zeros((2, 128)))
            return images, d.init_with_output(key, images)[0], variables

        images, logits, _ = jax.eval_shape(both, jax.random.key(0))
        assert (images.shape, logits.shape) == ((2, height, width, 3), (2,))
        for side in ("image_size", "image_width"):
            with pytest.raises(UserError, match=f"config.{side} is .* a multiple of {factor}"):
                validate(_config(model, height, **{side: width + factor // 2}), 1)
            with pytest.raises(ValueError, match="must be a multiple"):
                jax.eval_shape(d.init, jax.random.key(0), jnp.zeros((2, height, width + 1, 3)))


@pytest.mark.slow
def test_a_wide_generator_is_the_square_one_of_its_parts():
    """With transposed kernels, a wide generator makes the tall one's images, transposed."""
    g, _ = build_models(_config("resnet32", 8, image_width=16, generator_width=4,
                                convolutions="lax"), channels=1, num_classes=0)
    z = jax.random.normal(jax.random.key(1), (2, 128))
    variables = g.init(jax.random.key(0), z)
    tall = g.clone(image_size=16, image_width=8)

    def turned(path, leaf):
        name = path[-2].key
        if name == "dense":  # units of (1, 2) and (2, 1) positions have the same order in memory
            return leaf
        return leaf.swapaxes(0, 1) if leaf.ndim == 4 else leaf

    other = {**variables, "params": jax.tree_util.tree_map_with_path(turned, variables["params"])}
    np.testing.assert_allclose(g.apply(variables, z), tall.apply(other, z).swapaxes(1, 2),
                               atol=1e-5)


def _conv(k, i, o):
    return k * k * i * o + o


def test_cnn_counts_are_those_of_table_3():
    """Counts by hand: G 3.81 M and D 2.94 M at 32x32; 5.13 M and 2.95 M at 48x48."""
    d = (_conv(3, 3, 64) + _conv(4, 64, 64) + _conv(3, 64, 128) + _conv(4, 128, 128)
         + _conv(3, 128, 256) + _conv(4, 256, 256) + _conv(3, 256, 512))
    deconvs = (_conv(4, 512, 256) + _conv(4, 256, 128) + _conv(4, 128, 64) + _conv(3, 64, 3)
               + 2 * (512 + 256 + 128 + 64))
    for size, base in ((32, 4), (48, 6)):
        units = base * base * 512
        assert _counts("cnn", size) == (129 * units + deconvs, d + units + 1)
    assert _counts("cnn", 32)[0] == pytest.approx(3.81e6, rel=2e-3)
    assert _counts("cnn", 32)[1] == pytest.approx(2.94e6, rel=2e-3)


def test_counts_of_chainer_gan_lib():
    """D 5.86 M (reference/paper.md §2.2); G has a scale and a shift for each of its 8,192 units."""
    g, d = _counts("sndcgan", 32)
    assert d == (_conv(3, 3, 64) + _conv(4, 64, 128) + _conv(3, 128, 128) + _conv(4, 128, 256)
                 + _conv(3, 256, 256) + _conv(4, 256, 512) + _conv(3, 512, 512) + 8193)
    assert d / 1e6 == pytest.approx(5.86, abs=0.006)
    assert g == _counts("cnn", 32)[0] + 2 * (8192 - 512)


def test_count_with_a_wider_last_layer():
    """Figure 4: the widths into and out of the seventh layer, as literal numbers."""
    for scale in (0.5, 1, 2, 4, 6, 8):
        i, o = int(256 * scale), int(512 * scale)
        d = _counts("cnn", 48, last_layer_multiplier=scale)[1]
        assert d == (_conv(3, 3, 64) + _conv(4, 64, 64) + _conv(3, 64, 128) + _conv(4, 128, 128)
                     + _conv(3, 128, 256) + _conv(4, 256, i) + _conv(3, i, o) + 36 * o + 1)


def test_counts_of_the_conditional_kinds():
    d = {kind: _counts("resnet128", 128, 1000, conditioning=kind)[1]
         for kind in ("projection", "concat", "auxiliary")}
    plain = _counts("resnet128", 128)[1]
    assert d["concat"] / 1e6 == pytest.approx(30.54, abs=0.006)
    assert d["projection"] == plain + 1000 * 1024
    assert d["auxiliary"] == plain + 1025 * 1000
    # In the standard CNN the class row joins the 256 channels that enter the seventh layer.
    plain, concat = (_counts("cnn", 32, n, conditioning="concat")[1] for n in (0, 10))
    assert concat == plain + 10 * 128 + 9 * 128 * 512


def test_head_bias_and_wider_discriminator():
    plain = _counts("resnet32", 32)[1]
    assert _counts("resnet32", 32, head_bias="yes")[1] == plain + 1
    assert _counts("cnn", 32, head_bias="no")[1] == _counts("cnn", 32)[1] - 1
    # Table 7's last row: 1.5 times the feature maps.
    assert _counts("resnet32", 32, discriminator_width=192)[1] == pytest.approx(
        plain * 2.25, rel=0.01)


@pytest.mark.parametrize(("model", "size", "classes", "g_millions", "d_millions"), [
    ("resnet32", 32, 0, 4.277, 1.054),
    ("resnet32", 32, 10, 4.304, 1.055),
    ("resnet48", 48, 0, 4.88, 10.14),
    ("resnet128", 128, 0, 32.15, 29.02),
    ("resnet128", 128, 1000, 42.00, 30.04),
])
def test_resnet_counts_are_the_published_ones(model, size, classes, g_millions, d_millions):
    g, d = _counts(model, size, classes)
    assert g / 1e6 == pytest.approx(g_millions, abs=0.006)
    assert d / 1e6 == pytest.approx(d_millions, abs=0.006)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("num_classes", "channels"), [(0, 4), (3, 1)])
def test_every_size_width_and_channel_count(model, num_classes, channels):
    size = 2 * size_factor(model)
    config = _config(model, size, generator_width=2, discriminator_width=3)
    g, d = build_models(config, channels=channels, num_classes=num_classes)
    y = jnp.array([0, 2]) if num_classes else None

    def run(key):
        z = jax.random.normal(key, (2, 5))
        images, variables = g.init_with_output(key, z, y)
        return images, d.init_with_output(key, images, y)[0], g.apply(variables, z, y)

    shapes = jax.eval_shape(run, jax.random.key(0))
    assert [s.shape for s in shapes] == [(2, size, size, channels), (2,), (2, size, size, channels)]
    assert {s.dtype for s in shapes} == {jnp.dtype("float32")}


def test_images_are_in_range_and_depend_on_z_and_y():
    norm = functools.partial(ConditionalBatchNorm, 3)
    g = ResNetGenerator(16, 1, (4, 4, 4, 4), 3, norm=norm, last_norm=BatchNorm)
    z, y = jax.random.normal(jax.random.key(1), (2, 8)), jnp.array([0, 1])

    @jax.jit
    def drawn():
        variables = g.init(jax.random.key(0), z, y)
        tables = jax.tree.map(
            lambda p: p + 0.5 * jax.random.normal(jax.random.key(2), p.shape), variables["params"])
        return {**variables, "params": tables}

    variables, apply = drawn(), jax.jit(g.apply)
    images = np.asarray(apply(variables, z, y))
    assert np.abs(images).max() <= 1
    assert not np.allclose(images, apply(variables, z, y[::-1]), atol=1e-3)
    assert not np.allclose(images, apply(variables, z[::-1], y), atol=1e-3)
    weights = jax.nn.one_hot(y, 3)  # class weights that are one-hot are the class
    np.testing.assert_allclose(apply(variables, z, weights), images, atol=1e-5)


def test_projection_is_the_inner_product_with_the_class_row():
    d = ResNetDiscriminator((4, 4), 1, num_classes=5, head_bias=True)
    x, y = jax.random.normal(jax.random.key(1), (3, 8, 8, 1)), jnp.array([4, 0, 2])

    def no_class(variables):
        params = variables["params"]
        head = {**params["head"], "embed": jax.tree.map(jnp.zeros_like, params["head"]["embed"])}
        return {"params": {**params, "head": head}}

    @jax.jit
    def both():
        variables = d.init(jax.random.key(0), x, y)
        logits, captured = d.apply(variables, x, y, capture_intermediates=True,
                                   mutable=["intermediates"])
        return (variables, logits - d.apply(no_class(variables), x, y),
                captured["intermediates"]["block2"]["__call__"][0])

    variables, difference, last = both()
    h = np.maximum(last, 0).sum((1, 2))  # a sum, not a mean
    table = variables["params"]["head"]["embed"]["embedding"]
    np.testing.assert_allclose(difference, (np.asarray(table)[np.asarray(y)] * h).sum(-1),
                               rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", [
    ResNetDiscriminator((4, 4, 4, 4), 1, 5, conditioning="concat"),
    CNNDiscriminator((2,) * 7, num_classes=5, conditioning="concat")])
def test_concatenation_is_the_class_row_at_every_position_after_the_third_block(network):
    x, y = jax.random.normal(jax.random.key(1), (3, 8, 8, 1)), jnp.array([4, 0, 2])

    @jax.jit
    def captured_in_a_pass():
        variables = network.init(jax.random.key(0), x, y)
        return variables, network.apply(variables, x, y, capture_intermediates=True,
                                        mutable=["intermediates"])[1]

    variables, captured = captured_in_a_pass()
    table = np.asarray(variables["params"]["embed"]["embedding"])
    assert table.shape == (5, 128)
    values = captured["intermediates"]
    if isinstance(network, CNNDiscriminator):
        before = nn.leaky_relu(values["conv5"]["__call__"][0], 0.1)
        layer, after = variables["params"]["conv6"], values["conv6"]["__call__"][0]
    else:
        before = values["block3"]["__call__"][0]
        layer = variables["params"]["block4"]["shortcut"]
        after = None
    assert layer["kernel"].shape[2] == before.shape[-1] + 128
    rows = np.broadcast_to(table[np.asarray(y)][:, None, None], (*before.shape[:3], 128))
    joined = np.concatenate([before, rows], -1)
    if after is None:
        @jax.jit
        def block(p, joined):
            h = nn.Conv(132, (3, 3)).apply({"params": p["conv1"]}, nn.relu(joined))
            h = nn.Conv(4, (3, 3)).apply({"params": p["conv2"]}, nn.relu(h))
            return h + nn.Conv(4, (1, 1)).apply({"params": p["shortcut"]}, joined)

        expected = block(variables["params"]["block4"], joined)
        after = values["block4"]["__call__"][0]
    else:
        expected = jax.jit(nn.Conv(2, (3, 3), padding=1).apply)({"params": layer}, joined)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_an_auxiliary_classifier_does_not_see_the_labels():
    d = ResNetDiscriminator((4, 4), 1, 5, conditioning="auxiliary")
    x, y = jax.random.normal(jax.random.key(1), (3, 8, 8, 1)), jnp.array([4, 0, 2])

    @jax.jit
    def with_and_without():
        variables = d.init(jax.random.key(0), x, y)
        return d.apply(variables, x, y), d.apply(variables, x)

    (logits, classes), again = with_and_without()
    assert logits.shape == (3,) and classes.shape == (3, 5)
    np.testing.assert_array_equal(again[0], logits)
    np.testing.assert_array_equal(again[1], classes)


def test_pool_and_upsampling():
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    total, mean = (ResNetDiscriminator((4, 4), 1, pool=pool) for pool in ("sum", "mean"))

    @jax.jit
    def pooled():
        variables = total.init(jax.random.key(0), x)
        return total.apply(variables, x), 16 * mean.apply(variables, x)

    np.testing.assert_allclose(*pooled(), rtol=1e-5)
    z = jax.random.normal(jax.random.key(1), (2, 5))
    g = {name: ResNetGenerator(8, 1, (4, 4), upsampling=name) for name in ("nearest", "bilinear")}

    @jax.jit
    def generated():
        params = g["nearest"].init(jax.random.key(0), z)
        return {name: network.apply(params, z) for name, network in g.items()}

    images = generated()
    rough = {name: np.abs(np.diff(image, axis=1)).mean() for name, image in images.items()}
    assert rough["bilinear"] < rough["nearest"]


def test_an_unknown_conditioning_is_a_sentence():
    with pytest.raises(ValueError, match="no conditioning 'sum': use one of projection, concat"):
        CNNDiscriminator(num_classes=2, conditioning="sum").init(
            jax.random.key(0), jnp.zeros((1, 8, 8, 1)), jnp.zeros(1, jnp.int32))


def test_leaky_slopes_and_norm_of_units():
    d = {m: build_models(_config(m, 8), channels=1, num_classes=0)[1] for m in ("cnn", "sndcgan")}
    assert {m: n.slope for m, n in d.items()} == {"cnn": 0.1, "sndcgan": 0.2}
    g = build_models(_config("sndcgan", 16, generator_width=2), channels=1, num_classes=3)[0]
    z, y = jnp.ones((2, 4)), jnp.array([0, 2])
    stats = jax.eval_shape(g.init, jax.random.key(0), z, y)["batch_stats"]
    assert stats["norm0"]["norm"]["mean"].shape == (2 * 2 * 16,)  # each unit of 2 x 2 x 16


def test_discriminator_block_is_the_papers_formula():
    """x·W_sc pooled + pool(conv2(relu(conv1(relu x)))), written out with numpy-free primitives."""
    d = ResNetDiscriminator((2, 3), 2)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))

    def conv(p, x):
        return jax.lax.conv_general_dilated(
            x, p["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + p["bias"]

    def pool(x):
        return nn.avg_pool(x, (2, 2), (2, 2))

    @jax.jit
    def both():
        params = d.init(jax.random.key(0), x)["params"]
        p = params["block1"]
        h = pool(conv(p["conv2"], nn.relu(conv(p["conv1"], x)))) + conv(p["shortcut"], pool(x))
        p = params["block2"]
        h = (pool(conv(p["conv2"], nn.relu(conv(p["conv1"], nn.relu(h)))))
             + pool(conv(p["shortcut"], h)))
        logits = (nn.relu(h).sum((1, 2)) @ params["head"]["dense"]["kernel"])[:, 0]
        return params, d.apply({"params": params}, x), logits

    params, got, logits = both()
    np.testing.assert_allclose(got, logits, rtol=1e-5, atol=1e-5)
    assert params["block2"]["conv1"]["kernel"].shape == (3, 3, 2, 2)  # hidden width = width in


def test_initializers_are_chainers():
    d = ResNetDiscriminator((64, 64), 1)
    params = jax.jit(d.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    p = params["block2"]
    bound = (6 / (64 * 9 + 64 * 9)) ** 0.5
    assert float(jnp.abs(p["conv1"]["kernel"]).max()) == pytest.approx(bound * 2**0.5, rel=1e-2)
    assert "shortcut" not in p  # the identity where neither size nor width changes
    shortcut = params["block1"]["shortcut"]["kernel"]
    assert float(jnp.abs(shortcut).max()) == pytest.approx((6 / 67) ** 0.5, rel=5e-2)
    c = jax.jit(CNNDiscriminator().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    assert float(c["conv6"]["kernel"].std()) == pytest.approx(0.02, rel=1e-2)


def test_every_layer_of_the_discriminator_is_normalized_and_no_bias():
    d = ResNetDiscriminator((4, 4), 1, num_classes=3, conv=SNConv, dense=SNDense, embed=SNEmbed)
    variables = jax.eval_shape(d.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)),
                               jnp.zeros((1,), jnp.int32))
    normalized = {jax.tree_util.keystr(path[:-1])
                  for path, _ in jax.tree_util.tree_leaves_with_path(variables["spectral"])}
    layers = {jax.tree_util.keystr(path[:-1])
              for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])}
    assert normalized == layers
    assert "bias" not in variables["params"]["head"]["dense"]  # snresnet_32.l5


@pytest.mark.parametrize("build", [
    lambda: CNNGenerator(12).init(jax.random.key(0), jnp.zeros((1, 4))),
    lambda: ResNetGenerator(20).init(jax.random.key(0), jnp.zeros((1, 4))),
    lambda: CNNDiscriminator().init(jax.random.key(0), jnp.zeros((1, 12, 12, 1))),
    lambda: ResNetDiscriminator().init(jax.random.key(0), jnp.zeros((1, 6, 6, 1))),
])
def test_a_size_that_does_not_fit_is_a_sentence(build):
    with pytest.raises(ValueError, match=r"must be a multiple of \d+, got \d+"):
        build()


def test_labels_must_agree_with_num_classes():
    z, y = jnp.zeros((1, 4)), jnp.zeros((1,), jnp.int32)
    with pytest.raises(ValueError, match="takes no labels"):
        CNNGenerator(8, width=2).init(jax.random.key(0), z, y)
    with pytest.raises(ValueError, match="needs labels"):
        CNNGenerator(8, width=2, num_classes=3).init(jax.random.key(0), z)


def test_names_of_models_and_their_size_factors():
    assert {m: size_factor(m) for m in MODELS} == {
        "cnn": 8, "sndcgan": 8, "resnet32": 8, "resnet48": 16, "resnet64": 32,
        "resnet128": 32, "resnet256": 64}


def _value_and_grads(net, variables, arguments):
    def value(params, arguments):
        return jnp.sum(jnp.sin(net.apply({**variables, "params": params}, arguments)))

    return jax.value_and_grad(value, (0, 1))(variables["params"], arguments)


@pytest.fixture(scope="module")
def plain():
    """A G with batch norm and a normalized D, with their variables, inputs and outputs."""
    found = []
    for net, shape in (
            (ResNetGenerator(16, 3, (8, 6, 4), norm=BatchNorm, last_norm=BatchNorm, fusion="none"),
             (4, 5)),
            (ResNetDiscriminator((4, 6, 6), 2, conv=SNConv, dense=SNDense, fusion="none"),
             (4, 16, 16, 3))):
        @jax.jit
        def made(net=net, shape=shape):
            arguments = jax.random.normal(jax.random.key(len(shape)), shape)
            variables = net.init(jax.random.key(2), arguments)
            return variables, arguments, _value_and_grads(net, variables, arguments)

        found.append((net, *made()))
    return found


@pytest.mark.parametrize("fusion", ["pointwise", "all", "dilated"])
def test_a_fused_network_is_the_plain_one_in_value_and_gradients(fusion, plain):
    """Runs both forms on the parameters of a normalized D and a G with batch norm."""
    for net, variables, arguments, (a, a_grads) in plain:
        b, b_grads = jax.jit(functools.partial(_value_and_grads, net.clone(fusion=fusion)))(
            variables, arguments)
        np.testing.assert_allclose(a, b, rtol=1e-4)
        assert jax.tree.structure(a_grads) == jax.tree.structure(b_grads)
        for p, q in zip(jax.tree.leaves(a_grads), jax.tree.leaves(b_grads), strict=True):
            np.testing.assert_allclose(p, q, atol=1e-4 * max(1, float(jnp.abs(p).max())))


@pytest.mark.parametrize(("kind", "expected"), [
    ("cpu", "all"), ("NVIDIA H100 80GB HBM3", "all"), ("TPU v2", "dilated"),
    ("TPU v3", "dilated"),
    ("TPU v4", "pointwise"), ("TPU v5 lite", "pointwise"), ("TPU v6 lite", "pointwise")])
def test_the_fusion_that_pays_on_the_device(kind, expected):
    assert build.fusion_of(_config("resnet32", 32), kind) == expected
    assert build.fusion_of(_config("resnet32", 32, fusion="none"), kind) == "none"
    for net in build_models(_config("resnet32", 32), channels=3, num_classes=0, device_kind=kind):
        assert net.fusion == expected


@pytest.mark.parametrize("model", ["cnn", "resnet32"])
def test_a_discriminator_has_forward_mode_but_for_the_forms_of_a_cpu(model):
    """Choices by kind of device: for a GPU, a TPU, and a CPU if requested."""
    x = jnp.linspace(-1, 1, 64).reshape(1, 8, 8, 1)
    small = {"discriminator_width": 2, "generator_width": 2}

    def built(kind, **changes):
        return build_models(_config(model, 8, **small, **changes), channels=1, num_classes=0,
                            device_kind=kind)[1]

    def slopes(d, key):
        variables = d.init(key, x)
        apply = lambda x: d.apply(variables, x).sum()  # noqa: E731
        return jax.jvp(apply, (x,), (jnp.ones_like(x),))[1], jax.grad(apply)(x).sum()

    def lowered(d):  # where JAX refuses forward mode, if it does
        return jax.jit(functools.partial(slopes, d)).lower(jax.random.key(0))

    card, tpu = built("NVIDIA H100 80GB HBM3"), built("TPU v4")
    assert built("cpu", convolutions="lax") == card
    for d in (card, tpu) if tpu != card else (card,):
        forward, reverse = lowered(d).compile()(jax.random.key(0))
        assert float(forward) == pytest.approx(float(reverse), rel=1e-3, abs=1e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        lowered(built("cpu"))


@pytest.mark.parametrize("downsample", [False, True])
def test_a_shortcut_may_start_with_a_relu(downsample):
    """Then the block is a function of the ReLU of its input alone; otherwise it is not."""
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    plain, changed = (DiscriminatorBlock(3, downsample, nn.Conv, shortcut_relu=relu)
                      for relu in (False, True))

    @jax.jit
    def all_three():
        variables = plain.init(jax.random.key(1), x)
        return (changed.apply(variables, x), plain.apply(variables, nn.relu(x)),
                plain.apply(variables, x))

    got, want, without = all_three()
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(without - want).max() > 0.1
