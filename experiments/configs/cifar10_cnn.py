"""The standard CNN on CIFAR-10 (paper Tables 2 and 3), setting C of Table 1.

    python -m experiments.train --config=experiments/configs/cifar10_cnn.py --workdir=runs/cifar_cnn

Paper: inception score 7.42 ± .08, FID 29.3 (10,000 real and 5,000 generated images). Not run here:
the data set must first be prepared with TFDS, and the error message says how.
"""

from ml_collections import ConfigDict

from experiments.configs.paper import paper_defaults


def get_config() -> ConfigDict:
    """The paper's defaults."""
    return paper_defaults()
