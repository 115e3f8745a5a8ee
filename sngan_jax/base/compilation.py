"""Compilation of functions for the available processor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from sngan_jax.base.types import PyTree

T = TypeVar("T")
Options = dict[str, Any]  # names and values of XLA's compiler options

# By platform. XLA's CPU back end (jax 0.10) hands convolutions and reductions to a library. The
# library takes up to four times as long on convolutions and their gradients, but is thirty times
# faster than XLA's own code on reductions, so it gets the reductions only.
# The TPU compiler splits an all-reduce of more than 128 MiB, such as the gradients of a large
# generator; here only from 512 MiB (docs/scaling.md).
OPTIONS: dict[str, Options] = {
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"},
    "tpu": {"xla_jf_crs_combiner_threshold_in_bytes": 2**29}}


# For a program that runs once, such as the networks' initialization: not worth optimizing.
OPTIONS_FOR_ONE_CALL: dict[str, Options] = {
    "cpu": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}}


@functools.cache
def compiler_options(one_call: bool = False) -> Options:
    """Options of the default backend for `jax.jit(…, compiler_options=…)` or `.compile(…)`.

    Empty if there is nothing to choose, or if this XLA does not know the option.

    Args:
      one_call: whether the program runs only once.
    """
    options = (OPTIONS_FOR_ONE_CALL if one_call else OPTIONS).get(jax.default_backend(), {})
    if not options:
        return {}
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def jit(function: Callable[..., T], **options: Any) -> Callable[..., T]:
    """`jax.jit(function, **options)` with `compiler_options`, looked up at the first call."""
    @functools.cache
    def compiled() -> Callable[..., T]:
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*arguments: object) -> T:
        return compiled()(*arguments)

    return call


class Lowerable(Protocol):
    """A function of arrays that can be lowered without being called, such as a jitted one."""

    def __call__(self, *arguments: object) -> PyTree:
        """Computes it."""

    def lower(self, *arguments: object) -> jax.stages.Lowered:
        """Lowers the function for these arguments, as `jax.stages.Wrapped.lower` does."""


def compile_at_first_call(function: Lowerable) -> Lowerable:
    """A jitted or pmap-ed function that compiles once, with `compiler_options`.

    All calls must have arguments with the shapes and placement of the first. The result still has
    `lower`. With several processes, `function` itself is returned, because only it treats each
    process's arrays as a part of the whole.
    """
    if jax.process_count() > 1:
        return function
    compiled = None

    @functools.wraps(function)
    def call(*arguments: object) -> PyTree:
        nonlocal compiled
        if compiled is None:
            compiled = function.lower(*arguments).compile(compiler_options=compiler_options())
        return compiled(*arguments)

    lowerable: Any = call  # a function may have attributes that its type does not declare
    lowerable.lower = function.lower
    return lowerable
