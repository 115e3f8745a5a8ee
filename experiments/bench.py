"""Timings of the library on this machine.

    python -m experiments.bench layers [--batch=64] [--repeats=20] [--width=128]

Each subcommand prints a table, and as its last line one JSON object with the same figures, the
versions and the machine.
"""

import argparse
import json
import os
import platform
import statistics
import time
from datetime import date

import jax
import jax.numpy as jnp
from flax import linen as nn

from sngan_jax.layers import SNConv, SNDense, SNEmbed
from sngan_jax.models.resnet import ResNetDiscriminator


def layers(batch, repeats, width):
    """Forward and backward of the CIFAR ResNet D, normalised over plain, in turns in one process.

    The backward pass is that of the hinge loss to parameters; a power step is taken and stored.
    """
    x = jax.random.normal(jax.random.key(1), (batch, 32, 32, 3))
    widths = (width,) * 4
    plain = ResNetDiscriminator(widths=widths, conv=nn.Conv, dense=nn.Dense, embed=nn.Embed)
    normalised = plain.clone(conv=SNConv, dense=SNDense, embed=SNEmbed)
    passes = {name: _TrainingPass(net, x) for name, net in
              [("plain", plain), ("normalised", normalised)]}
    seconds = _in_turns(passes, repeats)
    ratios = [n / p for n, p in zip(seconds["normalised"], seconds["plain"], strict=True)]
    report = {
        "benchmark": "layers",
        "batch": batch, "width": width, "repeats": repeats,
        "plain_seconds": round(statistics.median(seconds["plain"]), 4),
        "normalised_seconds": round(statistics.median(seconds["normalised"]), 4),
        "ratio": round(statistics.median(seconds["normalised"])
                       / statistics.median(seconds["plain"]), 4),
        "median_of_paired_ratios": round(statistics.median(ratios), 4),
        "normalised_layers": len(jax.tree.leaves(passes["normalised"].state)) // 2,
        **{f"hlo_dots_{name}": _dots(run.compiled) for name, run in passes.items()},
        **{f"jaxpr_dots_{name}": run.jaxpr_dots for name, run in passes.items()},
    }
    report["extra_dots_per_layer"] = (
        (report["jaxpr_dots_normalised"] - report["jaxpr_dots_plain"]) / report["normalised_layers"]
    )
    rows = [(name, f"{report[f'{name}_seconds'] * 1e3:.1f} ms", report[f"jaxpr_dots_{name}"],
             report[f"hlo_dots_{name}"]) for name in passes]
    _table(("D", "forward + backward", "products traced", "products compiled"), rows)
    print(f"ratio {report['ratio']:.3f} (median of paired ratios "
          f"{report['median_of_paired_ratios']:.3f}) over {repeats} turns at batch {batch}; "
          f"{report['normalised_layers']} normalised layers, "
          f"{report['extra_dots_per_layer']:.2f} extra products each")
    return report


class _TrainingPass:
    """A compiled forward and backward pass of one network, called with no argument."""

    def __init__(self, net, x):
        variables = jax.jit(net.init)(jax.random.key(0), x[:1])
        self.params = variables.pop("params")
        self.state = variables
        self.x = x

        def loss(params, state, x):
            if state:
                logits, state = net.apply({"params": params, **state}, x, mutable=["spectral"])
            else:
                logits = net.apply({"params": params}, x)
            return jnp.mean(nn.relu(1 - logits)), state

        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        arguments = self.params, self.state, x
        self.jaxpr_dots = str(jax.make_jaxpr(step)(*arguments)).count("dot_general[")
        self.compiled = step.lower(*arguments).compile()

    def __call__(self):
        (loss, self.state), gradient = self.compiled(self.params, self.state, self.x)
        jax.block_until_ready((loss, gradient, self.state))


def _dots(compiled):
    text = compiled.as_text()
    return text.count(" dot(") + text.count("__onednn$matmul") + text.count("__cublas$gemm")


def _in_turns(runs, repeats):
    """name → seconds of each call. The order alternates, so that drift hits all alike."""
    for run in runs.values():
        run()
        run()
    seconds = {name: [] for name in runs}
    for turn in range(repeats):
        for name in sorted(runs, reverse=turn % 2 == 1):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _table(header, rows):
    columns = [[str(cell) for cell in column] for column in zip(header, *rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _machine():
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "date": date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("layers", help=layers.__doc__.splitlines()[0])
    command.add_argument("--batch", type=_positive, default=64)
    command.add_argument("--repeats", type=_positive, default=20)
    command.add_argument("--width", type=_positive, default=128, help="channels of each block")
    command.set_defaults(run=layers)
    arguments = vars(parser.parse_args(argv))
    arguments.pop("command")
    report = arguments.pop("run")(**arguments)
    print(json.dumps({**report, **_machine()}))


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
