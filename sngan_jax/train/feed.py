"""The real images of a run on its devices: the whole set at once, or those of a call at a time.

`devices` are always all those of the run, of every process, in one order (`all_devices`); each
process places arrays on its own only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream, batches
from sngan_jax.train.step import AXIS, Data


@contextlib.contextmanager
def feed(images: ImageSet | ImageStream, devices: list[jax.Device], key: jax.Array, *,
         first_iteration: int, n_dis: int, batch_size: int,
         iterations_per_call: int = 1) -> Iterator[Callable[[], Data]]:
    """A function that gives the `Data` (its shapes are there) of one call after the other.

    Args:
      images: a set in memory goes to every device, once. A stream is read in the same order, while
        the devices work; each process reads what its own devices need.
      key: the step's, of which the order is a function.
      first_iteration: the number of iterations that are done.
    """
    if isinstance(images, ImageSet):
        rows = images.images.reshape(len(images), -1)  # `Data` says why
        data = Data(*replicate((rows, images.labels), devices))
        yield lambda: data
        return
    data_key = jax.random.split(key)[0]
    places = own_places(devices)
    each = batch_size // len(devices)
    with contextlib.closing(batches(
            images, data_key, first_iteration=first_iteration, n_dis=n_dis, batch_size=batch_size,
            start=places[0] * each, count=len(places) * each)) as stream:
        def sent(parts: tuple[np.ndarray, ...]) -> jax.Array:
            return spread(_by_device(np.stack(parts), len(places)), devices)

        def place() -> Data:
            pixels, labels = zip(*(next(stream) for _ in range(iterations_per_call)), strict=True)
            return Data(sent(pixels), None if labels[0] is None else sent(labels))

        # Sent one call ahead, so that the transfer is done when its turn comes.
        waiting = [place()]

        def one() -> Data:
            waiting.append(place())
            return waiting.pop(0)

        yield one


def _by_device(batch: np.ndarray, count: int) -> np.ndarray:
    """(iterations, n_dis, batch, …) -> (devices, iterations, n_dis, batch/devices, …)."""
    iterations, n_dis, size, *rest = batch.shape
    parts = batch.reshape(iterations, n_dis, count, size // count, *rest)
    return np.moveaxis(parts, 2, 0)


def all_devices() -> list[jax.Device]:
    """Those of all processes, each process's together, so that it needs one part of a batch."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def own_places(devices: list[jax.Device]) -> list[int]:
    """The places in `devices` of this process's own."""
    return [i for i, device in enumerate(devices)
            if device.process_index == jax.process_index()]


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Places a tree on each own device, as the pmap-ed step gives it back: it compiles once."""
    return jax.device_put(tree, NamedSharding(_own_mesh(devices), PartitionSpec()))


def spread(array: np.ndarray, devices: list[jax.Device]) -> jax.Array:
    """Divides the rows (n, …), n a multiple of the own devices, among them in order."""
    return jax.device_put(array, NamedSharding(_own_mesh(devices), PartitionSpec(AXIS)))


def positions(devices: list[jax.Device]) -> jax.Array:
    """The place of each own device among all: int32 (own devices,), one element on each."""
    return spread(np.array(own_places(devices), np.int32), devices)


def own_part(rows: np.ndarray) -> np.ndarray:
    """This process's part of rows (n, …) that all have, n a multiple of the processes."""
    return np.split(rows, jax.process_count())[jax.process_index()]


def gathered(part: jax.Array) -> np.ndarray:
    """The rows of all processes' parts (n, …), in order, in each of them."""
    rows = np.asarray(part)
    if jax.process_count() == 1:
        return rows
    return multihost_utils.process_allgather(rows, tiled=True)


def _own_mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.array([devices[i] for i in own_places(devices)]), (AXIS,))
