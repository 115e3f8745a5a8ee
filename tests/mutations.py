"""Puts small errors into the library, and counts how many the tests of each file find.

    python -m tests.mutations
    python -m tests.mutations --seed=1 --count=8 --only=losses,kid

An error is a flipped sign, a dropped stop_gradient, a number or comparison that is off by one, or
two swapped arguments. The places are drawn by the seed, as many from each file. Each is made in a
copy of the tree, where the file's tests of the default suite run until one fails. Prints one line
per error, and the total. The exit status is 1 if fewer than nine in ten are found.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
TESTS = {
    "losses": ("sngan_jax/losses.py", "tests/test_losses.py"),
    "kid": ("sngan_jax/metrics/kid.py", "tests/metrics/test_kid.py"),
    "frechet": ("sngan_jax/metrics/frechet.py", "tests/metrics/test_frechet.py"),
    "pipeline": ("sngan_jax/data/pipeline.py", "tests/data/test_pipeline.py"),
    "checkpoint": ("sngan_jax/run/checkpoint.py", "tests/run/test_checkpoint.py"),
    "spectral": ("sngan_jax/spectral.py", "tests/test_spectral.py"),
    "divisors": ("sngan_jax/divisors.py", "tests/test_divisors.py", "tests/test_layers_options.py"),
    "reparametrization": ("sngan_jax/reparametrization.py", "tests/test_layers.py",
                          "tests/test_layers_options.py"),
    "layers": ("sngan_jax/layers.py", "tests/test_layers.py", "tests/test_network.py",
               "tests/test_layers_options.py", "tests/test_layers_transforms.py"),
    "packing": ("sngan_jax/packing.py", "tests/test_packing.py", "tests/test_network.py"),
    "network": ("sngan_jax/network.py", "tests/test_packing.py", "tests/test_network.py",
                "tests/test_layers_transforms.py"),
    "step": ("sngan_jax/step/iteration.py", "tests/step/test_iteration.py")}
_SECONDS = 1500


class Mutation(NamedTuple):
    """A replacement of a file's bytes from `start` to `end`."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str


def mutations(file: str, source: str) -> list[Mutation]:
    """Every error that can be made in a file."""
    data, starts = source.encode(), [0]
    for line in source.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)

    def place(node: ast.AST) -> tuple[int, int]:
        return (starts[node.lineno - 1] + node.col_offset,
                starts[node.end_lineno - 1] + node.end_col_offset)

    def text(node: ast.AST) -> str:
        start, end = place(node)
        return data[start:end].decode()

    found = []
    for node in _code(ast.parse(source)):
        new = None
        match node:
            case ast.BinOp(left, ast.Add() | ast.Sub() as op, _):
                sign = "-" if isinstance(op, ast.Add) else "+"
                # The right side keeps its brackets.
                rest = data[place(left)[1]:place(node)[1]].decode()
                new = text(left) + rest.replace({"-": "+", "+": "-"}[sign], sign, 1)
            case ast.UnaryOp(ast.USub(), operand):
                new = text(operand)
            case ast.Call(_, [first, second, *_], _):
                start, end = place(node)
                (a, b), (c, d) = place(first), place(second)
                new = (data[start:a] + data[c:d] + data[b:c] + data[a:b] + data[d:end]).decode()
            case ast.Call(ast.Attribute(_, "stop_gradient"), [value]):
                new = text(value)
            case ast.Constant(value) if type(value) is int:
                new = str(value + 1)
            case ast.Compare(left, [ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE() as op], [_]):
                sign, other = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="),
                               ast.GtE: (">=", ">")}[type(op)]
                rest = data[place(left)[1]:place(node)[1]].decode()
                new = text(left) + rest.replace(sign, other, 1)
        if new is not None and new != text(node):
            found.append(Mutation(file, node.lineno, *place(node), text(node), new))
    return found


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except annotations."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child)


def survives(mutation: Mutation, tests: tuple[str, ...], cache: str) -> bool:
    """Whether the tests pass with the error."""
    with tempfile.TemporaryDirectory(prefix="sngan_jax_mutation_") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(
            "__pycache__", "runs", "build", "*.egg-info", ".hypothesis", "_build", "generated"))
        data = (copy / mutation.file).read_bytes()
        (copy / mutation.file).write_bytes(
            data[:mutation.start] + mutation.new.encode() + data[mutation.end:])
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider",
                 f"--basetemp={folder}/tests", *tests],
                cwd=copy, capture_output=True, timeout=_SECONDS,
                env={**os.environ, "PYTHONPATH": str(copy), "JAX_PLATFORMS": "cpu",
                     "JAX_COMPILATION_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": "1"})
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def main() -> int:
    """Makes the errors that the flags name."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=33)
    parser.add_argument("--only", default=",".join(TESTS), help="files by their names, with commas")
    flags = parser.parse_args()
    rng, drawn = np.random.default_rng(flags.seed), []
    for n, (name, (file, *tests)) in enumerate(TESTS.items()):
        every = mutations(file, (ROOT / file).read_text())
        share = flags.count // len(TESTS) + (n < flags.count % len(TESTS))
        for i in rng.permutation(len(every))[:share]:
            drawn.append((name, every[i], tuple(tests)))
    drawn = [one for one in drawn if one[0] in flags.only.split(",")]
    found = 0
    with tempfile.TemporaryDirectory(prefix="sngan_jax_mutations_") as cache:
        for _, mutation, tests in drawn:
            begun = time.monotonic()
            alive = survives(mutation, tests, cache)
            found += not alive
            old, new = (" ".join(text.split()) for text in (mutation.old, mutation.new))
            print(f"{'SURVIVED' if alive else 'found'} {mutation.file}:{mutation.line}: {old} -> "
                  f"{new} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{found} of {len(drawn)} found")
    return int(found < 0.9 * len(drawn))


if __name__ == "__main__":
    sys.exit(main())
