"""The launches of a compiled GPU program, which XLA gives to the card one after another.

A launch is one instruction of the entry, or of a loop's body, that is more than bookkeeping: a
fusion (one kernel), a custom call (cuDNN, cuBLAS, a custom kernel), a copy, an all-reduce. A call
of cuDNN counts as one, though the library may start more than one kernel for it; the text does not
say. A loop's body counts once per pass, by the number of passes in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from sngan_jax.base.errors import UserError

from .hlo import Instruction, Program

# Instructions that only name or order values: nothing runs.
_BOOKKEEPING = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all",
                "add-dependency", "opt-barrier", "domain"}
# The end of an asynchronous operation; the instruction with -start begins it and is counted.
_DONE = re.compile(r"-(done|update)$")
# Loops whose number of passes depends on the data: {the function that writes them: what they do}.
# They are shown beside the launches and not counted. All other loops must give their passes.
OPEN_LOOPS = {"epoch_permutation": "draws the numbers of a batch's images until all are in the set"}
# Custom calls that are custom kernels.
_OWN = re.compile(r"triton|mosaic|pallas", re.IGNORECASE)
_STAGES = re.compile(r"_stages_(\d+)$")


class Launch(NamedTuple):
    """An instruction that is launched, and how often in one call of the program.

    times: launches in a call; more than one inside a loop, or for a kernel of several stages.
    loop: the outermost loop that contains it; empty in straight-line code.
    """

    instruction: Instruction
    times: int
    loop: str


class OpenLoop(NamedTuple):
    """A loop of `OPEN_LOOPS`.

    function: its key there.
    launches: launches of one pass, including the test of its condition.
    times: how often the loop is entered in one call of the program.
    """

    function: str
    launches: int
    times: int


class Launches(NamedTuple):
    """All launches of a program. loops: {name of an outermost loop: how often its body runs}."""

    counted: list[Launch]
    open: list[OpenLoop]
    loops: dict[str, int]

    @property
    def total(self) -> int:
        """The launches in one call of the program, without open loops."""
        return sum(launch.times for launch in self.counted)

    def of_body(self, loop: str) -> int:
        """The launches of one pass through an outermost loop."""
        return sum(one.times for one in self.counted if one.loop == loop) // self.loops[loop]

    @property
    def entry(self) -> int:
        """The launches outside loops."""
        return sum(launch.times for launch in self.counted if not launch.loop)


def launches_of(program: Program) -> Launches:
    """Counts the launches of a program.

    Raises:
      UserError: for a loop of unknown passes, a branch, or a kernel that does not name its stages.
    """
    found = Launches([], [], {})
    for launch in _walk(program, program.entry, 1, "", found):
        found.counted.append(launch)
    return found


def _walk(program: Program, computation: str, times: int, loop: str, found: Launches
          ) -> Iterator[Launch]:
    for one in program.computations[computation]:
        if one.opcode in _BOOKKEEPING or _DONE.search(one.opcode):
            continue
        if one.opcode == "while":
            yield from _loop(program, one, times, loop, found)
        elif one.opcode == "conditional":
            raise UserError(f"the compiled program has a branch, {one.name}, and does not say "
                            "how often each side runs: its launches cannot be counted")
        elif one.opcode in ("call", "async-start") and one.called:
            yield from _walk(program, one.called, times, loop, found)
        else:
            yield Launch(one, times * _stages(one), loop)


def _loop(program: Program, one: Instruction, times: int, loop: str, found: Launches
          ) -> Iterator[Launch]:
    if one.trips is not None:
        # XLA runs a loop of known length without testing its condition.
        if not loop:
            found.loops[one.name] = one.trips
        yield from _walk(program, one.body, times * one.trips, loop or one.name, found)
        return
    names = [function.name.split(".")[0] for function in program.functions(one.frame)]
    name = next((name for name in names if name in OPEN_LOOPS), None)
    if name is None:
        raise UserError(
            f"the compiled program has a loop, {one.name} ({one.op_name or 'of no known origin'}), "
            "and does not say how often it runs: its launches cannot be counted")
    inner = [*_walk(program, one.body, 1, "", Launches([], [], {})),
             *_walk(program, one.condition, 1, "", Launches([], [], {}))]
    # The host reads the condition after each pass.
    found.open.append(OpenLoop(name, sum(launch.times for launch in inner) + 1, times))


def _stages(one: Instruction) -> int:
    """The number of launches that an instruction stands for.

    A custom kernel (Pallas, Triton) that waits inside for all of its blocks is no cheaper than the
    launches that it replaced. Each such wait begins a *stage*, and the stages are counted. The text
    does not show them, so the kernel's name must: `pallas_call(…, name="σ_stages_3")`. (Triton's
    `num_stages` is something else: how far loads run ahead.)
    """
    if one.opcode != "custom-call" or not _OWN.search(one.target):
        return 1
    stages = _STAGES.search(one.kernel)
    if not stages or not int(stages[1]):
        raise UserError(
            f"the kernel {one.kernel or one.name!r} ({one.target}) does not say how many stages it "
            "has: end its name with _stages_N, where N is one more than the number of times that "
            "all of its blocks wait for each other")
    return int(stages[1])
