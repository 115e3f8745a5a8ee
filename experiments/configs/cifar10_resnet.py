"""The residual networks on CIFAR-10 (paper Table 4), hinge loss.

    python -m experiments.train --config=experiments/configs/cifar10_resnet.py --workdir=runs/cifar

Paper: inception score 8.22 ± .05, FID 21.7 ± .21 (10,000 real and 5,000 generated images). Not run
here: the data set must first be prepared with TFDS, and the error message says how.
`cifar10_resnet.py:conditional` is the projection discriminator (Miyato & Koyama 2018: 8.62, 17.5).
"""

from ml_collections import ConfigDict

from experiments.configs.paper import is_conditional, paper_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: empty, or `conditional`."""
    config = paper_defaults()
    config.model = "resnet32"
    config.conditional = is_conditional(arg, "cifar10_resnet.py")
    config.loss = "hinge"
    config.iterations = 50_000  # the official config; Gulrajani et al. trained for 100,000
    config.n_dis = 5
    config.generator_batch_size = 128
    config.beta1 = 0.0
    config.beta2 = 0.9
    config.lr_decay_start = 0.0
    return config
