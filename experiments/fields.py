"""The fields of a config on a command line: --help, and guesses at misspelt ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.run.config import FIELDS, SECTIONS
from sngan_jax.run.validate import in_words, unknown_field


def value_of(change: str) -> tuple[str, Any]:
    """FIELD=VALUE as (field, value of its type).

    Raises:
      UserError: for an unknown field, or a text that is not a value of its type.
    """
    name, equals, text = change.partition("=")
    name = name.strip()
    if not equals:
        raise UserError(f"{change!r} changes nothing: write FIELD=VALUE, such as --config.seed=1")
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
    """The error for a field that does not exist."""
    if not name:
        return "--config. is not followed by a field: write --config.FIELD=VALUE"
    parts = name.replace("[", ".").replace("]", "").split(".")
    if len(parts) > 1:
        inner = [part for part in parts if part in FIELDS]
        if parts[0] in FIELDS:
            return (f"config.{parts[0]} is {in_words(FIELDS[parts[0]])}, and has no part "
                    f"{'.'.join(parts[1:])!r}: write --config.{parts[0]}=VALUE")
        return (f"config.{name} is not a field: the fields of a config have no parts"
                + (f"; write --config.{inner[-1]}={value}" if inner else ""))
    return unknown_field(name)


def fields_help(values: Mapping[str, Any], whose: str) -> str:
    """One line per field: name, value, meaning."""
    lines = [f"fields of a config (--config.FIELD=VALUE), with the values of {whose}:"]
    for section, fields in SECTIONS.items():
        lines += ["", f"  {section}"]
        for name, field in fields.items():
            value = values.get(name, field.default)
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"    {f'{name}={shown}':<36}  {field.comment}")
    return "\n".join(lines)
