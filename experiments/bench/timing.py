"""Shared parts of the benchmarks: turns, tables, the machine and its ceilings."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import jax
import jax.numpy as jnp

from sngan_jax.base.provenance import commit


def in_turns(runs: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 2
             ) -> dict[str, list[float]]:
    """{name: seconds of each call}. The order alternates, so that drift affects all alike."""
    for run in runs.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name in sorted(runs, reverse=turn % 2 == 1):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each entry."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def print_table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
    """Aligned columns."""
    columns = [[str(cell) for cell in column] for column in zip(header, *rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def matmul_peak(dtype: Any = jnp.float32, repeats: int = 5) -> float:
    """FLOP/s of the fastest of several square matrix products, each the best of its repeats."""
    best = 0.0
    sizes = (2048, 4096) if jax.default_backend() == "cpu" else (4096, 8192, 16384)
    for n in sizes:
        a = jnp.ones((n, n), dtype)
        product = jax.jit(lambda a: a @ a)
        product(a).block_until_ready()
        for _ in range(repeats):
            start = time.perf_counter()
            product(a).block_until_ready()
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def bandwidth(repeats: int = 5) -> float:
    """Bytes/s read and written by adding one to an array much larger than a cache."""
    # On an accelerator, large enough to take much longer than the call itself.
    x = jnp.ones((2**26 if jax.default_backend() == "cpu" else 2**28,), jnp.float32)
    add = jax.jit(lambda x: x + 1)
    add(x).block_until_ready()
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        add(x).block_until_ready()
        best = max(best, 2 * x.nbytes / (time.perf_counter() - start))
    return best


def machine() -> dict[str, Any]:
    """The provenance that must accompany a figure."""
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "host_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def print_report(report: Mapping[str, Any]) -> None:
    """Prints the figures with the commit and the machine, as one line of JSON."""
    print(json.dumps({**report, **machine()}))
