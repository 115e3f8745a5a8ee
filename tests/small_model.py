"""A model with one block in G and two in D, which trains in a third of the time."""

import contextlib
from unittest import mock

from sngan_jax.models.resnet import RESNETS, ResNetShape

SMALL = ResNetShape((1, 1), (1, 1), 1, 2, 2)


def small_model() -> contextlib.AbstractContextManager:
    """Context in which `config.model = "small"` means this model."""
    return mock.patch.dict(RESNETS, {"small": SMALL})
