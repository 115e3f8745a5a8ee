"""Draws samples from a run's newest checkpoint, or walks through its latents or classes.

    python -m experiments.sample --workdir=runs/digits --num=1000
    python -m experiments.sample --workdir=runs/digits --interpolate=8
    python -m experiments.sample --workdir=runs/conditional --morph=3,5
    python -m experiments.sample --workdir=runs/conditional --morph=all

Writes `<out>.npz` (images: uint8 n x h x w x c; labels: int32 n, of a conditional model) and
`<out>.png`, a grid of the first of them. The default out is `<workdir>/samples-<iteration>`.

--interpolate=N: each of --rows rows of the grid goes in N steps from one random latent to another,
both ends among them; of a conditional model row i is of class i. --morph=A,B: each row goes from
class A to class B with one latent, by mixing their rows of every conditional batch norm (category
morphing); --morph=all: row i from class i to the next. Out is then `<workdir>/interpolation-…` or
`morph-…`; the arrays are the images row by row, `z` (float32 n x d) and, where there are classes,
`labels` or, of a morph, `weights` (float32 n x classes).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import cli
from sngan_jax.base.errors import UserError
from sngan_jax.run.figures import save_grid
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.step.latents import WALKS, class_walk
from sngan_jax.step.sampling import even_labels

WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run of experiments.train.")
NUM = flags.DEFINE_integer("num", 100, "How many samples.")
SEED = flags.DEFINE_integer("seed", 0, "Of the latents.")
LABEL = flags.DEFINE_integer("label", None, "One class only, of a conditional model; "
                             "otherwise all classes in turn.")
CHECKPOINT = flags.DEFINE_integer("checkpoint", None, "An iteration; the newest one otherwise.")
OUT = flags.DEFINE_string("out", None, "Path of the files to write, without an ending.")
GRID = flags.DEFINE_integer("grid", 100, "How many samples the grid shows at most.")
INTERPOLATE = flags.DEFINE_integer("interpolate", None, "Walk between latents, in so many steps.")
PATH = flags.DEFINE_enum("path", "linear", WALKS, "Between latents: a line, or a great arc.")
MORPH = flags.DEFINE_string("morph", None, "Walk between two classes, as 3,5; or all.")
STEPS = flags.DEFINE_integer("steps", 8, "Of a --morph.")
ROWS = flags.DEFINE_integer("rows", 8, "How many walks.")


def main() -> None:
    """Restores the run, draws, writes."""
    walk = _check_flags()
    run = restore_run(Path(WORKDIR.value), CHECKPOINT.value)
    if LABEL.value is not None:
        _check_class("label", LABEL.value, run.num_classes)
    arrays, columns = _WALKS[walk](run) if walk else _samples(run)
    images = arrays["images"]
    kind = {"morph": "morph", "interpolate": "interpolation"}.get(walk, "samples")
    out = Path(OUT.value or Path(WORKDIR.value) / f"{kind}-{run.iteration}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(f"{out}.npz", **arrays)
        save_grid(Path(f"{out}.png"), images if walk else images[:GRID.value], columns)
    except OSError as error:
        raise UserError(f"{out}.npz cannot be written ({error.strerror}): choose another --out"
                        ) from error
    what = f"{len(images) // columns} walks of {columns} steps" if walk else (
        f"{len(images):,} samples")
    print(f"{what} of iteration {run.iteration:,}: {out}.npz, {out}.png")


def _check_flags() -> str | None:
    """Which walk is asked for, if any; UserError for flags that do not go together."""
    walks = [flag.name for flag in (INTERPOLATE, MORPH) if flag.value is not None]
    if len(walks) > 1:
        raise UserError("--interpolate and --morph exclude each other: give one of them")
    (walk,) = walks or [None]
    goes_with = {"num": None, "grid": None, "path": "interpolate", "steps": "morph"}
    for name, owner in goes_with.items():
        if flags.FLAGS[name].present and owner != walk:
            raise UserError(f"--{name} goes with {f'--{owner}' if owner else 'samples alone'}, "
                            + (f"not with --{walk}" if walk else "which is missing"))
    if ROWS.present and not walk:
        raise UserError("--rows goes with --interpolate or --morph, and both are missing")
    if walk == "morph" and LABEL.value is not None:
        raise UserError("--label goes with one class, and --morph with two: leave it out")
    for flag, bound in ((NUM, 1), (GRID, 1), (ROWS, 1), (STEPS, 2), (INTERPOLATE, 2)):
        if flag.value is not None and flag.value < bound:
            raise UserError(f"--{flag.name} is {flag.value}: it must be at least {bound}")
    return walk


def _check_class(flag: str, label: int, num_classes: int) -> None:
    if not 0 <= label < num_classes:
        there = f"0 to {num_classes - 1}" if num_classes else "none: unconditional"
        raise UserError(f"--{flag} is {label}, but the classes of this model are {there}")


def _samples(run: RestoredRun) -> tuple[dict[str, Any], int | None]:
    labels = _labels(run, NUM.value)
    columns = run.num_classes if run.num_classes and LABEL.value is None else None
    return {"images": run.sample(labels, SEED.value), **_if_conditional(run, labels)}, columns


def _interpolation(run: RestoredRun) -> tuple[dict[str, Any], int]:
    if PATH.value == "spherical" and run.config.latent != "normal":
        raise UserError(f"--path=spherical is for normal latents, and this run's are "
                        f"{run.config.latent}: take --path=linear")
    ends = run.latents(2 * ROWS.value, SEED.value)
    z = WALKS[PATH.value](ends[::2], ends[1::2], INTERPOLATE.value)
    z = z.reshape(-1, z.shape[-1])
    labels = np.repeat(_labels(run, ROWS.value), INTERPOLATE.value)
    images = run.images_of(z, labels if run.num_classes else None)
    return {"images": images, "z": z, **_if_conditional(run, labels)}, INTERPOLATE.value


def _morph(run: RestoredRun) -> tuple[dict[str, Any], int]:
    if not run.num_classes:
        raise UserError(f"--morph walks from class to class, and {WORKDIR.value} is a run of an "
                        "unconditional model: train one with :conditional, or take --interpolate")
    if MORPH.value == "all":
        if ROWS.present:
            raise UserError("--rows goes with --morph=A,B: --morph=all has a row a class")
        pairs = [(c, (c + 1) % run.num_classes) for c in range(run.num_classes)]
    else:
        words = MORPH.value.split(",")
        if len(words) != 2 or not all(word.strip().isdigit() for word in words):
            raise UserError(f"--morph={MORPH.value}: give two classes, as --morph=3,5, or all")
        pairs = [tuple(map(int, words))] * ROWS.value
        for label in pairs[0]:
            _check_class("morph", label, run.num_classes)
    z = np.repeat(run.latents(len(pairs), SEED.value), STEPS.value, axis=0)
    weights = np.concatenate([class_walk(*pair, run.num_classes, STEPS.value) for pair in pairs])
    return {"images": run.images_of(z, weights), "z": z, "weights": weights}, STEPS.value


_WALKS = {"interpolate": _interpolation, "morph": _morph}


def _labels(run: RestoredRun, n: int) -> np.ndarray:
    labels = even_labels(n, run.num_classes)
    if LABEL.value is not None:
        labels[:] = LABEL.value
    return labels


def _if_conditional(run: RestoredRun, labels: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"labels": labels} if run.num_classes else {}


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
