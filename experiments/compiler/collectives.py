"""Facts from the compiler's text of a program: all-reduces, and the share of its loop."""

from __future__ import annotations

import collections
import math
import re
from typing import NamedTuple

_BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "u16": 2, "s8": 1, "u8": 1,
          "pred": 1}
_INSTRUCTION = re.compile(r"=\s*(?P<shape>.*?)\s+all-reduce(?:-start)?\(")
_NAME = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = ")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) .*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_BODY = re.compile(r" while\(.*\bbody=%?([\w.-]+)")


class AllReduce(NamedTuple):
    """One all-reduce instruction.

    arrays, bytes: number of arrays that it sums, and their bytes.
    in_loop: whether it is in the loop over the discriminator's updates.
    of_norm: whether it belongs to a synchronized batch norm, not to gradients and metrics.
    """

    arrays: int
    bytes: int
    in_loop: bool
    of_norm: bool


def all_reduces(text: str) -> list[AllReduce]:
    """The all-reduces of an optimized program, `compiled.as_text()`."""
    found = []
    for line in text.splitlines():
        if not (instruction := _INSTRUCTION.search(line)):
            continue
        arrays = _ARRAY.findall(instruction["shape"])
        size = sum(_BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n)
                   for kind, shape in arrays)
        name = re.search(r'op_name="([^"]*)"', line)
        path = name[1] if name else ""
        found.append(AllReduce(len(arrays), size, "/while/" in path,
                               bool(re.search(r"/norm\d*/", path))))
    return found


def sizes_of_all_reduces(text: str) -> dict[str, int]:
    """{name of the instruction: number of bytes that it reduces} for an optimized program."""
    return {name[1]: all_reduces(line)[0].bytes for line in text.split("\n")
            if _INSTRUCTION.search(line) and (name := _NAME.match(line))}


def executed(found: list[AllReduce], n_dis: int) -> tuple[int, int]:
    """The number of all-reduces in an iteration, and the number of bytes that they reduce."""
    times = [n_dis if one.in_loop else 1 for one in found]
    return sum(times), sum(n * one.bytes for n, one in zip(times, found, strict=True))


def updates(n_dis: int, share: float) -> float:
    """How often an iteration does the work that the compiler counts for one update of D.

    Args:
      share: `loop_share`; not used if n_dis is 1.
    """
    return 1 + (n_dis - 1) * share if n_dis > 1 else 1.0


def loop_share(text: str) -> float:
    """The share of the largest loop's body in the compiler's estimate of a program's cycles.

    The body, one update of D, counts once, as in all of the compiler's figures for a program. NaN
    if there is no estimate.
    """
    cycles: collections.Counter[str] = collections.Counter()
    bodies: set[str] = set()
    name = ""
    for line in text.splitlines():
        if not line.startswith(" ") and (begin := _COMPUTATION.match(line)):
            name = begin[1]
        if found := _CYCLES.search(line):
            cycles[name] += int(found[1])
        if found := _BODY.search(line):
            bodies.add(found[1])
    total = cycles.total()
    return max((cycles[body] for body in bodies), default=0) / total if total else math.nan
