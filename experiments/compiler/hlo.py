"""The text of a compiled program, `compiled.as_text()`, as computations of instructions.

It parses only the facts needed here: the opcode of an instruction, the computations that it calls,
the number of passes of a loop, and the Python functions that it comes from. The names are XLA's: a
program is a set of *computations*, one of them the entry; a *fusion* is an instruction that stands
for another computation.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) .*\{$")
_INSTRUCTION = re.compile(r"  (?:ROOT )?%?(?P<name>[\w.-]+) = (?P<rest>.*)")
_OPCODE = re.compile(r" ?(?P<opcode>[a-z][\w-]*)\(")
_CALLED = re.compile(r"\b(?:calls|to_apply|called_computations)=\{?%?([\w.-]+)")
_BODY = re.compile(r"\bbody=%?([\w.-]+)")
_CONDITION = re.compile(r"\bcondition=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_KERNEL = re.compile(r'\bname = "([^"]*)"')
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_ROW = re.compile(r"(\d+) (?:\"(?P<text>.*)\"|\{(?P<fields>.*)\})$")
_SECTIONS = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


class Instruction(NamedTuple):
    """One line of a computation.

    opcode: 'fusion', 'custom-call', 'copy', …
    called: the computation of a fusion, a call or an asynchronous start; otherwise empty.
    body, condition: computations of a loop; otherwise empty.
    trips: number of passes of a loop; None if the text does not say.
    target: target of a custom call.
    kernel: the name of a custom call's kernel, if it has one.
    op_name: JAX's path of transformations and modules.
    frame: index for `Program.functions`; 0 for none.
    """

    name: str
    opcode: str
    called: str = ""
    body: str = ""
    condition: str = ""
    trips: int | None = None
    target: str = ""
    kernel: str = ""
    op_name: str = ""
    frame: int = 0


class Function(NamedTuple):
    """A Python function on the stack when an operation was traced.

    file: the path of its source.
    name: qualified name, such as 'Outer.method' or 'outer.<locals>.inner'.
    """

    file: str
    name: str


class Program:
    """A compiled program.

    Args:
      text: `compiled.as_text()`.

    Attributes:
      computations: {name: instructions}.
      entry: the name of the computation where the program begins.
    """

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        tables: dict[str, dict[int, str]] = {name: {} for name in _SECTIONS}
        section, current = "", None
        for line in text.split("\n"):
            if line in tables:
                section = line
            elif section and (row := _ROW.match(line)):
                tables[section][int(row[1])] = row["text"] or row["fields"] or ""
            elif not line.startswith(" "):
                section = section if not line else ""
                if begin := _COMPUTATION.match(line):
                    current = self.computations.setdefault(begin["name"], [])
                    self.entry = begin["name"] if begin["entry"] else self.entry
            elif current is not None and (found := _INSTRUCTION.match(line)):
                current.append(_instruction(found["name"], found["rest"]))
        self._tables = tables
        self.functions = functools.cache(self._functions)

    def _functions(self, frame: int) -> tuple[Function, ...]:
        """The functions of a frame, innermost first."""
        found = []
        while fields := self._tables["StackFrames"].get(frame):
            place = self._tables["FileLocations"].get(_number(fields, "file_location_id"), "")
            found.append(Function(
                self._tables["FileNames"].get(_number(place, "file_name_id"), ""),
                self._tables["FunctionNames"].get(_number(place, "function_name_id"), "")))
            frame = _number(fields, "parent_frame_id") - 1  # the text counts parents from one
        return tuple(found)

    def inside(self, instruction: Instruction) -> Iterator[Instruction]:
        """The instructions for which an instruction stands: the content of a fusion, or itself."""
        if instruction.opcode == "fusion" and instruction.called in self.computations:
            for one in self.computations[instruction.called]:
                yield from self.inside(one)
        else:
            yield instruction


def _instruction(name: str, rest: str) -> Instruction:
    opcode = _OPCODE.match(rest, _after_type(rest))
    path, frame, called = _OP_NAME.search(rest), _FRAME.search(rest), _CALLED.search(rest)
    found = Instruction(name, opcode["opcode"] if opcode else "", called[1] if called else "",
                        op_name=path[1] if path else "", frame=int(frame[1]) if frame else 0)
    if found.opcode == "while":
        body, condition = _BODY.search(rest), _CONDITION.search(rest)
        trips = _TRIPS.search(rest)
        found = found._replace(body=body[1] if body else "",
                               condition=condition[1] if condition else "",
                               trips=int(trips[1]) if trips else None)
    if found.opcode == "custom-call":
        target, kernel = _TARGET.search(rest), _KERNEL.search(rest)
        found = found._replace(target=target[1] if target else "",
                               kernel=kernel[1] if kernel else "")
    return found


def _after_type(text: str) -> int:
    """The end of the type of an instruction's result: `f32[2]{0}`, or a tuple in brackets."""
    if not text.startswith("("):
        return text.index(" ")
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place + 1
    return len(text)


def _number(fields: str, name: str) -> int:
    found = re.search(rf"\b{name}=(\d+)", fields)
    return int(found[1]) if found else 0
