"""A model with one block in G and two in D, which trains in a third of the time, and one step for
several runs.
"""

import contextlib
from unittest import mock

from sngan_jax.models.resnet import RESNETS, ResNetShape
from sngan_jax.run import loop

SMALL = ResNetShape((1, 1), (1, 1), 1, 2, 2)


def small_model() -> contextlib.AbstractContextManager:
    """Context in which `config.model = "small"` means this model."""
    return mock.patch.dict(RESNETS, {"small": SMALL})


def one_step() -> contextlib.AbstractContextManager:
    """Context in which all runs share the training step of the first: their configs are equal."""
    steps = []

    def make_train_step(*given):
        steps[:] = steps or [make(*given)]
        return steps[0]

    make = loop.make_train_step
    return mock.patch.object(loop, "make_train_step", make_train_step)
