"""The Inception Score (Salimans et al. 2016; paper eq. 23), from any classifier's logits."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from sngan_jax.base.shapes import Float
from sngan_jax.metrics.finite import check_finite
from sngan_jax.spectral import is_whole


class Score(NamedTuple):
    """A mean over parts of the data, and the standard deviation over them."""

    value: float
    deviation: float


def inception_score(logits: Float[np.ndarray, "n classes"], splits: int = 10) -> Score:
    """exp E_x KL(p(y|x) ‖ p(y)) of `splits` parts, each a run of consecutive images.

    Args:
      logits: a row for each image, `splits` rows or more. Published scores use the Inception
        network without the bias of its last layer, as in the code of Salimans et al.
      splits: number of parts; the paper has 10 of 5,000.

    Raises:
      ValueError: for fewer images than splits, another shape, logits that are not finite, and an
        invalid number of splits.
    """
    if not is_whole(splits) or splits < 1:
        raise ValueError(f"splits is {splits!r}: it must be a whole number, 1 or more")
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 2 or len(logits) < splits:
        raise ValueError(f"an Inception Score of {splits} splits needs logits of shape (n, "
                         f"classes) with n >= {splits}, got {logits.shape}: use more images, or "
                         "fewer splits")
    check_finite(logits)
    log_p = logits - logits.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    bounds = np.arange(splits + 1) * len(logits) // splits
    scores = [_of_one(log_p[a:b]) for a, b in itertools.pairwise(bounds)]
    return Score(float(np.mean(scores)), float(np.std(scores)))


def _of_one(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    marginal = p.mean(0)
    # Where the marginal is 0, so is every p: 0 log 0 = 0.
    log_marginal = np.log(np.where(marginal > 0, marginal, 1))
    return float(np.exp((p * (log_p - log_marginal)).sum(1).mean()))
