"""The residual networks on CelebA's 162,770 training faces, cropped to squares, at 64x64.

    sngan train --config=celeba64 --workdir=runs/celeba

Not in the paper: it takes the paper's schedule for CIFAR-10 and its official networks for 64x64.
The set is read into memory (2 GB). It was not run (docs/data.md says how to
get the data).
"""

from ml_collections import ConfigDict

from .paper import apply_words, resnet_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    config = resnet_defaults()
    config.dataset = "tfds:celeb_a"
    config.image_size = 64
    config.model = "resnet64"
    config.iterations = 100_000
    return apply_words(config, arg, "celeba64.py")
