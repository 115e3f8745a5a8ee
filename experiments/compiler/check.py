"""A config's whole training step, compiled for absent devices by their real compilers.

Nothing runs and no data are read: from shapes, the compiler computes the program's needs.
"""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

import jax
import jaxlib

from sngan_jax.base.compilation import OPTIONS
from sngan_jax.models.build import fusion_of

from . import gpu, tpu
from .cards import SHARE
from .step import Facts, lower, parts_of, with_batch
from .targets import Cards, Target, devices_of

# The package that a compiler comes with.
_COMPILERS = {"tpu": "libtpu", "gpu": "jax-cuda12-pjrt"}


def check(config: Any, target: Target, facts: Facts, per_device: int = 0) -> dict[str, Any]:
    """Compiles a config; returns the record: `compiles` or `why_not`, memory, and costs.

    Raises:
      UserError: for a missing compiler, an unknown topology, a batch that the devices cannot share,
        or a program whose launches cannot be counted.
    """
    devices = devices_of(target)
    cards = isinstance(target, Cards)
    config = with_batch(config, per_device, len(devices))
    record = {
        "topology": target.name, "devices": len(devices), "hosts": target.hosts,
        "device": devices[0].device_kind, "model": config.model, "dataset": config.dataset,
        "method": config.method, "image_size": config.image_size,
        "image_width": config.image_width or config.image_size,
        "conditional": config.conditional, "n_dis": config.n_dis, "batch_size": config.batch_size,
        "generator_batch_size": config.generator_batch_size, "dtype": config.dtype,
        "bn_sync": config.bn_sync, "fusion": fusion_of(config, devices[0].device_kind),
        "iterations": config.iterations, "compiler": compiler_of(devices[0].platform)}
    start = time.perf_counter()
    state, lowered = lower(config, facts, devices)
    try:
        compiled = lowered.compile(compiler_options=gpu.OPTIONS if cards else OPTIONS["tpu"])
    except jax.errors.JaxRuntimeError as error:
        return record | {"compiles": False, "why_not": " ".join(str(error).split())[:300]}
    record |= {"compiles": True, "compile_seconds": round(time.perf_counter() - start, 1)}
    parts = parts_of(state, config, facts, len(devices))
    record |= memory_of(compiled.memory_analysis(), parts, target)
    return record | (gpu if cards else tpu).cost_of(compiled, config, target)


def memory_of(memory: Any, parts: dict[str, int], target: Target) -> dict[str, Any]:
    """A device's bytes by part and in total, its capacity, and whether the state is donated.

    hbm_of_core: memory of a device that a program can use. JAX takes no more than three quarters of
      a card's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
    """
    state = sum(size for name, size in parts.items() if name != "data")
    total = (memory.argument_size_in_bytes + memory.output_size_in_bytes
             - memory.alias_size_in_bytes + memory.temp_size_in_bytes
             + memory.generated_code_size_in_bytes)
    sizes = {**parts, "temporaries": memory.temp_size_in_bytes,
             "code": memory.generated_code_size_in_bytes}
    sizes["padding of arrays"] = max(total - sum(sizes.values()), 0)
    usable = int(SHARE * target.memory) if isinstance(target, Cards) else target.memory
    return {"hbm_bytes": total, "hbm_of_core": usable, "hbm_of_device": target.memory,
            "fits": total <= usable, "hbm_parts": sizes, "state_bytes": state,
            "donated": memory.alias_size_in_bytes >= state}


def compiler_of(platform: str) -> str:
    """The compiler and its version, as named in a record."""
    name = _COMPILERS[platform]
    try:
        return f"{name} {importlib.metadata.version(name)}, jaxlib {jaxlib.__version__}"
    except importlib.metadata.PackageNotFoundError:  # another build of it
        return f"{name} of unknown version, jaxlib {jaxlib.__version__}"
