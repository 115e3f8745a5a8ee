"""Spectral normalization and a GAN in one file: digits of 8x8 pixels, a minute on two CPU cores.

    pip install -e ".[train]" && python examples/minimal.py

A discriminator of SN layers, the hinge loss, Adam, and a grid of samples in minimal.png. The
library's own training step does the same with checkpoints, scores and several devices.
"""

import argparse

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

from sngan_jax import SNConv, SNDense, sigmas, specs

LATENT, BATCH = 32, 32


class Generator(nn.Module):
    """Latents (n, LATENT) -> images (n, 8, 8, 1) in [-1, 1]."""

    @nn.compact
    def __call__(self, z):
        x = nn.relu(nn.Dense(4 * 4 * 32)(z)).reshape(-1, 4, 4, 32)
        x = nn.relu(nn.ConvTranspose(16, (4, 4), strides=(2, 2))(x))
        return nn.tanh(nn.Conv(1, (3, 3))(x))


class Discriminator(nn.Module):
    """Images -> logits (n,). Each layer divides its weight by its largest singular value.

    A convolution of stride 2 is seen once by each 4x4 window, and leaky ReLU is 1-Lipschitz, so the
    spectral norms of the weights bound the slope of the whole network. K is that bound for each
    layer, the method's only hyper-parameter.
    """

    lipschitz: float = 2.0

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(SNConv(16, (3, 3), lipschitz=self.lipschitz)(x), 0.1)
        x = nn.leaky_relu(SNConv(32, (4, 4), strides=2, lipschitz=self.lipschitz)(x), 0.1)
        x = nn.leaky_relu(SNConv(32, (3, 3), lipschitz=self.lipschitz)(x), 0.1)
        return SNDense(1, lipschitz=self.lipschitz)(x.reshape(len(x), -1))[:, 0]


generator, discriminator = Generator(), Discriminator()
optimizer = optax.adam(5e-4, b1=0.5, b2=0.9)


@jax.jit
def train_step(state, real, key):
    """One update of D and one of G.

    state: {'g': params, 'd': params, 'spectral': u and v of D's layers, 'g_opt', 'd_opt'}.
    """
    keys = jax.random.split(key)

    def generate(g, key):
        return generator.apply({"params": g}, jax.random.normal(key, (BATCH, LATENT)))

    def discriminator_loss(d):
        images = jnp.concatenate([real, generate(state["g"], keys[0])])
        # 'spectral' is mutable: each layer takes one step of power iteration on u and v.
        logits, new = discriminator.apply({"params": d, "spectral": state["spectral"]}, images,
                                          mutable=["spectral"])
        on_real, on_fake = jnp.split(logits, 2)
        loss = jnp.mean(nn.relu(1 - on_real)) + jnp.mean(nn.relu(1 + on_fake))
        return loss, new["spectral"]

    (d_loss, spectral), gradient = jax.value_and_grad(discriminator_loss, has_aux=True)(state["d"])
    updates, d_opt = optimizer.update(gradient, state["d_opt"])
    d = optax.apply_updates(state["d"], updates)

    def generator_loss(g):
        # 'spectral' is not mutable: D is a plain function, with the vectors as they are.
        logits = discriminator.apply({"params": d, "spectral": spectral}, generate(g, keys[1]))
        return -jnp.mean(logits)

    g_loss, gradient = jax.value_and_grad(generator_loss)(state["g"])
    updates, g_opt = optimizer.update(gradient, state["g_opt"])
    g = optax.apply_updates(state["g"], updates)
    return {"g": g, "d": d, "spectral": spectral, "g_opt": g_opt, "d_opt": d_opt}, (d_loss, g_loss)


def init(key):
    keys = jax.random.split(key)
    g = generator.init(keys[0], jnp.zeros((1, LATENT)))["params"]
    variables = discriminator.init(keys[1], jnp.zeros((1, 8, 8, 1)))
    d = variables["params"]  # exactly those that nn.Conv and nn.Dense would have
    return {"g": g, "d": d, "spectral": variables["spectral"], "g_opt": optimizer.init(g),
            "d_opt": optimizer.init(d)}


def save_grid(path, images, rows=8):
    images = np.pad(images[..., 0], [(0, 0), (1, 1), (1, 1)], constant_values=-1)
    n, height, width = images.shape
    grid = images.reshape(rows, n // rows, height, width).transpose(0, 2, 1, 3)
    grid = np.kron(grid.reshape(rows * height, -1), np.ones((4, 4)))  # 4 times as large
    plt.imsave(path, grid, cmap="gray", vmin=-1, vmax=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--out", default="minimal.png")
    args = parser.parse_args()

    images = load_digits().images[..., None].astype(np.float32) / 8 - 1  # (1797, 8, 8, 1)
    state, rng = init(jax.random.key(0)), np.random.default_rng(0)
    for step in range(args.steps):
        real = images[rng.integers(len(images), size=BATCH)]
        state, losses = train_step(state, real, jax.random.key(step))
        if step % 500 == 0 or step == args.steps - 1:
            print(f"{step:5d}  loss of D {losses[0]:.3f}, of G {losses[1]:.3f}", flush=True)
    found = specs(discriminator, images[:1])
    for name, sigma in sigmas({"params": state["d"], "spectral": state["spectral"]}, found).items():
        print(f"{name}: σ of its weight {sigma:.3f}, of the matrix it multiplies by "
              f"{discriminator.lipschitz}")
    z = jax.random.normal(jax.random.key(1), (64, LATENT))
    save_grid(args.out, np.asarray(generator.apply({"params": state["g"]}, z)))
    print(f"64 samples: {args.out}")


if __name__ == "__main__":
    main()
