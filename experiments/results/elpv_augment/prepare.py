"""Sorts elpv-dataset's pictures of solar cells into folders, every fifth one held out.

    pip download --no-deps elpv-dataset==1.0.0.post1 && unzip elpv_dataset-*.whl -d elpv
    python experiments/results/elpv_augment/prepare.py elpv/elpv_dataset/data data/elpv

Writes <out>/train and <out>/held_out, each with the classes functional (probability of a defect
below 1/2) and defective, and <out>/few, 100 pictures of the training set at equal distances. Cells
of one module follow each other, so the held-out ones have neighbours in the training set.
"""

import shutil
import sys
from pathlib import Path


def main(source: Path, out: Path) -> None:
    """Copies each file of labels.csv into its folder."""
    lines = (source / "labels.csv").read_text().splitlines()
    few = [i for i in range(len(lines)) if i % 5 < 4][::21]
    for i, line in enumerate(lines):
        name, probability, _ = line.split()
        kind = "functional" if float(probability) < 0.5 else "defective"
        for part in ["held_out"] if i % 5 == 4 else ["train", "few"] if i in few else ["train"]:
            (out / part / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, out / part / kind)
    for part in ("train", "few", "held_out"):
        print(part, {kind.name: len(list(kind.iterdir())) for kind in (out / part).iterdir()})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
