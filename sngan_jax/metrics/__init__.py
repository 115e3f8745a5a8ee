"""Scores of samples: FID, Inception Score, KID, precision and recall."""

from sngan_jax.base.extras import need

need("sngan_jax.metrics", "tqdm")
