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
    normalized,
)
from sngan_jax.network import (
    fold,
    init_spectral,
    normalize,
    sigmas,
    singular_values,
    specs,
    update_spectral,
)

__version__ = "0.1.0"

__all__ = ["SNConv", "SNConvLocal", "SNConvTranspose", "SNDense", "SNDenseGeneral", "SNEinsum",
           "SNEmbed", "SNMultiHeadAttention", "SNMultiHeadDotProductAttention", "fold",
           "init_spectral", "normalize", "normalized", "sigmas", "singular_values", "specs",
           "update_spectral"]
