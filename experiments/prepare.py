"""Prepares CIFAR-10 or CIFAR-100 from an archive that you have placed by hand, without TensorFlow.

    python -m experiments.prepare --dataset=cifar10 --archive=cifar-10-binary.tar.gz

Without --archive it is looked for in <data_dir>/downloads/manual, TFDS's own place for such files.
`--config.dataset=tfds:cifar10` then reads what this has written. Nothing is downloaded.
"""

import os
from pathlib import Path

from absl import flags

from experiments import cli
from experiments.cifar import NAMES, archive_name, prepare_cifar

DATASET = flags.DEFINE_enum("dataset", None, NAMES, "Which data set.")
ARCHIVE = flags.DEFINE_string("archive", None, "The published archive, in the binary format.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS's folder of prepared data sets; "
                               "$TFDS_DATA_DIR or ~/tensorflow_datasets where it is left out.")


def main() -> None:
    """Checks, prepares, says where."""
    data_dir = Path(DATA_DIR.value or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
                    ).expanduser()
    archive = (Path(ARCHIVE.value).expanduser() if ARCHIVE.value
               else data_dir / "downloads" / "manual" / archive_name(DATASET.value))
    print(f"prepared: {prepare_cifar(DATASET.value, archive, data_dir)}")


if __name__ == "__main__":
    cli.run(main, required=("dataset",))
