"""Shapes in the library's signatures are checked in the tests, and need no package elsewhere."""

import importlib
import inspect
import runpy
import sys
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from sngan_jax import losses, spectral
from sngan_jax.metrics import frechet, kid
from sngan_jax.step import augment
from tests.shapes import LIBRARY, MODULES, checked_afterwards


@pytest.mark.parametrize("call", [
    lambda: losses.hinge_discriminator(jnp.ones((4, 1)), jnp.ones(4)),
    lambda: augment.cutout(jax.random.key(0), jnp.ones((8, 8))),
    lambda: losses.hinge_generator(jnp.ones(4, int)),
    lambda: spectral.power_iteration(jnp.ones((2, 3)), np.ones(2), np.ones(3, int)),
    lambda: spectral.divide(jnp.ones((2, 3)), jnp.ones(3, int)),
    lambda: kid.mmd2(np.ones((4, 2)), np.ones((4, 2), int)),
])
def test_an_array_of_another_shape_or_dtype_fails(call):
    with pytest.raises(TypeCheckError):
        call()


Row = Float[np.ndarray, " n"]


@pytest.mark.parametrize("hint, right, wrong", [
    (Row, np.ones(3), np.ones(2)),
    (Float[np.ndarray, "{size} n"], np.ones((7, 3)), np.ones((3, 7))),
    (tuple[Row, int], (np.ones(3), 1), (np.ones(2), 1)),
    (Row | None, None, np.ones(2)),
])
def test_a_result_of_another_shape_fails(hint, right, wrong):
    def function(x: Row, size: int, result: object) -> hint:
        return result

    checked = jaxtyped(function, typechecker=checked_afterwards)
    assert checked(np.ones(3), 7, right) is right
    with pytest.raises(TypeCheckError):
        checked(np.ones(3), 7, wrong)


@pytest.mark.parametrize("call, sentence", [
    (lambda: spectral.power_iteration(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(2)), "do not fit"),
    (lambda: frechet.moments(np.ones(3)), "moments need features"),
])
def test_a_functions_own_sentence_comes_first(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("name", MODULES)
def test_every_function_of_a_module_is_checked(name):
    module = importlib.import_module(name)
    functions = [function for function in vars(module).values()
                 if inspect.isfunction(function) and function.__module__ == name]
    assert functions
    for function in functions:
        assert hasattr(function, "__wrapped__"), function
        # The hook takes an annotation that cannot be evaluated for one that allows anything.
        typing.get_type_hints(function)


def test_without_jaxtyping_a_shape_is_an_annotation(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxtyping", None)
    names = runpy.run_path(str(LIBRARY / "base" / "shapes.py"))
    for name in names["__all__"]:
        assert names[name][np.ndarray, "n d"] == typing.Annotated[np.ndarray, "n d"]
