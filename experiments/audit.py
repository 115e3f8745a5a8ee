"""How Lipschitz is a run's discriminator? Its layers, an upper bound and a lower bound.

    sngan audit --workdir=runs/digits

Writes `audit.json`, `audit.md` and `spectra.png` into the workdir, or another folder, and prints
the table. docs/audit.md explains each number.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from sngan_jax.analysis.audit import audit
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import check_writable, write_errors, write_text
from sngan_jax.data import scale
from sngan_jax.data.sources import options_of
from sngan_jax.metrics.evaluate import chosen_rows, open_images, pixels
from sngan_jax.models.build import build_models
from sngan_jax.run.conditions import environment
from sngan_jax.run.restore import RestoredRun, check_classes, restore_run
from sngan_jax.run.workdir import make_workdir, write_json
from sngan_jax.step.sampling import even_labels

from . import cli
from .reports.audit import as_markdown, save_spectra


def arguments(parser: cli.Parser) -> None:
    """The flags of `audit`."""
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the folder of a run")
    parser.add_argument("--checkpoint", type=cli.whole(0), metavar="ITERATION",
                        help="iteration of the checkpoint; otherwise the newest")
    parser.add_argument("--num", type=cli.whole(2), default=256, metavar="N", help="number of real "
                        "images, and of samples; pairs need at least two (default: 256)")
    parser.add_argument("--ascent-steps", type=cli.whole(0), default=100, metavar="N",
                        help="steps of gradient ascent on the gradient's norm; 0: none (default: "
                        "100)")
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed for the choice of "
                        "images, the latents and the points between (default: 0)")
    parser.add_argument("--out", metavar="FOLDER", help="folder for the files; otherwise the "
                        "workdir")


def main(options: argparse.Namespace) -> None:
    """Restores the run, measures, writes, prints."""
    workdir = Path(options.workdir)
    run = restore_run(workdir, options.checkpoint)
    if "discriminator" in run.untrained:
        raise UserError(f"{workdir} was made from a generator's file alone, so its discriminator "
                        "is untrained: import both files into another folder")
    out = make_workdir(options.out, "--out") if options.out else workdir
    check_writable(out / "audit.json", "--out", replaced=True)
    real, labels = real_images(run, options.num, options.seed)
    y = even_labels(len(real), run.num_classes)
    samples = np.asarray(scale(run.sample(y, options.seed)))

    # In float32, whatever the run used: in bfloat16 D is a staircase without gradients.
    config = run.config.copy_and_resolve_references()
    config.dtype = "float32"
    _, discriminator = build_models(config, channels=run.channels, num_classes=run.num_classes)
    record = audit(discriminator, run.state.discriminator.variables, (real, labels),
                   (samples, y if run.num_classes else None), ascent_steps=options.ascent_steps,
                   seed=options.seed)
    about = environment()
    record = {"iteration": run.iteration, **record, "method": config.method,
              "model": config.model, "dataset": config.dataset,
              **{key: about[key] for key in ("commit", "command", "date", "devices", "cores")}}
    text = as_markdown(record)
    print(text)
    with write_errors("the audit", out):
        write_json(out / "audit.json", record)
        write_text(out / "audit.md", f"# Lipschitz audit of iteration {run.iteration:,}\n\n{text}\n"
                   f"\nIn {record['protocol']['units']}. docs/audit.md explains the numbers.\n")
        save_spectra(out / "spectra.png", {layer["name"]: layer["singular_values"]
                                           for layer in record["layers"]})
    print(f"written: {out}/audit.json, audit.md, spectra.png")


def real_images(run: RestoredRun, num: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """`num` of the run's images, in [-1, 1], with their labels if D uses them."""
    config = run.config
    check_classes(run)
    images = open_images(config.dataset, split=config.split, channels=run.channels,
                         skip_bad=config.on_bad_image == "skip", **options_of(config))
    if len(images) < num:
        raise UserError(f"--num is {num}, but {config.dataset}, split {config.split!r}, has only "
                        f"{len(images):,} images: choose fewer")
    if run.num_classes > images.num_classes:
        raise UserError(f"the run has {run.num_classes} classes, but {config.dataset} now has "
                        f"{images.num_classes}: this is not its data")
    labels: list[np.ndarray] = []
    batches = list(pixels(images, chosen_rows(len(images), num, seed), labels))
    y = np.concatenate(labels).astype(np.int32) if run.num_classes else None
    return np.asarray(scale(np.concatenate(batches))), y


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "audit"))
