"""The check that every score of feature vectors begins with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sngan_jax.base.errors import UserError


def check_finite(*arrays: npt.ArrayLike) -> None:
    """UserError if an array of features or logits holds NaN or infinity."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError("the features or logits are not all finite (NaN or infinity): remove the "
                        "images that they come from, or check the extractor")
