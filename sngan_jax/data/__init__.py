"""Data: `load` reads a set by its spec (sources.py); pipeline.py samples it on the device."""

from sngan_jax.base.extras import need

need("sngan_jax.data", "PIL")

from sngan_jax.data.image_set import DataError, ImageSet, check_batch  # noqa: E402
from sngan_jax.data.pipeline import (  # noqa: E402
    batch_indices,
    dequantize,
    epoch_permutation,
    example_keys,
    scale,
    to_uint8,
)
from sngan_jax.data.sources import load  # noqa: E402

__all__ = [
    "DataError",
    "ImageSet",
    "batch_indices",
    "check_batch",
    "dequantize",
    "epoch_permutation",
    "example_keys",
    "load",
    "scale",
    "to_uint8",
]
