"""A training run, from its config to the files in its workdir."""

from sngan_jax.base.extras import need

need("sngan_jax.run", "ml_collections", "orbax", "PIL", "matplotlib", "tqdm", "tensorboardX")
