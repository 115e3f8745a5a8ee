"""Ten iterations on all devices of this process, and samples of the result (see test_step.py).

Prints the losses; then, of 24 images in each mode of batch norm, the means over rows and columns.
"""

import functools
import json
from types import SimpleNamespace

import jax
import numpy as np

from sngan_jax.layers import SNConv, SNDense, SNEmbed
from sngan_jax.losses import LOSSES
from sngan_jax.models.resnet import ResNetDiscriminator, ResNetGenerator
from sngan_jax.normalization import BatchNorm
from sngan_jax.sampling import BN_MODES, sample_images
from sngan_jax.train.feed import positions, replicate
from sngan_jax.train.state import adam, create_state
from sngan_jax.train.step import AXIS, Data, Objective, StepSettings, make_train_step

norm = functools.partial(BatchNorm, axis_name=AXIS)
g = ResNetGenerator(8, 1, (8, 8), norm=norm, last_norm=norm)
d = ResNetDiscriminator((8, 8), 1, conv=SNConv, dense=SNDense, embed=SNEmbed)
settings = StepSettings(16, 32, 2, 5, lambda it: 2e-4)
optimizer = adam(0.5, 0.9)
state = create_state(jax.random.key(0), g, d, optimizer, latent_size=5, image_shape=(8, 8, 1),
                     ema=False)
images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
devices = jax.local_devices()
step = make_train_step(g, d, Objective(LOSSES["hinge"]), optimizer, settings, devices)
state, data, key = replicate((state, Data(images, None), jax.random.key(1)), devices)
losses = []
for _ in range(10):
    state, metrics = step(state, data, key, positions(devices))
    jax.block_until_ready(state)
    losses.append([float(metrics["d_loss"]), float(metrics["g_loss"])])
config = SimpleNamespace(latent_size=5, latent="normal", bn_evaluation="running", bn_decay=0.9)
images = {mode: sample_images(g, state.generator, jax.random.key(2), np.zeros(24, int), config,
                              bn_mode=mode, batch_size=24) for mode in BN_MODES}
print(json.dumps({"losses": losses, "images": {
    mode: array.mean((1, 3)).tolist() for mode, array in images.items()}}))
