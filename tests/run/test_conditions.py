"""Conditions of a run's numbers: other JAX settings are refused, other versions bring a warning."""

import jax
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.run.conditions import changed, conditions


def test_the_same_is_silent():
    assert list(changed(conditions(), "it")) == [] == list(changed({}, "it"))


@pytest.mark.parametrize(("name", "value", "variable"), [
    ("jax_enable_x64", True, "JAX_ENABLE_X64=False"),
    ("jax_default_prng_impl", "rbg", "JAX_DEFAULT_PRNG_IMPL=threefry2x32"),
    ("jax_threefry_partitionable", False, "JAX_THREEFRY_PARTITIONABLE=True")])
def test_a_setting_that_changes_numbers_is_refused(name, value, variable):
    then = conditions()
    old = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        with pytest.raises(UserError, match=variable):
            list(changed(then, "it"))
    finally:
        jax.config.update(name, old)


def test_another_version_and_device_are_said():
    then = {**conditions(), "jax": "0.1", "devices": "8 x TPU v3"}
    first, second = changed(then, "the checkpoint")
    assert "made with jax 0.1" in first and "8 x TPU v3" in second
