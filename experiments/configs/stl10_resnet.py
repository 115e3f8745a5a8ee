"""The residual networks on STL-10's 100,000 unlabelled images at 48x48 (paper Table 5), hinge loss.

    sngan train --config=stl10_resnet --workdir=runs/stl

Paper: inception score 9.10 ± .04, FID 40.1 ± .50; `:orthonormal` 8.72, 42.4. Protocol and schedule:
as in cifar10_resnet.py, because the authors published no config for STL-10. It was not
run (docs/reproduce.md estimates its hours).
"""

from ml_collections import ConfigDict

from .paper import apply_words, resnet_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`."""
    config = resnet_defaults()
    config.dataset = "tfds:stl10"
    config.split = "unlabelled"
    config.image_size = 48
    config.model = "resnet48"
    return apply_words(config, arg, "stl10_resnet.py")
