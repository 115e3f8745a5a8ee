"""Does a config compile for a device that one does not have, fit it, and what does it cost there?

Asked of the real compilers of TPUs and of NVIDIA's cards, on a machine that has neither:

    pip install -e ".[gpu-check]"        (some GiB, in an environment of its own)
    python -m experiments.compile_check --config=experiments/configs/cifar10_resnet.py --target=h100
    python -m experiments.compile_check --config=… --target=l4 --compare=none
    pip install -e ".[tpu-check]"
    python -m experiments.compile_check --config=… --target=v5e:8x8 --per_device_batch=8
    python -m experiments.compile_check --config=… --sweep --per_device_batches=4,8,16

Prints a table and one JSON line for each target; --compare=METHOD compiles the same config with
another method, and adds the difference. --out=FILE adds the records to a file, and what stands
there already is not compiled again. Nothing is run and no data are read. Exit status 0 where all
compiled and fits, 1 where not, 2 for bad input. docs/compile_check.md says how to read the launches
of a card, docs/scaling.md has the tables of TPUs and their law.
"""

import os

# Before JAX is imported: no device is looked for, libtpu asks no metadata server, and does not mind
# another process that compiles.
os.environ.update({"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1",
                   "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-8",
                   "TPU_WORKER_HOSTNAMES": "localhost"})

import json
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments import cli
from experiments.bench.timing import print_table
from experiments.compiler import compare
from experiments.compiler.check import check
from experiments.compiler.records import find, read, same
from experiments.compiler.step import Facts, facts_of
from experiments.compiler.tables import LAUNCH_ROW, ROW, launch_row, row, table
from experiments.compiler.targets import Cards, Target, parse_target
from sngan_jax.base.errors import UserError
from sngan_jax.base.provenance import commit

cli.define_config()
TARGET = flags.DEFINE_string("target", None, "A TPU slice, as v3-8, v5e-256 or v4:2x2x2, or a "
                             "card, as h100, l4 or h100x8.")
COMPARE = flags.DEFINE_string("compare", None, "Another method, as none: what the config's own "
                              "costs more.")
BATCH = flags.DEFINE_integer("per_device_batch", 0, "D's batch on each device; 0: the config's "
                             "global batches.", lower_bound=0)
SWEEP = flags.DEFINE_bool("sweep", False, "Compile for several targets and batches.")
TARGETS = flags.DEFINE_list("targets", ["v3-8", "v3-32", "v4-8", "v5e-8", "v5e-64", "v5e-256"],
                            "Of a sweep.")
BATCHES = flags.DEFINE_list("per_device_batches", ["8"], "Of a sweep; 0: the config's batches.")
IMAGES = flags.DEFINE_integer("images", 0, "In the data set, where it is not a known one.")
CLASSES = flags.DEFINE_integer("classes", 0, "In the data set, where it is not a known one.")
OUT = flags.DEFINE_string("out", None, "A file of JSON lines to add to, and to look up in.")
# The names of the time when there were TPUs only.
flags.DEFINE_alias("topology", "target")
flags.DEFINE_alias("topologies", "targets")


def main() -> int:
    """Compiles what the flags ask for."""
    jax.config.update("jax_enable_compilation_cache", False)  # the programs are for other devices
    config = flags.FLAGS.config
    facts = facts_of(config, IMAGES.value, CLASSES.value)
    if not SWEEP.value and not TARGET.value:
        raise UserError("--target is missing: give a device, as --target=h100 or --target=v5e-8")
    texts = TARGETS.value if SWEEP.value else [TARGET.value]
    targets = [parse_target(text) for text in texts]
    batches = [_batch(text) for text in (BATCHES.value if SWEEP.value else [BATCH.value])]
    other = compare.with_method(config, COMPARE.value) if COMPARE.value else None
    known = read(OUT.value)
    records = []
    for target in targets:
        for per_device in batches:
            record = _record(config, target, facts, per_device, known)
            records.append(record)
            if not SWEEP.value:
                print_table(("", ""), table(record))
            if other is not None:
                second = _record(other, target, facts, per_device, known)
                records.append(second)
                header, *rows = compare.table(record, second)
                print_table(header, rows)
                record = record | {"compared_with": second,
                                   "difference": compare.difference(record, second)}
            print(json.dumps(record), flush=True)
    if SWEEP.value:
        names = [target.name for target in targets]
        for header, line, cards in ((ROW, row, False), (LAUNCH_ROW, launch_row, True)):
            of_kind = [name for name in names if isinstance(parse_target(name), Cards) is cards]
            if rows := [line(r) for r in records if r["topology"] in of_kind]:
                print_table(header, rows)
    return 0 if all(r["compiles"] and r["fits"] and r["donated"] for r in records) else 1


def _record(config: Any, target: Target, facts: Facts, per_device: int,
            known: list[dict[str, Any]]) -> dict[str, Any]:
    """Record of the file, or a new one, which is added to the file."""
    wanted = same(config, target, per_device)
    if record := find(known, wanted):
        return record
    try:
        record = check(config, target, facts, per_device)
    except UserError as error:
        if not SWEEP.value:
            raise
        record = {**wanted, "devices": target.devices, "compiles": False, "why_not": str(error)}
    record |= {"config": wanted["config"], "commit": commit(), "jax": jax.__version__}
    if OUT.value and record["compiles"]:
        with Path(OUT.value).open("a") as file:
            file.write(json.dumps(record) + "\n")
    return record


def _batch(text: str | int) -> int:
    if not str(text).isdigit():
        raise UserError(f"--per_device_batches names {text!r}: whole numbers with commas")
    return int(text)


if __name__ == "__main__":
    cli.run(main, required=("config",))
