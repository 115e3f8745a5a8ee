"""Spectral normalization and a GAN in flax.nnx, in one file: digits of 8x8 pixels.

    pip install -e ".[train]" && python examples/minimal_nnx.py

A critic of SN layers, the hinge loss, Adam, and a grid of samples in minimal_nnx.png: what
minimal.py does in Linen. It takes about a minute of a CPU core's time.
"""

import argparse

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from sngan_jax.nnx import SNConv, SNLinear, normalized, sigmas

LATENT, BATCH, LIPSCHITZ = 32, 32, 2.0


class Generator(nnx.Module):
    """Latents (n, LATENT) -> images (n, 8, 8, 1) in [-1, 1]."""

    def __init__(self, *, rngs):
        self.dense = nnx.Linear(LATENT, 4 * 4 * 32, rngs=rngs)
        self.up = nnx.ConvTranspose(32, 16, (4, 4), strides=(2, 2), rngs=rngs)
        self.out = nnx.Conv(16, 1, (3, 3), rngs=rngs)

    def __call__(self, z):
        x = nnx.relu(self.dense(z)).reshape(-1, 4, 4, 32)
        return nnx.tanh(self.out(nnx.relu(self.up(x))))


class Critic(nnx.Module):
    """Images -> logits (n,). Each layer divides its weight by its largest singular value.

    A convolution of stride 2 is seen once by each 4x4 window, and leaky ReLU is 1-Lipschitz, so the
    spectral norms of the weights bound the slope of the whole network. K is that bound for each
    layer, the method's only hyper-parameter.
    """

    def __init__(self, *, rngs):
        conv = normalized(nnx.Conv, lipschitz=LIPSCHITZ)  # SNConv with another default
        self.layers = nnx.List([conv(1, 16, (3, 3), rngs=rngs),
                                conv(16, 32, (4, 4), strides=2, rngs=rngs),
                                SNConv(32, 32, (3, 3), lipschitz=LIPSCHITZ, rngs=rngs)])
        self.out = SNLinear(32 * 4 * 4, 1, lipschitz=LIPSCHITZ, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.leaky_relu(layer(x), 0.1)
        return self.out(x.reshape(len(x), -1))[:, 0]


@nnx.jit
def train_step(generator, critic, optimizers, real, key):
    """One update of the critic and one of the generator; returns both losses."""
    z = jax.random.normal(key, (2, BATCH, LATENT))
    fake = generator(z[0])

    def critic_loss(critic):
        on_real, on_fake = jnp.split(critic(jnp.concatenate([real, fake])), 2)
        return jnp.mean(nnx.relu(1 - on_real)) + jnp.mean(nnx.relu(1 + on_fake))

    critic.train()  # each layer takes one step of power iteration on u and v per call
    loss, gradient = nnx.value_and_grad(critic_loss)(critic)
    optimizers["critic"].update(critic, gradient)

    critic.eval()  # the critic is a plain function, with the vectors as they are
    generator_loss = lambda generator: -jnp.mean(critic(generator(z[1])))  # noqa: E731
    g_loss, gradient = nnx.value_and_grad(generator_loss)(generator)
    optimizers["generator"].update(generator, gradient)
    return loss, g_loss


def save_grid(path, images, rows=8):
    images = np.pad(images[..., 0], [(0, 0), (1, 1), (1, 1)], constant_values=-1)
    n, height, width = images.shape
    grid = images.reshape(rows, n // rows, height, width).transpose(0, 2, 1, 3)
    grid = np.kron(grid.reshape(rows * height, -1), np.ones((4, 4)))  # 4 times as large
    plt.imsave(path, grid, cmap="gray", vmin=-1, vmax=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--out", default="minimal_nnx.png")
    args = parser.parse_args()

    images = load_digits().images[..., None].astype(np.float32) / 8 - 1  # (1797, 8, 8, 1)
    generator, critic = Generator(rngs=nnx.Rngs(0)), Critic(rngs=nnx.Rngs(1))
    adam = optax.adam(5e-4, b1=0.5, b2=0.9)
    # wrt=nnx.Param: only the weights; u and v are of the type SpectralVector.
    optimizers = {"generator": nnx.Optimizer(generator, adam, wrt=nnx.Param),
                  "critic": nnx.Optimizer(critic, adam, wrt=nnx.Param)}
    rng = np.random.default_rng(0)
    for step in range(args.steps):
        real = images[rng.integers(len(images), size=BATCH)]
        losses = train_step(generator, critic, optimizers, real, jax.random.key(step))
        if step % 500 == 0 or step == args.steps - 1:
            print(f"{step:5d}  loss of D {losses[0]:.3f}, of G {losses[1]:.3f}", flush=True)
    for name, sigma in sigmas(critic).items():
        print(f"{name}: σ of its weight {sigma:.3f}, of the matrix it multiplies by {LIPSCHITZ}")
    z = jax.random.normal(jax.random.key(1), (64, LATENT))
    save_grid(args.out, np.asarray(generator(z)))
    print(f"64 samples: {args.out}")


if __name__ == "__main__":
    main()
