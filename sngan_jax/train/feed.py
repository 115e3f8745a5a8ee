"""The real images of a run on its devices: the whole set at once, or those of a call at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream, batches
from sngan_jax.train.step import AXIS, Data


@contextlib.contextmanager
def feed(images: ImageSet | ImageStream, devices: list[jax.Device], key: jax.Array, *,
         first_iteration: int, n_dis: int, batch_size: int,
         iterations_per_call: int = 1) -> Iterator[Callable[[], Data]]:
    """A function that gives the `Data` of one call of the step after the other.

    Args:
      images: a set in memory goes to every device, once. A stream is read in the same order, while
        the devices work.
      key: the step's, of which the order is a function.
      first_iteration: the number of iterations that are done.
    """
    if isinstance(images, ImageSet):
        data = replicate(Data(images.images, images.labels), devices)
        yield lambda: data
        return
    data_key = jax.random.split(key)[0]
    with contextlib.closing(batches(
            images, data_key, first_iteration=first_iteration, n_dis=n_dis, batch_size=batch_size,
            start=0, count=batch_size)) as stream:
        def place() -> Data:
            parts = zip(*(next(stream) for _ in range(iterations_per_call)), strict=True)
            return Data(*(None if part[0] is None else
                          spread(_by_device(np.stack(part), len(devices)), devices)
                          for part in parts))

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


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Places a tree on every device, as the pmap-ed step returns it, so that it compiles once."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec()))


def spread(array: np.ndarray, devices: list[jax.Device]) -> jax.Array:
    """Divides the rows of an array, a multiple of the devices, among them in order."""
    return jax.device_put(array, NamedSharding(Mesh(np.array(devices), (AXIS,)),
                                               PartitionSpec(AXIS)))


def positions(devices: list[jax.Device]) -> jax.Array:
    """Each device's own place: int32 (devices,), one element on each."""
    return spread(np.arange(len(devices), dtype=np.int32), devices)
