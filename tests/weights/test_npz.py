"""Our weights file: a round trip, reading with NumPy, and one sentence for other files."""

import json

import jax
import numpy as np
import pytest

from experiments.configs import digits
from sngan_jax import weights
from sngan_jax.base.errors import UserError
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.step.setup import recipe_of
from sngan_jax.step.state import initial_state
from sngan_jax.weights import npz
from sngan_jax.weights.trained import restored, trained_of


@pytest.fixture(scope="module")
def run(finished_run):
    return restore_run(finished_run)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "w.npz"
    npz.write(trained_of(run, {"class_names": [f"c{i}" for i in range(10)]}), file)
    return file


def test_a_run_and_its_file_are_the_same_networks(run, file):
    loaded = weights.load(str(file))
    labels = np.arange(10)
    np.testing.assert_array_equal(loaded.sample(labels), run.sample(labels))
    assert loaded.class_names[3] == "c3" and loaded.iteration == run.iteration
    d, loaded_d = run.state.discriminator.variables, loaded.state.discriminator.variables
    jax.tree.map(np.testing.assert_array_equal, d, loaded_d)


@pytest.mark.usefixtures("small")
def test_an_average_has_vectors_of_its_own(tmp_path):
    config = digits.get_config()
    config.update({"model": "small", "generator_layers": "sn", "ema_decay": 0.9,
                   "generator_width": 2, "discriminator_width": 2, "latent_size": 4})
    recipe = recipe_of(config, 1, 0)
    state = initial_state(recipe, 0)
    other = initial_state(recipe, 1).generator.params
    state = state.replace(generator=state.generator.replace(ema_params=other))
    run = RestoredRun(config, recipe.generator, recipe.discriminator, state, 3, 0, 1)
    npz.write(trained_of(run), tmp_path / "w.npz")
    labels = np.zeros(4, int)
    np.testing.assert_array_equal(weights.load(str(tmp_path / "w.npz")).sample(labels),
                                  run.sample(labels))


def test_numpy_alone_reads_it(file):
    """σ of a layer of D by the names and layouts of the module's text."""
    with np.load(file) as arrays:
        about = json.loads(str(arrays["about"]))
        kernel = arrays["discriminator/params/block1/conv2/kernel"]
        u, v = (arrays[f"discriminator/spectral/block1/conv2/{name}"] for name in "uv")
    assert about["config"]["model"] == "resnet32" and about["num_classes"] == 10
    sigma = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
    assert u @ kernel.reshape(-1, kernel.shape[-1]).T @ v == pytest.approx(sigma, rel=0.1)


def test_half_precision_is_half_the_size(run, file, tmp_path):
    half = tmp_path / "half.npz"
    npz.write(trained_of(run), half, "float16")
    whole, small = npz.read(file).arrays, npz.read(half).arrays
    for name, array in whole.items():
        exact = name.split("/")[1] != "params"
        np.testing.assert_allclose(small[name], array, rtol=0 if exact else 1e-3, atol=1e-7)
    with np.load(half) as arrays:
        assert arrays["generator/params/dense/kernel"].dtype == np.float16


def test_a_number_too_large_for_half_precision(run, tmp_path):
    trained = trained_of(run)
    name = "generator/params/dense/bias"
    trained.arrays[name] = trained.arrays[name] + 1e5
    with pytest.raises(UserError, match=r"dense/bias holds a number of size 1e.05, which float16"):
        npz.write(trained, tmp_path / "w.npz", "float16")
    assert not (tmp_path / "w.npz").exists()


def changed(file, folder, **arrays):
    """A copy with other arrays; None removes an array."""
    with np.load(file) as old:
        content = {k.replace("/", "."): v for k, v in old.items()} | arrays
    there = {k.replace(".", "/"): v for k, v in content.items() if v is not None}
    np.savez(folder / "changed.npz", **there)
    return folder / "changed.npz"


@pytest.mark.parametrize("arrays, sentence", [
    ({"about": None}, "is not a weights file of this library: it has no 'about'"),
    ({"about": np.array("{}")}, "it has no 'format'"),
    ({"about": np.array("{")}, "cannot be read .*damaged or of another kind"),
    ({"about": np.array('{"format": 9, "config": {}, "channels": 1, "num_classes": 0, '
                        '"iteration": 1}')}, "written by a newer version .format 9"),
    ({"generator.params.dense.bias": None}, "params/dense/bias is missing, expected"),
    ({"generator.params.dense.bias": np.zeros(3, np.float32)}, "dense/bias is 3, expected"),
    ({"generator.params.more": np.zeros(3, np.float32)}, "params/more is 3, expected not one"),
    ({"discriminator.params.block1.conv1.bias": np.full(2, np.inf, np.float32)}, "not finite"),
    ({"generator.params.dense.bias": np.zeros(2, bool)}, "holds bool, expected"),
])
def test_a_wrong_file_is_one_sentence(file, tmp_path, arrays, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        restored(npz.read(changed(file, tmp_path, **arrays)), "the file")
    assert "\n" not in str(error.value)


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(UserError, match="there are no weights 'cats': give one of digits"):
        weights.load("cats")
    with pytest.raises(UserError, match=r"there is no file .*none.npz"):
        weights.load(str(tmp_path / "none.npz"))
