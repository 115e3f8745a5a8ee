"""Restoring a run, finished or in training, from its workdir alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError
from sngan_jax.base.types import JsonObject
from sngan_jax.data.class_names import class_names
from sngan_jax.data.pipeline import example_keys
from sngan_jax.run.integrity import DamagedError
from sngan_jax.run.stored_checkpoints import Saved, StoredCheckpoints, check_name, identity_of
from sngan_jax.run.validate import validate
from sngan_jax.run.workdir import read_config
from sngan_jax.step.latents import sample_latents
from sngan_jax.step.recipe import Recipe
from sngan_jax.step.sampling import images_of, sample_images
from sngan_jax.step.setup import recipe_of
from sngan_jax.step.state import TrainState, abstract_state


class GoneError(UserError):
    """A checkpoint does not exist, or no longer: a run in training deletes its older ones."""


class RestoredRun(NamedTuple):
    """Networks and state of a checkpoint.

    num_classes: number of classes; 0 for an unconditional model.
    channels: number of channels of the images.
    class_names: names of the classes; () if they have only numbers.
    untrained: players that are missing in the weights file from which the run was made.
    replaced_images: number of images so far that replaced damaged ones (`config.on_bad_image`).
    """

    config: ConfigDict
    generator: nn.Module
    discriminator: nn.Module
    state: TrainState
    iteration: int
    num_classes: int
    channels: int
    class_names: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    replaced_images: int = 0

    def sample(self, labels: np.ndarray, seed: int = 0, truncation: float | None = None
               ) -> np.ndarray:
        """One image for each label (ignored by an unconditional model): uint8 (n, h, w, c).

        truncation: bound of the latents (`latents.sample_latents`).
        """
        return sample_images(self.generator, self.state.generator, jax.random.key(seed), labels,
                             self.config, truncation=truncation)

    def latents(self, n: int, seed: int = 0, truncation: float | None = None) -> jax.Array:
        """Latents from which `sample` makes its first n images: float32 (n, latent_size)."""
        return sample_latents(example_keys(jax.random.key(seed), 0, n), self.config.latent_size,
                              self.config.latent, truncation)

    def images_of(self, z: jax.Array, y: jax.Array | None = None) -> np.ndarray:
        """Images (n, h, w, c) of latents (n, d) and labels or class weights, by `sampling`."""
        return images_of(self.generator, self.state.generator, z, y, self.config)


def saved_iterations(workdir: Path) -> list[int]:
    """Iterations of a run's checkpoints, oldest first; UserError if there are none."""
    read_config(workdir)
    check_name(workdir)
    if saved := StoredCheckpoints(workdir).all():
        return saved
    raise UserError(f"{workdir} has no checkpoint yet: train it first, or wait for one")


def restore_run(workdir: str | os.PathLike, iteration: int | None = None) -> RestoredRun:
    """Restores a checkpoint of a run, which may be training; changes nothing on disk.

    Args:
      iteration: None for the newest one that is not damaged.

    Raises:
      UserError: there is no such run, or it cannot be read.
      GoneError: there is no such checkpoint.
    """
    workdir = Path(workdir).expanduser()
    config = ConfigDict(read_config(workdir))
    validate(config, device_count=1)
    saved_iterations(workdir)

    def networks(meta: JsonObject) -> Recipe:
        return recipe_of(config, meta["channels"], meta["num_classes"])

    iteration, state, meta = _read(workdir, iteration, config,
                                   lambda meta: abstract_state(networks(meta)))
    recipe = networks(meta)
    classes = meta["num_classes"] if config.conditional else 0
    names = tuple(meta.get("class_names") or class_names(config.dataset, classes,
                                                         config.data_dir or None))
    return RestoredRun(config, recipe.generator, recipe.discriminator, state, iteration, classes,
                       meta["channels"], names if len(names) == classes else (),
                       tuple(meta.get("untrained", ())), meta.get("replaced_images", 0))


def check_classes(run: RestoredRun) -> None:
    """UserError if the classes of a conditional run's data are no longer those of its training."""
    config = run.config
    now = class_names(config.dataset, run.num_classes, config.data_dir or None)
    if run.class_names and now and now != run.class_names:
        was, here = next((a, b) for a, b in zip(run.class_names, now, strict=True) if a != b)
        raise UserError(f"the classes of {config.dataset} have changed since the run was trained "
                        f"on it ({here!r} in place of {was!r}), so its labels no longer mean the "
                        "same classes: restore the data set")


def at_iteration(run: RestoredRun, workdir: Path, iteration: int) -> RestoredRun:
    """Restores another checkpoint of a restored run, without building its networks again.

    Raises:
      UserError: the checkpoint is damaged, or holds another model.
      GoneError: there is no such checkpoint.
    """
    _, state, meta = _read(workdir, iteration, run.config, lambda _: run.state)
    return run._replace(state=state, iteration=iteration,
                        replaced_images=meta.get("replaced_images", 0))


def _read(workdir: Path, iteration: int | None, config: ConfigDict,
          like: Callable[[JsonObject], TrainState]) -> Saved:
    stored, identity = StoredCheckpoints(workdir), identity_of(config)
    if iteration is None:
        if found := stored.newest(like, identity):
            return found
        raise stored.none_left() or UserError(f"{workdir} has no checkpoint left")
    try:
        return stored.read(iteration, like, identity)
    except DamagedError as error:
        if iteration in (saved := stored.all()):
            raise UserError(f"the checkpoint {stored.folder / str(iteration)} is damaged ({error})"
                            ": choose another one") from error
        raise GoneError(f"{workdir} has no checkpoint of iteration {iteration}; it has: "
                        f"{', '.join(map(str, saved))} (a run keeps its newest ones)") from error
