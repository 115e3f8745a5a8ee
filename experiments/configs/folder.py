"""Your own images: a folder of PNG and JPEG files, sub-folders as classes.

    python -m experiments.train --config=experiments/configs/folder.py:32 \
        --config.dataset=folder:my/images --workdir=runs/mine

The argument is the side of the images: 32 (the default), 48, 64, 128 or 256, each with the paper's
residual networks for that size. Widths, as every field, are flags: on two CPU cores
--config.generator_width=32 --config.discriminator_width=32 is a start at 32x32.
"""

from ml_collections import ConfigDict

from experiments.configs import cifar10_resnet
from sngan_jax.errors import UserError


def get_config(arg: str = "32") -> ConfigDict:
    """arg: the side of the images."""
    if arg not in ("32", "48", "64", "128", "256"):
        raise UserError(f"experiments/configs/folder.py has no networks for size {arg!r}: use "
                        "folder.py:32, :48, :64, :128 or :256")
    config = cifar10_resnet.get_config()
    config.dataset = "folder:my/images"
    config.image_size = int(arg)
    config.model = f"resnet{arg}"
    config.channels = 3
    return config
