"""The devices of a run: where arrays live, and how the devices' results are averaged.

`devices` are always all devices of the run, in every process, in one order (`all_devices`). Each
process places arrays on its own devices only.
"""

from __future__ import annotations

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sngan_jax.base.types import PyTree
from sngan_jax.step.forward import Collections
from sngan_jax.step.recipe import Recipe

# The axis of the pmap-ed step, over which gradients and statistics are averaged.
AXIS = "batch"


def mean_over_devices(metrics: dict[str, jax.Array], gradients: PyTree,
                      collections: tuple[Collections, ...], recipe: Recipe
                      ) -> tuple[dict[str, jax.Array], PyTree, tuple[Collections, ...]]:
    """Means over the devices of a pmap, in one all-reduce; outside pmap, the arguments unchanged.

    The vectors of the power iteration are equal on all devices without averaging, and so are batch
    norm's running statistics unless `recipe.average_statistics` is set.
    """
    if recipe.axis_name is None:
        return metrics, gradients, collections
    averaged = [c["batch_stats"] for c in collections] if recipe.average_statistics else []
    # XLA turns a tree into one all-reduce.
    metrics, gradients, averaged = lax.pmean((metrics, gradients, averaged), recipe.axis_name)
    if averaged:
        collections = tuple({**c, "batch_stats": mean}
                            for c, mean in zip(collections, averaged, strict=True))
    return metrics, gradients, collections


def all_devices() -> list[jax.Device]:
    """Devices of all processes, grouped by process: each one needs one part of a batch."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def own_places(devices: list[jax.Device]) -> list[int]:
    """Positions in `devices` of this process's own devices."""
    return [i for i, device in enumerate(devices)
            if device.process_index == jax.process_index()]


def replicate(tree: PyTree, devices: list[jax.Device]) -> PyTree:
    """Copies a tree to each own device.

    The copies are placed as the pmap-ed step returns them, so that it compiles once.
    """
    return jax.device_put(tree, NamedSharding(_own_mesh(devices), PartitionSpec()))


def spread(array: np.ndarray, devices: list[jax.Device]) -> jax.Array:
    """Divides the rows (n, …) among the own devices, in order; n is a multiple of their number."""
    return jax.device_put(array, NamedSharding(_own_mesh(devices), PartitionSpec(AXIS)))


def positions(devices: list[jax.Device]) -> jax.Array:
    """The position of each own device among all: int32 (own devices,), one element on each."""
    return spread(np.array(own_places(devices), np.int32), devices)


def memory_of(device: jax.Device) -> int | None:
    """Bytes of memory that an own device gives to arrays; None if it does not say."""
    try:
        return (device.memory_stats() or {}).get("bytes_limit")
    except jax.errors.JaxRuntimeError:
        return None


def own_part(rows: np.ndarray) -> np.ndarray:
    """This process's part of rows (n, …) that all processes hold; their number divides n."""
    return np.split(rows, jax.process_count())[jax.process_index()]


def gathered(part: jax.Array) -> np.ndarray:
    """The rows of all processes' parts (n, …), in order, in every process."""
    rows = np.asarray(part)
    if jax.process_count() == 1:
        return rows
    return multihost_utils.process_allgather(rows, tiled=True)


def _own_mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.array([devices[i] for i in own_places(devices)]), (AXIS,))
