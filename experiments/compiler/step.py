"""The training step of a config, lowered for absent devices from shapes, without data.

Everything that the check needs from the training step is imported here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.run.validate import validate
from sngan_jax.step.augment import chosen
from sngan_jax.step.program import make_train_step
from sngan_jax.step.setup import inputs_of, recipe_of
from sngan_jax.step.state import abstract_state


class Facts(NamedTuple):
    """Facts about a data set on which the step depends."""

    images: int
    channels: int
    classes: int


SETS = {
    "digits": Facts(1_797, 1, 10),
    "tfds:cifar10": Facts(50_000, 3, 10),
    "tfds:cifar100": Facts(50_000, 3, 100),
    "tfds:stl10": Facts(100_000, 3, 10),  # its split 'unlabelled'
    "tfds:fashion_mnist": Facts(60_000, 1, 10),
    "tfds:imagenet2012": Facts(1_281_167, 3, 1_000),
    "tfds:celeb_a": Facts(162_770, 3, 0),
}


def facts_of(config: Any, images: int, classes: int) -> Facts:
    """Facts about the config's data set; `images` and `classes` (0: unknown) override known ones.

    Raises:
      UserError: for a set that is not in SETS and whose size is not given.
    """
    known = SETS.get(config.dataset, Facts(0, 3, 0))
    facts = Facts(images or known.images, config.channels or known.channels,
                  classes or known.classes)
    if not facts.images:
        raise UserError(f"the size of the data set {config.dataset!r} is not known here: add "
                        "--images=NUMBER (and, for a conditional model, --classes=NUMBER)")
    if config.conditional and not facts.classes:
        raise UserError(f"config.conditional is true, but the classes of {config.dataset!r} are "
                        "not known here: add --classes=NUMBER")
    return facts


def with_batch(config: Any, per_device: int, devices: int) -> Any:
    """A copy with D's batch this large on each device, and G's in proportion; 0 changes nothing."""
    config = config.copy_and_resolve_references()
    config.iterations_per_call = 1
    if per_device:
        ratio = config.generator_batch_size / config.batch_size
        config.batch_size = per_device * devices
        config.generator_batch_size = max(round(per_device * ratio), 1) * devices
    return config


def lower(config: Any, facts: Facts, devices: Sequence[Any]) -> tuple[Any, Any]:
    """The shapes of the state, and the step for these devices, lowered.

    Raises:
      UserError: for an invalid config, or a batch that the devices cannot share.
    """
    validate(config, len(devices))
    config = config.copy_and_resolve_references()
    config.augment = chosen(config.augment, facts.images)
    recipe = recipe_of(config, facts.channels, facts.classes, list(devices))
    state = abstract_state(recipe)
    images, labels = data_shapes(config, facts, len(devices))
    inputs = jax.eval_shape(lambda: inputs_of(config, jax.random.key(0)))._replace(
        images=images, labels=labels, position=jax.ShapeDtypeStruct((len(devices),), np.int32))
    return state, make_train_step(recipe, list(devices)).lower(state, inputs)


def data_shapes(config: Any, facts: Facts, devices: int) -> tuple[Any, Any]:
    """Images and labels (or None) of the whole set, or of one streamed call."""
    image = (config.image_size, config.image_width or config.image_size, facts.channels)
    if config.stream:
        calls = (devices, 1, config.n_dis, config.batch_size // devices)
        shape, labels = (*calls, *image), calls
    else:
        shape, labels = (facts.images, math.prod(image)), (facts.images,)
    return (jax.ShapeDtypeStruct(shape, np.uint8),
            jax.ShapeDtypeStruct(labels, np.int32) if config.conditional else None)


def parts_of(state: Any, config: Any, facts: Facts, devices: int) -> dict[str, int]:
    """Bytes on a device of each part of the state, and of the data."""
    g, d = state.generator, state.discriminator
    parts = {"G's parameters": g.params, "D's parameters": d.params,
             "Adam": (g.opt_state, d.opt_state), "moving average of G": (
                 g.ema_params, g.ema_batch_stats),
             "batch norm and power iteration": (g.batch_stats, d.batch_stats, d.spectral)}
    sizes = {name: sum(map(_size, jax.tree.leaves(tree))) for name, tree in parts.items()}
    return {**sizes, "data": sum(_size(leaf) // (devices if config.stream else 1)
                                 for leaf in jax.tree.leaves(data_shapes(config, facts, devices)))}


def _size(shape: Any) -> int:
    try:
        return math.prod(shape.shape) * shape.dtype.itemsize
    except AttributeError:  # not an array
        return 0
