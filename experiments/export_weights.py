"""Writes the networks of a run's checkpoint as one `.npz`, readable with NumPy alone.

    sngan export-weights --workdir=runs/digits --out=digits.npz --dtype=float16

G is the network that draws samples: the moving average, if the run kept one. docs/weights.md has
the names and shapes. The file can be read by `sngan sample --pretrained=digits.npz`,
`sngan_jax.weights.load("digits.npz")` and `sngan import-weights --from=sngan_jax`.
"""

import argparse
import json
import sys
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import check_writable
from sngan_jax.run.restore import restore_run
from sngan_jax.weights import npz
from sngan_jax.weights.trained import trained_of

from . import cli


def arguments(parser: cli.Parser) -> None:
    """The flags of `export-weights`."""
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the folder of a run")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write, such as "
                        "weights.npz")
    parser.add_argument("--checkpoint", type=cli.whole(0), metavar="ITERATION",
                        help="iteration of the checkpoint; otherwise the newest")
    parser.add_argument("--dtype", type=cli.one_of(npz.DTYPES), default="float32",
                        metavar="|".join(npz.DTYPES), help="dtype of the parameters (default: "
                        "float32)")
    parser.add_argument("--classes", type=cli.names, default=[], metavar="A,B,…",
                        help="names of the classes, in order")


def main(options: argparse.Namespace) -> None:
    """Restores the run, writes the file, prints a description."""
    if not options.out.endswith(".npz"):
        raise UserError(f"--out={options.out}: the file's name must end in .npz")
    workdir, out = Path(options.workdir), Path(options.out)
    check_writable(out, "--out", replaced=True)
    run = restore_run(workdir, options.checkpoint)
    if options.classes and len(options.classes) != run.num_classes:
        raise UserError(f"--classes has {len(options.classes)} names, but the model has "
                        f"{run.num_classes or 'no'} classes: "
                        + ("give one each" if run.num_classes else "leave the flag out"))
    trained = trained_of(run, {"class_names": options.classes or list(run.class_names),
                               **_origin(workdir)})
    npz.write(trained, out, options.dtype)
    print(f"{out}: {' and '.join(trained.players)} of iteration {run.iteration:,}, "
          f"{out.stat().st_size / 1e6:.2f} MB in {options.dtype}")


def _origin(workdir: Path) -> dict:
    """Commit and command of the training, if the run recorded them."""
    try:
        noted = json.loads((workdir / "environment.json").read_text())
        return {name: noted[name] for name in ("commit", "command", "date") if name in noted}
    except (OSError, ValueError, TypeError):
        return {}


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "export-weights"))
