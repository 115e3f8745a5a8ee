"""Checks of a run before it changes anything."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from experiments.read_config import load_config
from sngan_jax.base import memory
from sngan_jax.base.errors import UserError
from sngan_jax.run.preparation import activation_bytes, check_apart, check_room, resumable
from sngan_jax.step.setup import recipe_of
from sngan_jax.step.state import abstract_state


def test_a_run_does_not_lie_in_the_pictures_that_it_is_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, workdir, apart in [
            ("pictures", "runs", True), ("pictures", "pictures2", True), ("pictures", "..", True),
            ("pictures", "pictures/.runs/a", True), ("\0", "runs", True),
            ("pictures", "pictures", False), ("pictures/", "pictures/cats/run", False),
            (tmp_path / "pictures", "pictures/run", False), (".", "run", False)]:
        config = SimpleNamespace(dataset=f"folder:{place}")
        with nullcontext() if apart else pytest.raises(UserError, match="is inside the data set"):
            check_apart(config, Path(workdir))
    check_apart(SimpleNamespace(dataset="digits"), Path("digits"))


def test_a_stream_that_has_changed_is_not_told_by_a_content_hash():
    saved = SimpleNamespace(meta={"data": "before"})
    stored = SimpleNamespace(newest=lambda *_: saved)
    stream = SimpleNamespace(name="folder:a", fingerprint=lambda: "now")
    with pytest.raises(UserError, match=r"folder:a .*its files, or how they are read, differ\)"):
        resumable(load_config("digits"), Path("run"), stored, None, stream, False)


def test_the_width_of_images_counts():
    config = SimpleNamespace(image_size=8, num_samples=100)
    recipe = SimpleNamespace(image_shape=(8, 8_000_000, 1))
    with pytest.raises(UserError, match=r"sample grids of config\.num_samples = 100 need 429"):
        check_room(config, recipe, {}, None, [])


def test_activations_are_less_than_what_the_compiler_needs():
    recipe = recipe_of(load_config("digits"), channels=1, num_classes=10)
    d = recipe.discriminator

    def loss(params, spectral, x):
        return d.apply({"params": params, "spectral": spectral}, x).mean()

    x = jax.ShapeDtypeStruct((2 * recipe.batch_size, *recipe.image_shape), jnp.float32)
    variables = jax.eval_shape(d.init, jax.random.key(0), x)
    compiled = jax.jit(jax.grad(loss)).lower(
        variables["params"], variables["spectral"], x).compile()
    needed = compiled.memory_analysis().temp_size_in_bytes
    assert needed / 8 < activation_bytes(recipe) < needed


def test_a_batch_whose_activations_do_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "host_memory", lambda: 2**30)
    config = load_config("digits", ["batch_size=65536"])
    recipe = recipe_of(config, 1, 0)
    images = SimpleNamespace(images=jnp.zeros(0))
    arguments = abstract_state(recipe), images, jax.devices()[:1]
    with pytest.raises(UserError, match=r"its batches .* need \d\.\d GiB, and there are 1\.0 GiB"):
        check_room(config, recipe, *arguments)
    check_room(config, recipe._replace(accumulate=4), *arguments)
