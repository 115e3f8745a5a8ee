"""Facts from the NVIDIA compiler about a program: its launches by origin, and its all-reduces."""

from __future__ import annotations

import collections
from typing import Any

from .collectives import sizes_of_all_reduces
from .hlo import Program
from .launches import OPEN_LOOPS, Launches, launches_of
from .origins import ORIGINS, origin_of
from .targets import Cards

# Without a card nothing can be tried out, so XLA takes the first algorithm that fits. Any other
# level needs a card.
OPTIONS = {"xla_gpu_autotune_level": 0}
# Measured on one H100: 1,120 more launches per iteration took 1.6 ms more (docs/compile_check.md).
LAUNCH_SECONDS = 1.5e-6


def cost_of(compiled: Any, config: Any, target: Cards) -> dict[str, Any]:
    """Launches per iteration, and the least time that they take on an H100.

    Raises:
      UserError: for a program whose launches cannot be counted.
    """
    del target  # for the same signature as `tpu.cost_of`
    text = compiled.as_text()
    program = Program(text)
    launches = launches_of(program)
    update = update_of(launches, config.n_dis)
    rows = {origin: [0, 0, 0] for origin in ORIGINS}
    for one in launches.counted:
        row = rows[origin_of(program, one.instruction)]
        row[2] += one.times
        if update and one.loop == update:
            row[1] += one.times // config.n_dis
        else:
            row[0] += one.times
    entry, repeated, total = map(sum, zip(*rows.values(), strict=True))
    kinds: collections.Counter[str] = collections.Counter()
    for one in launches.counted:
        kinds[one.instruction.target or one.instruction.opcode] += one.times
    found = sizes_of_all_reduces(text)
    reduces = [one for one in launches.counted if one.instruction.name in found]
    return {
        "launches": total, "launches_once": entry, "launches_of_an_update": repeated,
        "launches_by_origin": rows, "launches_by_kind": dict(kinds.most_common()),
        "open_loops": [{"function": one.function, "does": OPEN_LOOPS[one.function],
                        "launches_of_a_pass": one.launches, "times": one.times}
                       for one in launches.open],
        "launch_seconds_on_h100": total * LAUNCH_SECONDS,
        "all_reduces": sum(one.times for one in reduces),
        "all_reduce_bytes": sum(one.times * found[one.instruction.name] for one in reduces)}


def update_of(launches: Launches, n_dis: int) -> str:
    """The loop over D's updates: among the loops that run n_dis times, the loop with most launches.

    Empty if there is none, as with one update of D.
    """
    loops = [loop for loop, trips in launches.loops.items() if trips == n_dis]
    return max(loops, key=launches.of_body, default="")
