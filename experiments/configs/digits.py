"""scikit-learn's 1,797 handwritten digits.

    sngan train --config=digits --workdir=runs/digits
    sngan train --config=digits:conditional --workdir=…

The paper's residual networks (Table 4), 32 channels wide, on the 8x8 images as they are. Two CPU
cores train them in minutes. `sngan check-digits` grades the samples.
"""

from ml_collections import ConfigDict

from .paper import apply_words, paper_defaults


def get_config(arg: str = "") -> ConfigDict:
    """arg: words of `paper.apply_words`, such as `conditional`, or `wgan_gp,A`."""
    config = paper_defaults()
    config.dataset = "digits"
    config.image_size = 8
    config.model = "resnet32"
    config.generator_width = 32
    config.discriminator_width = 32
    # For few iterations: a steeper discriminator and a large learning rate. K = 1 needs many more
    # (its samples lack classes after 3,000); from K = 2 on D overfits these 1,797 images.
    config.lipschitz = 1.7
    config.learning_rate = 1e-3
    config.iterations = 2500
    config.ema_decay = 0.999
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return apply_words(config, arg, "digits.py")
