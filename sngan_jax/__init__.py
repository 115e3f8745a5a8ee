"""Spectral normalization for generative adversarial networks, in JAX and Flax Linen.

    from sngan_jax import SNConv, SNDense    # in place of nn.Conv, nn.Dense

Layers and what belongs to them are here; models, losses, data and training are in the sub-packages.
"""

from sngan_jax.layers import (
    SNConv,
    SNConvLocal,
    SNConvTranspose,
    SNDense,
    SNDenseGeneral,
    SNEinsum,
    SNEmbed,
    SNMultiHeadAttention,
    SNMultiHeadDotProductAttention,
    layer_specs,
    normalized,
    sigmas,
    singular_values,
    update_spectral,
)

__version__ = "0.1.0"

__all__ = [
    "SNConv",
    "SNConvLocal",
    "SNConvTranspose",
    "SNDense",
    "SNDenseGeneral",
    "SNEinsum",
    "SNEmbed",
    "SNMultiHeadAttention",
    "SNMultiHeadDotProductAttention",
    "layer_specs",
    "normalized",
    "sigmas",
    "singular_values",
    "update_spectral",
]
