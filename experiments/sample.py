"""Draws samples from a run's newest checkpoint, or walks through its latents or classes.

    sngan sample --workdir=runs/digits --num=1000
    sngan sample --workdir=runs/digits --interpolate --moving=gif
    sngan sample --workdir=runs/digits --truncation=0.7 --seed=1
    sngan sample --workdir=runs/digits --nearest=5
    sngan sample --workdir=runs/conditional --morph=3,5
    sngan sample --workdir=runs/conditional --morph=all
    sngan sample --pretrained=fashion_mnist --label=sneaker --num=64

Writes `<out>.npz` (images: uint8 n x h x w x c; labels: int32 n, for a conditional model) and
`<out>.png`, a grid of the first images. The default out is `<workdir>/samples-<iteration>`; with
--pretrained it is `<name>-samples` in the current folder.

--interpolate=N: each of the grid's --rows rows goes in N steps (8 without =N) from one random
latent to another, both ends included; in a conditional model, row i is of class i. --morph=A,B:
each row goes from class A to class B with one latent, by mixing their rows of every conditional
batch norm (category morphing); --morph=all: row i from class i to the next. Out is then
`<workdir>/interpolation-…` or `morph-…`; the arrays are the images row by row, `z` (float32 n x d)
and, with classes, `labels` or, for a morph, `weights` (float32 n x classes). --moving=gif or webp
also writes the walks as a moving picture. A class is given by its number or, for a folder or a TFDS
set, by its name.

--nearest=K: the grid has a row for each of the first 16 samples, followed by the K training images
nearest to it by pixel distance: does the generator copy?
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.analysis.nearest import nearest
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError, check_writable
from sngan_jax.base.memory import check_memory
from sngan_jax.data.class_names import class_number
from sngan_jax.metrics.arrays import write_npz
from sngan_jax.run.figures import MOVING, by_class, save_grid, save_walks
from sngan_jax.run.preparation import load_data
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.step.latents import WALKS, class_walk
from sngan_jax.step.sampling import even_labels
from sngan_jax.weights import NAMES, load

from . import cli


def arguments(parser: cli.Parser) -> None:
    """The flags of `sample`."""
    parser.add_argument("--workdir", metavar="FOLDER", help="the folder of a run")
    parser.add_argument("--pretrained", metavar="NAME", type=os.path.expanduser,
                        help="instead of a run: weights in the package "
                        f"({', '.join(NAMES)}), or a file from export-weights")
    parser.add_argument("--num", type=cli.whole(1), default=100, metavar="N",
                        help="number of samples (default: 100)")
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed of the latents "
                        "(default: 0)")
    parser.add_argument("--truncation", type=_size, metavar="T", help="draw latents in [-T, T] "
                        "only: better samples that vary less")
    parser.add_argument("--label", metavar="CLASS", help="draw one class only, from a conditional "
                        "model; otherwise all classes in turn")
    parser.add_argument("--checkpoint", type=cli.whole(0), metavar="ITERATION",
                        help="iteration of the checkpoint; otherwise the newest")
    parser.add_argument("--out", metavar="PATH", help="path of the files to write, without suffix; "
                        "or a folder, existing or ending in /")
    parser.add_argument("--grid", type=cli.whole(1), default=100, metavar="N",
                        help="largest number of samples in the grid (default: 100)")
    parser.add_argument("--nearest", type=cli.whole(1), nargs="?", const=5, metavar="K",
                        help="show the K nearest training images beside each sample (5 without =K)")
    parser.add_argument("--interpolate", type=cli.whole(2), nargs="?", const=8, metavar="N",
                        help="walk between latents in N steps (8 without =N)")
    parser.add_argument("--moving", type=cli.one_of(MOVING), metavar="|".join(MOVING),
                        help="also write a walk as a moving picture")
    parser.add_argument("--path", type=cli.one_of(WALKS), default="linear",
                        metavar="|".join(WALKS), help="path between latents: a line, or a great "
                        "arc")
    parser.add_argument("--morph", metavar="A,B|all", help="walk between two classes, such as 3,5")
    parser.add_argument("--steps", type=cli.whole(2), default=8, metavar="N",
                        help="steps of a --morph (default: 8)")
    parser.add_argument("--rows", type=cli.whole(1), default=8, metavar="N",
                        help="number of walks (default: 8)")


def main(options: argparse.Namespace) -> None:
    """Restores the run, draws the images, writes the files."""
    walk = _check_flags(options)
    run = (load(options.pretrained) if options.pretrained else
           restore_run(Path(options.workdir), options.checkpoint))
    if options.label is not None:
        options.label = class_number(options.label, run.class_names, run.num_classes, "label")
    count = options.rows * (options.interpolate or options.steps) if walk else options.num
    check_memory(2 * count * run.config.image_size ** 2 * run.channels, f"{count:,} images",
                 "ask for fewer")
    kind = {"morph": "morph", "interpolate": "interpolation"}.get(walk, "samples")
    name = f"{Path(options.pretrained).stem}-{kind}" if options.pretrained else (
        f"{kind}-{run.iteration}")
    out = Path(options.out or Path(options.workdir or ".") / name)
    if options.out and (options.out.endswith("/") or out.is_dir()):
        out /= name
    elif out.suffix.removeprefix(".") in ("npz", "png", options.moving):
        out = out.with_suffix("")
    check_writable(Path(f"{out}.npz"), "--out")
    arrays, columns = _WALKS[walk](run, options) if walk else _samples(run, options)
    images = arrays["images"]
    shown, row = (images, columns) if walk else _shown(run, images, options)
    try:
        write_npz(Path(f"{out}.npz"), arrays, compressed=True)
        save_grid(Path(f"{out}.png"), shown, row)
        if options.moving:
            save_walks(Path(f"{out}.{options.moving}"),
                       images.reshape(-1, columns, *images.shape[1:]), options.moving)
    except OSError as error:
        raise WriteError(f"{out}.npz cannot be written ({error.strerror}): choose another --out"
                         ) from error
    what = f"{len(images) // columns} walks of {columns} steps" if walk else (
        f"{len(images):,} samples")
    print(f"{what} of iteration {run.iteration:,}: {out}.npz, {out}.png"
          + (f", {out}.{options.moving}" if options.moving else ""))


def _check_flags(options: argparse.Namespace) -> str | None:
    """The requested walk, if any; UserError for flags that do not go together."""
    if not (options.workdir or options.pretrained):
        raise UserError("--workdir is missing: give the folder of a run, or --pretrained, such as "
                        "--pretrained=digits")
    if options.workdir and options.pretrained:
        raise UserError("give either --workdir of a run or --pretrained, not both")
    if options.pretrained and options.checkpoint is not None:
        raise UserError("--checkpoint needs --workdir: --pretrained has one set of weights")
    walks = [name for name in ("interpolate", "morph") if name in options.given]
    if len(walks) > 1:
        raise UserError("--interpolate and --morph exclude each other: give one of them")
    (walk,) = walks or [None]
    goes_with = {"num": None, "grid": None, "nearest": None, "path": "interpolate",
                 "steps": "morph"}
    for name, owner in goes_with.items():
        if name in options.given and owner != walk:
            raise UserError(f"--{name} is for {f'--{owner}' if owner else 'plain samples'}, "
                            + (f"not for --{walk}" if walk else "which is missing"))
    for name in ("rows", "moving"):
        if name in options.given and not walk:
            raise UserError(f"--{name} needs --interpolate or --morph, and both are missing")
    if walk == "morph" and options.label is not None:
        raise UserError("--label takes one class, but --morph takes two: leave it out")
    return walk


def _size(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text!r}: it must be a number above 0, such as 0.7")
    return value


def _samples(run: RestoredRun, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    labels = _labels(run, options.num, options.label)
    images = run.sample(labels, options.seed, options.truncation)
    return {"images": images, **_if_conditional(run, labels)}, 1


def _shown(run: RestoredRun, images: np.ndarray, options: argparse.Namespace
           ) -> tuple[np.ndarray, int | None]:
    """The samples (n, h, w, c) in the grid, with the images beside them, and its columns."""
    if "nearest" in options.given:
        some = images[:min(options.grid, _NEAREST_SHOWN)]
        real = nearest(some, load_data(run.config), options.nearest)
        beside = np.concatenate([some[:, None], real], axis=1)
        return beside.reshape(-1, *images.shape[1:]), 1 + real.shape[1]
    images = images[:options.grid]
    if run.num_classes and options.label is None:
        return by_class(images, run.num_classes)
    return images, None


def _interpolation(run: RestoredRun, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    if options.path == "spherical" and run.config.latent != "normal":
        raise UserError(f"--path=spherical is for normal latents, but this run's are "
                        f"{run.config.latent}: choose --path=linear")
    ends = run.latents(2 * options.rows, options.seed, options.truncation)
    z = WALKS[options.path](ends[::2], ends[1::2], options.interpolate)
    z = z.reshape(-1, z.shape[-1])
    labels = np.repeat(_labels(run, options.rows, options.label), options.interpolate)
    images = run.images_of(z, labels if run.num_classes else None)
    return {"images": images, "z": z, **_if_conditional(run, labels)}, options.interpolate


def _morph(run: RestoredRun, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    if not run.num_classes:
        raise UserError("--morph walks from class to class, but "
                        f"{options.workdir or options.pretrained} is an unconditional model: train "
                        "one with :conditional, or use --interpolate")
    if options.morph == "all":
        if "rows" in options.given:
            raise UserError("--rows needs --morph=A,B: --morph=all has one row per class")
        pairs = [(c, (c + 1) % run.num_classes) for c in range(run.num_classes)]
    else:
        words = options.morph.split(",")
        if len(words) != 2:
            raise UserError(f"--morph={options.morph}: give two classes, as in --morph=3,5, or "
                            "all")
        first, last = (class_number(word, run.class_names, run.num_classes, "morph")
                       for word in words)
        pairs = [(first, last)] * options.rows
    z = np.repeat(run.latents(len(pairs), options.seed, options.truncation), options.steps, axis=0)
    weights = np.concatenate([class_walk(*pair, run.num_classes, options.steps) for pair in pairs])
    return {"images": run.images_of(z, weights), "z": z, "weights": weights}, options.steps


_NEAREST_SHOWN = 16
_WALKS = {"interpolate": _interpolation, "morph": _morph}


def _labels(run: RestoredRun, n: int, label: int | None) -> np.ndarray:
    labels = even_labels(n, run.num_classes)
    if label is not None:
        labels[:] = label
    return labels


def _if_conditional(run: RestoredRun, labels: np.ndarray) -> Mapping[str, np.ndarray]:
    names = {"class_names": np.array(run.class_names)} if run.class_names else {}
    return {"labels": labels, **names} if run.num_classes else {}


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "sample"))
