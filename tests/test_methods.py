"""Each method's layers against its definition; all pairs of methods and settings are configs."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import cifar10_cnn, digits
from experiments.configs.paper import SETTINGS, paper_defaults
from sngan_jax.losses import LOSSES
from sngan_jax.methods import ACTIVATION_NORMS, METHODS, layer_fields, method_of
from sngan_jax.regularizers import CONSTRAINTS, REGULARIZERS, weights
from sngan_jax.run.validate import validate
from sngan_jax.step.devices import positions, replicate
from sngan_jax.step.program import make_train_step
from sngan_jax.step.setup import inputs_of, recipe_of
from sngan_jax.step.state import abstract_state, initial_state

NOT_IN_THE_PAPER = ("sn_svd", "sn_operator", "sn_bidirectional")


def _dense(method, **config):
    """(the effective weight, the stored one, all variables) of a method's dense layer, 6 -> 4."""
    config = SimpleNamespace(**{"lipschitz": 1.0, "power_steps": 1, "power_warmup": 200, **config})
    layer = METHODS[method].layers(config).dense(
        4, use_bias=False, kernel_init=jax.nn.initializers.normal(2.0))

    @jax.jit
    def made():
        variables = layer.init(jax.random.key(0), jnp.eye(6))
        return layer.apply(variables, jnp.eye(6)), variables

    bar, variables = made()
    return np.asarray(bar), np.asarray(variables["params"]["kernel"]), variables


@pytest.mark.parametrize("method", ["sn", *NOT_IN_THE_PAPER])
def test_spectral_norm_divides_by_the_largest_singular_value(method):
    bar, kernel, _ = _dense(method, lipschitz=1.5)  # of a matrix all four are the same
    np.testing.assert_allclose(bar, 1.5 * kernel / np.linalg.norm(kernel, 2), rtol=1e-4)


def test_weight_norm_divides_each_output_by_its_length():
    bar, kernel, variables = _dense("weight_norm")
    np.testing.assert_allclose(bar, kernel / np.linalg.norm(kernel, axis=0), rtol=1e-5)
    assert set(variables["params"]) == {"kernel"}  # the multiplier of each output is fixed to one
    assert np.linalg.norm(bar) ** 2 == pytest.approx(4, rel=1e-5)  # paper §3: the sum is d_o


def test_frobenius_divides_by_the_frobenius_norm():
    bar, kernel, _ = _dense("frobenius")
    np.testing.assert_allclose(bar, kernel / np.linalg.norm(kernel), rtol=1e-5)


@pytest.mark.parametrize(("method", "shape"), [
    ("sn_wgan_gp", ()), ("frobenius_wgan_gp", ()), ("wn_wgan_gp", (4,))])
def test_the_scale_of_appendix_e_is_a_parameter_that_starts_at_the_norm(method, shape):
    bar, kernel, variables = _dense(method)
    assert variables["params"]["gamma"].shape == shape
    np.testing.assert_allclose(bar, kernel, rtol=1e-4)  # W = norm · W/norm


@pytest.mark.parametrize("features", [4, 9])
def test_orthonormal_starts_orthonormal_whatever_the_models_initializer(features):
    layer = METHODS["orthonormal"].layers(None)
    zeros = jax.nn.initializers.zeros
    dense = layer.dense(features, kernel_init=zeros).init(jax.random.key(0), jnp.ones((1, 6)))
    conv = layer.conv(features, (1, 2), kernel_init=zeros).init(
        jax.random.key(0), jnp.ones((1, 4, 4, 3)))
    embed = layer.embed(features, 6, embedding_init=zeros).init(
        jax.random.key(0), jnp.zeros(1, jnp.int32))
    for variables in (dense, conv, embed):
        (w,) = weights(variables["params"])
        np.testing.assert_allclose(
            np.linalg.svd(np.asarray(w).reshape(6, -1) if w.ndim == 4 else w, compute_uv=False),
            1, atol=1e-5)


def test_norms_of_activations_have_a_shift_and_no_scale():
    config = paper_defaults()
    x = np.random.default_rng(0).normal(2, 3, (5, 4, 4, 3)).astype(np.float32)
    for name, axes, epsilon in (("batch", (0, 1, 2), 2e-5), ("layer", (1, 2, 3), 1e-6)):
        layer = ACTIVATION_NORMS[name](config, None)()

        @jax.jit
        def called(x, layer=layer):
            variables = layer.init(jax.random.key(0), x)
            shifted = {**variables, "params": jax.tree.map(lambda b: b + jnp.arange(3.0),
                                                           variables["params"])}
            return variables["params"], layer.apply(shifted, x, mutable=["batch_stats"])[0]

        params, y = called(x)
        assert [leaf.shape for leaf in jax.tree.leaves(params)] == [(3,)]
        mean, var = np.mean(x, axes, keepdims=True), np.var(x, axes, keepdims=True)
        expected = (x - mean) / np.sqrt(var + epsilon) + np.arange(3.0)
        np.testing.assert_allclose(y, expected, atol=1e-4)


def test_the_rows_of_the_paper_are_all_there_and_made_of_known_parts():
    assert set(METHODS) == {
        "sn", "weight_clipping", "gan_gp", "wgan_gp", "batch_norm", "layer_norm", "weight_norm",
        "frobenius", "orthonormal", "none", "sn_wgan_gp", "wn_wgan_gp", "frobenius_wgan_gp",
        "weight_projection", *NOT_IN_THE_PAPER}
    for method in METHODS.values():
        assert method.loss in LOSSES and method.activation_norm in ACTIVATION_NORMS
        assert method.regularizer in REGULARIZERS and method.constraint in CONSTRAINTS
    # All but WGAN-GP train on the standard loss (paper §4.1).
    assert {n for n, m in METHODS.items() if m.loss != "non_saturating"} == {
        n for n in METHODS if "wgan_gp" in n}


def test_a_config_replaces_parts_of_its_method():
    config = digits.get_config("wgan_gp")
    assert method_of(config) == METHODS["wgan_gp"]
    config.update({"loss": "hinge", "discriminator_norm": "layer", "regularizer": "none"})
    assert method_of(config) == METHODS["wgan_gp"]._replace(
        loss="hinge", activation_norm="layer", regularizer="none")


def test_which_fields_the_layers_of_a_method_read():
    config = paper_defaults()
    assert layer_fields(METHODS["sn"], config) == {"lipschitz", "power_steps", "power_warmup"}
    for method in ("sn_operator", "sn_bidirectional"):
        assert layer_fields(METHODS[method], config) == layer_fields(METHODS["sn"], config)
    for method in ("weight_norm", "sn_svd"):
        assert layer_fields(METHODS[method], config) == {"lipschitz"}
    assert layer_fields(METHODS["none"], config) == set()


def _tiny(config, **changes):
    config.update({"dataset": "digits", "image_size": 8, "generator_width": 2,
                   "discriminator_width": 2, "latent_size": 4, "batch_size": 4,
                   "generator_batch_size": 4, **changes})
    validate(config, 1)
    return config


def _train(config, iterations):
    """The metrics of each iteration on random images, and the last state."""
    jax.clear_caches()  # dozens of large executables are more than a process can map
    devices = jax.local_devices()[:1]
    recipe = recipe_of(config, 1, 3, devices)
    step = make_train_step(recipe, devices)
    rng = np.random.default_rng(0)
    state, inputs = replicate((initial_state(recipe, config.seed), inputs_of(
        config, jax.random.key(1), rng.integers(0, 256, (20, 8, 8, 1), np.uint8),
        rng.integers(0, 3, 20, np.int32))), devices)
    inputs = inputs._replace(position=positions(devices))
    metrics = []
    for _ in range(iterations):
        state, m = step(state, inputs)
        assert not m.pop("health")["flags"].any()
        metrics.append({k: float(v) for k, v in m.items()})
    return metrics, state


@pytest.mark.parametrize(("method", "setting"), [
    *itertools.product(METHODS, SETTINGS)])
def test_every_method_in_every_setting_is_a_config(method, setting):
    config = _tiny(cifar10_cnn.get_config(f"{method},{setting}"))
    row = SETTINGS[setting]
    assert (config.method, *(config[k] for k in row._fields)) == (method, *row)
    assert method_of(config) == METHODS[method]


def test_settings_with_as_many_updates_of_d_share_a_program():
    texts = []
    for setting in ("A", "F"):
        config = _tiny(cifar10_cnn.get_config(f"sn,{setting}"))
        config.n_dis = 1  # of both, which traces faster
        devices = jax.local_devices()[:1]
        recipe = recipe_of(config, 1, 3, devices)
        inputs = inputs_of(config, jax.random.key(1), np.zeros((20, 64), np.uint8),
                           np.zeros(20, np.int32), positions(devices))
        texts.append(make_train_step(recipe, devices).lower(
            abstract_state(recipe), inputs).as_text())
    assert texts[0] == texts[1]
    assert all(a != f for a, f in zip(SETTINGS["A"][:3], SETTINGS["F"][:3], strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("no_compilation_cache", "small")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_fifty_iterations(method):
    config = _tiny(digits.get_config(method), model="small")
    config.n_dis = 1
    metrics, state = _train(config, 50)
    assert all(np.isfinite(list(m.values())).all() for m in metrics)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state))
    if method == "weight_clipping":
        assert max(float(jnp.abs(w).max()) for w in weights(state.discriminator.params)) <= 0.010001
