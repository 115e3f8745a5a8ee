"""A small model, which trains in a third of the time, and one step for several runs."""

import contextlib
from unittest import mock

from sngan_jax.models.resnet import RESNETS, ResNetShape
from sngan_jax.run import loop

# One block in G, two in D.
SMALL = ResNetShape((1, 1), (1, 1), 1, 2, 2)


def small_model() -> contextlib.AbstractContextManager:
    """Context in which `config.model = "small"` means this model."""
    return mock.patch.dict(RESNETS, {"small": SMALL})


def one_step() -> contextlib.AbstractContextManager:
    """Context in which all runs share the training step of the first: their configs are equal."""
    steps = []

    def make_train_step(recipe, devices):
        fields = [x for x in recipe if isinstance(x, bool | int | float | str | tuple)]
        steps[:] = steps or [(fields, make(recipe, devices))]
        assert steps[0][0] == fields, "the recipes of the runs differ"
        return steps[0][1]

    make = loop.make_train_step
    return mock.patch.object(loop, "make_train_step", make_train_step)
