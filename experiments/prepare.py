"""Prepares CIFAR-10 or CIFAR-100 from an archive that you placed by hand, without TensorFlow.

    sngan prepare --dataset=cifar10 --archive=cifar-10-binary.tar.gz

Without --archive it looks in <data_dir>/downloads/manual, TFDS's own place for such files.
`--config.dataset=tfds:cifar10` then reads the result. Nothing is downloaded.
"""

import argparse
import os
import sys
from pathlib import Path

from . import cli
from .cifar import NAMES, archive_name, prepare_cifar


def arguments(parser: cli.Parser) -> None:
    """The flags of `prepare`."""
    parser.add_argument("--dataset", required=True, type=cli.one_of(NAMES),
                        metavar="|".join(NAMES), help="data set to prepare")
    parser.add_argument("--archive", metavar="FILE",
                        help="the published archive, in the binary format")
    parser.add_argument("--data-dir", metavar="FOLDER", help="TFDS's folder of prepared data sets; "
                        "otherwise $TFDS_DATA_DIR or ~/tensorflow_datasets")


def main(options: argparse.Namespace) -> None:
    """Checks the archive, prepares the set, prints its folder."""
    data_dir = Path(options.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
                    ).expanduser()
    archive = (Path(options.archive).expanduser() if options.archive
               else data_dir / "downloads" / "manual" / archive_name(options.dataset))
    print(f"prepared: {prepare_cifar(options.dataset, archive, data_dir)}")


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "prepare"))
