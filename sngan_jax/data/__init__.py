"""Data: `load` a set by its spec (sources.py), then sample it on the device (pipeline.py)."""

from sngan_jax.data.image_set import DataError, ImageSet, check_batch
from sngan_jax.data.pipeline import (
    batch_indices,
    dequantize,
    epoch_permutation,
    example_keys,
    scale,
    to_uint8,
)
from sngan_jax.data.sources import load

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
