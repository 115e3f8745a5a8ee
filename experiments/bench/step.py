"""An iteration of a config on random images: time, parts, and share of the machine's peak."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sngan_jax.base.compilation import compile_at_first_call, compiler_options, jit
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import check_writable
from sngan_jax.data.pipeline import example_keys
from sngan_jax.run.workdir import make_workdir
from sngan_jax.step.batches import real_batch
from sngan_jax.step.devices import positions, replicate
from sngan_jax.step.forward import discriminate, generate
from sngan_jax.step.iteration import update_player
from sngan_jax.step.latents import sample_labels
from sngan_jax.step.program import make_train_step, pmapped
from sngan_jax.step.recipe import Inputs, Recipe, now
from sngan_jax.step.setup import inputs_of, recipe_of
from sngan_jax.step.state import TrainState, abstract_state, count_parameters, initial_state

from .. import cli
from ..read_config import read_config
from .timing import (
    bandwidth,
    in_turns,
    matmul_peak,
    medians,
    print_report,
    print_table,
)

COMPARED = ("unfused", "unnormalized", "torch", "torch-compiled")
PEERS = {"torch": ("torch", "torch-compiled")}
_IMAGES = 512


def arguments(parser: cli.Parser) -> None:
    """The flags of `bench step`."""
    parser.add_config()
    parser.add_argument("--compare", type=cli.names, default=[], metavar="A,B",
                        help=f"also run: {', '.join(COMPARED)} (torch needs [bench])")
    parser.add_argument("--peer", type=cli.one_of(PEERS), metavar="|".join(PEERS), help="also run "
                        "an independent program with the same networks, batches and optimizer: "
                        "--compare=torch,torch-compiled")
    parser.add_argument("--repeats", type=cli.whole(1), default=5, metavar="N",
                        help="number of turns (default: 5)")
    parser.add_switch("--no-parts", "leave out the time of each part")
    parser.add_argument("--profile", metavar="FOLDER", help="folder for a trace that TensorBoard "
                        "can open")


def main(options: argparse.Namespace) -> None:
    """Prints the figures; the last line has all of them as JSON."""
    print_report(step(options.config, options.changes, options.compare, options.peer,
                      options.repeats, options.no_parts, options.profile))


class Compiled(NamedTuple):
    """A step that is ready to run, and XLA's figures about it."""

    call: Callable[[], None]
    compile_seconds: float
    flops: float | None
    bytes_accessed: float | None
    temporaries: int
    state_bytes: int
    donated_bytes: int


def step(config: str, changes: list[str], compare: list[str], peer: str | None, repeats: int,
         no_parts: bool, profile: str | None) -> dict[str, Any]:
    """One training iteration of a config, and of others to compare: time, parts, FLOPs, memory."""
    names = compare + list(PEERS.get(peer, ()))
    for name in names:
        if name not in COMPARED:
            raise UserError(f"--compare names {name!r}: choose from {', '.join(COMPARED)}")
    config = read_config(config, changes, jax.local_device_count())
    if profile:
        check_writable(make_workdir(profile, "--profile") / "trace", "--profile")
    channels = config.channels or 3
    variants = {"ours": config}
    if "unfused" in names:
        variants["unfused"] = changed(config, fusion="none")
    if "unnormalized" in names:
        variants["unnormalized"] = changed(config, method="none", loss=config.loss or "hinge")
    compiled = {name: compile_step(c, channels) for name, c in variants.items()}
    runs: dict[str, Callable[[], None]] = {name: c.call for name, c in compiled.items()}
    if {"torch", "torch-compiled"} & set(names):
        from .torch_peer import iteration  # needs PyTorch

        shapes = abstract_state(recipe_of(config, channels, 0))
        sizes = [count_parameters(player.params)
                 for player in (shapes.generator, shapes.discriminator)]
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
        print(f"so at least {flops / peak:.3f} s of arithmetic, {moved / stream:.3f} s for "
              f"{moved / 1e9:,.1f} GB")
    if not no_parts:
        report["parts"] = parts(config, channels, repeats)
    return report


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b, or None if one of them is unknown."""
    return None if a is None or b is None else a / b


def shown(number: float | None, form: str) -> str:
    """A number as text for a table."""
    return "not counted" if number is None else format(number, form)


def changed(config: Any, **changes: Any) -> Any:
    """A copy of a config with other values."""
    copy = config.copy_and_resolve_references()
    copy.update(changes)
    return copy


def random_data(config: Any, channels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Images, as rows, and labels to train on."""
    rng = np.random.default_rng(0)
    size = (max(_IMAGES, config.batch_size), config.image_size * (
        config.image_width or config.image_size) * channels)
    labels = rng.integers(0, 10, size[0], np.int32) if config.conditional else None
    return rng.integers(0, 256, size, np.uint8), labels


def placed(config: Any, channels: int, devices: list[jax.Device]
           ) -> tuple[Recipe, TrainState, Inputs]:
    """The arguments of a config's step, on all local devices."""
    recipe = recipe_of(config, channels, 10, devices)
    state, inputs = replicate((initial_state(recipe, config.seed), inputs_of(
        config, jax.random.key(0), *random_data(config, channels))), devices)
    return recipe, state, inputs._replace(position=positions(devices))


def compile_step(config: Any, channels: int) -> Compiled:
    """The step of a config, compiled for all local devices, with its state."""
    config = changed(config, stream=False)
    devices = jax.local_devices()
    recipe, state, inputs = placed(config, channels, devices)
    start = time.perf_counter()
    compiled = make_train_step(recipe, devices).lower(state, inputs).compile(
        compiler_options=compiler_options())
    compile_seconds = time.perf_counter() - start
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    held = [state]

    def call() -> None:
        held[0], metrics = compiled(held[0], inputs)
        jax.block_until_ready((held[0], metrics))

    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    # Only on a CPU is everything counted. Elsewhere the n_dis updates of D are a loop, which XLA
    # counts once, and on a GPU the convolutions are calls of cuDNN, whose work it does not count.
    counts = cost if jax.default_backend() == "cpu" else {}
    return Compiled(call, compile_seconds, counts.get("flops"),
                    counts.get("bytes accessed"), memory.temp_size_in_bytes, state_bytes,
                    memory.alias_size_in_bytes)


def dispatch_seconds(config: Any, channels: int, calls: int = 50) -> float:
    """Seconds per call of a function with the step's signature that computes nothing; a median."""
    devices = jax.local_devices()
    _, state, inputs = placed(config, channels, devices)

    def nothing(state: Any, inputs: Inputs):
        return state, {str(i): jnp.float32(0) for i in range(8)}

    call = compile_at_first_call(pmapped(nothing, False, devices))
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        state, metrics = call(state, inputs)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def parts(config: Any, channels: int, repeats: int) -> dict[str, float]:
    """Seconds of each part of an iteration on one device, each alone; prints a table."""
    pieces = part_functions(config, channels)
    compiled = {name: jit(f) for name, (f, _, _) in pieces.items()}

    def call(name: str) -> Callable[[], None]:
        return lambda: jax.block_until_ready(compiled[name](*pieces[name][1]))

    seconds = medians(in_turns({name: call(name) for name in pieces}, repeats))
    print_table(("part", "ms each", "times", "ms per iteration"), [
        (name, f"{value * 1e3:.1f}", pieces[name][2], f"{value * pieces[name][2] * 1e3:.1f}")
        for name, value in seconds.items()])
    return {name: value * pieces[name][2] for name, value in seconds.items()}


def part_functions(config: Any, channels: int) -> dict[str, tuple[Callable, tuple, int]]:
    """{name: (function, arguments, how often an iteration calls it)}."""
    config = changed(config, stream=False, batch_size=config.batch_size // jax.local_device_count())
    recipe, key = recipe_of(config, channels, 10), jax.random.key(0)
    state = initial_state(recipe, config.seed)
    g, d = state.generator, state.discriminator
    inputs = jax.device_put(inputs_of(config, key, *random_data(config, channels)))
    batch, g_batch = config.batch_size, config.generator_batch_size // jax.local_device_count()
    y, g_y = (sample_labels(example_keys(key, 0, n), recipe.generator.num_classes)
              for n in (batch, g_batch))
    x = jnp.zeros((batch, *recipe.image_shape))
    z, g_z = (jnp.ones((n, config.latent_size)) for n in (batch, g_batch))

    def fakes(params: Any, z: jax.Array, y: Any):
        return generate(recipe.generator, {**g.variables, "params": params}, z, y)[0]

    def logits(params: Any, x: jax.Array, y: Any, power_step: bool = True):
        out, _, new = discriminate(recipe.discriminator, {**d.variables, "params": params}, x, y,
                                   power_step=power_step)
        return out.mean(), new

    def adam_step(player: Any, gradients: Any):
        return update_player(player, gradients, inputs.learning_rate, inputs)

    passes = 2 * config.n_dis
    return {
        "input": (lambda key: real_batch(0, key, now(3, inputs, recipe), inputs, recipe), (key,),
                  config.n_dis),
        "G forward, for D": (fakes, (g.params, z, y), config.n_dis),
        "G forward": (fakes, (g.params, g_z, g_y), 1),
        "G forward and backward": (jax.grad(lambda p, z, y: fakes(p, z, y).mean()),
                                   (g.params, g_z, g_y), 1),
        "D forward, no power step": (lambda p, x, y: logits(p, x, y, False), (d.params, x, y),
                                     passes),
        "D forward, power step": (logits, (d.params, x, y), passes),
        "D forward and backward": (jax.grad(logits, has_aux=True), (d.params, x, y), passes),
        "D optimizer": (adam_step, (d, d.params), config.n_dis),
        "G optimizer": (adam_step, (g, g.params), 1),
    }
