"""A model with one block of G and two of D: all that a run can hold, in a third of the time."""

import contextlib
from unittest import mock

from sngan_jax.models.resnet import RESNETS, ResNetShape

SMALL = ResNetShape((1, 1), (1, 1), 1, 2, 2)


def small_model() -> contextlib.AbstractContextManager:
    """While it lasts, `config.model = "small"` is that."""
    return mock.patch.dict(RESNETS, {"small": SMALL})
