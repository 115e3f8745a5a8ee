"""Images read from disk while a run trains, for data sets larger than memory.

The order is that of a set in memory, a function of (key, batch number), so that there is no
iterator to save: a run that is resumed asks for the batches from its iteration on.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from sngan_jax.data.crop import check_size, fit_one
from sngan_jax.data.folder import common_size, decode_file, list_folder
from sngan_jax.data.image_set import DataError
from sngan_jax.data.pipeline import batch_indices
from sngan_jax.data.prepared import PreparedImages

# uint8 (h, w, c) and a class, -1 where there is none.
Example = tuple[np.ndarray, int]


class ImageStream:
    """A set of images on disk.

    Attributes:
      name: the spec that it was opened from.
      shape: height, width and channels of the images that it gives.
      num_classes: 0 for an unlabelled set.
    """

    def __init__(self, name: str, count: int, shape: tuple[int, int, int], num_classes: int,
                 identity: bytes, read_one: Callable[[int], Example]):
        self.name, self.shape, self.num_classes = name, shape, num_classes
        self._count, self._identity, self._read_one = count, identity, read_one

    def __len__(self) -> int:
        return self._count

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.shape[-1]

    def fingerprint(self) -> str:
        """16 hex digits of the set's description on disk."""
        size = repr((self._count, *self.shape)).encode()
        return hashlib.sha256(self._identity + size).hexdigest()[:16]

    def read(self, rows: np.ndarray, map_: Callable = map) -> tuple[np.ndarray, np.ndarray | None]:
        """The images of these rows: uint8 (n, h, w, c), and int32 labels (n,) or None.

        Args:
          rows: integers (n,) in [0, len(self)).
          map_: function that calls another on each, such as a thread pool's `map`.

        Raises:
          DataError: where an image cannot be read, has another size than the first one, or has no
            class in a set with classes.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        labels = np.empty(len(rows), np.int32)
        for i, (image, label) in enumerate(map_(self._read_one, map(int, rows))):
            check_size(image, self.shape, f"image {rows[i]} of {self.name}")
            images[i], labels[i] = image, label
        if not self.num_classes:
            return images, None
        if labels.min() < 0:
            row = int(rows[int(np.argmin(labels))])
            raise DataError(f"{self.name}: image {row} has no class, and others have: take a "
                            "split whose images all have one")
        return images, labels


def open_stream(spec: str, *, image_size: int | None, channels: int | None = None,
                split: str = "train", data_dir: str | None = None,
                exact: bool = False) -> ImageStream:
    """Opens a data set for reading image by image; arguments as of `sources.load`.

    Args:
      spec: 'tfds:<name>', prepared as ArrayRecord, or 'folder:<folder>'.
      channels: None reads as `sources.load` does for tfds, and RGB for a folder.
      exact: whether the fingerprint is of the content of a folder's files, which are all read for
        it, and not of their names and sizes only.

    Returns:
      an ImageStream of the pixels and labels of `sources.load`, in its order.

    Raises:
      DataError: as `sources.load`, and for sources that are read into memory only.
    """
    kind, _, place = spec.partition(":")
    if kind == "tfds" and place:
        source = PreparedImages(place, split, data_dir)
        depth = channels or source.channels
        lock = threading.Lock()  # the readers of the records are not made for several threads

        def read_tfds(row: int) -> Example:
            with lock:
                raw = source.raw(row)
            image, label = source.decode(raw, row)
            return fit_one(image, image_size, depth), label

        image, label = read_tfds(0)
        labelled = source.num_classes and label >= 0
        return ImageStream(spec, len(source), image.shape,
                           source.num_classes if labelled else 0, source.identity, read_tfds)
    if kind == "folder" and place:
        files, labels, num_classes = list_folder(place, split)
        channels = channels or 3

        def read_file(row: int) -> Example:
            image = fit_one(decode_file(files[row]), image_size, channels)
            return image, -1 if labels is None else int(labels[row])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            size = (image_size, image_size) if image_size else common_size(files, pool)
            identity = (b"".join(pool.map(_content, files)) if exact else
                        "".join(f"{file}:{file.stat().st_size};" for file in files).encode())
        return ImageStream(spec, len(files), (*size, channels), num_classes, identity, read_file)
    raise DataError(f"config.stream is true, but {spec!r} is read into memory: only tfds:<name> "
                    "and folder:<folder> are streamed; use --config.stream=false")


def _content(file: Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): repair it or remove it"
                        ) from error


def batches(stream: ImageStream, key: jax.Array, *, first_iteration: int, n_dis: int,
            batch_size: int, start: int, count: int, threads: int | None = None, ahead: int = 2
            ) -> Generator[tuple[np.ndarray, np.ndarray | None], None, None]:
    """The real images of one iteration after the other, read ahead by threads.

    Close the generator to end its threads.

    Args:
      key: PRNG key of the data order.
      first_iteration: number of iterations that are done.
      batch_size: images of a global batch; this process reads entries start … start + count - 1.
      threads: that decode; None: one a core.
      ahead: number of iterations that are read before they are asked for.

    Yields:
      images uint8 (n_dis, count, h, w, c); labels int32 (n_dis, count), or None.

    Raises:
      DataError: where an image cannot be read.
    """
    cpu = jax.local_devices(backend="cpu")[0]
    with jax.default_device(cpu):
        key = jax.device_put(key, cpu)
        indices = jax.jit(functools.partial(batch_indices, batch_size=batch_size, n=len(stream),
                                            start=start, count=count))

    def one(iteration: int) -> tuple[np.ndarray, np.ndarray | None]:
        with jax.default_device(cpu):
            rows = np.concatenate([np.asarray(indices(key, iteration * n_dis + i))
                                   for i in range(n_dis)])
        images, labels = stream.read(rows, decoders.map)
        return (images.reshape(n_dis, count, *images.shape[1:]),
                None if labels is None else labels.reshape(n_dis, count))

    # Decoding releases the GIL. One more thread assembles the batches, in order.
    with ThreadPoolExecutor(threads or os.cpu_count(), "decode") as decoders, \
            ThreadPoolExecutor(1, "batches") as assembler:
        waiting: deque[Future] = deque()
        try:
            for iteration in itertools.count(first_iteration):
                waiting.append(assembler.submit(one, iteration))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            decoders.shutdown(wait=False, cancel_futures=True)
