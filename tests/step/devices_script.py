"""Twenty iterations of a method on 1 and 8 of this process's devices (see test_devices.py).

    devices_script.py METHOD[,device | ,parts] …

`sn` also runs on 2 and on 4, because all methods share a batch in the same way.

In float64: there the gradient of a bias before a batch norm, zero but for rounding, is far below
Adam's epsilon. In float32 Adam makes full steps of that rounding, and of the rounding of every
gradient that nearly cancels, so the parameters would depend on the order of the sums. The real
images too, once augmented in float32, would depend on how XLA fuses the augmentation.

Prints one JSON line per method: its losses for each count; the distance of each array of the state
from its value on one device, relative to the norm and at most; and, for `sn`, samples in each mode
of batch norm. `device`: batch norm of each device alone. `parts`: no batch norm, G normalized too,
and batches in two parts on several devices.
"""

import functools
import json
import sys
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np

from experiments.configs.paper import paper_defaults
from sngan_jax.activation_norms import BatchNorm
from sngan_jax.layers import SNConv, SNDense
from sngan_jax.losses import LOSSES
from sngan_jax.methods import ACTIVATION_NORMS, METHODS
from sngan_jax.models.resnet import ResNetDiscriminator, ResNetGenerator
from sngan_jax.regularizers import CONSTRAINTS, REGULARIZERS
from sngan_jax.step.augment import augment
from sngan_jax.step.devices import AXIS, positions, replicate
from sngan_jax.step.program import make_train_step
from sngan_jax.step.recipe import Inputs, Recipe
from sngan_jax.step.sampling import BN_MODES, sample_images
from sngan_jax.step.state import create_state
from tests.step.small_networks import SIDE, SmallDiscriminator, SmallGenerator, in_float64

ITERATIONS = 20


def in_parts():
    """A recipe without batch norm."""
    return Recipe(SmallGenerator(lambda name: lambda x: x, conv=SNConv, dense=SNDense),
                  SmallDiscriminator(SNConv, SNDense), LOSSES["hinge"], 16, 32, 1, 5,
                  (SIDE, SIDE, 1), lambda it: 1.0, augment=("color", "translation", "cutout"))


def build(name, axis_name):
    """The paper's residual networks in small for `sn`, and for the rest what compiles faster."""
    config, method = paper_defaults(), METHODS[name]
    config.dtype = "float64"  # of the norms of activations
    norm = functools.partial(BatchNorm, axis_name=axis_name)
    layers = method.layers(config)
    d_norm = ACTIVATION_NORMS[method.activation_norm](config, axis_name)
    if name == "sn":
        g = ResNetGenerator(SIDE, 1, (4, 4), norm=norm, last_norm=norm)
        d = ResNetDiscriminator((4, 4), 1, **layers._asdict(), norm=d_norm)
    else:
        g = SmallGenerator(norm)
        d = SmallDiscriminator(layers.conv, layers.dense, d_norm)
    return Recipe(g, d, LOSSES[method.loss], 16, 32, 2 if name == "sn" else 1, 5, (SIDE, SIDE, 1),
                  lambda it: 1.0, REGULARIZERS[method.regularizer](config),
                  CONSTRAINTS[method.constraint](config), average_statistics=axis_name is None)


def augment_in_float64(images, keys, names):
    return augment(images.astype(np.float64), keys, names)


def run(recipe, count):
    state = in_float64(jax.jit(lambda key: create_state(key, recipe))(jax.random.key(0)))
    data = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE, 1), np.uint8)
    devices = jax.local_devices()[:count]
    step = make_train_step(recipe, devices)
    state, inputs = replicate((state, Inputs(data, None, jax.random.key(1), *map(
        np.float64, (2e-4, 0.5, 0.9)))), devices)
    inputs = inputs._replace(position=positions(devices))
    losses = []
    for _ in range(ITERATIONS):
        state, metrics = step(state, inputs)
        jax.block_until_ready(state)
        losses.append([float(metrics["d_loss"]), float(metrics["g_loss"])])
    return losses, state


def distances(a, b):
    def distance(x, y):
        apart = np.asarray(x, np.float64) - np.asarray(y, np.float64)
        return (float(np.linalg.norm(apart) / max(np.linalg.norm(y), 1e-12)),
                float(np.abs(apart).max(initial=0)))

    return {jax.tree_util.keystr(path): distance(x, y) for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)}


def samples(g, state, count):
    config = SimpleNamespace(latent_size=5, latent="normal", bn_evaluation="running", bn_decay=0.9)
    with mock.patch("jax.local_devices", return_value=jax.local_devices()[:count]):
        return {mode: sample_images(g, state.generator, jax.random.key(2), np.zeros(24, int),
                                    config, bn_mode=mode, batch_size=24).mean((1, 3)).tolist()
                for mode in BN_MODES}


jax.config.update("jax_enable_x64", True)
mock.patch("sngan_jax.step.batches.augment", augment_in_float64).start()
for word in sys.argv[1:]:
    name, _, device = word.partition(",")
    recipe = in_parts() if device == "parts" else build(name, None if device else AXIS)
    losses, states = {}, {}
    counts = (1, 2, 4, 8) if word == "sn" else (1, 8)
    for count in counts:
        losses[count], state = run(recipe._replace(
            accumulate=2 if device == "parts" and count > 1 else 1), count)
        states[count] = jax.tree.map(np.asarray, state)
    result = {"method": word, "losses": losses,
              "distances": {n: distances(states[n], states[1]) for n in counts[1:]}}
    if word == "sn":
        result["samples"] = {n: samples(build(name, None).generator, states[n], n) for n in (1, 8)}
    print(json.dumps(result), flush=True)
