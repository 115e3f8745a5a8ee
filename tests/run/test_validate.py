"""Every field has a rule, every config of experiments/ passes, and each error is one sentence."""

import importlib
import pkgutil

import pytest

import experiments.configs
from experiments.configs import cifar10_cnn, digits
from experiments.configs.paper import paper_defaults
from sngan_jax.base.errors import UserError
from sngan_jax.methods import METHODS
from sngan_jax.run.config import FIELDS
from sngan_jax.run.validate import config_warnings, validate


def test_the_paper_is_valid_and_every_field_has_a_rule():
    assert set(paper_defaults()) == set(FIELDS)
    validate(paper_defaults(), 8)


@pytest.mark.parametrize("name", sorted(
    m.name for m in pkgutil.iter_modules(experiments.configs.__path__) if m.name != "paper"))
def test_every_config_is_valid(name):
    module = importlib.import_module(f"experiments.configs.{name}")
    validate(module.get_config(), 1)


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(name):
    config = paper_defaults()
    del config[name]
    with pytest.raises(UserError, match=f"no field {name}"):
        validate(config, 1)


@pytest.mark.parametrize(("name", "value", "sentence"), [
    ("batch_size", 3, "2 devices cannot share equally: use a multiple of 2"),
    ("generator_batch_size", 5, "2 devices"),
    ("image_size", 30, "use 24 or 32"),
    ("image_size", 4, "use 8"),
    ("model", "resnet", "one of cnn, sndcgan, resnet32"),
    ("n_dis", 0, "at least 1"),
    ("seed", -1, "from 0 to 2147483647"),
    ("ema_decay", 1.0, "to 1 .excluded."),
    ("learning_rate", float("nan"), "above 0"),
    ("channels", 2, "3 .RGB."),
    ("method", "nonsense", "one of sn, weight_clipping, gan_gp, wgan_gp, batch_norm, layer_norm"),
    ("loss", "hinged", "empty .the method's own. or one of non_saturating, minimax, wasserstein"),
    ("regularizer", "l2", "none, gradient_penalty, orthonormal"),
    ("discriminator_norm", "group", "none, batch, layer"),
    ("conditioning", "film", "projection, concat, auxiliary"),
    ("sigma_updates", "never", "call, update, iteration"),
    ("bn_evaluation", "train", "running, batch, standing"),
    ("clip", 0.0, "above 0"),
    ("gp_coefficient", -1.0, "at least 0"),
    ("augment", "colour", "auto, empty .none., or a comma-separated list from color, translation"),
    ("augment", "cutout,cutout", "a comma-separated list from color, translation, cutout"),
    ("accumulate", 0, "at least 1"),
    ("generator_layers", "spectral", "empty .Linen's own. or sn"),
])
def test_wrong_values(name, value, sentence):
    config = paper_defaults()
    config[name] = value
    with pytest.raises(UserError, match=sentence) as caught:
        validate(config, 2)
    assert f"config.{name} is {value!r}" in str(caught.value)


def test_unknown_field_with_a_suggestion():
    config = paper_defaults()
    config.batchsize = 3
    with pytest.raises(UserError, match=r"config\.batchsize is not .*did you mean batch_size"):
        validate(config, 1)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"upsampling": "bilinear"}, "model cnn has no such layer"),
    ({"pool": "mean"}, "model cnn has no such layer: leave it 'sum'"),
    ({"fusion": "all"}, "model cnn has no such layer: leave it 'auto'"),
    ({"iterations_per_call": 3}, "iterations .100000. is not a multiple of it"),
    ({"iterations_per_call": 4, "log_every": 10}, "log_every .10. is not a multiple"),
    ({"conditioning": "concat"}, "add --config.conditional=true"),
])
def test_choices_that_the_model_would_ignore_are_refused(changes, sentence):
    config = paper_defaults()
    config.update(changes)
    with pytest.raises(UserError, match=sentence):
        validate(config, 1)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"loss": "wasserstein"}, "known to fail"),
    ({"method": "none", "loss": "wasserstein"}, "does not bound the discriminator"),
    ({"method": "batch_norm", "regularizer": "gradient_penalty"}, "discriminator_norm=layer"),
    ({"method": "wgan_gp", "loss": "hinge"}, "replaces the Wasserstein loss of wgan_gp"),
    ({"method": "batch_norm", "lipschitz": 2.0}, "config.lipschitz=2.0 has no effect"),
    ({"method": "weight_norm", "power_steps": 3}, "config.power_steps=3 has no effect"),
])
def test_pairs_that_are_known_to_fail_are_warned_about(changes, sentence):
    config = paper_defaults()
    config.update(changes)
    validate(config, 1)
    (caution,) = config_warnings(config)
    assert sentence in caution and "\n" not in caution


@pytest.mark.parametrize("method", METHODS)
def test_the_methods_of_the_paper_need_no_warning(method):
    assert not list(config_warnings(cifar10_cnn.get_config(method)))
    assert not list(config_warnings(digits.get_config(method)))


def test_batches_divide_into_parts_on_every_device():
    config = paper_defaults()
    config.accumulate = 4
    validate(config, 8)
    with pytest.raises(UserError, match=r"generator_batch_size is 64, which cannot be split into "
                                        "config.accumulate = 3 equal parts: use a multiple of 3"):
        config.update({"accumulate": 3, "batch_size": 66})
        validate(config, 1)
    with pytest.raises(UserError, match="on each of the 2 devices: use a multiple of 6"):
        validate(config, 2)
