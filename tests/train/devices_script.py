"""Twenty iterations of a method on 1 and 8 of this process's devices (see test_devices.py).

    devices_script.py METHOD[,device] …

`sn` on 2 and on 4 as well, as how a batch is shared is the same for all methods.

In float64: there the gradient of a bias before a batch norm, zero but for rounding, is far below
Adam's epsilon. In float32 Adam makes whole steps of that rounding, and of that of every gradient
that nearly cancels, so that the parameters would depend on the order of the sums.

Prints a JSON line a method: its losses for each count; of each array of the state, how far it is
from that of one device, in units of its norm and at most; and, for `sn`, samples in each mode of
batch norm. `device`: batch norm of each device alone.
"""

import functools
import json
import sys
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np

from experiments.configs.paper import paper_defaults
from sngan_jax.losses import LOSSES
from sngan_jax.methods import METHODS, NORMS
from sngan_jax.models.resnet import ResNetDiscriminator, ResNetGenerator
from sngan_jax.normalization import BatchNorm
from sngan_jax.regularizers import CONSTRAINTS, REGULARIZERS
from sngan_jax.sampling import BN_MODES, sample_images
from sngan_jax.train.feed import positions, replicate
from sngan_jax.train.state import adam, create_state
from sngan_jax.train.step import (
    AXIS,
    Constants,
    Data,
    Objective,
    StepSettings,
    make_train_step,
)
from tests.train.small_networks import SIDE, SmallDiscriminator, SmallGenerator, in_float64

ITERATIONS = 20


def build(name, axis_name):
    """The paper's residual networks in small for `sn`, and for the rest what compiles faster."""
    config, method = paper_defaults(), METHODS[name]
    config.dtype = "float64"  # of the norms of activations
    norm = functools.partial(BatchNorm, axis_name=axis_name)
    layers, d_norm = method.layers(config), NORMS[method.norm](config, axis_name)
    if name == "sn":
        g = ResNetGenerator(SIDE, 1, (4, 4), norm=norm, last_norm=norm)
        d = ResNetDiscriminator((4, 4), 1, **layers._asdict(), norm=d_norm)
    else:
        g = SmallGenerator(norm)
        d = SmallDiscriminator(layers.conv, layers.dense, d_norm)
    objective = Objective(LOSSES[method.loss], REGULARIZERS[method.regularizer](config),
                          CONSTRAINTS[method.constraint](config))
    return g, d, objective


def run(g, d, objective, count, n_dis, average):
    settings = StepSettings(16, 32, n_dis, 5, lambda it: 1.0, average_statistics=average)
    optimizer = adam(0.5, 0.9)
    state = jax.jit(lambda key: create_state(key, g, d, optimizer, latent_size=5,
                                             image_shape=(SIDE, SIDE, 1), ema=False)
                    )(jax.random.key(0))
    state = in_float64(state)
    data = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE, 1), np.uint8)
    devices = jax.local_devices()[:count]
    step = make_train_step(g, d, objective, settings, devices)
    constants = Constants(jax.random.key(1), *map(np.float64, (2e-4, 0.5, 0.9)))
    state, data, constants = replicate((state, Data(data, None), constants), devices)
    losses = []
    for _ in range(ITERATIONS):
        state, metrics = step(state, data, constants, positions(devices))
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
for word in sys.argv[1:]:
    name, _, device = word.partition(",")
    g, d, objective = build(name, None if device else AXIS)
    losses, states = {}, {}
    counts = (1, 2, 4, 8) if name == "sn" else (1, 8)
    for count in counts:
        losses[count], state = run(g, d, objective, count, 2 if name == "sn" else 1,
                                   bool(device))
        states[count] = jax.tree.map(np.asarray, state)
    result = {"method": word, "losses": losses,
              "distances": {n: distances(states[n], states[1]) for n in counts[1:]}}
    if word == "sn":
        result["samples"] = {n: samples(g, states[n], n) for n in (1, 8)}
    print(json.dumps(result), flush=True)
