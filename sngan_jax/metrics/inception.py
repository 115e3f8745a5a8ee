"""The Inception v3 network of every published FID and IS: TensorFlow's `inception-2015-12-05`.

It is not torchvision's: averages at the border count only the pixels inside, the last block has a
max pool, and the head is 1008 wide. Batch normalization is folded into the convolutions, because it
is fixed. Names are taken from the TensorFlow graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

FEATURES, CLASSES, SIDE = 2048, 1008, 299


class Conv(nn.Conv):
    """Convolution (n, h, w, c) with its folded batch normalization, and ReLU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.relu(super().__call__(x))


def chain(x: jax.Array, prefix: str, *layers: tuple[int, Sequence[int]],
          last: Mapping[str, Any] | None = None) -> jax.Array:
    """Convolutions of x (n, h, w, c) one after another, called prefix, prefix_1, ….

    layers: width and window of each; last: options of the last one.
    """
    for i, (features, kernel) in enumerate(layers):
        options = last if last and i == len(layers) - 1 else {}
        x = Conv(features, kernel, name=prefix + (f"_{i}" if i else ""), **options)(x)
    return x


def average_pool(x: jax.Array) -> jax.Array:
    """3x3 average with stride 1 of x (n, h, w, c); at the border, over the pixels inside."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


_REDUCE: Mapping[str, Any] = {"strides": (2, 2), "padding": "VALID"}
_max_pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
_concatenate = partial(jnp.concatenate, axis=-1)
_1, _3, _5, _1x7, _7x1 = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


class BlockA(nn.Module):
    """(n, 35, 35, c) to (n, 35, 35, c'), with `pool` features after the pool."""

    pool: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _concatenate([
            chain(x, "conv", (64, _1)),
            chain(x, "tower_conv", (48, _1), (64, _5)),
            chain(x, "tower_1_conv", (64, _1), (96, _3), (96, _3)),
            chain(average_pool(x), "tower_2_conv", (self.pool, _1))])


class BlockB(nn.Module):
    """(n, 35, 35, c) to (n, 17, 17, c')."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _concatenate([
            chain(x, "conv", (384, _3), last=_REDUCE),
            chain(x, "tower_conv", (64, _1), (96, _3), (96, _3), last=_REDUCE), _max_pool(x)])


class BlockC(nn.Module):
    """(n, 17, 17, c) to (n, 17, 17, c'), with `width` features between the 7x7 factors."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.width
        return _concatenate([
            chain(x, "conv", (192, _1)),
            chain(x, "tower_conv", (c, _1), (c, _1x7), (192, _7x1)),
            chain(x, "tower_1_conv", (c, _1), (c, _7x1), (c, _1x7), (c, _7x1), (192, _1x7)),
            chain(average_pool(x), "tower_2_conv", (192, _1))])


class BlockD(nn.Module):
    """(n, 17, 17, c) to (n, 8, 8, c')."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _concatenate([
            chain(x, "tower_conv", (192, _1), (320, _3), last=_REDUCE),
            chain(x, "tower_1_conv", (192, _1), (192, _1x7), (192, _7x1), (192, _3), last=_REDUCE),
            _max_pool(x)])


class BlockE(nn.Module):
    """(n, 8, 8, c) to (n, 8, 8, c'); `max_pool` in the last block of the network only."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        a = chain(x, "tower_conv", (384, _1))
        b = chain(x, "tower_1_conv", (448, _1), (384, _3))
        pooled = nn.max_pool(x, _3, (1, 1), "SAME") if self.max_pool else average_pool(x)
        return _concatenate([
            chain(x, "conv", (320, _1)),
            *(Conv(384, kernel, name=name)(y) for y, name, kernel in (
                (a, "tower_mixed_conv", (1, 3)), (a, "tower_mixed_conv_1", (3, 1)),
                (b, "tower_1_mixed_conv", (1, 3)), (b, "tower_1_mixed_conv_1", (3, 1)))),
            chain(pooled, "tower_2_conv", (192, _1))])


class Stem(nn.Module):
    """(n, 299, 299, 3) to (n, 35, 35, 192)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(32, _3, **_REDUCE, name="conv")(x)
        x = Conv(32, _3, padding="VALID", name="conv_1")(x)
        x = _max_pool(Conv(64, _3, name="conv_2")(x))
        x = Conv(80, _1, name="conv_3")(x)
        return _max_pool(Conv(192, _3, padding="VALID", name="conv_4")(x))


# {name in the TensorFlow graph: block}.
BLOCKS: dict[str, nn.Module] = {
    "mixed": BlockA(32), "mixed_1": BlockA(64), "mixed_2": BlockA(64), "mixed_3": BlockB(),
    "mixed_4": BlockC(128), "mixed_5": BlockC(160), "mixed_6": BlockC(160),
    "mixed_7": BlockC(192), "mixed_8": BlockD(), "mixed_9": BlockE(False),
    "mixed_10": BlockE(True)}


class InceptionV3(nn.Module):
    """float32 (n, 299, 299, 3) in about [-1, 1] to features (n, 2048), and logits if it has a head.

    Attributes:
      head: whether it has the 1008-way head. Its logits leave out the bias, as in the Inception
        Score of Salimans et al.
    """

    head: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        x = Stem(name="stem")(x)
        for name, block in BLOCKS.items():
            x = block.copy(name=name)(x)
        features = x.mean((1, 2))
        if not self.head:
            return features, None
        return features, nn.Dense(CLASSES, use_bias=False, name="head")(features)
