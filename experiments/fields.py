"""The fields of a config on a command line: --help, and what somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.run.config import FIELDS, SECTIONS
from sngan_jax.run.validate import in_words

# What the fields are called elsewhere.
SYNONYMS = {
    "lr": "learning_rate", "alpha": "learning_rate", "rate": "learning_rate",
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


def likely_field(name: str, cutoff: float = 0.6) -> str | None:
    """The field that a name stands for; None where it stands for none.

    cutoff: how like it must be, from 0 to 1.
    """
    if name in FIELDS:
        return name
    if known := SYNONYMS.get(name.lower()):
        return known
    near = difflib.get_close_matches(name.lower(), FIELDS, 1, cutoff)
    return near[0] if near else None


def value_of(change: str) -> tuple[str, Any]:
    """FIELD=VALUE as (field, value of its type).

    Raises:
      UserError: there is no such field, or the text is no value of its type.
    """
    name, equals, text = change.partition("=")
    name = name.strip()
    if not equals:
        raise UserError(f"{change!r} changes nothing: write FIELD=VALUE, as --config.seed=1")
    if name not in FIELDS:
        raise UserError(no_field(name, text))
    kind = type(FIELDS[name].default)
    try:
        if kind is bool:
            return name, {"true": True, "false": False}[text.lower()]
        return name, kind(text) if kind is str else kind(text.replace("_", "x"))
    except (KeyError, ValueError):
        raise UserError(f"config.{name} is {text!r}, expected {in_words(FIELDS[name])}") from None


def no_field(name: str, value: str) -> str:
    """The sentence about a field that there is not."""
    if not name:
        return "--config. is followed by no field: write --config.FIELD=VALUE"
    parts = name.replace("[", ".").replace("]", "").split(".")
    if len(parts) > 1:
        inner = [part for part in parts if part in FIELDS]
        if parts[0] in FIELDS:
            return (f"config.{parts[0]} is {in_words(FIELDS[parts[0]])}, and has no part "
                    f"{'.'.join(parts[1:])!r}: write --config.{parts[0]}=VALUE")
        return (f"config.{name} is no field: the fields of a config have no parts"
                + (f"; write --config.{inner[-1]}={value}" if inner else ""))
    if near := likely_field(name):
        return f"config.{name} is not a field of a training config, did you mean {near}?"
    return (f"config.{name} is not a field of a training config: --help lists them, and so does "
            "docs/configs.md")


def fields_help(values: Mapping[str, Any], whose: str) -> str:
    """A line a field: name, value, meaning."""
    lines = [f"fields of a config (--config.FIELD=VALUE), with the values of {whose}:"]
    for section, fields in SECTIONS.items():
        lines += ["", f"  {section}"]
        for name, field in fields.items():
            value = values.get(name, field.default)
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"    {f'{name}={shown}':<36}  {field.comment}")
    return "\n".join(lines)
