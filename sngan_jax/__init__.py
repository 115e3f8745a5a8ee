"""Spectral normalization for generative adversarial networks, in JAX and Flax Linen."""

__version__ = "0.1.0"
