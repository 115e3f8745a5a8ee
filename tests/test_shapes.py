"""Shapes in the library's signatures are checked in the tests, and need no package elsewhere."""

import importlib
import runpy
import sys
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from sngan_jax import losses, spectral
from sngan_jax.metrics import frechet, kid
from sngan_jax.step import augment
from tests.shapes import LIBRARY, MODULES


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


@pytest.mark.parametrize("call, sentence", [
    (lambda: spectral.power_iteration(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(2)), "do not fit"),
    (lambda: frechet.moments(np.ones(3)), "moments need features"),
])
def test_a_functions_own_sentence_comes_first(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_each_module_with_shapes_is_checked():
    assert "sngan_jax.spectral" in MODULES
    for name in MODULES:
        functions = [value for value in vars(importlib.import_module(name)).values()
                     if getattr(value, "__module__", "") == name and callable(value)]
        assert any(hasattr(each, "__wrapped__") for each in functions), name


def test_without_jaxtyping_a_shape_is_an_annotation(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxtyping", None)
    names = runpy.run_path(str(LIBRARY / "base" / "shapes.py"))
    for name in names["__all__"]:
        assert names[name][np.ndarray, "n d"] == Annotated[np.ndarray, "n d"]
