"""The configs agree with the paper; their arguments are words in any order."""

import itertools

import pytest

from experiments.configs import (
    celeba64,
    cifar10_cnn,
    cifar10_resnet,
    cifar100_resnet,
    digits,
    fashion_mnist,
    folder,
    imagenet64,
    imagenet128,
    stl10_cnn,
    stl10_resnet,
)
from experiments.configs.paper import SETTINGS
from sngan_jax.base.errors import UserError
from sngan_jax.run.validate import validate

ALL = (celeba64, cifar10_cnn, cifar10_resnet, cifar100_resnet, digits, fashion_mnist, folder,
       imagenet64, imagenet128, stl10_cnn, stl10_resnet)


def test_table_1():
    assert {name: tuple(s) for name, s in SETTINGS.items()} == {
        "A": (1e-4, 0.5, 0.9, 5), "B": (1e-4, 0.5, 0.999, 1), "C": (2e-4, 0.5, 0.999, 1),
        "D": (1e-3, 0.5, 0.9, 5), "E": (1e-3, 0.5, 0.999, 5), "F": (1e-3, 0.9, 0.999, 5)}


@pytest.mark.parametrize("words", [
    *itertools.permutations(("wgan_gp", "A", "conditional"))])
def test_words_in_any_order(words):
    config = cifar10_resnet.get_config(", ".join(words))
    assert (config.method, config.loss, config.learning_rate, config.n_dis) == (
        "wgan_gp", "", 1e-4, 5)
    assert config.conditional and config.conditioning == "projection"
    assert cifar10_resnet.get_config("wgan_gp,hinge").loss == "hinge"


def test_kinds_of_conditional_models():
    assert cifar10_resnet.get_config("auxiliary,sn_wgan_gp").conditioning == "auxiliary"
    assert imagenet128.get_config("concat").conditioning == "concat"
    assert imagenet128.get_config().conditioning == "projection"
    assert not cifar10_resnet.get_config().conditional


def test_a_method_without_k_takes_none():
    assert digits.get_config("sn").lipschitz == digits.get_config().lipschitz == 1.7
    assert digits.get_config("batch_norm").lipschitz == 1


@pytest.mark.parametrize("module", ALL)
def test_every_config_lists_what_there_is(module):
    validate(module.get_config("wgan_gp,E"), 1)
    with pytest.raises(UserError, match="no variant 'nonsense'") as caught:
        module.get_config("sn,nonsense")
    for word in ("frobenius", "A, B, C", "minimax", "concat"):
        assert word in str(caught.value)
    with pytest.raises(UserError, match=r"more than one setting \(A, B\)"):
        module.get_config("A,B")


def test_the_papers_schedules():
    config = imagenet128.get_config()
    assert (config.iterations, config.lr_decay_start * config.iterations) == (450_000, 400_000)
    assert config.stream and config.conditional and config.image_size == 128
    config = imagenet64.get_config()
    assert (config.iterations, config.lr_decay_start * config.iterations) == (250_000, 200_000)
    assert stl10_cnn.get_config().split == stl10_resnet.get_config().split == "unlabelled"
    assert (stl10_resnet.get_config().image_size, stl10_resnet.get_config().model) == (
        48, "resnet48")
    assert cifar10_resnet.get_config().generator_batch_size == 128


def test_folder_sizes():
    config = folder.get_config("48,conditional")
    assert (config.image_size, config.model, config.conditional) == (48, "resnet48", True)
    assert folder.get_config("conditional").image_size == 32
    with pytest.raises(UserError, match="also: 32, 48, 64, 128, 256"):
        folder.get_config("20")
    assert folder.get_config("conditional, 64").image_size == 64
    with pytest.raises(UserError, match="takes one size, not 32 and 64: give one of 32, 48, 64"):
        folder.get_config("32,64")
