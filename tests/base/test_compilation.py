"""Compiler options: used where this XLA knows them; nothing else changes."""

import jax
import jax.numpy as jnp
import pytest

from sngan_jax.base.compilation import (
    OPTIONS,
    OPTIONS_FOR_ONE_CALL,
    compile_at_first_call,
    compiler_options,
    jit,
)


def test_the_options_are_known_to_this_xla():
    assert compiler_options() == OPTIONS["cpu"]
    assert jax.jit(jnp.sin, compiler_options=compiler_options())(1.0) == jnp.sin(1.0)


def test_a_program_for_one_call_computes_the_same():
    assert compiler_options(one_call=True) == OPTIONS_FOR_ONE_CALL["cpu"]
    key = jax.random.key(0)
    once = jax.jit(lambda key: jax.random.normal(key, (50,)),
                   compiler_options=compiler_options(one_call=True))(key)
    assert jnp.allclose(once, jax.random.normal(key, (50,)), rtol=1e-6, atol=1e-6)


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setitem(OPTIONS, "cpu", {"xla_cpu_of_another_year": True})
    assert compiler_options.__wrapped__() == {}


def test_jit_takes_the_options_of_jaxs_own():
    traced = []

    def power(n, x):
        traced.append(n)
        return x ** n

    compiled = jit(power, static_argnums=0)
    assert [float(compiled(n, 3.0)) for n in (2, 2, 3)] == [9, 9, 27] and traced == [2, 3]


def test_a_step_compiles_once_and_only_for_its_shapes():
    traced = []

    def step(x):
        traced.append(x.shape)
        return x + 1

    call = compile_at_first_call(jax.jit(step, donate_argnums=0))
    x = jnp.zeros(3)
    for _ in range(4):
        x = call(x)
    assert x.tolist() == [4, 4, 4] and traced == [(3,)]
    assert call.lower(x).compile()(x).tolist() == [5, 5, 5]
    with pytest.raises(TypeError):
        call(jnp.zeros(4))


def test_several_processes_keep_the_function(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    step = jax.jit(jnp.sin)
    assert compile_at_first_call(step) is step
