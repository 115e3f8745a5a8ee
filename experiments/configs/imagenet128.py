"""The residual networks on ImageNet at 128x128, 1,000 classes (paper Table 6, Figures 5, 7, 13).

    sngan train --config=imagenet128:concat --workdir=runs/i

`:projection` (the default) or `:concat`; `--config.conditional=false` is Figure 13a; `:orthonormal`
its rival. Paper: concat, inception score 21.1 ± .35, intra-FID 141.2; projection (Miyato & Koyama
2018) 29.7, 103.1. Protocol: 450,000 iterations, the learning rate falling to zero from 400,000 on;
batches of 64 for D and 128 for G, the total of the official code's four GPUs. The images are
streamed from TFDS's `imagenet2012` (docs/data.md). It was not run
(docs/reproduce.md estimates its hours).
"""

from ml_collections import ConfigDict

from .paper import apply_words, resnet_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    config = resnet_defaults()
    config.dataset = "tfds:imagenet2012"
    config.stream = True
    config.image_size = 128
    config.channels = 3
    config.conditional = True
    config.model = "resnet128"
    config.iterations = 450_000
    config.lr_decay_start = 400 / 450
    return apply_words(config, arg, "imagenet128.py")
