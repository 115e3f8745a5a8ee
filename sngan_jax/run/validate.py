"""The whole config is checked before anything is built: one sentence for each thing wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.losses import LOSSES
from sngan_jax.methods import ACTIVATION_NORMS, METHODS, layer_fields, method_of
from sngan_jax.metrics.scores import METRICS, check_names
from sngan_jax.models.blocks import CONDITIONINGS
from sngan_jax.models.build import BN_SYNCS, FUSION_CHOICES, HEAD_BIASES, MODELS, size_factor
from sngan_jax.models.cnn import CNNS
from sngan_jax.models.resample import UPSAMPLING
from sngan_jax.models.resnet import POOLS
from sngan_jax.regularizers import REGULARIZERS
from sngan_jax.step.latents import LATENTS
from sngan_jax.step.recipe import SIGMA_UPDATES
from sngan_jax.step.sampling import BN_MODES

# Type, condition, and the condition in words (or a function that gives them).
Rule = tuple[type, Callable[[Any], bool], str | Callable[[], str]]


def _one_of(names: Iterable[str]) -> Rule:
    # Looked up late: a person's own method may join the table.
    return str, lambda v: v in names, lambda: "one of " + ", ".join(names)


def _own_or(names: Iterable[str]) -> Rule:
    return (str, lambda v: not v or v in names,
            lambda: "empty (the method's own) or one of " + ", ".join(names))


_TEXT: Rule = str, lambda v: True, "text"
_SWITCH: Rule = bool, lambda v: True, "true or false"
# Counts are int32 on the device; a size beyond the other bound could only be a slip.
_COUNT: Rule = int, lambda v: 1 <= v < 2**31, "a whole number of at least 1, below 2**31"
_COUNT_OR_NONE: Rule = int, lambda v: 0 <= v < 2**31, "a whole number of at least 0, below 2**31"
_SIZE: Rule = int, lambda v: 1 <= v <= 2**16, "a whole number from 1 to 65536"
_SIZE_OR_NONE: Rule = int, lambda v: 0 <= v <= 2**16, "a whole number from 0 to 65536"
_COEFFICIENT: Rule = float, lambda v: 0 <= v < float("inf"), "a number of at least 0"
_POSITIVE: Rule = float, lambda v: 0 < v < float("inf"), "a number above 0"
_DECAY: Rule = float, lambda v: 0 <= v < 1, "a number from 0 (included) to 1 (excluded)"

# docs: README and experiments/configs/paper.py.
FIELDS: dict[str, Rule] = {
    "seed": (int, lambda v: 0 <= v < 2**31, "a whole number from 0 to 2147483647"),
    "dataset": (str, bool, "digits, tfds:<name>, npz:<file>, idx:<folder> or folder:<folder>"),
    "split": (str, bool, "the name of a split, as train"),
    "data_dir": _TEXT,
    "stream": _SWITCH,
    "image_size": _SIZE,
    "channels": (int, lambda v: v in (0, 1, 3), "0 (as the data), 1 (grey) or 3 (RGB)"),
    "dequantize": _SWITCH,
    "flip": _SWITCH,
    "conditional": _SWITCH,
    "conditioning": _one_of(CONDITIONINGS),
    "model": _one_of(MODELS),
    "generator_width": _SIZE_OR_NONE,
    "discriminator_width": _SIZE_OR_NONE,
    "last_layer_multiplier": _POSITIVE,
    "head_bias": _one_of(HEAD_BIASES),
    "pool": _one_of(POOLS),
    "upsampling": _one_of(UPSAMPLING),
    "fusion": _one_of(FUSION_CHOICES),
    "latent_size": _SIZE,
    "latent": _one_of(LATENTS),
    "bn_decay": _DECAY,
    "bn_epsilon": _POSITIVE,
    "bn_evaluation": _one_of(BN_MODES),
    "dtype": _one_of(("float32", "bfloat16")),
    "bn_sync": _one_of(BN_SYNCS),
    "method": _one_of(METHODS),
    "loss": _own_or(LOSSES),
    "discriminator_norm": _own_or(ACTIVATION_NORMS),
    "regularizer": _own_or(REGULARIZERS),
    "lipschitz": _POSITIVE,
    "power_steps": _COUNT,
    "power_warmup": _COUNT_OR_NONE,
    "sigma_updates": _one_of(SIGMA_UPDATES),
    "gp_coefficient": _COEFFICIENT,
    "orthonormal_coefficient": _COEFFICIENT,
    "clip": _POSITIVE,
    "auxiliary_discriminator": _COEFFICIENT,
    "auxiliary_generator": _COEFFICIENT,
    "iterations": _COUNT,
    "iterations_per_call": _COUNT,
    "n_dis": _COUNT,
    "batch_size": _COUNT,
    "generator_batch_size": _COUNT,
    "discriminator_batches": _one_of(("apart", "together")),
    "learning_rate": _POSITIVE,
    "beta1": _DECAY,
    "beta2": _DECAY,
    "lr_decay_start": (float, lambda v: 0 <= v <= 1, "a fraction of the run, from 0 to 1"),
    "ema_decay": _DECAY,
    "evaluate_every": _COUNT_OR_NONE,
    "evaluate_extractor": _one_of(METRICS),
    "evaluate_metrics": _TEXT,
    "evaluate_images": (int, lambda v: v >= 2, "a whole number of at least 2"),
    "log_every": _COUNT,
    "sample_every": _COUNT,
    "num_samples": _COUNT,
    "checkpoint_every": _COUNT,
    "keep_checkpoints": _COUNT,
    "keep_every": _COUNT_OR_NONE,
    "checkpoint_minutes": _COEFFICIENT,
    "on_nan": _one_of(("stop", "rollback")),
    "on_nan_rollbacks": _COUNT,
}

# What fields that came later mean for a run that was begun without them.
ADDED = {"fusion": "auto", "iterations_per_call": 1, "bn_sync": "all", "evaluate_every": 0,
         "evaluate_extractor": "inception", "evaluate_metrics": "fid", "evaluate_images": 5000,
         "keep_every": 0, "checkpoint_minutes": 0.0, "on_nan": "stop", "on_nan_rollbacks": 3}


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
        words = words if isinstance(words, str) else words()
        if name not in config:
            raise UserError(f"the config has no field {name}: set it to {words}")
        value = config[name]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not accepts(value):
            raise UserError(f"config.{name} is {' '.join(repr(value).split())[:200]}, expected "
                            f"{words}")
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
    for name in ("iterations", "log_every", "sample_every", "checkpoint_every", "evaluate_every",
                 "keep_every"):
        if config[name] % config.iterations_per_call:
            raise UserError(f"config.iterations_per_call is {config.iterations_per_call}, and "
                            f"config.{name} ({config[name]}) is no multiple of it: nothing can be "
                            "done between the iterations of a call; choose one that divides it")
    if config.evaluate_every:
        check_names(names_of(config.evaluate_metrics), config.evaluate_extractor)
    _check_effects(config)


def names_of(text: str) -> list[str]:
    """Names with commas between them as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _check_effects(config: Any) -> None:
    """UserError for a choice that this config's model would ignore."""
    if config.model in CNNS:
        for name, default in (("upsampling", "nearest"), ("pool", "sum"), ("fusion", "auto")):
            if config[name] != default:
                raise UserError(f"config.{name} is {config[name]!r}, but the model {config.model} "
                                f"has no such layer: leave it {default!r}, or take a resnet")
    if config.conditioning != "projection" and not config.conditional:
        raise UserError(f"config.conditioning is {config.conditioning!r}, but config.conditional "
                        "is false: add --config.conditional=true")


def config_warnings(config: Any) -> Iterator[str]:
    """Sentences about a valid config that is known, or likely, not to do what is wanted."""
    method = method_of(config)
    penalised = method.regularizer == "gradient_penalty"
    read = layer_fields(method, config)
    if method.loss == "wasserstein" and not penalised and method.constraint == "none":
        if "lipschitz" in read:
            yield (f"config.method={config.method} with the Wasserstein loss is known to fail (the "
                   "authors, sngan_projection issue 15): use the hinge loss, or the method "
                   "sn_wgan_gp, whose scale is learnt")
        else:
            yield (f"config.method={config.method} does not bound the discriminator, and the "
                   "Wasserstein loss has no minimum then: use wgan_gp or weight_clipping")
    if method.activation_norm == "batch" and penalised:
        yield ("batch norm in the discriminator makes each logit depend on the whole batch, and "
               "the gradient penalty takes it for a function of one image: use "
               "--config.discriminator_norm=layer")
    if METHODS[config.method].loss == "wasserstein" != method.loss:
        yield (f"config.loss={method.loss} replaces the Wasserstein loss of {config.method}: "
               "--config.loss= takes the method's own")
    for name, default in (("lipschitz", 1.0), ("power_steps", 1)):
        if config[name] != default and name not in read:
            yield (f"config.{name}={config[name]} has no effect: the layers of the method "
                   f"{config.method} do not use it")


def unknown_field(name: str) -> str:
    """The sentence about a field that does not exist."""
    near = difflib.get_close_matches(name, list(FIELDS), 1)
    return (f"config.{name} is not a field of a training config"
            + (f", did you mean {near[0]}" if near else "")
            + "; the fields are: " + ", ".join(sorted(FIELDS)))
