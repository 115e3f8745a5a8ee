"""The methods that constrain a discriminator: a name -> the layer classes that it is built of.

Models take layer classes and do not know their method (paper Table 2 compares the rows).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from sngan_jax.layers import SNConv, SNDense, SNEmbed
from sngan_jax.models.blocks import Layer


class Layers(NamedTuple):
    """Layer classes of the discriminator."""

    conv: Layer
    dense: Layer
    embed: Layer


def _spectral(config: Any) -> Layers:
    return Layers(*(functools.partial(layer, n_steps=config.power_steps,
                                      lipschitz=config.lipschitz)
                    for layer in (SNConv, SNDense, SNEmbed)))


# Each is a function of the config, of which it may read its own settings.
METHODS: dict[str, Callable[[Any], Layers]] = {
    "sn": _spectral,
    "none": lambda config: Layers(nn.Conv, nn.Dense, nn.Embed),
}
