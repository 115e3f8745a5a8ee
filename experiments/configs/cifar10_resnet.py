"""The residual networks on CIFAR-10 (paper Table 4), hinge loss.

    sngan train --config=cifar10_resnet --workdir=runs/resnet

Paper: inception score 8.22 ± .05, FID 21.7 ± .21; `:orthonormal` 7.92, 23.8. `:conditional` is the
projection discriminator (Miyato & Koyama 2018: 8.62, 17.5). Table 8, the auxiliary classifier in
WGAN-GP: `:auxiliary,sn_wgan_gp` 8.59, 18.6 (docs/paper.md has all of Tables 7 and 8).
Protocol here: 50,000 iterations, as in the authors' config (the paper's text says 100,000 for all
experiments), the learning rate falling to zero; inception score of 5,000 samples ten times,
FID of 10,000 real and 5,000 generated images. Not run (docs/data.md says how to get the data,
docs/reproduce.md how long it takes).
"""

from ml_collections import ConfigDict

from .paper import apply_words, resnet_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    return apply_words(resnet_defaults(), arg, "cifar10_resnet.py")
