"""The order of the examples and their scaling, as pure functions for use inside a compiled step.

A data set that fits lives on the device as uint8. The images that an iteration sees are a function
of (key, batch number) alone, so nothing about the input needs saving, and any number of devices
draws the same global batch.

Keys must come from a threefry implementation (JAX's default): under `vmap`, RBG keys do not give
each example its own randomness.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from sngan_jax.base.shapes import Float, Integer, Shaped, UInt8

_ROUNDS = 8


def epoch_permutation(key: Array, epoch: Integer[Array, "*#shape"] | int,
                      position: Integer[Array, "*#shape"], n: int) -> Integer[Array, "*shape"]:
    """The index in the data set of each position of an epoch: a random bijection on [0, n).

    It is stateless, at constant cost per position. Shuffling all n would cost a sort per epoch. The
    bijection is a Feistel network on the smallest power of two that is not below n,
    applied again to every value outside [0, n) until there is none (cycle walking; Black & Rogaway
    2002, "Ciphers with arbitrary finite domains").

    Args:
      key: a PRNG key; may be traced.
      epoch: the epoch's number, 0 or more and below 2**32; may be traced.
      position: positions in [0, n); may be traced.
      n: number of images, 1 <= n < 2**31, static.

    Returns:
      int32 indices in [0, n).

    Raises:
      ValueError: if n is out of range.
    """
    if not 1 <= n < 2**31:
        raise ValueError(f"n is {n}: a data set has at least 1 and fewer than 2**31 images")
    epoch, position = jnp.broadcast_arrays(jnp.asarray(epoch, jnp.uint32), jnp.asarray(position))
    # Threefry once for the key, then a hash for each epoch: threefry for each takes long to
    # compile.
    words = jax.random.bits(key, (2, _ROUNDS), jnp.uint32)
    round_keys = _mix(_mix(epoch[..., None] ^ words[0]) ^ words[1])
    bits = max((n - 1).bit_length(), 8)  # narrower networks are visibly not uniform

    def walk(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        place, outside = carry
        place = jnp.where(outside, _feistel(place, round_keys, bits), place)
        return place, place >= n

    # The sum and the comparison change nothing. Inside shard_map they give the loop's initial value
    # the type of its result, which varies over whatever mesh axes key, epoch and position vary
    # over.
    start = position.astype(jnp.uint32) + 0 * round_keys[..., 0]
    place, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), walk, (start, start == start))
    return place.astype(jnp.int32)


def batch_indices(key: Array, batch_number: Integer[Array, ""] | int, *, batch_size: int,
                  n: int, start: Integer[Array, ""] | int = 0, count: int | None = None
                  ) -> Integer[Array, " batch"]:
    """The images of a batch, or one device's share of it.

    The stream of examples is the concatenation of all epochs. Each epoch is a fresh permutation in
    which every image occurs once, and batches run across the borders. This is exact for every batch
    number, because no product is formed that could overflow.

    Args:
      key: key of the data order, the same in the whole run.
      batch_number: the batch's number, 0 or more and below 2**31; may be traced.
      batch_size: images in the global batch, static.
      n: images in the data set, static.
      start: first entry to return, such as `lax.axis_index(...) * count`; may be traced.
      count: number of entries to return, static; None for all from 0.

    Returns:
      int32 indices in [0, n): entries start .. start + count - 1 of the batch.

    Raises:
      ValueError: if batch_size or n is out of range.
    """
    if not 1 <= batch_size < 2**31:
        raise ValueError(f"batch_size is {batch_size}: it must be positive and below 2**31")
    epoch, position = _times_divmod(jnp.asarray(batch_number).astype(jnp.uint32), batch_size, n)
    entries = jnp.asarray(start).astype(jnp.uint32) + jnp.arange(
        batch_size if count is None else count, dtype=jnp.uint32
    )
    position += entries  # both are below 2**31
    return epoch_permutation(key, epoch + position // n, position % n, n)


def example_keys(key: Array, start: Integer[Array, ""] | int, count: int
                 ) -> Shaped[Array, "{count} ..."]:
    """Keys for the entries start .. start + count - 1 of a global batch.

    Pass the position in the *global* batch, so that the randomness belongs to the example and not
    to the device that works on it: `example_keys(key, axis_index * count, count)`.
    """
    positions = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)


def dequantize(images: UInt8[Array, "n h w c"], keys: Shaped[Array, "n ..."]
               ) -> Float[Array, "n h w c"]:
    """x / 128 - 1 + U(0, 1/128): the paper's scaling, with fresh uniform noise for every value.

    Source: the authors' code, pfnet-research/sngan_projection, datasets/cifar10.py.

    Args:
      images: a batch.
      keys: one per image, from `example_keys`.

    Returns:
      float32 in [-1, 1).
    """
    # 16 random bits, so that the sum is exact in float32 and no value leaves its bin.
    noise = jax.vmap(lambda key: jax.random.bits(key, images.shape[1:], jnp.uint16))(keys)
    return (images.astype(jnp.float32) + noise.astype(jnp.float32) * 2.0**-16) / 128 - 1


def scale(images: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
    """(x + 1/2) / 128 - 1: the mean of `dequantize`, float32 in (-1, 1)."""
    return (images.astype(jnp.float32) + 0.5) / 128 - 1


def to_uint8(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """floor(128 (x + 1)), clipped to 0..255: the exact inverse of `dequantize` and of `scale`.

    The images are nominally in [-1, 1]; values outside are clipped. The authors save samples by
    trunc(127.5 x + 127.5) instead, which does not quite invert their own scaling: bright images
    come out darker by up to one level.
    """
    levels = jnp.floor((images.astype(jnp.float32) + 1) * 128)
    return jnp.clip(levels, 0, 255).astype(jnp.uint8)


def _feistel(x: Array, round_keys: Array, bits: int) -> Array:
    """A keyed bijection on [0, 2**bits); round_keys is uint32 (*x.shape, rounds)."""
    low_bits = bits // 2
    for i in range(_ROUNDS):
        high_bits = bits - low_bits
        high, low = x >> low_bits, x & (2**low_bits - 1)
        high ^= _mix(low ^ round_keys[..., i]) >> (32 - high_bits)
        # Swapping the halves swaps their widths too, if `bits` is odd.
        x = (low << high_bits) | high
        low_bits = high_bits
    return x


def _mix(x: Array) -> Array:
    """The finalizer of MurmurHash3: every bit of a uint32 spreads over all the others."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _times_divmod(a: Array, factor: int, n: int) -> tuple[Array, Array]:
    """divmod(a * factor, n) for a uint32 `a`, without the product, by doubling and adding.

    The quotient is modulo 2**32; n and the factor are below 2**31.
    """
    quotient_of_a, rest_of_a = a // n, a % n
    quotient, rest = jnp.zeros_like(a), jnp.zeros_like(a)
    for bit in bin(factor)[2:]:
        quotient, rest = 2 * quotient + (2 * rest) // n, (2 * rest) % n
        if bit == "1":
            rest += rest_of_a
            quotient, rest = quotient + quotient_of_a + rest // n, rest % n
    return quotient, rest
