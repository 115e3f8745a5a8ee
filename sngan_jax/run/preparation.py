"""Checks before a run changes anything: its data, its checkpoint, and memory for both."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.module import InterceptorContext
from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import cannot_use
from sngan_jax.base.memory import check_memory
from sngan_jax.base.output import say
from sngan_jax.data.class_names import class_names
from sngan_jax.data.sources import DataError, ImageSet, check_batch, load, options_of
from sngan_jax.data.streaming import ImageStream, open_stream
from sngan_jax.models.blocks import ConvTranspose
from sngan_jax.run.conditions import changed
from sngan_jax.run.stored_checkpoints import Saved, StoredCheckpoints, identity_of
from sngan_jax.run.workdir import CONFIG, differences
from sngan_jax.step.devices import memory_of, own_places
from sngan_jax.step.recipe import Recipe
from sngan_jax.step.state import TrainState, check_size, state_bytes


def check_apart(config: ConfigDict, workdir: Path) -> None:
    """UserError if a workdir is inside its `folder:` data set, which its pictures would join."""
    kind, _, place = config.dataset.partition(":")
    if kind != "folder":
        return
    try:
        folder, own = Path(place).expanduser().resolve(), workdir.resolve()
    except (OSError, RuntimeError, ValueError):
        return  # not the name of a folder, which reading it will report
    # Names that begin with a dot are not part of the data set.
    if own.is_relative_to(folder) and not any(
            part.startswith(".") for part in own.relative_to(folder).parts):
        raise UserError(f"the workdir {workdir} is inside the data set {config.dataset}, so its "
                        "samples and curves would be read as images: choose another --workdir")


def load_data(config: ConfigDict) -> ImageSet | ImageStream:
    """The data set of a config; UserError if it does not suit the config."""
    try:
        images = (open_stream if config.stream else load)(
            config.dataset, channels=config.channels or None, split=config.split,
            **options_of(config), skip_bad=config.on_bad_image == "skip")
        if isinstance(images, ImageStream):
            images.scan()
    except PermissionError as error:  # not of a file of the run
        if error.filename is None:
            raise
        raise DataError(cannot_use(error, other="another data set")) from error
    check_batch(images, config.batch_size)
    if config.conditional and not images.num_classes:
        raise UserError(f"config.conditional is true, but the data set {config.dataset!r} has no "
                        "labels: use a labelled set, or --config.conditional=false")
    return images


def names_of_classes(config: ConfigDict, images: ImageSet | ImageStream) -> tuple[str, ...]:
    """Names of a data set's classes, as in `data.class_names`."""
    return class_names(config.dataset, images.num_classes, config.data_dir or None)


def resumable(config: ConfigDict, workdir: Path, stored: StoredCheckpoints, shapes: TrainState,
              images: ImageSet | ImageStream, accept_changes: bool) -> Saved | None:
    """The checkpoint from which a run continues; None for a new run. Changes nothing.

    Raises:
      UserError: if it is of another model, config or data set, was made with other settings of JAX,
        or is at an iteration where no call of the step ends; or if all are damaged.
    """
    saved = stored.newest(lambda meta: shapes, identity_of(config))
    if saved is None:
        if none_left := stored.none_left():
            raise none_left
        return None
    if saved.meta["data"] != images.fingerprint():
        differs = ("its content hash differs" if isinstance(images, ImageSet) else
                   "its files, or how they are read, differ")
        raise UserError(f"the data set {images.name} (split {config.split}) has changed since "
                        f"{workdir} was trained on it ({differs}): restore the data and the split, "
                        "or choose another --workdir")
    where = f"the checkpoint of iteration {saved.iteration:,} in {workdir}"
    for sentence in changed(saved.meta.get("conditions", {}), where):
        say(f"warning: {sentence}")
    if not (workdir / CONFIG).exists():
        found = (list(differences(saved.meta["config"], config.to_dict()))
                 if "config" in saved.meta else ["the checkpoint does not say which"])
        if found and not accept_changes:
            raise UserError(f"{workdir} has lost its {CONFIG}, and {where} is of another config "
                            f"({'; '.join(found)}): restore the file, or pass "
                            "--accept-config-changes to continue with this one")
        say(f"warning: {workdir} has lost its {CONFIG}: it is rewritten")
    if saved.iteration % config.iterations_per_call:
        raise UserError(f"{workdir} is at iteration {saved.iteration:,}, which is not a multiple "
                        f"of config.iterations_per_call = {config.iterations_per_call}: choose one "
                        "that divides it")
    return saved


def check_room(config: ConfigDict, recipe: Recipe, shapes: TrainState,
               images: ImageSet | ImageStream, devices: list[jax.Device]) -> None:
    """Checks a lower bound on the memory that a run needs, on this host and on each device.

    Raises:
      UserError: the bound exceeds the available memory.
    """
    check_size(shapes)
    image = math.prod(recipe.image_shape)
    # A grid of enlarged small images, and the picture made of it.
    enlarged = image * max(1, -(-48 // config.image_size)) ** 2
    check_memory(2 * config.num_samples * enlarged,
                 f"the sample grids of config.num_samples = {config.num_samples:,}",
                 "choose fewer")
    state = state_bytes(shapes)
    # The two batches of G's and D's updates in float32, and their first derivatives.
    batch = 8 * image * max(config.generator_batch_size, 2 * config.batch_size)
    data = images.images.nbytes if isinstance(images, ImageSet) else (
        3 * config.iterations_per_call * config.n_dis * config.batch_size * image)
    here = [devices[i] for i in own_places(devices)]
    share = state + batch // len(devices)
    words = ("the state of this config, its batches and its data set",
             "choose smaller widths, image_size or batch sizes, --config.accumulate, or "
             "--config.stream=true")
    if devices[0].platform == "cpu":
        # The system kills a process that takes too much; an accelerator's own error has the number.
        share += activation_bytes(recipe) // len(devices)
        check_memory(2 * data + len(here) * share, *words)
    elif limit := memory_of(here[0]):
        check_memory(data + share, *words, there=limit)


def activation_bytes(recipe: Recipe) -> int:
    """Bytes that an update keeps for its backward pass: the inputs of all layers, and no more.

    A layer's input is a factor of its weight's gradient. The number is for the update that keeps
    more, over all devices.
    """
    y = jnp.zeros((1,), jnp.int32) if recipe.generator.num_classes else None
    g = _inputs_of_layers(recipe.generator, jnp.zeros((1, recipe.latent_size)), y)
    d = _inputs_of_layers(recipe.discriminator, jnp.zeros((1, *recipe.image_shape)), y)
    return max(2 * recipe.batch_size * d,
               recipe.generator_batch_size * (g + d)) // recipe.accumulate


def _inputs_of_layers(network: nn.Module, x: jax.Array, y: jax.Array | None) -> int:
    """Bytes of the inputs of a network's convolutions and dense layers; computes nothing."""
    found: dict[tuple[str, ...], int] = {}

    def note(call: Callable, args: tuple, kwargs: dict, context: InterceptorContext) -> object:
        if context.method_name == "__call__" and isinstance(
                context.module, nn.Conv | nn.Dense | ConvTranspose):
            found[context.module.path] = args[0].size * args[0].dtype.itemsize
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(network.init, {"params": jax.random.key(0), "spectral": jax.random.key(0)},
                       x, y)
    return sum(found.values())
