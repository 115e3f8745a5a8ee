"""The whole config is checked before anything is built: one sentence for each thing wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from sngan_jax.errors import UserError
from sngan_jax.losses import LOSSES
from sngan_jax.methods import METHODS
from sngan_jax.models.build import MODELS, size_factor

Rule = tuple[type, Callable[[Any], bool], str]


def _one_of(names) -> Rule:
    return str, lambda v: v in names, "one of " + ", ".join(names)


_TEXT: Rule = str, lambda v: True, "text"
_SWITCH: Rule = bool, lambda v: True, "true or false"
_COUNT: Rule = int, lambda v: v >= 1, "a whole number of at least 1"
_COUNT_OR_NONE: Rule = int, lambda v: v >= 0, "a whole number of at least 0"
_POSITIVE: Rule = float, lambda v: 0 < v < float("inf"), "a number above 0"
_DECAY: Rule = float, lambda v: 0 <= v < 1, "a number from 0 (included) to 1 (excluded)"

# Field -> type, condition, and the condition in words. docs: README and experiments/configs.
FIELDS: dict[str, Rule] = {
    "seed": (int, lambda v: 0 <= v < 2**31, "a whole number from 0 to 2147483647"),
    "dataset": (str, bool, "digits, tfds:<name>, npz:<file>, idx:<folder> or folder:<folder>"),
    "split": (str, bool, "the name of a split, as train"),
    "data_dir": _TEXT,
    "image_size": _COUNT,
    "channels": (int, lambda v: v in (0, 1, 3), "0 (as the data), 1 (grey) or 3 (RGB)"),
    "dequantize": _SWITCH,
    "conditional": _SWITCH,
    "model": _one_of(MODELS),
    "method": _one_of(METHODS),
    "power_steps": _COUNT,
    "lipschitz": _POSITIVE,
    "generator_width": _COUNT_OR_NONE,
    "discriminator_width": _COUNT_OR_NONE,
    "latent_size": _COUNT,
    "dtype": _one_of(("float32", "bfloat16")),
    "loss": _one_of(LOSSES),
    "iterations": _COUNT,
    "n_dis": _COUNT,
    "batch_size": _COUNT,
    "generator_batch_size": _COUNT,
    "learning_rate": _POSITIVE,
    "beta1": _DECAY,
    "beta2": _DECAY,
    "lr_decay_start": (float, lambda v: 0 <= v <= 1, "a fraction of the run, from 0 to 1"),
    "ema_decay": _DECAY,
    "log_every": _COUNT,
    "sample_every": _COUNT,
    "num_samples": _COUNT,
    "checkpoint_every": _COUNT,
    "keep_checkpoints": _COUNT,
}


def validate(config: Any, device_count: int) -> None:
    """Raises UserError with the first thing that is wrong with a config.

    Args:
      config: an `ml_collections.ConfigDict`, or any mapping with attribute access.
      device_count: number of devices that a global batch is divided among.
    """
    for name in config:
        if name not in FIELDS:
            raise UserError(unknown_field(name))
    for name, (kind, accepts, words) in FIELDS.items():
        if name not in config:
            raise UserError(f"the config has no field {name}: set it to {words}")
        value = config[name]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not accepts(value):
            raise UserError(f"config.{name} is {value!r}, expected {words}")
    factor = size_factor(config.model)
    if config.image_size % factor:
        below = config.image_size - config.image_size % factor
        sizes = f"{below} or {below + factor}" if below else str(factor)
        raise UserError(f"config.image_size is {config.image_size}, but the model {config.model} "
                        f"makes images whose side is a multiple of {factor}: use {sizes}")
    for name in ("batch_size", "generator_batch_size"):
        if config[name] % device_count:
            raise UserError(f"config.{name} is {config[name]}, which the {device_count} devices "
                            f"cannot share equally: use a multiple of {device_count}")


def unknown_field(name: str) -> str:
    """The sentence about a field that does not exist."""
    near = difflib.get_close_matches(name, list(FIELDS), 1)
    return (f"config.{name} is not a field of a training config"
            + (f", did you mean {near[0]}" if near else "")
            + "; the fields are: " + ", ".join(sorted(FIELDS)))
