"""The origin of a launch: one of ORIGINS, by the Python functions that asked for it.

JAX writes the stack of Python functions of each operation into a program, also for its backward
pass, and XLA keeps it through its passes. So an origin is a set of modules and functions:

1. An instruction has the first origin in TABLE that has one of the functions on its stack. In
   TABLE, a weight's normalization precedes the layer that calls it. Without any match, the
   instruction belongs to the rest.
2. A fusion mixes instructions of several origins, and gets the most frequent one. A check inside a
   kernel of the optimizer thus costs no launch. In a tie, the earlier one in TABLE wins.
   Instructions that XLA itself inserted have no stack and no vote.
3. A launch that only moves or casts numbers belongs to "casts and copies", whatever its stack,
   unless the weights' normalization needs it.

A launch has one origin, so the origins add up to all launches. One limit: an operation that JAX
traces once for several callers (`jnp.where`) has the stack of the first one.
"""

from __future__ import annotations

import collections
import functools
from typing import NamedTuple

from .hlo import Function, Instruction, Program

NORMALIZATION = "power iteration and W̄"
CONVOLUTIONS = "convolutions"
NETWORKS = "batch norm and activations"
OPTIMIZER = "optimizer and averages"
CHECKS = "checks"
CASTS = "casts and copies"
REST = "the rest"
ORIGINS = (NORMALIZATION, CONVOLUTIONS, NETWORKS, OPTIMIZER, CHECKS, CASTS, REST)


class Names(NamedTuple):
    """The names by which an origin is recognized.

    modules: dotted names; a package stands for all modules in it.
    functions: functions of sngan_jax, qualified, without the functions that contain them.
    """

    modules: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


# A test checks every name against the code. Operations beside a product in the same layer (padding,
# resizing, bias) count as convolutions, and so do dense layers; operations of the networks outside
# layers (ReLU, sums) count as activations.
TABLE: tuple[tuple[str, Names], ...] = (
    (NORMALIZATION, Names(("sngan_jax.spectral", "sngan_jax.divisors", "sngan_jax.network",
                           "sngan_jax.packing"),
                          ("reparametrized",))),
    (CHECKS, Names(("sngan_jax.step.checks",))),
    (OPTIMIZER, Names(("optax",), ("update_player", "moving_average", "mean_over_devices",
                                   "clip_weights", "project_weights"))),
    (CONVOLUTIONS, Names(("sngan_jax.models.convolution", "sngan_jax.models.resample",
                          "flax.linen.linear"), ("ConvTranspose.__call__",))),
    (NETWORKS, Names(("sngan_jax.activation_norms", "flax.linen.normalization",
                      "sngan_jax.models"))),
)
_PLACES = [origin for origin, _ in TABLE] + [REST]
# The roots of file names in a stack.
_PACKAGES = ("sngan_jax", "flax", "optax")
_MOVES = {"copy", "copy-start", "convert", "bitcast", "bitcast-convert", "transpose", "reshape",
          "broadcast", "slice", "concatenate", "reverse", "pad"}
# Opcodes of instructions that do no work themselves, and get no vote.
_SILENT = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "broadcast"}


def origin_of(program: Program, instruction: Instruction) -> str:
    """One of ORIGINS, for an instruction that is launched."""
    inside = [one for one in program.inside(instruction) if one.opcode not in _SILENT]
    stacks = [program.functions(one.frame) for one in inside]
    votes = collections.Counter(of_stack(stack) for stack in stacks if stack)
    origin = max(_PLACES, key=lambda name: votes[name]) if votes else REST
    moves = all(one.opcode in _MOVES for one in inside)
    return CASTS if moves and origin != NORMALIZATION else origin


@functools.cache
def of_stack(functions: tuple[Function, ...]) -> str:
    """The first origin in TABLE that has one of these functions; REST if none has."""
    modules = {module_of(function.file) for function in functions}
    names = {function.name.split("<locals>.")[-1] for function in functions
             if module_of(function.file).startswith("sngan_jax.")}
    for origin, known in TABLE:
        if names.intersection(known.functions) or any(
                f"{module}.".startswith(f"{prefix}.")
                for module in modules for prefix in known.modules):
            return origin
    return REST


def module_of(file: str) -> str:
    """The dotted name of a source file in a known package; otherwise empty."""
    for package in _PACKAGES:
        _, separator, inside = file.rpartition(f"/{package}/")
        if separator:
            return f"{package}.{inside.removesuffix('.py').replace('/', '.')}"
    return ""
