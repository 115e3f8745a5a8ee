"""Features and logits of images, batch by batch on all devices."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from sngan_jax.base.compilation import compiler_options
from sngan_jax.base.errors import UserError
from sngan_jax.base.memory import check_memory
from sngan_jax.base.output import say
from sngan_jax.base.types import PyTree
from sngan_jax.metrics.frechet import Moments, RunningMoments
from sngan_jax.metrics.inception import CLASSES, FEATURES, InceptionV3
from sngan_jax.metrics.inception_weights import Weights
from sngan_jax.metrics.resize import RESIZES, inception_input, input_of_one
from sngan_jax.step.devices import gathered, own_part, replicate, spread

SAY_EVERY = 30.0  # seconds, where no terminal shows a bar


@dataclasses.dataclass(frozen=True, eq=False)
class Extractor:
    """A network from whose outputs scores are computed.

    Attributes:
      name: name in a score's record, such as 'inception-2015-12-05'.
      checksum: SHA-256 of its weights.
      resize: method that enlarges images for it; '' for none.
      dimensions: length of a feature vector.
      num_classes: length of the logits, 0 without logits.
      params: the weights.
      function: (params, uint8 (n, h, w, c)) -> float32 features (n, dimensions) and logits
        (n, num_classes), or None.
      batch_size: images at a time on each device.
      family: 'inception' or 'classifier', after which its scores are named.
      prepare: host function from an image uint8 (h, w, c) of any size to the network's float32
        input, which `function` also takes; None if all images must have one size.
    """

    name: str
    checksum: str
    resize: str
    dimensions: int
    num_classes: int
    params: PyTree
    function: Callable[[PyTree, jax.Array], tuple[jax.Array, jax.Array | None]]
    batch_size: int = 64
    family: str = "inception"
    prepare: Callable[[np.ndarray], np.ndarray] | None = None

    def extract(self, batches: Iterable[np.ndarray]) -> Iterator[Extracted]:
        """Features of images that come in arrays of any length, all of one size.

        Several processes, which must all get the same images, share the work.

        Raises:
          UserError: for arrays that are not uint8 (n, h, w, 1 or 3) or from `prepare`, or differ in
            size.
        """
        devices = jax.local_devices()
        params = replicate(self.params, devices)
        size, compiled = self.batch_size * len(devices) * jax.process_count(), None
        for images in _regrouped(batches, size, self.prepare is not None):
            n = len(images)
            if n < size:  # the last batch
                rest = np.zeros((size - n, *images.shape[1:]), images.dtype)
                images = np.concatenate([images, rest])
            placed = spread(own_part(images), devices)
            if compiled is None:
                compiled = self.compile(params, placed)
            features, logits = compiled(params, placed)
            yield Extracted(gathered(features)[:n],
                            None if logits is None else gathered(logits)[:n])

    def compile(self, params: PyTree, images: jax.Array) -> Callable:
        """`function`, compiled for arguments with these shapes and placements."""
        return jax.jit(self.function, compiler_options=compiler_options()
                       ).lower(params, images).compile()


class Extracted(NamedTuple):
    """float32 features (n, dimensions); logits (n, classes) or None."""

    features: np.ndarray
    logits: np.ndarray | None


class Collected(NamedTuple):
    """Features of one set of images: their moments and, if requested, every vector.

    features: float32 (n, dimensions), or None.
    logits: float32 (m, classes), of the first m images, or None.
    """

    moments: Moments
    features: np.ndarray | None
    logits: np.ndarray | None


def inception_extractor(weights: Weights, resize: str = "tf1", batch_size: int = 64) -> Extractor:
    """The extractor of FID, KID and IS.

    Args:
      weights: result of `inception_weights.load_weights`.
      resize: one of `resize.RESIZES`.
      batch_size: images at a time on each device.

    Raises:
      UserError: for an unknown resize.
    """
    if resize not in RESIZES:
        raise UserError(f"the resize is {resize!r}, expected one of {', '.join(RESIZES)}")
    network = InceptionV3(weights.head)

    apply: Callable[..., PyTree] = network.apply

    def function(params: PyTree, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        prepared = images.dtype == np.float32
        return apply({"params": params}, images if prepared else inception_input(images, resize))

    return Extractor("inception-2015-12-05", weights.checksum, resize, FEATURES,
                     CLASSES if weights.head else 0, weights.params, function, batch_size,
                     prepare=lambda image: input_of_one(image, resize))


def check_features(extractor: Extractor, count: int, keep: bool, name: str) -> None:
    """UserError if this machine's memory cannot hold what `collect` keeps for `count` images."""
    check_memory(4 * count * (2 * extractor.dimensions * keep + extractor.num_classes),
                 f"the features of {count:,} {name}", "use fewer of them")


def collect(extractor: Extractor, batches: Iterable[np.ndarray], *, keep: bool = False,
            limit: int | None = None, total: int | None = None, name: str = "images") -> Collected:
    """One pass over images: moments, logits, and all features if `keep` is true.

    Args:
      batches: uint8 (n, h, w, c), any n.
      limit: number of images that the moments and features cover; the logits cover all.
      total: number of images that will come, for the progress bar.
      name: name of the images in the progress bar and in errors.

    Raises:
      UserError: for fewer than two images, images of several sizes, or features that are not
        finite.
    """
    if total is not None:
        check_features(extractor, total, keep, name)
    running = RunningMoments(extractor.dimensions)
    features, logits = [], []
    seen, due = 0, time.monotonic() + SAY_EVERY
    with tqdm(total=total, unit="img", desc=name, dynamic_ncols=True, mininterval=1,
              disable=None) as bar:  # no bar without a terminal
        for batch in extractor.extract(batches):
            if not np.isfinite(batch.features).all():
                raise UserError(f"the features of {name} are not all finite: the images, or the "
                                "weights of the extractor, are damaged")
            wanted = batch.features if limit is None else batch.features[:limit - running.n]
            running.add(wanted)
            if keep:
                features.append(wanted)
            if batch.logits is not None:
                logits.append(batch.logits)
            bar.update(len(batch.features))
            seen += len(batch.features)
            if bar.disable and time.monotonic() >= due and jax.process_index() == 0:
                say(f"{name}: {seen:,}" + (f" of {total:,}" if total else "") + " images")
                due = time.monotonic() + SAY_EVERY
    if running.n < 2:
        raise UserError(f"{name} has {running.n} images: a score needs at least 2")
    return Collected(running.moments(), np.concatenate(features) if keep else None,
                     np.concatenate(logits) if logits else None)


def _regrouped(batches: Iterable[np.ndarray], size: int, prepared: bool = False
               ) -> Iterator[np.ndarray]:
    """The same images in arrays of `size`, the last one shorter; buffers fewer than two arrays.

    prepared: whether they may be float32, from `Extractor.prepare`.
    """
    waiting, count, shape = [], 0, None
    for batch in batches:
        suitable = batch.dtype == np.uint8 or (prepared and batch.dtype == np.float32)
        if not suitable or batch.ndim != 4 or batch.shape[-1] not in (1, 3):
            raise UserError(f"images must be uint8 of shape (n, height, width, 1 or 3), got "
                            f"{batch.dtype} {batch.shape}")
        shape = shape or batch.shape[1:]
        if batch.shape[1:] != shape:
            raise UserError(f"images of several sizes, {shape} and {batch.shape[1:]}: resize them "
                            "to one size")
        for start in range(0, len(batch), size):
            piece = batch[start:start + size]
            waiting.append(piece)
            count += len(piece)
            if count >= size:
                joined = np.concatenate(waiting)
                yield joined[:size]
                waiting, count = [joined[size:]], count - size
    if count:
        yield np.concatenate(waiting)
