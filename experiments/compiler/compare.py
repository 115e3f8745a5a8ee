"""Cost of a method: a config compiled twice, the second time with another method."""

from __future__ import annotations

from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.methods import METHODS

from ..configs.paper import choose_method

# The parts of a record that differ between methods, for a table: (field, words, unit, divisor).
_TPU = (("compute_seconds", "compute of an iteration", "ms", 1e-3),
        ("optimal_seconds", "compute with one update of D", "ms", 1e-3),
        ("bytes_accessed", "bytes moved, one update of D", "MB", 1e6),
        ("flops", "arithmetic, one update of D", "GFLOP", 1e9))
_BOTH = (("hbm_bytes", "memory of a device", "MiB", 2**20),)


def with_method(config: Any, method: str) -> Any:
    """A copy of the config with another method; UserError for an unknown one."""
    if method not in METHODS:
        raise UserError(f"--compare={method}: no such method; there are " + ", ".join(METHODS))
    config = config.copy_and_resolve_references()
    if method == config.method:
        raise UserError(f"--compare={method}: the config has this method already")
    choose_method(config, method)
    return config


def difference(record: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Record minus other, where methods differ; empty if one does not compile."""
    if not (record["compiles"] and other["compiles"]):
        return {}
    found: dict[str, Any] = {field: record[field] - other[field]
                             for field, *_ in _BOTH + (() if "launches" in record else _TPU)}
    if "launches" in record:
        for field in ("launches", "launches_once", "launches_of_an_update"):
            found[field] = record[field] - other[field]
        found["launches_by_origin"] = {
            origin: [a - b for a, b in zip(row, other["launches_by_origin"][origin], strict=True)]
            for origin, row in record["launches_by_origin"].items()}
    return found


def table(record: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of two records side by side, with a header."""
    header = ("", record["method"], other["method"], "difference", "")
    if not (record["compiles"] and other["compiles"]):
        return [header, ("compiles", *("yes" if r["compiles"] else "no" for r in (record, other)),
                         "", "")]
    rows = [header]
    if "launches" in record:
        rows += [(origin, *_counts(row[2], other["launches_by_origin"][origin][2]))
                 for origin, row in record["launches_by_origin"].items()]
        rows += [("launches of an iteration", *_counts(record["launches"], other["launches"])),
                 ("  once", *_counts(record["launches_once"], other["launches_once"])),
                 (f"  an update of D, {record['n_dis']} times", *_counts(
                     record["launches_of_an_update"], other["launches_of_an_update"]))]
    for field, words, unit, divisor in _BOTH + (() if "launches" in record else _TPU):
        a, b = record[field] / divisor, other[field] / divisor
        rows.append((f"{words}, {unit}", f"{a:,.2f}", f"{b:,.2f}", f"{a - b:+,.2f}", _share(a, b)))
    return rows


def _counts(a: int, b: int) -> tuple[str, ...]:
    return f"{a:,}", f"{b:,}", f"{a - b:+,}", _share(a, b)


def _share(a: float, b: float) -> str:
    return f"{(a / b - 1) * 100:+.1f} %" if b else ""
