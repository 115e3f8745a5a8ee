"""The residual networks on CIFAR-100, class-conditional by projection (Miyato & Koyama 2018).

    sngan train --config=cifar100_resnet --workdir=runs/c100

Published, from memory of that paper's Table 3 and not verified: inception score 9.04, FID 23.2.
Protocol: as in cifar10_resnet.py. It was not run.
`--config.conditional=false` trains the unconditional model; `:concat` and `:auxiliary` train the
other conditional ones.
"""

from ml_collections import ConfigDict

from .paper import apply_words, resnet_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    config = resnet_defaults()
    config.dataset = "tfds:cifar100"
    config.conditional = True
    return apply_words(config, arg, "cifar100_resnet.py")
