"""The paper's configs (§4, Appendix B), its settings A-F, and the words of a config's argument.

The configs beside this file start from here and say what differs. Every field is defined in
`sngan_jax.run.config`.
"""

from collections.abc import Collection, Sequence

from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError
from sngan_jax.losses import LOSSES
from sngan_jax.methods import METHODS, layer_fields
from sngan_jax.models.blocks import CONDITIONINGS
from sngan_jax.run.config import defaults

from ..paper.table1 import SETTINGS


def paper_defaults() -> ConfigDict:
    """The standard CNN with spectral normalization on CIFAR-10, in setting C."""
    return ConfigDict(defaults())


def resnet_defaults() -> ConfigDict:
    """The residual networks on CIFAR-10 (Appendix B.2), hinge loss."""
    config = paper_defaults()
    config.model = "resnet32"
    config.loss = "hinge"
    config.iterations = 50_000  # the official config; the paper's section 4.1 says 100,000
    config.n_dis = 5
    config.generator_batch_size = 128
    config.beta1 = 0.0
    config.beta2 = 0.9
    config.lr_decay_start = 0.0
    return config


def apply_words(config: ConfigDict, arg: str, file: str, *, own: Sequence[str] = ()) -> ConfigDict:
    """Changes a config by the argument of its file: words separated by commas, in any order.

    A word is a method (a row of Table 2), a setting (A-F of Table 1), a loss, `conditional`, or how
    the discriminator uses its labels.

    Args:
      file: the config file, for the error.
      own: further words that the file itself understands, already removed from `arg`.

    Raises:
      UserError: for any other word.
    """
    name = file.removesuffix(".py")
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
            raise UserError(f"the config {name} has no variant {word!r}. There are "
                            f"{there}. Join several with commas, as in {name}:sn,A")
    for table, kind in zip(tables, ("method", "setting", "loss", "conditioning"), strict=True):
        several = [word for word in words if word in table]
        if len(several) > 1:
            raise UserError(f"{name}:{arg} names more than one {kind} ({', '.join(several)}): "
                            "choose one")
    return config


def choose_method(config: ConfigDict, name: str) -> None:
    """Gives a config a method of METHODS, and the fields that belong to it."""
    config.method = name
    if METHODS[name].loss == "wasserstein":
        config.loss = ""  # not the config's own, which belongs to its other methods
    if ("lipschitz" not in layer_fields(METHODS[name], config)
            and METHODS[name].constraint != "project"):
        config.lipschitz = 1.0
