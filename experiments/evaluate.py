"""Scores of a run's samples, or of any images, each with the protocol that made it.

    sngan evaluate --workdir=runs/cnn --protocol=paper --metrics=fid,kid
    sngan evaluate --workdir=runs/digits --extractor=classifier --num-fake=5000
    sngan evaluate --images=samples.npz --against=my/images --metrics=fid,prdc
    sngan evaluate --images=tfds:cifar10 --save-statistics=cifar10.npz

Images are a folder, an .npz or .npy, a data set (`digits`, `tfds:…`, `idx:…`), or, for FID, a
statistics file with `mu` and `sigma` (FILE.npz#mu if it also holds images). Prints a table and
appends one record per checkpoint to scores.jsonl (in the workdir; for images, in the current
folder). Get Inception's weights once with `sngan get-inception`. docs/metrics.md explains every
score and protocol.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import check_writable
from sngan_jax.data.crop import ALPHAS, FITS
from sngan_jax.metrics.evaluate import SCORES
from sngan_jax.metrics.protocol import CONVENTIONS, FREE, protocol_of
from sngan_jax.metrics.resize import RESIZES
from sngan_jax.metrics.scores import METRICS, check_names
from sngan_jax.run.validate import names_of
from sngan_jax.step.sampling import BN_MODES

from . import cli
from .scoring.checkpoints import of_run
from .scoring.images import of_two


def arguments(parser: cli.Parser) -> None:
    """The flags of `evaluate`."""
    parser.add_argument("--workdir", metavar="FOLDER", help="folder of a run, whose samples are "
                        "scored")
    parser.add_argument("--checkpoint", default="last", metavar="WHICH", help="last, best (by the "
                        "first metric), each, or an iteration (default: last)")
    parser.add_argument("--images", help="images to score, in place of a run's samples")
    parser.add_argument("--against", metavar="IMAGES",
                        help="images to compare with; for a run, its data by default")
    parser.add_argument("--images-split", default="train", metavar="SPLIT",
                        help="split of --images, such as train[:5000] (default: train)")
    parser.add_argument("--against-split", metavar="SPLIT",
                        help="split of the real images; otherwise the protocol's")
    parser.add_argument("--protocol", default=FREE, help="paper (10,000 real, 5,000 generated; IS "
                        "of 10 x 5,000), 50k, or free: the numbers below (default: free)")
    parser.add_argument("--num-real", type=cli.whole(0), metavar="N",
                        help="free protocol: number of real images; 0: all")
    parser.add_argument("--num-fake", type=cli.whole(0), metavar="N", help="free protocol: number "
                        "of generated images (5,000 from a run by default), or of those of "
                        "--images; 0: all")
    parser.add_argument("--splits", type=cli.whole(1), metavar="N",
                        help="free protocol: parts of the Inception Score")
    parser.add_argument("--metrics", type=names_of, metavar="NAME,NAME", help="; ".join(
        f"of {kind}: {','.join(there)}" for kind, there in METRICS.items()))
    parser.add_argument("--extractor", type=cli.one_of(METRICS), default="inception",
                        metavar="|".join(METRICS), help="network that sees the images")
    parser.add_argument("--classifier-data", metavar="IMAGES", help="labelled set on which the "
                        "classifier is trained; otherwise the run's, or --against")
    parser.add_argument("--kid-subsets", type=cli.whole(1), default=100, metavar="N",
                        help="number of subsets that KID is averaged over (default: 100)")
    parser.add_argument("--kid-subset-size", type=cli.whole(2), default=1000, metavar="N",
                        help="images in each subset, or as many as there are (default: 1000)")
    parser.add_argument("--resize", type=cli.one_of(RESIZES), metavar="|".join(RESIZES),
                        help="how Inception's input is resized (default: tf1)")
    parser.add_argument("--convention", type=cli.one_of(CONVENTIONS), metavar="|".join(CONVENTIONS),
                        help="read and resize images as that program does: whole images, at their "
                        "own size")
    parser.add_argument("--alpha", type=cli.one_of(ALPHAS), metavar="|".join(ALPHAS),
                        help="background of transparent parts (default: the run's, or white)")
    parser.add_argument("--fit", type=cli.one_of(FITS), metavar="|".join(FITS), help="how a "
                        "picture is fitted to the images' aspect ratio (default: the run's, or "
                        "crop)")
    parser.add_argument("--bn-mode", type=cli.one_of(BN_MODES), metavar="|".join(BN_MODES),
                        help="batch norm's statistics in the generator; otherwise the config's")
    parser.add_argument("--ema", type=cli.one_of(("auto", "yes", "no")), default="auto",
                        metavar="auto|yes|no",
                        help="score the generator's moving average; auto: if the run has one")
    parser.add_argument("--seed", type=cli.seed, default=0,
                        help="seed for the latents, the choice of images and KID (default: 0)")
    parser.add_argument("--image-size", type=cli.whole(1), metavar="N", help="crop and resize "
                        "images to this side; otherwise as they are, or the run's")
    parser.add_argument("--image-width", type=cli.whole(1), metavar="N", help="width of the "
                        "images, if --image-size is their height only")
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder of prepared TFDS data sets")
    parser.add_argument("--batch-size", type=cli.whole(1), metavar="N",
                        help="images per device and call")
    parser.add_argument("--scores", metavar="FILE.jsonl", help="file to which records are appended")
    parser.add_argument("--save-statistics", metavar="FILE.npz", help="write mean and covariance "
                        "of the real images (or of --images alone)")


def main(options: argparse.Namespace) -> None:
    """Checks every flag, then scores, prints and records."""
    metrics = options.metrics
    if metrics is not None:
        check_names(metrics, options.extractor)
    protocol = dataclasses.replace(
        protocol_of(options.protocol, options.num_real, options.num_fake, options.splits,
                    default_fake=5000 if options.workdir else 0),
        kid_subsets=options.kid_subsets, kid_subset_size=options.kid_subset_size,
        convention=options.convention or "")
    check_reading(options)
    if not (options.workdir or options.images):
        raise UserError("what to score is missing: give either --workdir of a run or --images")
    if options.workdir and options.images:
        raise UserError("give either --workdir of a run or --images, not both")
    for name, owner in (("checkpoint", "workdir"), ("ema", "workdir"), ("bn_mode", "workdir"),
                        ("images_split", "images")):
        if name in options.given and not getattr(options, owner):
            what = "a run (--workdir)" if owner == "workdir" else "--images"
            raise UserError(f"--{name.replace('_', '-')} is for {what}: leave it out")
    if options.workdir and options.image_size and options.extractor == "classifier":
        raise UserError(f"--image-size={options.image_size}: the classifier takes images of the "
                        "run's own size only: leave it out")
    if options.save_statistics and not options.save_statistics.endswith(".npz"):
        raise UserError(f"--save-statistics={options.save_statistics}: the file's name must end in "
                        ".npz")
    if options.scores and not options.scores.endswith(".jsonl"):
        raise UserError(f"--scores={options.scores}: the file's name must end in .jsonl, because "
                        "records are appended to it, a line each")
    if options.save_statistics:
        check_writable(Path(options.save_statistics), "--save-statistics", replaced=True)
    folder = Path(options.workdir or ".")
    if options.scores or (folder.is_dir() and (options.workdir or options.against)):
        check_writable(Path(options.scores or folder / SCORES), "--scores")
    if options.workdir:
        of_run(Path(options.workdir), metrics, protocol, options)
    else:
        of_two(metrics, protocol, options)


def check_reading(options: argparse.Namespace) -> None:
    """UserError for a flag that contradicts another one."""
    if options.image_width and not options.image_size:
        raise UserError("--image-width needs --image-size, the height, which is missing")
    if not options.convention:
        return
    if options.extractor != "inception":
        raise UserError(f"--convention={options.convention} is for Inception, but --extractor "
                        f"is {options.extractor}: leave one of them out")
    for name in ("resize", "alpha", "fit", "image_size"):
        if getattr(options, name) is not None:
            raise UserError(f"--convention={options.convention} fixes how images are read and "
                            f"resized: leave --{name.replace('_', '-')} out, or the convention")


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "evaluate"))
