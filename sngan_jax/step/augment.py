"""Differentiable augmentation of the real and the generated images that D sees in both updates.

Zhao, Liu, Lin, Zhu, Han, "Differentiable augmentation for data-efficient GAN training", NeurIPS
2020, with the ranges of their published code. Each augmentation is a pure function of (key, image
(h, w, c) in [-1, 1]) that keeps shape and dtype, and has a gradient with respect to the image.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from sngan_jax.base.shapes import Float, Shaped

# Relative to the image size: how far an image moves at most, and the side of the cutout.
_REACH, _CUT = 1 / 8, 1 / 2
# `auto` augments sets of up to this many images, a fifth of CIFAR-10. At that size augmentation
# took BigGAN's FID from 21.6 to 14.0 (Zhao et al.); with all 50,000 images the gain was a tenth,
# and large sets can lose.
FEW_IMAGES = 10_000
AUTO = "auto"


def color(key: Array, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Brightness ± 1/2, then saturation times 0 to 2, then contrast times 1/2 to 3/2.

    Values may leave [-1, 1].
    """
    brightness, saturation, contrast = jax.random.uniform(key, (3,), jnp.float32)
    image = image + (brightness - 0.5)
    grey = jnp.mean(image, axis=-1, keepdims=True)
    image = (image - grey) * (2 * saturation) + grey
    level = jnp.mean(image)
    return (image - level) * (contrast + 0.5) + level


def translation(key: Array, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Moves an image by up to an eighth of each side; zeros (mid-grey) fill the gap."""
    reach = [_part(size, _REACH) for size in image.shape[:2]]
    shift = jax.random.randint(key, (2,), -jnp.array(reach), jnp.array(reach) + 1)
    for axis in (0, 1):
        image = _moved(image, shift[axis], reach[axis], axis)
    return image


def cutout(key: Array, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Zeroes (mid-grey) a rectangle of half of each side of an image.

    Its centre is any pixel, so a part of it may lie outside the image.
    """
    sides = [_part(size, _CUT) for size in image.shape[:2]]
    ends = jnp.array([size + 1 - side % 2
                      for size, side in zip(image.shape[:2], sides, strict=True)])
    middle = jax.random.randint(key, (2,), 0, ends)
    rows, columns = (
        (place >= start) & (place < start + side) for place, start, side in zip(
            map(jnp.arange, image.shape[:2]), middle - jnp.array(sides) // 2, sides, strict=True))
    return jnp.where((rows[:, None] & columns)[..., None], 0, image)


AUGMENTATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "color": color, "translation": translation, "cutout": cutout}


def augment(images: Float[Array, "n h w c"], keys: Shaped[Array, "n ..."], names: tuple[str, ...]
            ) -> Float[Array, "n h w c"]:
    """Images after the named augmentations, in their order.

    Args:
      keys: one for each image, so that its changes do not depend on other images.
      names: keys of AUGMENTATIONS. The random draws of one do not depend on which others are
        named.
    """
    def one(key: Array, image: Array) -> Array:
        for name in names:
            number = list(AUGMENTATIONS).index(name)
            image = AUGMENTATIONS[name](jax.random.fold_in(key, number), image)
        return image

    return jax.vmap(one)(keys, images) if names else images


def augmentations(text: str) -> tuple[str, ...]:
    """The names in `config.augment`, separated by commas; all of them for 'auto'.

    Raises:
      ValueError: for an unknown name, or one given twice.
    """
    if text == AUTO:
        return tuple(AUGMENTATIONS)
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not set(names) <= set(AUGMENTATIONS) or len(set(names)) < len(names):
        raise ValueError(f"augmentations {text!r}: expected auto or, once each, some of "
                         + ", ".join(AUGMENTATIONS))
    return names


def chosen(text: str, images: int) -> str:
    """`config.augment` for a set of `images` images: 'auto' becomes all augmentations or none."""
    if text != AUTO:
        return text
    return ",".join(AUGMENTATIONS) if images <= FEW_IMAGES else ""


def _part(size: int, share: float) -> int:
    return int(size * share + 0.5)


def _moved(image: Array, by: Array, reach: int, axis: int) -> Array:
    """`jnp.roll` by a traced distance in [-reach, reach], with zeros where it wrapped around.

    The roll consists of fixed powers of two, each applied or not, so its gradient is again a roll.
    A roll by a traced distance would have a scatter as its gradient.
    """
    size, forward = image.shape[axis], by + reach
    image = jnp.roll(image, -reach, axis)
    for bit in range((2 * reach).bit_length()):
        image = jnp.where((forward >> bit) & 1, jnp.roll(image, 2**bit, axis), image)
    source = jnp.arange(size) - by
    inside = (source >= 0) & (source < size)
    return jnp.where(inside.reshape(-1, *(1,) * (2 - axis)), image, 0)
