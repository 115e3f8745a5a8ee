"""An iteration of a config on random images: time, parts, share of the machine's peak."""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import (
    bandwidth,
    in_turns,
    matmul_peak,
    medians,
    positive,
    print_table,
)
from experiments.read_config import read_config
from sngan_jax.base.compilation import compile_at_first_call, compiler_options, jit
from sngan_jax.base.errors import UserError
from sngan_jax.data.pipeline import batch_indices, dequantize, example_keys
from sngan_jax.run.loop import Run, build_run, build_step, constants_of
from sngan_jax.step.devices import AXIS, positions, replicate
from sngan_jax.step.iteration import Data
from sngan_jax.step.state import count_parameters

COMPARED = ("unfused", "unnormalised", "torch", "torch-compiled")
PEERS = {"torch": ("torch", "torch-compiled")}
_IMAGES = 512


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `step`."""
    parser.add_argument("--config", required=True, help="a config file, as "
                        "experiments/configs/cifar10_resnet.py:sn")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes",
                        help="change a field of the config; may be repeated")
    parser.add_argument("--compare", default="", help="run beside it, with commas: "
                        + ", ".join(COMPARED) + " (torch needs the extra [bench])")
    parser.add_argument("--peer", choices=PEERS, help="an independent program of the same networks,"
                        " batches and optimizer beside it: --compare=torch,torch-compiled")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--no-parts", action="store_true", help="leave out the time of each part")
    parser.add_argument("--profile", help="a folder for a trace that TensorBoard opens")


class Compiled(NamedTuple):
    """A step that is ready to run, and what XLA says of it."""

    call: Callable[[], None]
    compile_seconds: float
    flops: float | None
    bytes_accessed: float | None
    temporaries: int
    state_bytes: int
    donated_bytes: int


def step(config: str, changes: list[str], compare: str, peer: str | None, repeats: int,
         no_parts: bool, profile: str | None) -> dict[str, Any]:
    """One training iteration of a config: time, parts, FLOPs, memory; beside others if asked."""
    names = [name for name in compare.split(",") if name] + list(PEERS.get(peer, ()))
    for name in names:
        if name not in COMPARED:
            raise UserError(f"--compare names {name!r}: there are {', '.join(COMPARED)}")
    config = read_config(config, changes, jax.local_device_count())
    channels = config.channels or 3
    variants = {"ours": config}
    if "unfused" in names:
        variants["unfused"] = changed(config, fusion="none")
    if "unnormalised" in names:
        variants["unnormalised"] = changed(config, method="none", loss=config.loss or "hinge")
    compiled = {name: compile_step(c, channels) for name, c in variants.items()}
    runs: dict[str, Callable[[], None]] = {name: c.call for name, c in compiled.items()}
    if {"torch", "torch-compiled"} & set(names):
        from experiments.bench.torch_peer import iteration  # needs PyTorch

        run = build_run(config, channels, 0)
        sizes = [count_parameters(player.params) for player in (
            run.initial_state.generator, run.initial_state.discriminator)]
        runs |= {name: iteration(config, channels, sizes, compiled=name == "torch-compiled")
                 for name in names if name.startswith("torch")}
    seconds = medians(in_turns(runs, repeats))
    if profile:
        with jax.profiler.trace(profile):
            runs["ours"]()
        print(f"trace: tensorboard --logdir={profile}")
    per_call = config.iterations_per_call
    images = 2 * config.n_dis * config.batch_size * per_call
    peak, stream = matmul_peak(jnp.dtype(config.dtype)), bandwidth()
    report = {"benchmark": "step", "model": config.model, "method": config.method,
              "batch_size": config.batch_size, "n_dis": config.n_dis, "dtype": config.dtype,
              "repeats": repeats, "matmul_peak_flops": peak, "bandwidth_bytes": stream}
    rows = []
    for name, value in seconds.items():
        row = {"iterations_per_second": per_call / value,
               "images_per_second_per_device": images / value / jax.local_device_count(),
               "ratio": value / seconds["ours"]}
        if name in compiled:
            c = compiled[name]
            row |= c._asdict() | {"share_of_peak": ratio(c.flops, value * peak),
                                  "flops_ratio": ratio(c.flops, compiled["ours"].flops)}
            del row["call"]
        report[name] = row
        rows.append((name, f"{row['images_per_second_per_device']:,.1f}",
                     f"{row['iterations_per_second']:.3f}", f"{row['ratio']:.3f}",
                     *((shown(ratio(c.flops, 1e9), ",.1f"), shown(row["share_of_peak"], ".1%"),
                        f"{c.compile_seconds:.1f}", f"{c.temporaries / 2**20:,.0f}",
                        f"{c.state_bytes / 2**20:,.1f}", f"{c.donated_bytes / 2**20:,.1f}")
                       if name in compiled else ("",) * 6)))
    print_table(("", "images/s/device through D", "iterations/s", "time / ours", "GFLOP",
                 "share of peak", "compile s", "temporaries MiB", "state MiB", "donated MiB"), rows)
    flops, moved = compiled["ours"].flops, compiled["ours"].bytes_accessed
    report["dispatch_seconds"] = dispatch = dispatch_seconds(config, channels)
    print(f"Python and dispatch: {dispatch * 1e3:.2f} ms a call, {dispatch / seconds['ours']:.1%}")
    print(f"ceilings: {peak / 1e9:,.0f} GFLOP/s by matrix products, {stream / 1e9:,.1f} GB/s")
    if flops is not None and moved is not None:
        print(f"so not under {flops / peak:.3f} s of arithmetic, {moved / stream:.3f} s for "
              f"{moved / 1e9:,.1f} GB")
    if not no_parts:
        report["parts"] = parts(config, channels, repeats)
    return report


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b, or None where one of them is not known."""
    return None if a is None or b is None else a / b


def shown(number: float | None, form: str) -> str:
    """For a table."""
    return "not counted" if number is None else format(number, form)


def changed(config: Any, **changes: Any) -> Any:
    """A copy of a config with other values."""
    copy = config.copy_and_resolve_references()
    copy.update(changes)
    return copy


def random_data(config: Any, channels: int) -> Data:
    """Images, as rows, and labels to train on."""
    rng = np.random.default_rng(0)
    size = (max(_IMAGES, config.batch_size), config.image_size**2 * channels)
    labels = rng.integers(0, 10, size[0], np.int32) if config.conditional else None
    return Data(rng.integers(0, 256, size, np.uint8), labels)


def compile_step(config: Any, channels: int) -> Compiled:
    """The step of a config, compiled for all local devices, with its state."""
    config = changed(config, stream=False)
    devices = jax.local_devices()
    run = build_run(config, channels, 10)
    compiled_step = build_step(config, run, devices)
    state, data, constants = replicate((run.initial_state, random_data(config, channels),
                                        constants_of(config, jax.random.key(0))), devices)
    position = positions(devices)
    start = time.perf_counter()
    compiled = compiled_step.lower(state, data, constants, position).compile(
        compiler_options=compiler_options())
    compile_seconds = time.perf_counter() - start
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    held = [state]

    def call() -> None:
        held[0], metrics = compiled(held[0], data, constants, position)
        jax.block_until_ready((held[0], metrics))

    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(run.initial_state)
                      if hasattr(leaf, "nbytes"))
    # Only on a CPU is everything counted: elsewhere the n_dis updates of D are a loop, which XLA
    # counts once, and on a GPU the convolutions are calls of cuDNN, in which it counts nothing.
    counts = cost if jax.default_backend() == "cpu" else {}
    return Compiled(call, compile_seconds, counts.get("flops"),
                    counts.get("bytes accessed"), memory.temp_size_in_bytes, state_bytes,
                    memory.alias_size_in_bytes)


def dispatch_seconds(config: Any, channels: int, calls: int = 50) -> float:
    """Seconds of a call of the step's arguments and results that computes nothing; a median."""
    devices = jax.local_devices()
    state = build_run(config, channels, 10).initial_state
    arguments = replicate((random_data(config, channels),
                           constants_of(config, jax.random.key(0))), devices)
    state, position = replicate(state, devices), positions(devices)

    def nothing(state: Any, data: Any, constants: Any, position: Any):
        return state, {str(i): jnp.float32(0) for i in range(8)}

    call = compile_at_first_call(jax.pmap(
        nothing, axis_name=AXIS, in_axes=(None, None, None, 0), out_axes=None, devices=devices,
        donate_argnums=(0,)))
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        state, metrics = call(state, *arguments, position)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def parts(config: Any, channels: int, repeats: int) -> dict[str, float]:
    """Seconds of each part of an iteration on one device, each alone; prints a table."""
    run = build_run(config, channels, 10)
    pieces = part_functions(config, run, channels)
    compiled = {name: jit(f) for name, (f, _, _) in pieces.items()}

    def call(name: str) -> Callable[[], None]:
        return lambda: jax.block_until_ready(compiled[name](*pieces[name][1]))

    seconds = medians(in_turns({name: call(name) for name in pieces}, repeats))
    print_table(("part", "ms each", "times", "ms an iteration"), [
        (name, f"{value * 1e3:.1f}", pieces[name][2], f"{value * pieces[name][2] * 1e3:.1f}")
        for name, value in seconds.items()])
    return {name: value * pieces[name][2] for name, value in seconds.items()}


def part_functions(config: Any, run: Run, channels: int
                   ) -> dict[str, tuple[Callable, tuple, int]]:
    """name -> (function, arguments, how often an iteration does it)."""
    g, d = run.initial_state.generator, run.initial_state.discriminator
    plain = run.generator.clone(**{k: _without_axis(v) for k, v in
                                   run.generator.__dict__.items() if k in ("norm", "last_norm")})
    batch = config.batch_size // jax.local_device_count()
    g_batch = config.generator_batch_size // jax.local_device_count()
    y, g_y = (jnp.zeros(n, jnp.int32) if run.generator.num_classes else None
              for n in (batch, g_batch))
    x = jnp.zeros((batch, config.image_size, config.image_size, channels))
    data = random_data(config, channels)
    pixels, rest = jnp.asarray(data.images), {k: v for k, v in d.variables.items()
                                              if k != "params"}

    def generate(params: Any, z: jax.Array, y: Any):
        return plain.apply({"params": params, "batch_stats": g.batch_stats}, z, y,
                           mutable=["batch_stats"])[0]

    def discriminate(params: Any, x: jax.Array, y: Any, mutable: list[str]):
        out, new = run.discriminator.apply({"params": params, **rest}, x, y, mutable=mutable)
        return (out[0] if isinstance(out, tuple) else out).mean(), new

    def read(key: jax.Array):
        rows = batch_indices(key, 3, batch_size=batch, n=len(data.images))
        return dequantize(pixels[rows].reshape(x.shape), example_keys(key, 0, batch))

    z, g_z = jnp.ones((batch, config.latent_size)), jnp.ones((g_batch, config.latent_size))
    passes = 2 * config.n_dis
    return {
        "input": (read, (jax.random.key(0),), config.n_dis),
        "G forward, for D": (generate, (g.params, z, y), config.n_dis),
        "G forward": (generate, (g.params, g_z, g_y), 1),
        "G forward and backward": (jax.grad(lambda p, z, y: generate(p, z, y).mean()),
                                   (g.params, g_z, g_y), 1),
        "D forward, no power step": (lambda p, x, y: discriminate(p, x, y, ["batch_stats"]),
                                     (d.params, x, y), passes),
        "D forward, power step": (
            lambda p, x, y: discriminate(p, x, y, ["batch_stats", "spectral"]),
            (d.params, x, y), passes),
        "D forward and backward": (
            jax.grad(lambda p, x, y: discriminate(p, x, y, ["batch_stats", "spectral"]),
                     has_aux=True), (d.params, x, y), passes),
        "D optimizer": (lambda p, s: run.optimizer.update(p, s, p), (d.params, d.opt_state),
                        config.n_dis),
        "G optimizer": (lambda p, s: run.optimizer.update(p, s, p), (g.params, g.opt_state), 1),
    }


def _without_axis(norm: Any) -> Any:
    """The generator's norm for use outside pmap."""
    if norm is None:
        return None
    keywords = {**norm.keywords, "axis_name": None}
    return functools.partial(norm.func, *norm.args, **keywords)
