"""Your own images: a folder of pictures, sub-folders as classes.

    sngan train --config=folder:32 --config.dataset=folder:my/images --workdir=runs/mine

The argument is the side of the images: 32 (the default), 48, 64, 128 or 256, each with the paper's
residual networks for that size. After a comma come words as for the other configs, such as
`64,conditional`. Widths are flags, as is every field: on two CPU cores --config.generator_width=32
--config.discriminator_width=32 is a start at 32x32. --config.stream=true reads from disk during
training.
"""

from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError

from .paper import apply_words, resnet_defaults

SIZES = ("32", "48", "64", "128", "256")


def get_config(arg: str = "32") -> ConfigDict:
    """arg: the side of the images, and words of `paper.apply_words`."""
    words = [word.strip() for word in arg.split(",")]
    if len(sizes := [word for word in words if word in SIZES]) > 1:
        raise UserError(f"the config folder takes one size, not {' and '.join(sizes)}: give one of "
                        f"{', '.join(SIZES)}")
    size = sizes[0] if sizes else "32"
    config = resnet_defaults()
    config.dataset = "folder:my/images"
    config.image_size = int(size)
    config.model = f"resnet{size}"
    config.channels = 3
    config.augment = "auto"  # with few pictures, D would learn each of them by heart
    return apply_words(config, ",".join(word for word in words if word != size), "folder.py",
                       own=SIZES)
