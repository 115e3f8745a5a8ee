"""The standard CNN on STL-10's 100,000 unlabelled images at 48x48 (paper Tables 2 and 3, Figure 4).

    sngan train --config=stl10_cnn:sn,B --workdir=runs/stl

The argument is as for cifar10_cnn.py; the default is B, the paper's best for sn (its footnote
4; C for orthonormal). Paper, inception score and FID: sn 8.28 ± .09, 53.1; orthonormal 8.56, 46.7;
wgan_gp 8.42, 55.1; layer_norm 7.61, 75.6; weight_clipping 7.57, 64.2; weight_norm 7.16, 73.4. With
`--config.iterations=200000` (2x updates): sn 8.69, 47.5; `sn,hinge` 8.79, 43.2; orthonormal 8.67,
44.2. Figure 4: `:sn,C --config.last_layer_multiplier=` 0.5, 1, 2, 4, 6, 8. Protocol: as in
cifar10_cnn.py. It was not run (docs/reproduce.md estimates its hours).
"""

from ml_collections import ConfigDict

from .paper import SETTINGS, apply_words, paper_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    config = paper_defaults()
    config.dataset = "tfds:stl10"
    config.split = "unlabelled"
    config.image_size = 48
    config.update(SETTINGS["B"]._asdict())
    return apply_words(config, arg, "stl10_cnn.py")
