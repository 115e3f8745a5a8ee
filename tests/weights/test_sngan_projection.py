"""Snapshots of the authors' networks give the same results as those networks in NumPy."""

import jax
import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.weights import sngan_projection
from sngan_jax.weights.trained import restored
from tests.weights import chainer_networks as theirs

# model: widths of G and D in multiples of 2, how many blocks of D halve, whether D ends in a bias
MODELS = {
    "resnet32": ((1, 1, 1, 1), (1, 1, 1, 1), 2, False),
    "resnet64": ((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5, True),
    "resnet128": ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5, True),
}


def saved(folder, g=None, d=None):
    """Files that a training run writes."""
    files = []
    for arrays, name in ((g, "ResNetGenerator"), (d, "SNResNetProjectionDiscriminator")):
        if arrays is not None:
            files.append(folder / f"{name}_450000.npz")
            np.savez_compressed(files[-1], **arrays)
    return files


@pytest.mark.parametrize("model, classes, concat", [
    ("resnet32", 0, 0), ("resnet32", 5, 0), pytest.param("resnet64", 5, 0, marks=pytest.mark.slow),
    ("resnet128", 3, 0),
    ("resnet128", 3, 128)])
def test_the_networks_are_the_authors(tmp_path, model, classes, concat):
    g_multiples, d_multiples, halving, bias = MODELS[model]
    g = theirs.generator(0, [2 * m for m in g_multiples], classes=classes)
    d = theirs.discriminator(1, [2 * m for m in d_multiples], halving, classes, bias,
                             concat=concat)
    run = restored(sngan_projection.read(saved(tmp_path, g, d)), "the files")
    assert (run.config.model, run.num_classes, run.iteration) == (model, classes, 450_000)
    assert run.config.conditioning == ("concat" if concat else "projection")
    rng = np.random.default_rng(2)
    z = rng.normal(size=(2, 6)).astype(np.float32)
    y = rng.integers(0, classes, 2) if classes else None
    ours = jax.jit(run.generator.apply)(run.state.generator.variables, z, y)
    want = theirs.images_of(g, z, y)
    assert ours.shape[1] == run.config.image_size
    np.testing.assert_allclose(np.moveaxis(ours, 3, 1), want, atol=1e-5)

    logits = jax.jit(run.discriminator.apply)(run.state.discriminator.variables, ours, y)
    want = theirs.logits_of(d, want, y, halving)
    np.testing.assert_allclose(logits, want, atol=2e-5 * max(1, np.abs(want).max()))


@pytest.mark.slow  # a discriminator of the paper's size is drawn
def test_a_generator_alone(tmp_path):
    trained = sngan_projection.read(saved(tmp_path, theirs.generator(0)))
    assert trained.players == ["generator"] and restored(trained, "it").untrained == (
        "discriminator",)


def without(arrays, name):
    return {k: v for k, v in arrays.items() if k != name}


G, D = theirs.generator(0), theirs.discriminator(1)


@pytest.mark.parametrize("g, d, sentence", [
    (without(G, "block3/c2/b"), None, "is not a generator of .*: block3/c2/b is missing"),
    (without(G, "b5/avg_var"), None, "b5/avg_var is missing"),
    (G, without(D, "l5/u"), "is not a discriminator of .*: l5/u is missing"),
    (G | {"extra/W": np.zeros(2, np.float32)}, None, "also holds extra/W"),
    (G | {"l1/W": G["l1/W"][:-1]}, None, "does not fill squares of 4 channels"),
    (G | {"l1/W": G["l1/W"].astype(int)}, None, "expected floating point numbers with 2 axes"),
    (G | {"block2/c1/b": np.zeros(9, np.float32)}, None, "params/block1/conv1/bias is 9, expected"),
    (G | {"block2/c1/b": np.full(4, np.nan, np.float32)}, None, "not finite"),
    (G, D | {"block1/c1/u": np.zeros((1, 9), np.float32)}, "u of shape .1, 9. does not fit"),
    (theirs.generator(0, (4, 2, 4, 2)), None, "its widths are .4, 2, 4, 2.; known are"),
    (G, theirs.discriminator(1, (2, 4, 8, 16, 32), 5), "its generator is a resnet32"),
    (G, theirs.discriminator(1, classes=5), "has 5 classes, but .* has 0: they belong"),
    (None, D, "is a discriminator alone: give the generator's file too"),
    ({"arr_0": np.zeros(3)}, None, "neither a generator nor a discriminator.* but arr_0"),
    (theirs.generator(0, channels=4), None, "makes images of 4 channels"),
])
def test_another_file_is_one_sentence(tmp_path, g, d, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        restored(sngan_projection.read(saved(tmp_path, g, d)), "the files")
    assert "\n" not in str(error.value)


def test_two_of_a_kind_and_no_file(tmp_path):
    first = saved(tmp_path, G)
    with pytest.raises(UserError, match="are both a generator: give one of each"):
        sngan_projection.read([*first, *first])
    with pytest.raises(UserError, match=r"there is no file .*none.npz"):
        sngan_projection.read([tmp_path / "none.npz"])
    (tmp_path / "cut.npz").write_bytes(first[0].read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot be read .*: give a snapshot of one network"):
        sngan_projection.read([tmp_path / "cut.npz"])
