"""Arrays that a run takes from another one."""

import functools
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import FrozenConfigDict

from experiments.configs import digits
from experiments.configs.paper import paper_defaults
from sngan_jax.base.errors import UserError
from sngan_jax.models.resnet import RESNETS, ResNetShape
from sngan_jax.network import normalize, sigmas, singular_values, update_spectral
from sngan_jax.run.loop import train
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.run.start_from import check_source, open_source, started_from
from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from sngan_jax.step.setup import normalized_weights, recipe_of
from sngan_jax.step.state import abstract_state, create_state

pytestmark = pytest.mark.usefixtures("small")


def _config(**changes):
    config = paper_defaults()
    config.update({"model": "small", "generator_width": 2, "discriminator_width": 2,
                   "latent_size": 4, "image_size": 8, "conditional": True, **changes})
    return config


@functools.cache
def _networks(config, classes):
    """The recipe of a frozen config, and its compiled initialization, shared by the tests."""
    recipe = recipe_of(config, 1, classes)
    return recipe, jax.jit(lambda key: create_state(key, recipe))


def _made(config, seed, classes=3, names=()):
    recipe, create = _networks(FrozenConfigDict(config), classes)
    state = create(jax.random.key(seed))
    run = RestoredRun(config, recipe.generator, recipe.discriminator, state, 7,
                      classes if config.conditional else 0, 1, names)
    return recipe, state, run


def _leaves(state, name):
    return {"/".join(path): np.asarray(leaf) for player in ("generator", "discriminator")
            for path, leaf in flatten_dict({player: getattr(getattr(state, player), name)}).items()}


def _equal(a, b, name):
    """For each array with the same shape in both, whether it is equal."""
    there = _leaves(b, name)
    return {path: path in there and leaf.shape == there[path].shape
            and bool((leaf == there[path]).all()) for path, leaf in _leaves(a, name).items()}


def test_the_same_networks_are_taken_whole():
    recipe, state, _ = _made(_config(ema_decay=0.9), 0)
    _, old, source = _made(_config(), 1)
    new, said = started_from(state, source, recipe, ())
    for name in ("params", "batch_stats", "spectral"):
        assert all(_equal(new, old, name).values())
    jax.tree.map(np.testing.assert_array_equal, new.generator.ema_params, old.generator.params)
    jax.tree.map(np.testing.assert_array_equal, new.generator.opt_state, state.generator.opt_state)
    assert "iteration 7 of a run on tfds:cifar10" in said[0] and "drawn anew" not in said[1]


@pytest.mark.parametrize(("classes", "names"), [(5, ()), (3, ("a", "b", "d"))])
def test_other_classes_have_tables_of_their_own(classes, names):
    recipe, state, _ = _made(_config(), 0, classes)
    _, old, source = _made(_config(), 1, 3, ("a", "b", "c"))
    changed = jax.tree.map(lambda x: x + 1, old)  # tables start alike: at one and zero
    new, said = started_from(state, source._replace(state=changed), recipe, names)
    for path, same in _equal(new, changed, "params").items():
        table = path.split("/")[-2:] == ["embed", "embedding"] or (
            path.split("/")[-1] in ("gamma", "beta"))
        assert same != table, path
    assert "embedding" in said[2] and ("other classes" in said[2]) == (classes == 3)


@pytest.mark.parametrize(("before", "after"), [("none", "sn"), ("sn", "sn_operator")])
def test_weights_whose_vectors_are_missing_get_vectors_of_their_own(before, after):
    recipe, state, _ = _made(_config(method=after, conditional=False), 0)
    _, old, source = _made(_config(method=before, conditional=False), 1)
    new, said = started_from(state, source, recipe, ())
    assert all(_equal(new, old, "params").values()) and "drawn anew" not in said[2]
    d, specs = new.discriminator.variables, normalized_weights(recipe)
    after_many = {**d, "spectral": update_spectral(d, specs, 300)}
    for (name, sigma), exact in zip(sigmas(d, specs).items(), sigmas(after_many, specs).values(),
                                    strict=True):
        assert float(sigma) == pytest.approx(float(exact), rel=0.1), name


def test_a_network_that_the_source_does_not_have_is_drawn_anew():
    recipe, state, _ = _made(_config(), 0)
    _, old, source = _made(_config(), 1)
    new, said = started_from(state, source._replace(untrained=("discriminator",)), recipe, ())
    jax.tree.map(np.testing.assert_array_equal, new.discriminator, state.discriminator)
    jax.tree.map(np.testing.assert_array_equal, new.generator.params, old.generator.params)
    assert "discriminator: drawn anew" in said[2]


@pytest.mark.slow
def test_blocks_meet_by_their_size_from_the_image(monkeypatch):
    monkeypatch.setitem(RESNETS, "one", ResNetShape((2, 1), (1, 2), 1, 2, 2))
    monkeypatch.setitem(RESNETS, "two", ResNetShape((2, 2, 1), (1, 2, 2), 2, 2, 2))
    recipe, state, _ = _made(_config(model="two", image_size=16, conditional=False), 0)
    _, old, source = _made(_config(model="one", conditional=False), 1)
    check_source(source, recipe, abstract_state(recipe), ())
    new, said = started_from(state, source, recipe, ())
    there = _leaves(old, "params")
    here = _leaves(new, "params")
    np.testing.assert_array_equal(here["generator/block2/conv1/kernel"],
                                  there["generator/block1/conv1/kernel"])
    np.testing.assert_array_equal(here["discriminator/block2/conv2/kernel"],
                                  there["discriminator/block2/conv2/kernel"])
    assert "block1/conv1/kernel" in said[1] and "block3" in said[2]
    # The vectors of what was drawn anew, or had none, have come near their weights.
    variables = new.discriminator.variables
    bar = normalize(variables["params"], variables["spectral"], normalized_weights(recipe))[0]
    for values in singular_values({"params": bar, "spectral": variables["spectral"]},
                                  normalized_weights(recipe)).values():
        assert values[0] == pytest.approx(1, rel=0.1)


def test_what_fits_nothing_is_a_sentence(tmp_path):
    recipe, _, source = _made(_config(), 0)
    shapes = abstract_state(recipe)
    cnn = _config(model="cnn")
    other = recipe_of(cnn, 1, 3)
    with pytest.raises(UserError, match=r"networks .CNNGenerator. have other blocks"):
        check_source(source._replace(config=cnn, generator=other.generator), recipe, shapes, ())
    nothing = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*x.shape, 1), x.dtype), source.state)
    with pytest.raises(UserError, match=r"nothing in config.init_from .the model small at 8"):
        check_source(source._replace(state=nothing), recipe, shapes, ())
    with pytest.raises(UserError, match=r"config.init_from is .*no config.json"):
        open_source(str(tmp_path))


@pytest.mark.slow
def test_a_run_starts_from_another_and_then_needs_it_no_more(finished_run, tmp_path, capsys):
    source = shutil.copytree(finished_run, tmp_path / "source")
    config = digits.get_config("conditional")
    config.update({"generator_width": 2, "discriminator_width": 2, "latent_size": 4,
                   "batch_size": 4, "generator_batch_size": 4, "iterations": 2, "log_every": 2,
                   "sample_every": 2, "checkpoint_every": 2, "num_samples": 4, "ema_decay": 0.0,
                   "keep_every": 2, "keep_checkpoints": 9, "init_from": f"{source}@2"})
    assert train(config, tmp_path / "new")
    assert "starting from iteration 2 of a run on digits" in capsys.readouterr().out
    first = StoredCheckpoints(tmp_path / "new")
    assert first.all() == [0, 2]
    shutil.rmtree(source)
    begun, old = restore_run(tmp_path / "new", 0), restore_run(finished_run, 2)
    jax.tree.map(np.testing.assert_array_equal, begun.state.generator.params,
                 old.state.generator.params)
    shutil.rmtree(tmp_path / "new" / "checkpoints" / "2")
    assert train(config, tmp_path / "new")
    assert "resuming" in capsys.readouterr().out


def test_a_source_that_is_not_there_stops_before_anything_is_written(tmp_path):
    config = digits.get_config()
    config.init_from = str(tmp_path / "gone")
    with pytest.raises(UserError, match=r"config.init_from is"):
        train(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()
