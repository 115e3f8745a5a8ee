"""scikit-learn's 1,797 handwritten digits.

    python -m experiments.train --config=experiments/configs/digits.py --workdir=runs/digits
    python -m experiments.train --config=experiments/configs/digits.py:conditional --workdir=…
"""

from ml_collections import ConfigDict

from experiments.configs.paper import paper_defaults
from sngan_jax.errors import UserError


def get_config(arg: str = "") -> ConfigDict:
    """arg: empty, or `conditional` for a class-conditional GAN."""
    if arg not in ("", "conditional"):
        raise UserError(f"experiments/configs/digits.py has no variant {arg!r}: use none, or "
                        "digits.py:conditional")
    config = paper_defaults()
    config.dataset = "digits"
    config.image_size = 8
    config.conditional = arg == "conditional"
    config.generator_width = 32
    config.discriminator_width = 32
    config.iterations = 3000
    config.lr_decay_start = 0.5
    config.ema_decay = 0.999
    config.log_every = 50
    config.sample_every = 500
    config.checkpoint_every = 500
    return config
