"""Every field has a rule, every config of experiments/ passes, and each error is one sentence."""

import importlib
import pkgutil

import pytest

import experiments.configs
from experiments.configs.paper import paper_defaults
from sngan_jax.errors import UserError
from sngan_jax.train.validate import FIELDS, validate


def test_the_paper_is_valid_and_every_field_has_a_rule():
    assert set(paper_defaults()) == set(FIELDS)
    validate(paper_defaults(), 8)


@pytest.mark.parametrize("name", sorted(
    m.name for m in pkgutil.iter_modules(experiments.configs.__path__) if m.name != "paper"))
def test_every_config_is_valid(name):
    module = importlib.import_module(f"experiments.configs.{name}")
    validate(module.get_config(), 1)
    assert f"experiments/configs/{name}.py" in module.__doc__  # the command


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
    ("model", "resnet", "one of cnn, resnet32"),
    ("n_dis", 0, "at least 1"),
    ("seed", -1, "from 0 to 2147483647"),
    ("ema_decay", 1.0, "to 1 .excluded."),
    ("learning_rate", float("nan"), "above 0"),
    ("channels", 2, "3 .RGB."),
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
