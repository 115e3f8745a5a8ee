"""Spectral normalization for generative adversarial networks, in JAX and Flax Linen.

    from sngan_jax import SNConv, SNDense    # in place of nn.Conv, nn.Dense

Layers and what belongs to them are here; models, losses, data and training are in the sub-packages.
JAX and Flax are imported when a name is first used, so that a command line is answered at once.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# The programs are `sngan_jax.experiments`. In a checkout that Python found by its folder, and not
# by its installation, they lie beside this package.
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if not os.path.isdir(os.path.join(__path__[0], "experiments")) and os.path.isfile(
        os.path.join(_CHECKOUT, "experiments", "read_config.py")):
    __path__.append(_CHECKOUT)

__all__ = ["SNConv", "SNConvLocal", "SNConvTranspose", "SNDense", "SNDenseGeneral", "SNEinsum",
           "SNEmbed", "SNMultiHeadAttention", "SNMultiHeadDotProductAttention", "fold",
           "init_spectral", "normalize", "normalized", "sigmas", "singular_values", "specs",
           "update_spectral"]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from its module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sngan_jax import layers, network

    return getattr(layers if hasattr(layers, name) else network, name)


def __dir__() -> list[str]:
    """The names, whether they have been used or not."""
    return sorted({*globals(), *__all__})
