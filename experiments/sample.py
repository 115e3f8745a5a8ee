"""Draws samples from a run's newest checkpoint.

    python -m experiments.sample --workdir=runs/digits --num=1000

Writes `<out>.npz` (images: uint8 n x h x w x c; labels: int32 n, of a conditional model) and
`<out>.png`, a grid of the first of them. The default out is `<workdir>/samples-<iteration>`.
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments import cli
from sngan_jax.errors import UserError
from sngan_jax.figures import save_grid
from sngan_jax.sampling import even_labels
from sngan_jax.train.restore import restore_run

WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run of experiments.train.")
NUM = flags.DEFINE_integer("num", 100, "How many samples.")
SEED = flags.DEFINE_integer("seed", 0, "Of the latents.")
LABEL = flags.DEFINE_integer("label", None, "One class only, of a conditional model; "
                             "otherwise all classes in turn.")
CHECKPOINT = flags.DEFINE_integer("checkpoint", None, "An iteration; the newest one otherwise.")
OUT = flags.DEFINE_string("out", None, "Path of the files to write, without an ending.")
GRID = flags.DEFINE_integer("grid", 100, "How many samples the grid shows at most.")


def main() -> None:
    """Restores the run, draws, writes."""
    for flag in (NUM, GRID):
        if flag.value < 1:
            raise UserError(f"--{flag.name} is {flag.value}: it must be at least 1")
    run = restore_run(Path(WORKDIR.value), CHECKPOINT.value)
    labels = even_labels(NUM.value, run.num_classes)
    if LABEL.value is not None:
        if not 0 <= LABEL.value < run.num_classes:
            there = f"0 to {run.num_classes - 1}" if run.num_classes else "none: unconditional"
            raise UserError(f"--label is {LABEL.value}, but the classes of this model are {there}")
        labels[:] = LABEL.value
    images = run.sample(labels, SEED.value)

    out = Path(OUT.value or Path(WORKDIR.value) / f"samples-{run.iteration}")
    arrays = {"images": images} | ({"labels": labels} if run.num_classes else {})
    columns = run.num_classes if run.num_classes and LABEL.value is None else None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(f"{out}.npz", **arrays)
        save_grid(Path(f"{out}.png"), images[:GRID.value], columns)
    except OSError as error:
        raise UserError(f"{out}.npz cannot be written ({error.strerror}): choose another --out"
                        ) from error
    print(f"{len(images):,} samples of iteration {run.iteration:,}: {out}.npz, {out}.png")


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
