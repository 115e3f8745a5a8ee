"""The residual networks on ImageNet at 64x64, 1,000 classes (sngan_projection `resnet_64`).

    sngan train --config=imagenet64 --workdir=runs/imagenet64

Not in the paper; no score is published with the official config. Protocol: that config's 250,000
iterations, the learning rate falling to zero from 200,000 on, batches of 64 for both networks. The
images are streamed from TFDS's `imagenet2012` (docs/data.md). It was not run.
"""

from ml_collections import ConfigDict

from . import imagenet128
from .paper import apply_words


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    config = imagenet128.get_config()
    config.image_size = 64
    config.model = "resnet64"
    config.iterations = 250_000
    config.lr_decay_start = 200 / 250
    config.generator_batch_size = 64
    return apply_words(config, arg, "imagenet64.py")
