"""How Lipschitz is a run's discriminator? Its layers, a bound from above, and one from below.

    python -m experiments.audit --workdir=runs/digits

Writes `audit.json`, `audit.md` and `spectra.png` into the workdir, or another folder, and prints
the table. docs/audit.md says what each number is.
"""

from pathlib import Path

import numpy as np
from absl import flags

from experiments import cli
from experiments.reports.audit import as_markdown, save_spectra
from sngan_jax.analysis.audit import audit
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import write_errors, write_text
from sngan_jax.data import scale
from sngan_jax.metrics.evaluate import chosen_rows, open_images, pixels
from sngan_jax.models.build import build_models
from sngan_jax.run.restore import RestoredRun, restore_run
from sngan_jax.run.workdir import environment, make_workdir, write_json
from sngan_jax.step.sampling import even_labels

WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run of experiments.train.")
CHECKPOINT = flags.DEFINE_integer("checkpoint", None, "An iteration; the newest one otherwise.")
NUM = flags.DEFINE_integer("num", 256, "How many real images, and how many samples.")
ASCENT_STEPS = flags.DEFINE_integer("ascent_steps", 100, "Of gradient ascent on the gradient's "
                                    "norm; 0: none.")
SEED = flags.DEFINE_integer("seed", 0, "Of the choice of images, the latents, the points between.")
OUT = flags.DEFINE_string("out", None, "A folder for the files; otherwise the workdir.")


def main() -> None:
    """Restores the run, measures, writes, prints."""
    if NUM.value < 2:
        raise UserError(f"--num is {NUM.value}: pairs of images need at least 2")
    if ASCENT_STEPS.value < 0:
        raise UserError(f"--ascent_steps is {ASCENT_STEPS.value}: it must be 0 or more")
    if SEED.value < 0:
        raise UserError(f"--seed is {SEED.value}: it must be 0 or more")
    workdir = Path(WORKDIR.value)
    run = restore_run(workdir, CHECKPOINT.value)
    out = make_workdir(OUT.value) if OUT.value else workdir
    real, labels = real_images(run)
    y = even_labels(len(real), run.num_classes)
    samples = np.asarray(scale(run.sample(y, SEED.value)))

    # In float32, whatever the run computed in: in bfloat16 D is a staircase without gradients.
    config = run.config.copy_and_resolve_references()
    config.dtype = "float32"
    _, discriminator = build_models(config, channels=run.channels, num_classes=run.num_classes)
    record = audit(discriminator, run.state.discriminator.variables, (real, labels),
                   (samples, y if run.num_classes else None), ascent_steps=ASCENT_STEPS.value,
                   seed=SEED.value)
    about = environment()
    record = {"iteration": run.iteration, **record, "method": config.method,
              "model": config.model, "dataset": config.dataset,
              **{key: about[key] for key in ("commit", "command", "date", "devices", "cores")}}
    text = as_markdown(record)
    with write_errors("the audit", out):
        write_json(out / "audit.json", record)
        write_text(out / "audit.md", f"# Lipschitz audit of iteration {run.iteration:,}\n\n{text}\n"
                   f"\nIn {record['protocol']['units']}. docs/audit.md explains the numbers.\n")
        save_spectra(out / "spectra.png", {layer["name"]: layer["singular_values"]
                                           for layer in record["layers"]})
    print(text)
    print(f"written: {out}/audit.json, audit.md, spectra.png")


def real_images(run: RestoredRun) -> tuple[np.ndarray, np.ndarray | None]:
    """--num of the run's images in [-1, 1], and their labels if its D takes them."""
    config = run.config
    images = open_images(config.dataset, split=config.split, image_size=config.image_size,
                         channels=run.channels, data_dir=config.data_dir or None)
    if len(images) < NUM.value:
        raise UserError(f"--num is {NUM.value}, and {config.dataset}, split {config.split!r}, has "
                        f"{len(images):,} images: take fewer")
    if run.num_classes > images.num_classes:
        raise UserError(f"the run has {run.num_classes} classes, and {config.dataset} now has "
                        f"{images.num_classes}: these are not its data")
    labels: list[np.ndarray] = []
    batches = list(pixels(images, chosen_rows(len(images), NUM.value, SEED.value), labels))
    y = np.concatenate(labels).astype(np.int32) if run.num_classes else None
    return np.asarray(scale(np.concatenate(batches))), y


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
