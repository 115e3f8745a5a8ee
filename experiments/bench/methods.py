"""Time of each method's generator updates, compared with no normalization (Figure 10).

All methods take turns in one process, so that other work on the machine affects all of them alike.
The report has paired ratios: a method's turn over the same turn of `none`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError, check_writable
from sngan_jax.methods import METHODS
from sngan_jax.run.validate import validate
from sngan_jax.run.workdir import write_json

from .. import cli
from ..read_config import read_config
from ..sweeps.tables import TABLES
from .step import changed, compile_step, ratio, shown
from .timing import in_turns, machine, print_report, print_table

PLAIN = "none"
# The rows of Table 2, and the plain discriminator with which they are compared.
DEFAULT = (*dict.fromkeys(row.words[0] for row in TABLES["2"]), PLAIN)
_CONFIG = "cifar10_cnn:sn,C"


def arguments(parser: cli.Parser) -> None:
    """The flags of `bench methods`."""
    parser.add_config(required=False, default=_CONFIG)  # its method is replaced
    parser.add_argument("--methods", type=cli.names, default=list(DEFAULT), metavar="A,B",
                        help=f"otherwise those of Table 2; {PLAIN} is always included")
    parser.add_argument("--n-dis", type=cli.wholes(1), default=[], metavar="N,N",
                        help="updates of D per update of G; otherwise 1, and the config's")
    parser.add_argument("--width", type=cli.whole(0), default=8, metavar="N",
                        help="base width of both networks; 0: the config's (default: 8)")
    parser.add_argument("--batch", type=cli.whole(0), default=16, metavar="N",
                        help="batch size of both players; 0: the config's (default: 16)")
    parser.add_argument("--updates", type=cli.whole(1), default=100, metavar="N",
                        help="generator updates per turn (default: 100)")
    parser.add_argument("--repeats", type=cli.whole(1), default=5, metavar="N",
                        help="turns per method (default: 5)")
    parser.add_argument("--out", metavar="FILE.json", help="file for the report, such as "
                        "RUNS/methods.json, where sngan report finds it")


def main(options: argparse.Namespace) -> None:
    """Prints the figures; the last line has all of them as JSON."""
    print_report(methods(options.config, options.methods, options.n_dis, options.width,
                         options.batch, options.updates, options.repeats, options.changes,
                         options.out, options.command))


def methods(config: str, methods: list[str], n_dis: list[int], width: int, batch: int, updates: int,
            repeats: int, changes: list[str], out: str | None, command: str) -> dict[str, Any]:
    """Seconds of 100 updates of G with every method, and their ratio to no normalization."""
    names = list(dict.fromkeys([*methods, PLAIN]))
    for name in names:
        if name not in METHODS:
            raise UserError(f"--methods names {name!r}: the methods are {', '.join(METHODS)}")
    if out:
        check_writable(Path(out), "--out", replaced=True)
    reduced = [f"{field}={value}" for fields, value in (
        (("generator_width", "discriminator_width"), width),
        (("batch_size", "generator_batch_size"), batch)) for field in fields if value]
    base = read_config(config, [*reduced, *changes], jax.local_device_count())
    size = (f"{base.model} of width {base.generator_width or 'the paper’s'}, images of "
            f"{base.image_size}x{base.image_size}, batch {base.batch_size} and "
            f"{base.generator_batch_size}")
    counts = n_dis or list(dict.fromkeys((1, base.n_dis)))
    print(f"{size}; {repeats} turns of {updates} updates of G each; "
          f"{'smaller than the config says' if reduced else 'as the config says'}")
    parts = [_measure(base, names, count, updates, repeats) for count in counts]
    report = {"benchmark": "methods", "command": command, "config": config,
              "changes": [*reduced, *changes], "size": size, "updates": updates,
              "repeats": repeats, "parts": parts}
    if out:
        try:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(out), report | machine())
        except OSError as error:
            print_report(report)
            raise WriteError(f"--out={out} cannot be written ({error.strerror})") from error
    return report


def _measure(config: Any, names: Sequence[str], n_dis: int, updates: int, repeats: int
             ) -> dict[str, Any]:
    """{'n_dis': …, 'methods': {name: figures}} for one n_dis; also prints a table."""
    compiled = {}
    for name in names:
        # Wasserstein methods have their own loss, whatever the config's is.
        loss = "" if METHODS[name].loss == "wasserstein" else config.loss
        of_method = changed(config, method=name, loss=loss, n_dis=n_dis)
        validate(of_method, jax.local_device_count())
        compiled[name] = compile_step(of_method, config.channels or 3)
    calls = max(updates // config.iterations_per_call, 1)

    def turn(name: str):
        def run() -> None:
            for _ in range(calls):
                compiled[name].call()
        return run

    seconds = in_turns({name: turn(name) for name in names}, repeats, warmup=1)
    found = figures(seconds, 100 / (calls * config.iterations_per_call))
    for name, row in found.items():
        flops = compiled[name].flops
        if flops is not None:
            row["gflop"] = flops / 1e9 / config.iterations_per_call
    print_table(
        (f"n_dis = {n_dis}", "s / 100 updates", "time / none", "quartiles", "GFLOP per update",
         "GFLOP / none"),
        [(name, f"{row['seconds']:.3f}", f"{row['ratio']:.3f}",
          f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}", shown(row.get("gflop"), ".3f"),
          shown(ratio(row.get("gflop"), found[PLAIN].get("gflop")), ".3f"))
         for name, row in sorted(found.items(), key=lambda item: -item[1]["ratio"])])
    return {"n_dis": n_dis, "methods": found}


def figures(seconds: dict[str, list[float]], scale: float) -> dict[str, dict[str, float]]:
    """Medians and quartiles over the turns.

    Args:
      seconds: {name: seconds of each turn}, with the same turns for all; includes PLAIN.
      scale: 100 updates over the updates of a turn.

    Returns:
      {name: figures}: `seconds` of 100 updates, and the `ratio` to PLAIN in the same turn, each
      with `…_low` and `…_high`, the quartiles.
    """
    found = {}
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds[PLAIN], strict=True)]
        found[name] = {}
        for key, values in (("seconds", [scale * s for s in own]), ("ratio", ratios)):
            low, _, high = (statistics.quantiles(values, n=4, method="inclusive")
                            if len(values) > 1 else values * 3)
            found[name] |= {key: statistics.median(values), f"{key}_low": low, f"{key}_high": high}
    return found
