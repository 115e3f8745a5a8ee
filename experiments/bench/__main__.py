"""Timings of the library on this machine.

    python -m experiments.bench step --config=experiments/configs/cifar10_resnet.py:sn
    python -m experiments.bench step --config=… --compare=unfused,unnormalised --peer=torch
    python -m experiments.bench methods --repeats=5 --out=runs/table2/methods.json
    python -m experiments.bench layers
    python -m experiments.bench metrics --extractor=classifier
    python -m experiments.bench input --config=experiments/configs/imagenet128.py --jpeg=400
    python -m experiments.bench start

Each prints a table, and as its last line one JSON object with the same figures, the commit and the
machine. What is compared is run in turns in one process, and figures are medians.
"""

from __future__ import annotations

import argparse
import json
import sys

from experiments.bench import input, layers, methods, metrics, start, step
from experiments.bench.timing import machine
from sngan_jax.base.errors import UserError

_COMMANDS = {"step": (step.step, step.arguments), "layers": (layers.layers, layers.arguments),
             "methods": (methods.methods, methods.arguments),
             "metrics": (metrics.metrics, metrics.arguments),
             "input": (input.input_, input.arguments),
             "start": (start.start, start.arguments)}


def main(argv: list[str] | None = None) -> int:
    """Runs the command that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (run, options) in _COMMANDS.items():
        options(commands.add_parser(name, help=run.__doc__.splitlines()[0]))
    given = vars(parser.parse_args(argv))
    run, _ = _COMMANDS[given.pop("command")]
    try:
        report = run(**given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps({**report, **machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
