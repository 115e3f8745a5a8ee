"""Images read from disk during training, for data sets larger than memory.

The order is the same as for a set in memory, a function of (key, batch number). So there is no
iterator to save: a resumed run asks for the batches from its iteration on.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from sngan_jax.base.files import is_file
from sngan_jax.base.output import say
from sngan_jax.data.crop import Size, check_size, fit_one, pair
from sngan_jax.data.folder import Listing, MixedSizes, common_size, described, list_folder
from sngan_jax.data.image_set import (
    CROPPED,
    DataError,
    Reading,
    attempted,
    missing_classes,
    next_good,
    refuse_bad,
)
from sngan_jax.data.pictures import check_header, decode_file, is_grey, size_of
from sngan_jax.data.pipeline import batch_indices
from sngan_jax.data.prepared import PreparedImages
from sngan_jax.data.sources import check_reading, unknown_spec

# uint8 (h, w, c) and a class, -1 without one.
Example = tuple[np.ndarray, int]
_SIZES_OF = 1000  # largest number of pictures whose sizes are looked up before a run

_SCAN_SECONDS, _SCAN_ROWS = 60.0, 1024


class ImageStream:
    """A set of images on disk.

    Attributes:
      name: the spec from which it was opened.
      shape: height, width and channels of the images that it returns. The first two are 0 if images
        have different sizes; `read_each` is then the way to read them.
      num_classes: 0 for an unlabelled set.
      bad: the damaged images found, {row: what is wrong}, if they are skipped.
      reading, about, cautions: as in `ImageSet`.
    """

    def __init__(self, name: str, count: int, shape: tuple[int, int, int], num_classes: int,
                 identity: bytes, read_one: Callable[[int], Example],
                 check_one: Callable[[int], object], bad: dict[int, str] | None,
                 reading: Reading = CROPPED, about: str = "", cautions: tuple[str, ...] = ()):
        self.name, self.shape, self.num_classes = name, shape, num_classes
        self.reading, self.about, self.cautions = reading, about, cautions
        self._count, self._identity, self._read_one = count, identity, read_one
        self._check_one, self._skip, self.bad = check_one, bad is not None, dict(bad or {})

    def __len__(self) -> int:
        return self._count

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.shape[-1]

    def fingerprint(self) -> str:
        """16 hex digits of the set's description on disk."""
        size = repr((self._count, *self.shape)).encode()
        # Empty for the default, so that older runs still recognize their data.
        size += repr(self.reading).encode() if self.reading != CROPPED else b""
        return hashlib.sha256(self._identity + size).hexdigest()[:16]

    def scan(self, seconds: float = _SCAN_SECONDS) -> None:
        """Checks the headers of the images, in order, for a limited time, and reports how far it
        got.

        Raises:
          DataError: names all damaged images that it found, unless they are skipped.
        """
        begun, done = time.monotonic(), 0
        bad: dict[int, str] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while done < self._count and time.monotonic() - begun < seconds:
                rows = range(done, min(done + _SCAN_ROWS, self._count))
                bad |= attempted(self._check_one, rows, pool.map)
                done = rows.stop
        say(f"note: the headers of {done:,} of the {self._count:,} images of {self.name} were "
            f"checked: {len(bad):,} are damaged")
        if not self._skip:
            refuse_bad(bad, self.name)
        for row, why in sorted(bad.items()):
            self._note(row, why)
        next_good(0, self.bad, self._count, self.name)

    def read(self, rows: np.ndarray, map_: Callable = map) -> tuple[np.ndarray, np.ndarray | None]:
        """The images of these rows: uint8 (n, h, w, c), and int32 labels (n,) or None.

        Args:
          rows: integers (n,) in [0, len(self)).
          map_: a function that maps another over rows, such as a thread pool's `map`.

        Raises:
          DataError: if an image cannot be read and is not skipped, if its size differs from the
            first one's, or if it has no class in a set with classes.
        """
        return self.read_counting(rows, map_)[:2]

    def read_counting(self, rows: np.ndarray, map_: Callable = map
                      ) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Like `read`, but returns the number of damaged images that were replaced.

        The replacement is the next image of the set. It depends on the row alone, not on other
        reads.

        Raises:
          DataError: as for `read`.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        labels = np.empty(len(rows), np.int32)
        replaced = 0
        for i, (row, image, label) in enumerate(map_(self._read_good, map(int, rows))):
            images[i], labels[i] = image, label
            replaced += row != int(rows[i])
        return images, self._checked(labels, rows), replaced

    def read_each(self, rows: np.ndarray, map_: Callable = map
                  ) -> tuple[list[np.ndarray], np.ndarray | None]:
        """Reads like `read`, but returns a list of images (h, w, c), each in its own size."""
        _, images, labels = zip(*map_(self._read_good, map(int, rows)), strict=True)
        return list(images), self._checked(np.array(labels, np.int32), rows)

    def _checked(self, labels: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
        if not self.num_classes:
            return None
        if labels.min() < 0:
            row = int(rows[int(np.argmin(labels))])
            raise DataError(f"{self.name}: image {row} has no class, but others have one: use a "
                            "split whose images all have one")
        return labels

    def _read_good(self, row: int) -> tuple[int, np.ndarray, int]:
        """The row that was read, its image and its class."""
        while True:
            row = next_good(row, self.bad, self._count, self.name)
            try:
                image, label = self._read_one(row)
                if all(self.shape):
                    check_size(image, self.shape, f"image {row} of {self.name}")
                return row, image, label
            except DataError as error:
                if not self._skip:
                    raise
                self._note(row, str(error))

    def _note(self, row: int, why: str) -> None:
        if row not in self.bad:
            self.bad[row] = why
            say(f"warning: {why}; the next image takes its place")


def open_stream(spec: str, *, image_size: Size, channels: int | None = None,
                split: str = "train", data_dir: str | None = None, reading: Reading = CROPPED,
                exact: bool = False, skip_bad: bool = False, own_sizes: bool = False
                ) -> ImageStream:
    """Opens a data set for reading image by image; arguments as for `sources.load`.

    Args:
      spec: 'tfds:<name>', prepared as ArrayRecord, or 'folder:<folder>'.
      channels: None reads as `sources.load` does for tfds, and for a folder RGB unless `exact`.
      exact: whether the fingerprint covers the content of a folder's files, and not only their
        names and sizes; all files are then read, and a folder of grey pictures is grey. For a
        prepared set it covers the times of its files.
      skip_bad: replace a damaged image by the next one.
      own_sizes: whether images may differ in size if no image_size is given.

    Returns:
      an ImageStream with the pixels and labels of `sources.load`, in its order.

    Raises:
      DataError: as for `sources.load`, and for sources that can only be read into memory.
    """
    kind, _, place = spec.partition(":")
    check_reading(image_size, channels, reading)
    if kind == "tfds" and place:
        return _open_prepared(PreparedImages(place, split, data_dir), spec, image_size, channels,
                              reading, exact, skip_bad, own_sizes)
    if kind == "folder" and place:
        return _open_folder(list_folder(place, split), spec, image_size, channels, reading, exact,
                            skip_bad, own_sizes)
    if spec != "digits" and (kind not in ("npz", "idx") or not place):
        raise DataError(unknown_spec(spec))
    raise DataError(f"config.stream is true, but {spec!r} is read into memory: only tfds:<name> "
                    "and folder:<folder> are streamed; use --config.stream=false")


def _open_prepared(source: PreparedImages, spec: str, image_size: Size, channels: int | None,
                   reading: Reading, exact: bool, skip_bad: bool, own_sizes: bool) -> ImageStream:
    depth = channels or source.channels
    lock = threading.Lock()  # the readers of the records are not thread-safe

    def read_one(row: int) -> Example:
        with lock:
            raw = source.raw(row)
        image, label = source.decode(raw, row)
        return fit_one(image, image_size, depth, reading), label

    def check_one(row: int) -> None:
        with lock:
            raw = source.raw(row)
        source.check(raw, row)

    bad: dict[int, str] = {}
    while True:  # all images are like the first good one
        row = next_good(0, bad, len(source), spec)
        try:
            image, label = read_one(row)
            break
        except DataError as error:
            if not skip_bad:
                raise
            bad[row] = str(error)
    labelled = source.num_classes and label >= 0
    differ = own_sizes and image_size is None and not source.one_size
    return ImageStream(spec, len(source), (0, 0, depth) if differ else image.shape,
                       source.num_classes if labelled else 0,
                       source.identity + (source.version() if exact else b""), read_one,
                       check_one, bad if skip_bad else None, reading)


def _open_folder(listing: Listing, spec: str, image_size: Size, channels: int | None,
                 reading: Reading, exact: bool, skip_bad: bool, own_sizes: bool) -> ImageStream:
    files, labels, num_classes = listing[:3]

    def read_file(row: int) -> Example:
        image = fit_one(decode_file(files[row], plain=reading.plain), image_size, depth, reading)
        return image, -1 if labels is None else int(labels[row])

    bad: dict[int, str] = {}
    if not image_size and skip_bad:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            bad = attempted(lambda row: size_of(files[row]), range(len(files)), pool.map)
    next_good(0, bad, len(files), spec)
    try:
        size = pair(image_size) or common_size(
            [file for row, file in enumerate(files) if row not in bad], reading)
    except MixedSizes:
        if not own_sizes:
            raise
        size = (0, 0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        some = np.unique(np.linspace(0, len(files) - 1, _SIZES_OF).astype(int)).tolist()
        sizes = pool.map(functools.partial(_size_if_readable, reading), map(
            files.__getitem__, some))
        found = {row: size for row, size in zip(some, sizes, strict=True) if size}
        grey = not channels and exact and not reading.plain and all(
            pool.map(_is_grey_or_unreadable, files))
        depth = channels or (1 if grey else 3)
        identity = (b"".join(pool.map(_content, files)) if exact else
                    "".join(f"{file}:{_bytes_of(file)};" for file in files).encode(
                        errors="surrogateescape"))
    about, cautions = described(listing, found, image_size, reading)
    missing = "" if labels is None else missing_classes(labels, num_classes)
    return ImageStream(spec, len(files), (*size, depth), num_classes, identity, read_file,
                       lambda row: check_header(files[row]), bad if skip_bad else None,
                       reading, about, (*cautions, *([missing] if missing else [])))


def _is_grey_or_unreadable(file: Path) -> bool:
    with contextlib.suppress(DataError):  # reported when the picture's turn comes
        return is_grey(file)
    return True


def _size_if_readable(reading: Reading, file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(DataError):  # reported when the picture's turn comes
        return size_of(file, plain=reading.plain)
    return None


def _bytes_of(file: Path) -> int | None:
    with contextlib.suppress(OSError):  # a link to nothing, reported when the picture's turn comes
        return file.stat().st_size
    return None


def _content(file: Path) -> bytes:
    with contextlib.suppress(OSError):  # reported when the picture's turn comes
        if is_file(file):  # reading a pipe or a device would never end
            return hashlib.sha256(file.read_bytes()).digest()
    return bytes(32)  # its place in the order counts


def batches(stream: ImageStream, key: jax.Array, *, first_iteration: int, n_dis: int,
            batch_size: int, start: int, count: int, threads: int | None = None, ahead: int = 2
            ) -> Generator[tuple[np.ndarray, np.ndarray | None, int], None, None]:
    """The real images of one iteration after another, read ahead by threads.

    Close the generator to end its threads.

    Args:
      key: PRNG key of the data order.
      first_iteration: number of finished iterations.
      batch_size: images of a global batch; this process reads entries start … start + count - 1.
      threads: number of threads that decode; None: one per core.
      ahead: number of iterations that are read before they are needed.

    Yields:
      images uint8 (n_dis, count, h, w, c); labels int32 (n_dis, count), or None; the number of
        places where another image replaces a damaged one.

    Raises:
      DataError: if an image cannot be read.
    """
    cpu = jax.local_devices(backend="cpu")[0]
    with jax.default_device(cpu):
        key = jax.device_put(key, cpu)
        indices = jax.jit(functools.partial(batch_indices, batch_size=batch_size, n=len(stream),
                                            start=start, count=count))

    def one(iteration: int) -> tuple[np.ndarray, np.ndarray | None, int]:
        with jax.default_device(cpu):
            rows = np.concatenate([np.asarray(indices(key, iteration * n_dis + i))
                                   for i in range(n_dis)])
        images, labels, replaced = stream.read_counting(rows, decoders.map)
        return (images.reshape(n_dis, count, *images.shape[1:]),
                None if labels is None else labels.reshape(n_dis, count), replaced)

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
