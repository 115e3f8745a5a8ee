"""A finished or running run, from its workdir alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from sngan_jax.errors import UserError
from sngan_jax.sampling import sample_images
from sngan_jax.train.checkpoint import Checkpoints
from sngan_jax.train.loop import build_run
from sngan_jax.train.state import TrainState
from sngan_jax.train.validate import validate
from sngan_jax.train.workdir import read_config


class RestoredRun(NamedTuple):
    """Networks and state of a checkpoint.

    num_classes is 0 for an unconditional model; channels are those of its images.
    """

    config: ConfigDict
    generator: nn.Module
    discriminator: nn.Module
    state: TrainState
    iteration: int
    num_classes: int
    channels: int

    def sample(self, labels: np.ndarray, seed: int = 0) -> np.ndarray:
        """One image for each label (ignored by an unconditional model): uint8 (n, h, w, c)."""
        return sample_images(self.generator, self.state.generator, jax.random.key(seed), labels,
                             self.config)


def saved_iterations(workdir: Path) -> list[int]:
    """Those of a run's checkpoints, oldest first; UserError where there is none."""
    config = read_config(workdir)
    if (workdir / "checkpoints").is_dir():
        with Checkpoints(workdir, config["keep_checkpoints"]) as checkpoints:
            if saved := checkpoints.all():
                return saved
    raise UserError(f"{workdir} has no checkpoint yet: train it first, or wait for one")


def restore_run(workdir: Path, iteration: int | None = None) -> RestoredRun:
    """Restores a checkpoint of a run (the newest one where `iteration` is None).

    Raises:
      UserError: where there is no such run or checkpoint, or it cannot be read.
    """
    config = ConfigDict(read_config(workdir))
    validate(config, device_count=1)
    saved = saved_iterations(workdir)
    with Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        iteration = saved[-1] if iteration is None else iteration
        if iteration not in saved:
            raise UserError(f"{workdir} has no checkpoint of iteration {iteration}; it has: "
                            + ", ".join(map(str, saved)))
        meta = checkpoints.meta(iteration)
        run = build_run(config, meta["channels"], meta["num_classes"])
        state = checkpoints.restore(run.initial_state, iteration)
    return RestoredRun(config, run.generator, run.discriminator, state, iteration,
                       meta["num_classes"] if config.conditional else 0, meta["channels"])
