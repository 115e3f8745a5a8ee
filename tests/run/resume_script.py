"""Runs that are cut off after a checkpoint and resumed, on all devices of this process.

Arguments: a folder, then methods. Prints a JSON object: method -> bitwise differences between the
resumed run and a run never stopped (see test_resume.py).
"""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.configs import digits
from sngan_jax.run.loop import train
from tests.faults.runs import differences
from tests.small_model import one_step, small_model

# Each method with other options, so that all of them are met with several.
OPTIONS = [{"ema_decay": 0.0}, {"ema_decay": 0.9, "conditional": True},
           {"iterations_per_call": 2, "ema_decay": 0.9},
           {"stream": True, "ema_decay": 0.0}, {"n_dis": 2, "conditional": True}]


def config_of(method, number, pictures):
    """A run of six iterations with a checkpoint after every second."""
    config = digits.get_config(method)
    config.update({
        "model": "small", "latent_size": 4, "batch_size": 8,
        "generator_batch_size": 8, "n_dis": 1, "iterations": 6, "log_every": 2, "sample_every": 6,
        "checkpoint_every": 2, "keep_checkpoints": 9, "num_samples": 4,
        **OPTIONS[number % len(OPTIONS)]})
    if config.stream:
        config.dataset, config.channels = f"folder:{pictures}", 1
    return config


def make_pictures(folder):
    """Forty grey images of 8 x 8 pixels as files."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{i}.png")
    return folder


def cut_and_resumed(method, number, folder):
    """Differences between a run never stopped and one cut off after iteration 2."""
    config = config_of(method, number, make_pictures(folder / "pictures"))
    straight, resumed = (folder / f"{method}-{name}" for name in ("straight", "resumed"))
    with contextlib.redirect_stdout(io.StringIO()) as said, small_model(), one_step():
        train(config, straight)
        shutil.copytree(straight, resumed)
        for iteration in (4, 6):
            shutil.rmtree(resumed / "checkpoints" / str(iteration))
        (resumed / "samples" / "0000006.png").unlink()
        train(config, resumed)
        if "at iteration 2 of 6" not in said.getvalue():
            return ["it was not resumed"]
        return differences(resumed, straight)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(json.dumps({method: cut_and_resumed(method, number, place)
                      for number, method in enumerate(sys.argv[2:])}))
