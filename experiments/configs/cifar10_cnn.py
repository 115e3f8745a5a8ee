"""The standard CNN on CIFAR-10 (paper Tables 2 and 3, Figures 1, 2, 9, 10, 11).

    sngan train --config=cifar10_cnn:sn,A --workdir=runs/cnn

The argument names a method, a setting of Table 1 (default C) and a loss, such as `wgan_gp,B` or
`sn,hinge`. Paper, inception score and FID in the best setting: sn 7.42 ± .08, 29.3; sn with hinge
loss 7.58 ± .12, 25.5; orthonormal 7.40, 29.0; layer_norm 7.19, 33.9; gan_gp 6.93, 37.7;
weight_norm 6.84, 34.7; wgan_gp 6.68, 40.2; weight_clipping 6.41, 42.6; batch_norm 6.27, 56.3.
Protocol: 100,000 iterations; inception score of 5,000 samples ten times, FID of 10,000 real and
5,000 generated images. It was not run (docs/data.md says how to get the data,
docs/reproduce.md how long it takes). `--config.model=sndcgan --config.latent=uniform` is the
authors' published code instead of Table 3.
"""

from ml_collections import ConfigDict

from .paper import apply_words, paper_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    return apply_words(paper_defaults(), arg, "cifar10_cnn.py")
