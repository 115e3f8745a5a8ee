"""Makes a run folder from published weights, for sample, evaluate and audit.

    sngan import-weights --from=mimicry netG_100000_steps.pth netD_100000_steps.pth --workdir=runs/a
    sngan import-weights --from=sngan_projection ResNetGenerator_450000.npz --workdir=runs/authors
    sngan import-weights --from=sngan_jax weights.npz --workdir=runs/again

mimicry: SNGAN at 32, 48, 64 and 128 pixels and cGAN-PD, as torch-mimicry saves them.
sngan_projection: the authors' snapshots (Chainer). sngan_jax: a file from export-weights, with G
and D in one. The generator's file is required. Without the discriminator's, D keeps its initial
weights, and audit refuses it. --dataset names the training images, with which scores and audit
compare.
PyTorch and Chainer are not needed, and nothing in a file is executed. See docs/weights.md.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import is_spec, unknown_spec
from sngan_jax.weights import mimicry, npz, sngan_projection
from sngan_jax.weights.trained import Trained, write_run

from . import cli


def _own(files: list[Path]) -> Trained:
    if len(files) > 1:
        raise UserError(f"--from=sngan_jax takes one file, which holds both networks, not "
                        f"{len(files)}")
    return npz.read(files[0])


SOURCES: dict[str, Callable[[list[Path]], Trained]] = {
    mimicry.NAME: mimicry.read, sngan_projection.NAME: sngan_projection.read, "sngan_jax": _own}
_UNKNOWN = "folder:the-images-it-was-trained-on"


def arguments(parser: cli.Parser) -> None:
    """The flags of `import-weights`."""
    parser.add_argument("--from", dest="source", required=True, type=cli.one_of(SOURCES),
                        metavar="|".join(SOURCES), help="project that wrote the files")
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="new folder for the run")
    parser.add_argument("--dataset", metavar="SPEC", help="images on which the networks were "
                        "trained, such as tfds:cifar10 or folder:my/images")
    parser.add_argument("files", nargs="*", metavar="FILE", help="file of the generator, and of "
                        "the discriminator")


def main(options: argparse.Namespace) -> None:
    """Reads and checks the weights, writes the run, prints a description."""
    if not 1 <= len(options.files) <= 2:
        raise UserError(f"{len(options.files) or 'no'} files are named: give the generator's, and "
                        "the discriminator's if there is one, after the flags")
    if options.dataset and not is_spec(options.dataset):
        raise UserError(f"--dataset: {unknown_spec(options.dataset)}")
    trained = SOURCES[options.source]([Path(file).expanduser() for file in options.files])
    if options.dataset or options.source != "sngan_jax":
        trained.config["dataset"] = options.dataset or _UNKNOWN
    workdir = Path(options.workdir)
    write_run(trained, workdir, ", ".join(options.files))
    config = trained.config
    classes = f", {trained.num_classes} classes" if trained.num_classes else ""
    print(f"{workdir}: {' and '.join(trained.players)}, {config['model']}, {config['image_size']}x"
          f"{config['image_size']}x{trained.channels}{classes}, iteration {trained.iteration:,}")
    if trained.players == ["generator"]:
        print("no discriminator file was given: D keeps its initial weights, and audit will refuse "
              "it")
    if config["dataset"] == _UNKNOWN:
        print("the training images are unknown: name them with --dataset, or give "
              "evaluate --against")


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "import-weights"))
