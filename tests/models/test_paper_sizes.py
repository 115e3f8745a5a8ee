"""Every architecture of the paper at its own size, width and number of classes: one step.

All are traced. One of each kind is compiled and run, because a compilation takes up to a minute.
"""

import functools

import jax
import numpy as np
import pytest

from experiments.configs import cifar10_cnn, imagenet128
from sngan_jax.run.validate import validate
from sngan_jax.step.devices import positions, replicate
from sngan_jax.step.program import make_train_step, train_call
from sngan_jax.step.setup import inputs_of, recipe_of
from sngan_jax.step.state import abstract_state, initial_state

CASES = [("cnn", 32, ""), ("cnn", 48, ""), ("sndcgan", 32, ""), ("sndcgan", 48, ""),
         ("resnet32", 32, ""), ("resnet32", 32, "projection"), ("resnet32", 32, "auxiliary"),
         ("resnet48", 48, ""), ("resnet64", 64, "projection"), ("resnet128", 128, ""),
         ("resnet128", 128, "projection"), ("resnet128", 128, "concat"), ("resnet256", 256, "")]
RUN = [("cnn", 48, ""), ("sndcgan", 32, ""), ("resnet32", 32, "auxiliary"), ("resnet48", 48, ""),
       ("resnet128", 128, "projection")]


@pytest.mark.slow
@pytest.mark.usefixtures("no_compilation_cache")
@pytest.mark.parametrize(("model", "size", "kind"), CASES)
def test_one_step_at_batch_two(model, size, kind):
    resnet = model.startswith("resnet")
    config = imagenet128.get_config(kind) if resnet else cifar10_cnn.get_config(kind)
    config.update({"model": model, "image_size": size, "conditional": bool(kind), "n_dis": 1,
                   "batch_size": 2, "generator_batch_size": 2, "stream": False})
    validate(config, 1)
    classes = (1000 if size > 32 else 10) if kind else 0
    devices = jax.local_devices()[:1]
    recipe = recipe_of(config, 3, classes, devices)
    rng = np.random.default_rng(0)
    if (model, size, kind) not in RUN:
        images = jax.ShapeDtypeStruct((4, size, size, 3), np.uint8)
        labels = jax.ShapeDtypeStruct((4,), np.int32) if kind else None
        inputs = inputs_of(config, jax.random.key(1), images, labels)
        state = abstract_state(recipe)
        call = functools.partial(train_call, recipe=recipe_of(config, 3, classes))
        after, metrics = jax.eval_shape(call, state, inputs)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
            lambda x: (x.shape, x.dtype), state)
        assert metrics["d_loss"].shape == ()
        return
    state, inputs = replicate((initial_state(recipe, config.seed), inputs_of(
        config, jax.random.key(1), rng.integers(0, 256, (4, size, size, 3), np.uint8),
        rng.integers(0, classes, 4, np.int32) if kind else None)), devices)
    state, metrics = make_train_step(recipe, devices)(
        state, inputs._replace(position=positions(devices)))
    assert not metrics.pop("health")["flags"].any()
    assert all(np.isfinite(float(m)) for m in metrics.values())
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state))
