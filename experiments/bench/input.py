"""The input of a config: images per second from memory on the device, and from JPEG files."""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from sngan_jax.data.pipeline import batch_indices, dequantize, example_keys
from sngan_jax.data.sources import options_of
from sngan_jax.data.streaming import ImageStream, batches, open_stream

from .. import cli
from ..read_config import read_config
from .step import random_data
from .timing import in_turns, medians, print_report, print_table

# A common size of ImageNet's photographs; the files are about 100 kB each, like theirs.
_WIDTH, _HEIGHT, _QUALITY = 500, 375, 92


def arguments(parser: cli.Parser) -> None:
    """The flags of `bench input`."""
    parser.add_config()
    parser.add_argument("--jpeg", type=cli.whole(1, 100_000), metavar="N", help="also stream N "
                        f"synthetic JPEG files of {_WIDTH} x {_HEIGHT} pixels, 100 kB each")
    parser.add_argument("--threads", type=cli.wholes(1), default=[1, 2], metavar="N,N",
                        help="numbers of decoding threads (default: 1,2)")
    parser.add_argument("--seconds", type=cli.whole(1), default=5, metavar="N",
                        help="length of each measurement (default: 5)")
    parser.add_argument("--repeats", type=cli.whole(1), default=3, metavar="N",
                        help="number of turns (default: 3)")


def main(options: argparse.Namespace) -> None:
    """Prints the figures; the last line has all of them as JSON."""
    print_report(input_(options.config, options.changes, options.jpeg, options.threads,
                        options.seconds, options.repeats))


def input_(config: str, changes: list[str], jpeg: int | None, threads: list[int], seconds: int,
           repeats: int) -> dict[str, Any]:
    """Images per second of a config's input: sampled on the device, and read from files."""
    config = read_config(config, changes, jax.local_device_count())
    report: dict[str, Any] = {"benchmark": "input", "image_size": config.image_size,
                              "batch_size": config.batch_size, "repeats": repeats,
                              "memory": in_memory(config, repeats)}
    rows = [("memory, on the device", "", f"{report['memory']:,.0f}", "")]
    if jpeg:
        with jpeg_folder(jpeg) as folder:
            size = np.mean([file.stat().st_size for file in folder.iterdir()])
            stream = open_stream(f"folder:{folder}", channels=3, **options_of(config))
            report |= {"jpeg_bytes": float(size), "jpeg_pixels": [_WIDTH, _HEIGHT], "streamed": {}}
            for count in dict.fromkeys(threads):
                rates = [streamed(stream, config, count, seconds) for _ in range(repeats)]
                report["streamed"][count] = float(np.median(rates))
                rows.append((f"JPEG of {size / 1e3:,.0f} kB", str(count),
                             f"{np.median(rates):,.0f}", f"{np.median(rates) / count:,.0f}"))
    print_table(("source", "threads", "images/s", "a thread"), rows)
    return report


def in_memory(config: Any, repeats: int) -> float:
    """Images per second from the sampler in the training step, compiled alone."""
    images, _ = jax.device_put(random_data(config, config.channels or 3))
    size, n = config.batch_size, len(images)

    @functools.partial(jax.jit, static_argnums=2)
    def sample(key: jax.Array, number: jax.Array, times: int) -> jax.Array:
        def one(i: jax.Array) -> jax.Array:
            rows = batch_indices(key, number + i, batch_size=size, n=n)
            return dequantize(images[rows], example_keys(key, 0, size)).sum()

        return jax.lax.map(one, np.arange(times, dtype=np.int32)).sum()

    times = 20
    run = functools.partial(sample, jax.random.key(0), np.int32(0), times)
    seconds = medians(in_turns({"sample": lambda: run().block_until_ready()}, repeats))
    return size * times / seconds["sample"]


def streamed(stream: ImageStream, config: Any, threads: int, seconds: float) -> float:
    """Images per second from a run's stream with `threads` decoding threads, after warm-up."""
    count = config.n_dis * config.batch_size
    with contextlib.closing(batches(
            stream, jax.random.key(0), first_iteration=0, n_dis=config.n_dis,
            batch_size=config.batch_size, start=0, count=config.batch_size,
            threads=threads)) as source:
        # Images read ahead before the clock starts would flatter a short measurement.
        for _ in range(3):
            next(source)
        start, images = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(source)
            images += count
        return images / (time.perf_counter() - start)


@contextlib.contextmanager
def jpeg_folder(count: int) -> Iterator[Path]:
    """A folder of JPEG files that resemble photographs to a decoder: smooth, with some noise."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
            image = np.asarray(coarse.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC), np.int16)
            noise = rng.integers(-16, 17, image.shape, np.int16)
            pixels = np.clip(image + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(Path(folder, f"{i:06d}.jpg"), quality=_QUALITY)
        yield Path(folder)
