"""A config's whole training step, compiled by the real TPU compiler for chips that are not there.

Nothing runs and no data are read: shapes go in, and the compiler says what the program needs.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.tpu.chips import CHIPS, GIB, Topology
from experiments.tpu.hlo import all_reduces, executed, loop_share, updates
from sngan_jax.base.compilation import OPTIONS
from sngan_jax.base.errors import UserError
from sngan_jax.models.build import fusion_of
from sngan_jax.run.validate import validate
from sngan_jax.step.program import make_train_step
from sngan_jax.step.setup import inputs_of, recipe_of
from sngan_jax.step.state import abstract_state

# Of a message from the first chip to the farthest one, a link: not measured.
HOP_SECONDS = 1e-6
ASSUMPTION = ("at best: the compiler's bound on the arithmetic and memory of a core, of which the "
              "loop's share by its estimate of cycles is taken n_dis times, plus the all-reduces, "
              "one after the other, each 2·bytes over a chip's links and 1 µs a hop; no waiting "
              "for input")


class Facts(NamedTuple):
    """What the step depends on of a data set."""

    images: int
    channels: int
    classes: int


SETS = {
    "digits": Facts(1_797, 1, 10),
    "tfds:cifar10": Facts(50_000, 3, 10),
    "tfds:cifar100": Facts(50_000, 3, 100),
    "tfds:stl10": Facts(100_000, 3, 10),  # its split 'unlabelled'
    "tfds:fashion_mnist": Facts(60_000, 1, 10),
    "tfds:imagenet2012": Facts(1_281_167, 3, 1_000),
    "tfds:celeb_a": Facts(162_770, 3, 0),
}


def facts_of(config: Any, images: int, classes: int) -> Facts:
    """Of the config's data set; `images` and `classes` (0: unknown) replace what is known.

    Raises:
      UserError: for a set that is not in SETS and whose size is not given.
    """
    known = SETS.get(config.dataset, Facts(0, 3, 0))
    facts = Facts(images or known.images, config.channels or known.channels,
                  classes or known.classes)
    if not facts.images:
        raise UserError(f"the size of the data set {config.dataset!r} is not known here: add "
                        "--images=<how many> (and --classes=<how many>)")
    if config.conditional and not facts.classes:
        raise UserError(f"config.conditional is true, and the classes of {config.dataset!r} are "
                        "not known here: add --classes=<how many>")
    return facts


def with_batch(config: Any, per_device: int, devices: int) -> Any:
    """A copy with D's batch so large on each device, and G's in proportion; 0 changes nothing."""
    config = config.copy_and_resolve_references()
    config.iterations_per_call = 1
    if per_device:
        ratio = config.generator_batch_size / config.batch_size
        config.batch_size = per_device * devices
        config.generator_batch_size = max(round(per_device * ratio), 1) * devices
    return config


def tpu_devices(topology: Topology) -> list[Any]:
    """The devices of a slice, of a compiler and no chip.

    Raises:
      UserError: without libtpu, or where it does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("the TPU compiler is not installed: pip install -e '.[tpu-check]'")
    from jax.experimental import topologies

    # On a v4 the compiler has two devices a chip by default; JAX has one there, of both cores.
    options = {"chip_config_name": "megacore"} if topology.chip == "v4" else {}
    try:
        return list(topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options).devices)
    except Exception as error:  # whatever libtpu raises
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the TPU compiler knows no topology {topology.name} ({reason}): try "
                        "another shape, as v3:2x2x1 or v5e:2x4") from error


def check(config: Any, topology: Topology, facts: Facts, per_device: int = 0) -> dict[str, Any]:
    """Compiles, and returns the record: `compiles`, or `why_not`; memory, time, all-reduces.

    Raises:
      UserError: no compiler, no such topology, or a batch that the devices cannot share.
    """
    devices = tpu_devices(topology)
    config = with_batch(config, per_device, len(devices))
    validate(config, len(devices))
    record = {
        "topology": topology.name, "devices": len(devices), "hosts": topology.hosts,
        "model": config.model, "dataset": config.dataset, "method": config.method,
        "image_size": config.image_size, "conditional": config.conditional, "n_dis": config.n_dis,
        "batch_size": config.batch_size, "generator_batch_size": config.generator_batch_size,
        "dtype": config.dtype, "bn_sync": config.bn_sync,
        "fusion": fusion_of(config, devices[0].device_kind),
        "iterations": config.iterations}
    start = time.perf_counter()
    state, lowered = lower(config, facts, devices)
    try:
        compiled = lowered.compile(compiler_options=OPTIONS["tpu"])
    except jax.errors.JaxRuntimeError as error:
        return record | {"compiles": False, "why_not": " ".join(str(error).split())[:300]}
    record |= {"compiles": True, "compile_seconds": round(time.perf_counter() - start, 1)}
    record |= memory_of(compiled.memory_analysis(), state, facts, config, topology)
    return record | cost_of(compiled, config, topology)


def lower(config: Any, facts: Facts, devices: Sequence[Any]) -> tuple[Any, Any]:
    """The shapes of the state, and the step for these devices, lowered."""
    recipe = recipe_of(config, facts.channels, facts.classes, list(devices))
    state = abstract_state(recipe)
    images, labels = data_shapes(config, facts, len(devices))
    inputs = jax.eval_shape(lambda: inputs_of(config, jax.random.key(0)))._replace(
        images=images, labels=labels, position=jax.ShapeDtypeStruct((len(devices),), np.int32))
    return state, make_train_step(recipe, list(devices)).lower(state, inputs)


def data_shapes(config: Any, facts: Facts, devices: int) -> tuple[Any, Any]:
    """Images and labels (or None): of the whole set, or of a streamed call."""
    side = config.image_size
    if config.stream:
        calls = (devices, 1, config.n_dis, config.batch_size // devices)
        shape, labels = (*calls, side, side, facts.channels), calls
    else:
        shape, labels = (facts.images, side * side * facts.channels), (facts.images,)
    return (jax.ShapeDtypeStruct(shape, np.uint8),
            jax.ShapeDtypeStruct(labels, np.int32) if config.conditional else None)


def memory_of(memory: Any, state: Any, facts: Facts, config: Any, topology: Topology
              ) -> dict[str, Any]:
    """Bytes of a core by part against what it has, and whether the state is donated."""
    data = sum(_size(leaf) // (topology.devices if config.stream else 1)
               for leaf in jax.tree.leaves(data_shapes(config, facts, topology.devices)))
    g, d = state.generator, state.discriminator
    parts = {"G's parameters": g.params, "D's parameters": d.params,
             "Adam": (g.opt_state, d.opt_state), "moving average of G": (
                 g.ema_params, g.ema_batch_stats),
             "batch norm and power iteration": (g.batch_stats, d.batch_stats, d.spectral)}
    sizes = {name: sum(map(_size, jax.tree.leaves(tree))) for name, tree in parts.items()}
    whole = sum(sizes.values())
    total = (memory.argument_size_in_bytes + memory.output_size_in_bytes
             - memory.alias_size_in_bytes + memory.temp_size_in_bytes
             + memory.generated_code_size_in_bytes)
    sizes |= {"data": data, "temporaries": memory.temp_size_in_bytes,
              "code": memory.generated_code_size_in_bytes}
    sizes["padding of arrays"] = max(total - sum(sizes.values()), 0)
    hbm = CHIPS[topology.chip].hbm_bytes
    return {"hbm_bytes": total, "hbm_of_core": hbm, "fits": total <= hbm, "hbm_parts": sizes,
            "state_bytes": whole, "donated": memory.alias_size_in_bytes >= whole}


def cost_of(compiled: Any, config: Any, topology: Topology) -> dict[str, Any]:
    """Work, all-reduces, and the time that follows."""
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    seconds, without = estimate(cost.get("optimal_seconds", math.nan))
    text = compiled.as_text()
    found, share = all_reduces(text), loop_share(text)
    compute = seconds * updates(config.n_dis, share)
    gradients = [one for one in found if not one.of_norm]
    norms = [one for one in found if one.of_norm]
    count, size = executed(found, config.n_dis)
    chip = CHIPS[topology.chip]
    communication = count * topology.hops * HOP_SECONDS + (
        2 * size * (1 - 1 / topology.devices) / chip.link_bytes)
    iteration = compute + communication
    images = config.n_dis * config.batch_size / iteration / topology.hosts
    pixels = config.image_size**2 * (config.channels or 3)
    return {
        "flops": cost.get("flops"), "bytes_accessed": cost.get("bytes accessed"),
        "optimal_seconds": seconds, "without_estimate": without,
        "loop_share": round(share, 4), "compute_seconds": compute,
        "all_reduce_instructions": len(gradients),
        "all_reduces": executed(gradients, config.n_dis)[0],
        "all_reduce_bytes": executed(gradients, config.n_dis)[1],
        "all_reduce_sizes": [[one.bytes, one.arrays, one.in_loop] for one in gradients],
        "bn_all_reduce_instructions": len(norms),
        "bn_all_reduces": executed(norms, config.n_dis)[0],
        "bn_all_reduce_bytes": executed(norms, config.n_dis)[1],
        "communication_seconds": communication, "iterations_per_second": 1 / iteration,
        "images_per_second_per_host": images,
        "input_bytes_per_second_per_host": images * pixels if config.stream else 0,
        "hours": config.iterations * iteration / 3600, "assumption": ASSUMPTION}


def estimate(optimal_seconds: float) -> tuple[float, int]:
    """Seconds, and how many operations the compiler has no estimate for.

    It counts each of those as -1 s: -14.9965 is 3.5 ms and fifteen of them.
    """
    without = max(math.ceil(-optimal_seconds), 0)
    return optimal_seconds + without, without


def _size(shape: Any) -> int:
    try:
        return math.prod(shape.shape) * shape.dtype.itemsize
    except AttributeError:  # no array
        return 0


def table(record: dict[str, Any]) -> list[tuple[str, str]]:
    """A record as rows for a person."""
    batch = f"{record['batch_size']} ({record['batch_size'] // record['devices']} a core)"
    rows = [("config", f"{record['model']} on {record['dataset']}, {record['method']}, fusion "
             f"{record['fusion']}, batch norm over {record['bn_sync']}"),
            ("TPU", f"{record['topology']}, {record['devices']} cores, {record['hosts']} hosts"),
            ("batch", f"D {batch}, G {record['generator_batch_size']}")]
    if not record["compiles"]:
        return [*rows, ("compiles", f"no: {record['why_not']}")]
    mib = {name: f"{size / 2**20:,.1f} MiB" for name, size in record["hbm_parts"].items()}
    fits = "fits" if record["fits"] else "DOES NOT FIT"
    unknown = record["without_estimate"]
    return [
        *rows, ("compiles", f"yes, in {record['compile_seconds']:.0f} s"),
        ("HBM of a core", f"{record['hbm_bytes'] / GIB:.2f} of {record['hbm_of_core'] / GIB:.0f} "
         f"GiB: {fits}"),
        *(("  " + name, size) for name, size in mib.items()),
        ("state donated", "yes" if record["donated"] else "NO"),
        ("FLOPs of a core", f"{record['flops'] / 1e9:,.1f} G, with one update of D"),
        ("optimal_seconds", f"{record['optimal_seconds'] * 1e3:.3f} ms with one update of D, "
         f"{record['loop_share']:.0%} of it in the loop: {record['compute_seconds'] * 1e3:.3f} ms "
         "an iteration"
         + (f", without {unknown} operations that have no estimate" if unknown else "")),
        ("all-reduces", f"{record['all_reduces']} of gradients and metrics (n_dis + 1 = "
         f"{record['n_dis'] + 1}; instructions: {record['all_reduce_instructions']}), "
         f"{record['all_reduce_bytes'] / 2**20:,.1f} MiB"),
        ("  of batch norm", f"{record['bn_all_reduces']} (instructions: "
         f"{record['bn_all_reduce_instructions']}), {record['bn_all_reduce_bytes'] / 2**10:,.1f} "
         "KiB"),
        ("communication", f"{record['communication_seconds'] * 1e3:.3f} ms"),
        ("predicted", f"{record['iterations_per_second']:,.1f} iterations/s, "
         f"{record['hours']:,.2f} h for {record['iterations']:,} iterations"),
        ("input", f"{record['images_per_second_per_host']:,.0f} images/s a host"),
        ("  assuming", record["assumption"])]


def row(record: dict[str, Any]) -> tuple[str, ...]:
    """A record as a line of the scaling table (ROW)."""
    head = (record["topology"], str(record["devices"]), str(record["batch_size"]),
            str(record["batch_size"] // record["devices"]))
    if not record.get("compiles"):
        return (*head, *("",) * 7, record.get("why_not", ""))
    return (*head, f"{record['hbm_bytes'] / GIB:.2f}", f"{record['flops'] / 1e9:,.0f}",
            f"{record['compute_seconds'] * 1e3:.2f}",
            f"{record['all_reduces']} + {record['bn_all_reduces']}",
            f"{(record['all_reduce_bytes'] + record['bn_all_reduce_bytes']) / 2**20:,.0f}",
            f"{record['communication_seconds'] * 1e3:.2f}",
            f"{record['iterations_per_second']:,.0f}", f"{record['hours']:,.1f}")


ROW = ("topology", "cores", "batch", "a core", "HBM GiB", "GFLOP", "compute ms", "all-reduces",
       "MiB summed", "communication ms", "iterations/s", "hours")
