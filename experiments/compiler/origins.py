"""Origin of a launch: one of ORIGINS, by the Python functions that asked for it.

JAX writes into a program the stack of Python functions of each operation, of its backward too, and
XLA keeps it through its passes. So an origin is a set of modules and functions:

1. An instruction has the first origin of TABLE that has one of its stack's functions. A weight's
   normalisation stands before the layer that calls it. Without any, it is of the rest.
2. A fusion mixes instructions of several origins. It has that of the most of them: a check that
   rides in a kernel of the optimizer costs no launch. Of two with as many, the earlier of TABLE.
   What XLA itself put in has no stack and no vote.
3. A launch that only moves numbers or casts them is of "casts and copies", whoever asked for it;
   but not where the weights' normalisation did, without which it would not be there.

A launch has one origin, so the origins add up to all launches. One limit: what JAX traces once for
several callers (`jnp.where`) has the stack of the first one.
"""

from __future__ import annotations

import collections
import functools
from typing import NamedTuple

from .hlo import Function, Instruction, Program

NORMALISATION = "power iteration and W̄"
CONVOLUTIONS = "convolutions"
NETWORKS = "batch norm and activations"
OPTIMIZER = "optimizer and averages"
CHECKS = "checks"
CASTS = "casts and copies"
REST = "the rest"
ORIGINS = (NORMALISATION, CONVOLUTIONS, NETWORKS, OPTIMIZER, CHECKS, CASTS, REST)


class Names(NamedTuple):
    """Names that an origin is known by.

    modules: dotted; a package stands for all that is in it.
    functions: functions of sngan_jax, qualified, without the functions that they are inside of.
    """

    modules: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


# A test holds every name against the code. What is computed beside a product in the same layer
# (padding, resizing, bias) is the convolutions', dense layers are too; what stands in the networks
# outside of layers (ReLU, sums) is of the activations.
TABLE: tuple[tuple[str, Names], ...] = (
    (NORMALISATION, Names(("sngan_jax.spectral", "sngan_jax.divisors", "sngan_jax.network",
                           "sngan_jax.packing"),
                          ("_reparametrize",))),
    (CHECKS, Names(("sngan_jax.step.checks",))),
    (OPTIMIZER, Names(("optax",), ("update_player", "moving_average", "mean_over_devices",
                                   "clip_weights", "project_weights"))),
    (CONVOLUTIONS, Names(("sngan_jax.models.convolution", "sngan_jax.models.resample",
                          "flax.linen.linear"), ("ConvTranspose.__call__",))),
    (NETWORKS, Names(("sngan_jax.activation_norms", "flax.linen.normalization",
                      "sngan_jax.models"))),
)
_PLACES = [origin for origin, _ in TABLE] + [REST]
# Roots of the files' names in a stack.
_PACKAGES = ("sngan_jax", "flax", "optax")
_MOVES = {"copy", "copy-start", "convert", "bitcast", "bitcast-convert", "transpose", "reshape",
          "broadcast", "slice", "concatenate", "reverse", "pad"}
# No work of their own: they have no vote.
_SILENT = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "broadcast"}


def origin_of(program: Program, instruction: Instruction) -> str:
    """One of ORIGINS, for an instruction that is launched."""
    inside = [one for one in program.inside(instruction) if one.opcode not in _SILENT]
    stacks = [program.functions(one.frame) for one in inside]
    votes = collections.Counter(of_stack(stack) for stack in stacks if stack)
    origin = max(_PLACES, key=lambda name: votes[name]) if votes else REST
    moves = all(one.opcode in _MOVES for one in inside)
    return CASTS if moves and origin != NORMALISATION else origin


@functools.cache
def of_stack(functions: tuple[Function, ...]) -> str:
    """The first origin of TABLE that has one of these functions; REST for none."""
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
    """The dotted name of a source file of a known package; empty for another one's."""
    for package in _PACKAGES:
        _, separator, inside = file.rpartition(f"/{package}/")
        if separator:
            return f"{package}.{inside.removesuffix('.py').replace('/', '.')}"
    return ""
