"""Checkpoints: what is kept, what comes back, what is said about damage."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sngan_jax.errors import UserError
from sngan_jax.train.checkpoint import Checkpoints
from sngan_jax.train.state import DiscriminatorState, GeneratorState, TrainState


def state(iteration, width=3, ema=True):
    params = {"dense": {"kernel": jnp.full((2, width), float(iteration))}}
    opt = optax.adam(1e-3).init(params)
    return TrainState(jnp.int32(iteration),
                      GeneratorState(params, {}, opt, params if ema else None, {} if ema else None),
                      DiscriminatorState(params, {"u": jnp.ones((width,))}, {}, opt))


def test_round_trip_and_the_newest_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for i in (1, 2, 3, 3):
            checkpoints.save(state(i), {"data": "abc"})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.all() == [2, 3]
        assert checkpoints.meta(3) == {"data": "abc"}
        for i in (2, 3):
            jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(state(0), i), state(i))


@pytest.mark.parametrize("other", [{"width": 4}, {"ema": False}])
def test_other_networks_are_a_sentence(tmp_path, other):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), {})
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="cannot be restored"):
        checkpoints.restore(state(0, **other), 1)


def test_a_damaged_checkpoint_is_a_sentence(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), {})
    folder = tmp_path / "checkpoints" / "1" / "state"
    for file in folder.rglob("*"):
        if file.is_file() and "manifest" not in file.name and not file.name.startswith("_"):
            file.unlink()
    shutil.rmtree(folder / "d", ignore_errors=True)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="cannot be restored"):
        checkpoints.restore(state(0), 1)
