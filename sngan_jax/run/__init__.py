"""A run of a config, from start to end, and the files in its folder."""

from sngan_jax.base.extras import need

need("sngan_jax.run", "ml_collections", "orbax", "PIL", "matplotlib", "tqdm", "tensorboardX")
