"""Checks of a whole config before anything is built, with one sentence for each error."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError
from sngan_jax.methods import METHODS, layer_fields, method_of
from sngan_jax.metrics.scores import check_names
from sngan_jax.models.build import size_factor
from sngan_jax.models.cnn import CNNS
from sngan_jax.run.config import FIELDS, Field

# Names that other programs give to the fields.
SYNONYMS = {
    "lr": "learning_rate", "rate": "learning_rate",
    "g_lr": "learning_rate", "d_lr": "learning_rate", "epochs": "iterations", "steps": "iterations",
    "num_steps": "iterations", "max_steps": "iterations", "max_iter": "iterations",
    "n_iter": "iterations", "total_steps": "iterations", "batch": "batch_size", "bs": "batch_size",
    "n_critic": "n_dis", "num_dis": "n_dis", "d_steps": "n_dis", "ema": "ema_decay",
    "resolution": "image_size", "img_size": "image_size", "size": "image_size",
    "data": "dataset", "z_dim": "latent_size", "nz": "latent_size", "latent_dim": "latent_size",
    "ngf": "generator_width", "ndf": "discriminator_width", "ch": "generator_width",
    "arch": "model", "architecture": "model", "network": "model", "k": "lipschitz",
    "gp": "gp_coefficient", "gp_weight": "gp_coefficient", "random_seed": "seed",
    "save_every": "checkpoint_every", "precision": "dtype", "norm": "method",
    "b1": "beta1", "b2": "beta2"}


def validate(config: ConfigDict, device_count: int) -> None:
    """Raises UserError for the first error in a config.

    Args:
      config: an `ml_collections.ConfigDict`, or any mapping with attribute access.
      device_count: number of devices among which a global batch is divided.
    """
    check_fields(config)
    for name, field in FIELDS.items():
        if name not in config:
            raise UserError(f"the config has no field {name}: set it to {in_words(field)}")
    factor = size_factor(config.model)
    for name in ("image_size", "image_width"):
        if config[name] % factor:
            below = config[name] - config[name] % factor
            sizes = f"{below} or {below + factor}" if below else str(factor)
            raise UserError(f"config.{name} is {config[name]}, but the model {config.model} makes "
                            f"images whose side is a multiple of {factor}: use {sizes}")
    for name in ("batch_size", "generator_batch_size"):
        if config[name] % device_count:
            raise UserError(f"config.{name} is {config[name]}, which the {device_count} devices "
                            f"cannot share equally: use a multiple of {device_count}")
        if config[name] % (parts := device_count * config.accumulate):
            on = "" if device_count == 1 else f" on each of the {device_count} devices"
            raise UserError(f"config.{name} is {config[name]}, which cannot be split into "
                            f"config.accumulate = {config.accumulate} equal parts{on}: use a "
                            f"multiple of {parts}")
    for name in ("iterations", "log_every", "sample_every", "checkpoint_every", "evaluate_every",
                 "keep_every"):
        if config[name] % config.iterations_per_call:
            raise UserError(f"config.iterations_per_call is {config.iterations_per_call}, but "
                            f"config.{name} ({config[name]}) is not a multiple of it: nothing can "
                            "be done between the iterations of a call; choose one that divides it")
    if config.evaluate_every:
        try:
            check_names(names_of(config.evaluate_metrics), config.evaluate_extractor)
        except UserError as error:
            raise UserError(f"config.evaluate_metrics is {config.evaluate_metrics!r}: {error}"
                            ) from error
    _check_effects(config)


def check_fields(config: Mapping[str, object]) -> None:
    """UserError for the first name that is not a field, or value that its field does not accept."""
    for name in config:
        if name not in FIELDS:
            raise UserError(unknown_field(name))
        value, field = config[name], FIELDS[name]
        kind = type(field.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not field.rule.accepts(value):
            raise UserError(f"config.{name} is {' '.join(repr(value).split())[:200]}, expected "
                            f"{in_words(field)}")


def in_words(field: Field) -> str:
    """The rule for a field's values, in words."""
    words = field.rule.words
    return words if isinstance(words, str) else words()


def names_of(text: str) -> list[str]:
    """The names in a text that separates them by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _check_effects(config: ConfigDict) -> None:
    """UserError for a choice that this config's model would ignore."""
    if config.model in CNNS:
        for name in ("upsampling", "pool", "shortcut_relu", "fusion"):
            default = FIELDS[name].default
            if config[name] != default:
                raise UserError(f"config.{name} is {config[name]!r}, but the model {config.model} "
                                f"has no such layer: leave it {default!r}, or use a resnet")
    if config.conditioning != "projection" and not config.conditional:
        raise UserError(f"config.conditioning is {config.conditioning!r}, but config.conditional "
                        "is false: add --config.conditional=true")


def config_warnings(config: ConfigDict) -> Iterator[str]:
    """Warnings about a valid config that will not, or probably not, do what its user wants."""
    method = method_of(config)
    penalized = method.regularizer == "gradient_penalty"
    read = layer_fields(method, config)
    if method.constraint == "project":
        read.add("lipschitz")
    if method.loss == "wasserstein" and not penalized and method.constraint == "none":
        if "lipschitz" in read:
            yield (f"config.method={config.method} with the Wasserstein loss is known to fail (the "
                   "authors, sngan_projection issue 15): use the hinge loss, or the method "
                   "sn_wgan_gp, whose scale is learnt")
        else:
            yield (f"config.method={config.method} does not bound the discriminator, so the "
                   "Wasserstein loss has no minimum: use wgan_gp or weight_clipping")
    if method.activation_norm == "batch" and penalized:
        yield ("batch norm in the discriminator makes each logit depend on the whole batch, but "
               "the gradient penalty assumes that it depends on one image: use "
               "--config.discriminator_norm=layer")
    if METHODS[config.method].loss == "wasserstein" != method.loss:
        yield (f"config.loss={method.loss} replaces the Wasserstein loss of {config.method}: "
               "set --config.loss= for the method's own")
    if config.generator_layers:
        read.add("power_steps")
    for name in ("lipschitz", "power_steps"):
        if config[name] != FIELDS[name].default and name not in read:
            yield (f"config.{name}={config[name]} has no effect: the layers of the method "
                   f"{config.method} do not use it")


def unknown_field(name: str) -> str:
    """The error for a field that does not exist."""
    near = likely_field(name)
    return f"config.{name} is not a field of a training config" + (
        f", did you mean {near}?" if near else ": sngan train --help lists them")


def likely_field(name: str, cutoff: float = 0.6) -> str | None:
    """The field that a name probably means; None if there is none.

    cutoff: how similar it must be, from 0 to 1.
    """
    if name in FIELDS:
        return name
    if known := SYNONYMS.get(name.lower()):
        return known
    near = difflib.get_close_matches(name.lower(), FIELDS, 1, cutoff)
    return near[0] if near else None
