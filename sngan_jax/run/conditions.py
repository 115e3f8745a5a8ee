"""Conditions that a run's numbers depend on besides its config: JAX, its settings, the devices."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Mapping

import jax

import sngan_jax
from sngan_jax.base.errors import UserError
from sngan_jax.base.provenance import commit
from sngan_jax.base.types import JsonObject

# Settings that change every number, with the variable that sets each.
_SETTINGS = {"jax_enable_x64": "JAX_ENABLE_X64",
             "jax_default_prng_impl": "JAX_DEFAULT_PRNG_IMPL",
             "jax_threefry_partitionable": "JAX_THREEFRY_PARTITIONABLE",
             "jax_random_seed_offset": "JAX_RANDOM_SEED_OFFSET",
             "jax_default_matmul_precision": "JAX_DEFAULT_MATMUL_PRECISION"}


def conditions() -> JsonObject:
    """The conditions of this process, as plain values, for the meta of a checkpoint."""
    devices = jax.devices()
    return {**{name: getattr(jax.config, name) for name in _SETTINGS}, "jax": jax.__version__,
            "devices": f"{len(devices)} x {devices[0].device_kind}"}


def environment() -> JsonObject:
    """Versions, devices, commit and command of this process."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": commit(),
        "sngan_jax": sngan_jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "backend": jax.default_backend(),
        **conditions(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def changed(then: Mapping[str, object], where: str) -> Iterator[str]:
    """Warnings about a run that continues with another version of JAX or on another device.

    Args:
      then: `conditions` of its checkpoint; entries that an older checkpoint lacks are not compared.
      where: name of the checkpoint in the warnings.

    Raises:
      UserError: a setting that changes every number differs.
    """
    now = conditions()
    for name, variable in _SETTINGS.items():
        if then.get(name, now[name]) != now[name]:
            raise UserError(f"{where} was made with {name} = {then[name]!r}, but it is "
                            f"{now[name]!r} here: set {variable}={then[name]}, or choose another "
                            "--workdir")
    for name, words in (("jax", "jax"), ("devices", "the devices")):
        if then.get(name, now[name]) != now[name]:
            yield (f"{where} was made with {words} {then[name]}, but this is {now[name]}: numbers "
                   "may differ in the last bits from here on")
