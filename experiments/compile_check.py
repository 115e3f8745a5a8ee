"""Does a config compile for a device that you do not have, does it fit, and what does it cost
there?

Asks the real compilers of TPUs and of NVIDIA's cards, on a machine that has neither:

    pip install "sngan_jax[gpu-check]"        (some GiB, in its own environment)
    sngan compile-check --config=cifar10_resnet --target=h100
    sngan compile-check --config=… --target=l4 --compare=none
    pip install "sngan_jax[tpu-check]"
    sngan compile-check --config=… --target=v5e:8x8 --per-device-batch=8
    sngan compile-check --config=… --sweep --per-device-batches=4,8,16

Prints a table and one JSON line for each target. --compare=METHOD compiles the same config with
another method, and adds the difference. --out=FILE appends the records to a file; records that it
already holds are not compiled again. Nothing is run and no data are read. Exit status: 0 if
everything compiled and fits, 1 if not, 2 for bad input. docs/compile_check.md says how to read the
launches of a card; docs/scaling.md has the tables of TPUs and their law.
"""

import os

# Before JAX is imported, so that it looks for no device, and libtpu asks no metadata server and
# tolerates other processes that compile.
os.environ.update({"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1",
                   "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-8",
                   "TPU_WORKER_HOSTNAMES": "localhost"})

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import check_writable
from sngan_jax.base.provenance import commit
from sngan_jax.metrics.evaluate import append_record

from . import cli
from .bench.timing import print_table
from .compiler import compare
from .compiler.check import check
from .compiler.records import find, read, same
from .compiler.step import Facts, facts_of
from .compiler.tables import LAUNCH_ROW, ROW, launch_row, row, table
from .compiler.targets import Cards, Target, parse_target
from .read_config import read_config


def arguments(parser: cli.Parser) -> None:
    """The flags of `compile-check`."""
    parser.add_config()
    # --topology: the older name, when there were only TPUs.
    parser.add_argument("--target", "--topology", metavar="DEVICE", help="a TPU slice, such as "
                        "v3-8, v5e-256 or v4:2x2x2, or a card, such as h100, l4 or h100x8")
    parser.add_argument("--compare", metavar="METHOD",
                        help="another method, such as none, to show what the config's own costs on "
                        "top")
    parser.add_argument("--per-device-batch", type=cli.whole(0), default=0, metavar="N",
                        help="D's batch on each device; 0: the config's global batches")
    parser.add_switch("--sweep", "compile for several targets and batches")
    parser.add_argument("--targets", "--topologies", type=cli.names, metavar="DEVICE,DEVICE",
                        default=["v3-8", "v3-32", "v4-8", "v5e-8", "v5e-64", "v5e-256"],
                        help="targets of a --sweep")
    parser.add_argument("--per-device-batches", type=cli.wholes(0), default=[8], metavar="N,N",
                        help="batches of a --sweep; 0: the config's batches")
    parser.add_argument("--images", type=cli.whole(0), default=0, metavar="N",
                        help="images in the data set, if it is not a known one")
    parser.add_argument("--classes", type=cli.whole(0), default=0, metavar="N",
                        help="classes in the data set, if it is not a known one")
    parser.add_argument("--out", metavar="FILE", help="file of JSON lines to append to, and to "
                        "look records up in")


def main(options: argparse.Namespace) -> int:
    """Compiles the configs for the targets that the flags name."""
    jax.config.update("jax_enable_compilation_cache", False)  # the programs are for other devices
    config = read_config(options.config, options.changes, 1)
    facts = facts_of(config, options.images, options.classes)
    if options.sweep and options.given & {"target", "per_device_batch"}:
        raise UserError("--sweep has its own flags, --targets and --per-device-batches: leave out "
                        "--target and --per-device-batch")
    if not options.sweep and options.given & {"targets", "per_device_batches"}:
        raise UserError("--targets and --per-device-batches are flags of a sweep: add --sweep, or "
                        "write --target and --per-device-batch")
    if options.out:
        check_writable(Path(options.out), "--out")
    if not options.sweep and not options.target:
        raise UserError("--target is missing: give a device, as in --target=h100 or --target=v5e-8")
    texts = options.targets if options.sweep else [options.target]
    targets = [parse_target(text) for text in texts]
    batches = options.per_device_batches if options.sweep else [options.per_device_batch]
    other = compare.with_method(config, options.compare) if options.compare else None
    known = read(options.out)
    records = []
    for target in targets:
        for per_device in batches:
            record = _record(config, target, facts, per_device, known, options)
            records.append(record)
            if not options.sweep:
                print_table(("", ""), table(record))
            if other is not None:
                second = _record(other, target, facts, per_device, known, options)
                records.append(second)
                header, *rows = compare.table(record, second)
                print_table(header, rows)
                record = record | {"compared_with": second,
                                   "difference": compare.difference(record, second)}
            print(json.dumps(record), flush=True)
    if options.sweep:
        names = [target.name for target in targets]
        for header, line, cards in ((ROW, row, False), (LAUNCH_ROW, launch_row, True)):
            of_kind = [name for name in names if isinstance(parse_target(name), Cards) is cards]
            if rows := [line(r) for r in records if r["topology"] in of_kind]:
                print_table(header, rows)
    return 0 if all(r["compiles"] and r["fits"] and r["donated"] for r in records) else 1


def _record(config: Any, target: Target, facts: Facts, per_device: int,
            known: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """The record in the file, or a new one, which is appended to it."""
    wanted = same(config, target, per_device, facts)
    if record := find(known, wanted):
        return record
    try:
        record = check(config, target, facts, per_device)
    except UserError as error:
        if not options.sweep:
            raise
        record = {**wanted, "devices": target.devices, "method": config.method, "compiles": False,
                  "why_not": str(error)}
    record |= {"config": wanted["config"], "commit": commit(), "jax": jax.__version__}
    if options.out and record["compiles"]:
        append_record(Path(options.out), record)
    return record


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "compile-check"))
