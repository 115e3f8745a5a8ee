"""Spectral normalization for generative adversarial networks, in JAX and Flax Linen.

    from sngan_jax import SNConv, SNDense    # in place of nn.Conv, nn.Dense

The layers and the functions that go with them are here; models, losses, data and training are in
the sub-packages. JAX and Flax are imported when a name is first used, so that a command line
responds at once.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

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
# by its installation, they lie beside this package; its parent in `__path__` would hold the package
# again, and a walk over the modules would not end.
_HERE = Path(__file__).parent
_PROGRAMS = _HERE.with_name("experiments")


class _Checkout:
    """Finds the programs of a checkout."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Finds a module as `importlib.abc.MetaPathFinder` does."""
        if name != f"{__name__}.experiments":
            return None
        return spec_from_file_location(name, _PROGRAMS / "__init__.py",
                                       submodule_search_locations=[str(_PROGRAMS)])


if (_PROGRAMS / "read_config.py").is_file() and not _HERE.joinpath("experiments").exists():
    sys.meta_path.insert(0, _Checkout)

__all__ = ["SNConv", "SNConvLocal", "SNConvTranspose", "SNDense", "SNDenseGeneral", "SNEinsum",
           "SNEmbed", "SNMultiHeadAttention", "SNMultiHeadDotProductAttention", "fold",
           "init_spectral", "normalize", "normalized", "sigmas", "singular_values", "specs",
           "update_spectral"]


def __getattr__(name: str) -> object:
    """The name from `__all__`, imported from its module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sngan_jax import layers, network

    return getattr(layers if hasattr(layers, name) else network, name)


def __dir__() -> list[str]:
    """All public names, whether or not they have been used."""
    return sorted({*globals(), *__all__})
