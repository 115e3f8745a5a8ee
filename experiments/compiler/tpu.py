"""Facts from the TPU compiler about a program's time: arithmetic, memory traffic, all-reduces."""

from __future__ import annotations

import math
from typing import Any

from .collectives import all_reduces, executed, loop_share, updates
from .tpus import CHIPS, Topology

# Seconds for one link on the way of a message from the first chip to the farthest: not measured.
HOP_SECONDS = 1e-6
ASSUMPTION = ("at best: the compiler's bound on the arithmetic and memory of a core, of which the "
              "loop's share by its estimate of cycles is taken n_dis times, plus the all-reduces, "
              "one after the other, each 2·bytes over a chip's links and 1 µs a hop; no waiting "
              "for input")


def cost_of(compiled: Any, config: Any, topology: Topology) -> dict[str, Any]:
    """Work, all-reduces, and the time that follows from them."""
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    seconds, without = estimate(cost.get("optimal_seconds", math.nan))
    text = compiled.as_text()
    found, share = all_reduces(text), loop_share(text)
    compute = seconds * updates(config.n_dis, share)
    gradients = [one for one in found if not one.of_norm]
    norms = [one for one in found if one.of_norm]
    count, size = executed(found, config.n_dis)
    chip = CHIPS[topology.chip]
    communication = count * topology.hops * HOP_SECONDS + (
        2 * size * (1 - 1 / topology.devices) / chip.link_bytes)
    iteration = compute + communication
    images = config.n_dis * config.batch_size / iteration / topology.hosts
    pixels = (config.image_size * (config.image_width or config.image_size)
              * (config.channels or 3))
    return {
        "flops": cost.get("flops"), "bytes_accessed": cost.get("bytes accessed"),
        "optimal_seconds": seconds, "without_estimate": without,
        "loop_share": round(share, 4), "compute_seconds": compute,
        "all_reduce_instructions": len(gradients),
        "all_reduces": executed(gradients, config.n_dis)[0],
        "all_reduce_bytes": executed(gradients, config.n_dis)[1],
        "all_reduce_sizes": [[one.bytes, one.arrays, one.in_loop] for one in gradients],
        "bn_all_reduce_instructions": len(norms),
        "bn_all_reduces": executed(norms, config.n_dis)[0],
        "bn_all_reduce_bytes": executed(norms, config.n_dis)[1],
        "communication_seconds": communication, "iterations_per_second": 1 / iteration,
        "images_per_second_per_host": images,
        "input_bytes_per_second_per_host": images * pixels if config.stream else 0,
        "hours": config.iterations * iteration / 3600, "assumption": ASSUMPTION}


def estimate(optimal_seconds: float) -> tuple[float, int]:
    """Seconds, and the number of operations without an estimate by the compiler.

    The compiler counts each such operation as -1 s, so -14.9965 means 3.5 ms and fifteen
    operations.
    """
    without = max(math.ceil(-optimal_seconds), 0)
    return optimal_seconds + without, without
