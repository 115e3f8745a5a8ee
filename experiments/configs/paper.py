"""Every field of a training config with the paper's value (§4, Appendix B), and its settings A-F.

The configs beside this file start from here and say what differs. docs/paper.md lists what the
paper leaves open.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from sngan_jax.errors import UserError
from sngan_jax.losses import LOSSES
from sngan_jax.methods import METHODS, layer_fields
from sngan_jax.models.blocks import CONDITIONINGS


class Setting(NamedTuple):
    """A row of the paper's Table 1: Adam's constants and n_dis."""

    learning_rate: float  # Adam's α; before the decay of lr_decay_start
    beta1: float  # Adam's
    beta2: float  # Adam's
    n_dis: int  # updates of D for each one of G


SETTINGS = {
    "A": Setting(1e-4, 0.5, 0.9, 5),
    "B": Setting(1e-4, 0.5, 0.999, 1),
    "C": Setting(2e-4, 0.5, 0.999, 1),
    "D": Setting(1e-3, 0.5, 0.9, 5),
    "E": Setting(1e-3, 0.5, 0.999, 5),
    "F": Setting(1e-3, 0.9, 0.999, 5),
}


def paper_defaults() -> ConfigDict:
    """The standard CNN with spectral normalisation on CIFAR-10, in setting C."""
    config = ConfigDict()
    config.seed = 0  # of weights, latents and the order of the data

    # Data: digits, tfds:<name>, npz:<file>, idx:<folder> or folder:<folder> (docs/data.md).
    config.dataset = "tfds:cifar10"  # where the images come from
    config.split = "train"  # of the data set, or a part: train[:90%]
    config.data_dir = ""  # of prepared TFDS data sets; empty: TFDS's own default
    config.stream = False  # read from disk while training, for sets larger than memory
    config.image_size = 32  # side of the images, in pixels
    config.channels = 0  # 1 grey, 3 RGB, 0 as the data
    config.dequantize = True  # x/128 - 1 + U(0, 1/128); else the middle, (x + 1/2)/128 - 1
    config.flip = False  # mirror real images at random

    # Networks.
    config.model = "cnn"  # the pair of networks; sndcgan is the authors' published code
    config.conditional = False  # on labels: conditional batch norm in G, `conditioning` in D
    config.conditioning = "projection"  # how D takes the labels
    config.generator_width = 0  # base width in channels; 0: the paper's
    config.discriminator_width = 0  # likewise
    config.last_layer_multiplier = 1.0  # of the width into and out of D's last layer (Figure 4)
    config.head_bias = "paper"  # of D's last dense layer; paper: as the model's
    config.pool = "sum"  # over positions, in D of a resnet
    config.upsampling = "nearest"  # in G of a resnet
    config.fusion = "auto"  # of resizing and convolution, for speed; the same function
    config.latent_size = 128  # length of z
    config.latent = "normal"  # distribution of z; uniform: in [-1, 1]
    config.bn_decay = 0.9  # of running statistics
    config.bn_epsilon = 2e-5  # added to the variance
    config.bn_evaluation = "running"  # batch norm's statistics for samples
    config.dtype = "float32"  # of the computation; parameters and σ are float32 always
    config.bn_sync = "all"  # batch norm's statistics: of all devices' images, or each device's

    # What constrains D: a row of Table 2 or 7. Empty fields take the method's own.
    config.method = "sn"  # what constrains D: a row of Table 2 or 7 (docs/paper.md)
    config.loss = ""  # of both players
    config.discriminator_norm = ""  # of D's activations
    config.regularizer = ""  # added to D's loss
    config.lipschitz = 1.0  # K of each layer of D: its weight becomes K·W/|W|
    config.power_steps = 1  # a forward pass of D (Algorithm 1)
    config.power_warmup = 0  # power steps at initialisation
    config.sigma_updates = "call"  # power steps in every call of D; or one an update, iteration
    config.gp_coefficient = 10.0  # λ of the gradient penalty
    config.orthonormal_coefficient = 1e-2  # of the orthonormal penalty; not published
    config.clip = 0.01  # bound of weight clipping
    config.auxiliary_discriminator = 1.0  # weight of the auxiliary classifier (Gulrajani et al.)
    config.auxiliary_generator = 0.1  # likewise, in G's loss

    # Training. One iteration is one update of G and n_dis of D; batch sizes are global.
    config.iterations = 100_000  # of the whole run
    config.iterations_per_call = 1  # done on the device between two returns to Python
    config.batch_size = 64  # of D: so many real and so many fake images (not stated for the CNN)
    config.generator_batch_size = 64  # of G's own update
    config.discriminator_batches = "apart"  # D's real and fake images: two passes or one
    config.update(SETTINGS["C"]._asdict())
    config.lr_decay_start = 1.0  # constant up to this fraction of the run, then linear to zero
    config.ema_decay = 0.0  # moving average of G for samples; 0: none, as the paper

    # Scores while training (docs/metrics.md), of so many real and so many generated images.
    config.evaluate_every = 0  # iterations; 0: never
    config.evaluate_extractor = "inception"  # what sees the images
    config.evaluate_metrics = "fid"  # with commas
    config.evaluate_images = 5000  # so many real, so many generated

    # Files.
    config.log_every = 100  # iterations between two rows of metrics.jsonl
    config.sample_every = 1000  # iterations between two sample grids
    config.num_samples = 100  # images of a grid
    config.checkpoint_every = 5000  # iterations between two checkpoints
    config.keep_checkpoints = 2  # the newest; and the best by the first metric
    config.keep_every = 0  # and for ever those of multiples of so many iterations; 0: none
    config.checkpoint_minutes = 0.0  # a checkpoint also after so many minutes; 0: never
    config.on_nan = "stop"  # NaN or infinity: stop; rollback: to the last checkpoint, other data
    config.on_nan_rollbacks = 3  # at most so many, then stop
    return config


def resnet_defaults() -> ConfigDict:
    """The residual networks on CIFAR-10 (Appendix B.2), hinge loss."""
    config = paper_defaults()
    config.model = "resnet32"
    config.loss = "hinge"
    config.iterations = 50_000  # the official config; Gulrajani et al. trained for 100,000
    config.n_dis = 5
    config.generator_batch_size = 128
    config.beta1 = 0.0
    config.beta2 = 0.9
    config.lr_decay_start = 0.0
    return config


def apply_words(config: ConfigDict, arg: str, file: str, *, own: Sequence[str] = ()) -> ConfigDict:
    """Changes a config by the argument of its file: words with commas, in any order.

    A method (a row of Table 2), a setting (A-F of Table 1), a loss, and `conditional` or how the
    discriminator takes its labels.

    Args:
      file: the config file, for the sentence.
      own: further words that the file itself understands, and has taken out of `arg`.

    Raises:
      UserError: for a word that is none of these.
    """
    words = [word.strip() for word in arg.split(",") if word.strip()]
    tables: tuple[Collection[str], ...] = (
        METHODS, SETTINGS, LOSSES, ("conditional", *CONDITIONINGS))
    # Methods first, so that the order of the words does not matter.
    for word in sorted(words, key=lambda w: [w in table for table in tables], reverse=True):
        if word in METHODS:
            choose_method(config, word)
        elif word in SETTINGS:
            config.update(SETTINGS[word]._asdict())
        elif word in LOSSES:
            config.loss = word
        elif word in tables[3]:
            config.conditional = True
            config.conditioning = "projection" if word == "conditional" else word
        else:
            kinds = ("methods", "settings", "losses", "conditional models")
            there = "; ".join(f"{kind}: {', '.join(table)}"
                              for kind, table in zip(kinds, tables, strict=True))
            there += f"; also: {', '.join(own)}" if own else ""
            raise UserError(f"experiments/configs/{file} has no variant {word!r}. There are "
                            f"{there}. Join several by commas, as {file}:sn,A")
    for table, kind in zip(tables, ("method", "setting", "loss", "conditioning"), strict=True):
        several = [word for word in words if word in table]
        if len(several) > 1:
            raise UserError(f"{file}:{arg} names more than one {kind} ({', '.join(several)}): "
                            "choose one")
    return config


def choose_method(config: ConfigDict, name: str) -> None:
    """Gives a config a method of METHODS, and what goes with it."""
    config.method = name
    if METHODS[name].loss == "wasserstein":
        config.loss = ""  # not the config's own, which is that of its other methods
    if "lipschitz" not in layer_fields(METHODS[name], config):
        config.lipschitz = 1.0
