"""Real images on a run's devices: the whole data set, or the batches of one call at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream, batches
from sngan_jax.step.devices import own_places, replicate, spread

Batches = tuple[jax.Array, jax.Array | None, int]


@contextlib.contextmanager
def feed(images: ImageSet | ImageStream, devices: list[jax.Device], key: jax.Array, *,
         first_iteration: int, n_dis: int, batch_size: int,
         iterations_per_call: int = 1) -> Iterator[Callable[[], Batches]]:
    """Function that returns the images and labels (or None) for each call of the step in turn.

    Shapes are as in `recipe.Inputs`. The third value is the number of images, over all devices,
    that replace damaged ones.

    Args:
      images: a set in memory is copied to every device, once. A stream is read in the same order
        while the devices work; each process reads what its own devices need.
      key: the step's key, on which the order depends.
      first_iteration: number of iterations already done.
    """
    if isinstance(images, ImageSet):
        rows = images.images.reshape(len(images), -1)  # see `Inputs`
        data = replicate((rows, images.labels), devices)
        yield lambda: (*data, 0)
        return
    data_key = jax.random.split(key)[0]
    places = own_places(devices)
    each = batch_size // len(devices)
    with contextlib.closing(batches(
            images, data_key, first_iteration=first_iteration, n_dis=n_dis, batch_size=batch_size,
            start=places[0] * each, count=len(places) * each)) as stream:
        def sent(parts: tuple[np.ndarray, ...]) -> jax.Array:
            return spread(_by_device(np.stack(parts), len(places)), devices)

        def place() -> Batches:
            pixels, labels, replaced = zip(*(next(stream) for _ in range(iterations_per_call)),
                                           strict=True)
            return sent(pixels), None if labels[0] is None else sent(labels), sum(replaced)

        # Sent one call ahead, so that the transfer is done when the call starts.
        waiting = [place()]

        def one() -> Batches:
            waiting.append(place())
            return waiting.pop(0)

        yield one


def _by_device(batch: np.ndarray, count: int) -> np.ndarray:
    """(iterations, n_dis, batch, …) -> (devices, iterations, n_dis, batch/devices, …)."""
    iterations, n_dis, size, *rest = batch.shape
    parts = batch.reshape(iterations, n_dis, count, size // count, *rest)
    return np.moveaxis(parts, 2, 0)
