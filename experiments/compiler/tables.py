"""A record of a compilation as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .tpus import GIB

# The headers of `row`, for a sweep over TPU slices, and of `launch_row`, for one over cards.
ROW = ("topology", "method", "cores", "batch", "a core", "HBM GiB", "GFLOP", "compute ms",
       "all-reduces", "MiB summed", "communication ms", "iterations/s", "hours")
LAUNCH_ROW = ("target", "method", "devices", "batch", "a device", "memory GiB", "of GiB",
              "launches", "once", "an update of D", "SN", "checks", "verdict")


def table(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """All entries of a record, in two columns."""
    core = "device" if "launches" in record else "core"
    batch = f"{record['batch_size']} ({record['batch_size'] // record['devices']} a {core})"
    hosts = f", {record['hosts']} hosts" if record["hosts"] > 1 else ""
    rows: list[tuple[str, ...]] = [
        ("config", f"{record['model']} on {record['dataset']}, {record['method']}, "
         f"{record['dtype']}, n_dis {record['n_dis']}, fusion {record['fusion']}, batch norm over "
         f"{record['bn_sync']}"),
        ("target", f"{record['topology']}: {record['devices']} x {record['device']}{hosts}"),
        ("compiler", record["compiler"]),
        ("batch", f"D {batch}, G {record['generator_batch_size']}")]
    if not record["compiles"]:
        return [*rows, ("compiles", f"no: {record['why_not']}")]
    return [*rows, ("compiles", f"yes, in {record['compile_seconds']:.0f} s"), *_memory(record),
            *(_launches(record) if "launches" in record else _time(record))]


def _memory(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "memory of a device", (f"{record['hbm_bytes'] / GIB:.2f} of "
                                 f"{record['hbm_of_core'] / GIB:.1f} GiB: {verdict(record)}")
    for name, size in record["hbm_parts"].items():
        if size:
            yield f"  {name}", f"{size / 2**20:,.1f} MiB"
    yield "state donated", "yes" if record["donated"] else "NO"


def verdict(record: dict[str, Any]) -> str:
    """Whether a program fits, in words."""
    if not record["compiles"]:
        return "does not compile"
    if record["fits"]:
        return "fits"
    if record["hbm_bytes"] <= 0.95 * record["hbm_of_device"] and "launches" in record:
        return ("DOES NOT FIT the part that JAX reserves of the card's "
                f"{record['hbm_of_device'] / GIB:.1f}; with XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 it "
                "does")
    return "DOES NOT FIT"


def _launches(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    n_dis, update = record["n_dis"], record["launches_of_an_update"]
    yield "launches of an iteration", f"{record['launches']:,}" + (
        f" = {record['launches_once']:,} + {n_dis} x {update:,} (once, and in each update of D)"
        if update else "")
    for origin, (once, repeated, total) in record["launches_by_origin"].items():
        yield f"  {origin}", f"{total:,}" + (f" = {once:,} + {n_dis} x {repeated:,}"
                                             if update else "")
    for one in record["open_loops"]:
        yield "beside them", (
            f"{one['times']} times a loop ({one['function']}) that {one['does']}: "
            f"{one['launches_of_a_pass']} launches per pass; the data decide how many passes")
    if record["all_reduces"]:
        yield "all-reduces", (f"{record['all_reduces']}, "
                              f"{record['all_reduce_bytes'] / 2**20:,.1f} MiB")
    yield "at 1.5 µs each", (f"{record['launch_seconds_on_h100'] * 1e3:.2f} ms an iteration, as "
                             "measured on an H100")


def _time(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    unknown = record["without_estimate"]
    yield "FLOPs of a core", f"{record['flops'] / 1e9:,.1f} G, with one update of D"
    yield "optimal_seconds", (
        f"{record['optimal_seconds'] * 1e3:.3f} ms with one update of D, "
        f"{record['loop_share']:.0%} of it in the loop: {record['compute_seconds'] * 1e3:.3f} ms "
        "an iteration"
        + (f", without {unknown} operations that have no estimate" if unknown else ""))
    yield "all-reduces", (
        f"{record['all_reduces']} of gradients and metrics (n_dis + 1 = {record['n_dis'] + 1}; "
        f"instructions: {record['all_reduce_instructions']}), "
        f"{record['all_reduce_bytes'] / 2**20:,.1f} MiB")
    yield "  of batch norm", (
        f"{record['bn_all_reduces']} (instructions: {record['bn_all_reduce_instructions']}), "
        f"{record['bn_all_reduce_bytes'] / 2**10:,.1f} KiB")
    yield "communication", f"{record['communication_seconds'] * 1e3:.3f} ms"
    yield "predicted", (f"{record['iterations_per_second']:,.1f} iterations/s, "
                        f"{record['hours']:,.2f} h for {record['iterations']:,} iterations")
    yield "input", f"{record['images_per_second_per_host']:,.0f} images/s per host"
    yield "  assuming", record["assumption"]


def row(record: dict[str, Any]) -> tuple[str, ...]:
    """A record of a TPU as a line of the scaling table (ROW)."""
    if not record.get("compiles"):
        return (*_head(record), *("",) * 7, record.get("why_not", ""))
    return (*_head(record), f"{record['hbm_bytes'] / GIB:.2f}", f"{record['flops'] / 1e9:,.0f}",
            f"{record['compute_seconds'] * 1e3:.2f}",
            f"{record['all_reduces']} + {record['bn_all_reduces']}",
            f"{(record['all_reduce_bytes'] + record['bn_all_reduce_bytes']) / 2**20:,.0f}",
            f"{record['communication_seconds'] * 1e3:.2f}",
            f"{record['iterations_per_second']:,.0f}", f"{record['hours']:,.1f}")


def launch_row(record: dict[str, Any]) -> tuple[str, ...]:
    """A record of a card as a line (LAUNCH_ROW)."""
    if not record.get("compiles"):
        return (*_head(record), *("",) * 7, record.get("why_not", ""))
    origins = record["launches_by_origin"]
    return (*_head(record), f"{record['hbm_bytes'] / GIB:.2f}",
            f"{record['hbm_of_core'] / GIB:.1f}", f"{record['launches']:,}",
            f"{record['launches_once']:,}", f"{record['launches_of_an_update']:,}",
            f"{origins['power iteration and W̄'][2]:,}", f"{origins['checks'][2]:,}",
            verdict(record))


def _head(record: dict[str, Any]) -> tuple[str, ...]:
    return (record["topology"], record["method"], str(record["devices"]),
            str(record["batch_size"]), str(record["batch_size"] // record["devices"]))
