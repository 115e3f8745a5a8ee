"""Every field of a training config with the paper's value (§4, Appendix B, setting C).

The configs beside this file start from here and say what differs. What the paper leaves open is
marked so.
"""

from ml_collections import ConfigDict

from sngan_jax.errors import UserError


def paper_defaults() -> ConfigDict:
    """The standard CNN with spectral normalisation on CIFAR-10."""
    config = ConfigDict()
    config.seed = 0

    # Data: digits, tfds:<name>, npz:<file>, idx:<folder> or folder:<folder>.
    config.dataset = "tfds:cifar10"
    config.split = "train"
    config.data_dir = ""  # of prepared TFDS data sets; empty: TFDS's own default
    config.image_size = 32
    config.channels = 0  # 1 grey, 3 RGB, 0 as the data
    config.dequantize = True  # x/128 - 1 + U(0, 1/128)

    # Networks.
    config.model = "cnn"  # cnn (Table 3), resnet32, resnet48, resnet64, resnet128, resnet256
    config.conditional = False  # conditional batch norm in G, projection in D
    config.method = "sn"
    config.power_steps = 1  # a forward pass of D (Algorithm 1)
    config.lipschitz = 1.0  # K of each layer of D: its weight becomes K·W/σ(W)
    config.generator_width = 0  # 0: the paper's
    config.discriminator_width = 0
    config.latent_size = 128
    config.dtype = "float32"  # of the computation; parameters and σ are float32 always

    # Training. One iteration is one update of G and n_dis of D; batch sizes are global.
    config.loss = "non_saturating"
    config.iterations = 100_000
    config.n_dis = 1
    config.batch_size = 64  # of D: so many real and so many fake images (not stated for the CNN)
    config.generator_batch_size = 64
    config.learning_rate = 2e-4
    config.beta1 = 0.5
    config.beta2 = 0.999
    config.lr_decay_start = 1.0  # constant up to this fraction of the run, then linear to zero
    config.ema_decay = 0.0  # moving average of G for samples; 0: none, as the paper

    # Files.
    config.log_every = 100
    config.sample_every = 1000
    config.num_samples = 100
    config.checkpoint_every = 5000
    config.keep_checkpoints = 2
    return config


def is_conditional(arg: str, file: str) -> bool:
    """Whether the argument of a config file asks for its class-conditional variant.

    Raises:
      UserError: for any argument but none and 'conditional'.
    """
    if arg not in ("", "conditional"):
        raise UserError(f"experiments/configs/{file} has no variant {arg!r}: use none, or "
                        f"{file}:conditional")
    return arg == "conditional"
