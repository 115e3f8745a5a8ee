"""A config from a text on the command line, without absl: FILE[:ARGUMENT] and changed fields."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.run.config import FIELDS
from sngan_jax.run.validate import unknown_field, validate


def read_config(text: str, changes: Iterable[str], device_count: int) -> Any:
    """A validated config: FILE[:ARGUMENT] with changes FIELD=VALUE; UserError for what is wrong.

    Args:
      device_count: as of `validate`.
    """
    file, _, argument = text.partition(":")
    if not Path(file).is_file():
        raise UserError(f"--config={text}: there is no file {file}")
    spec = importlib.util.spec_from_file_location("config_to_read", file)
    if spec is None or spec.loader is None:
        raise UserError(f"--config={text}: {file} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(argument)
    for change in changes:
        name, _, value = change.partition("=")
        if name not in FIELDS:
            raise UserError(unknown_field(name))
        kind = type(FIELDS[name].default)
        try:
            config[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise UserError(f"{change}: {name} takes {kind.__name__}") from None
    validate(config, device_count)
    return config
