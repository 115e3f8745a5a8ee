"""Fashion-MNIST's 60,000 pictures of clothing, from its four files in MNIST's IDX format.

    sngan train --config=fashion_mnist --config.dataset=idx:data/fashion-mnist --workdir=runs/fmnist

The folder holds train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz (Debian's package
`dataset-fashion-mnist` has them). The standard CNN has a quarter of its width, so that two CPU
cores suffice. `:conditional` trains the class-conditional model;
`--config.dataset=tfds:fashion_mnist` (or `tfds:mnist`) reads data prepared by TFDS. There is no
published result with these settings.
"""

from ml_collections import ConfigDict

from .paper import apply_words, paper_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`, such as `conditional`."""
    config = paper_defaults()
    config.dataset = "idx:data/fashion-mnist"
    config.generator_width = 16
    config.discriminator_width = 16
    # As for the digits; shapes of clothing show after a few hundred iterations.
    config.lipschitz = 1.7
    config.learning_rate = 1e-3
    config.iterations = 1500
    config.ema_decay = 0.999
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return apply_words(config, arg, "fashion_mnist.py")
