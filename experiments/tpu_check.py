"""Does a config compile for a TPU, fit and scale? Asked of the real TPU compiler on a CPU machine.

    pip install -e ".[tpu-check]"
    python -m experiments.tpu_check --config=experiments/configs/cifar10_resnet.py --topology=v3-8
    python -m experiments.tpu_check --config=… --topology=v5e:8x8 --per_device_batch=8
    python -m experiments.tpu_check --config=… --sweep --per_device_batches=4,8,16

Prints a table and one JSON line a compilation; --out=FILE adds the lines to a file, and what stands
there already is not compiled again. Nothing is run and no data are read. Exit status 0 where all
compiled and fits, 1 where not, 2 for bad input. docs/scaling.md has the tables and the law.
"""

import os

# Before JAX is imported: no TPU is looked for, libtpu asks no metadata server, and does not mind
# another process that compiles.
os.environ.update({"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1",
                   "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-8",
                   "TPU_WORKER_HOSTNAMES": "localhost"})

import json
from pathlib import Path

import jax
from absl import flags

from experiments import cli
from experiments.bench.timing import print_table
from experiments.tpu.check import ROW, check, facts_of, row, table
from experiments.tpu.chips import parse_topology
from experiments.tpu.records import find, read, same
from sngan_jax.base.errors import UserError
from sngan_jax.base.provenance import commit

cli.define_config()
TOPOLOGY = flags.DEFINE_string("topology", "v3-8", "A slice, as v3-8, v5e-256 or v4:2x2x2.")
BATCH = flags.DEFINE_integer("per_device_batch", 0, "D's batch on each device; 0: the config's "
                             "global batches.", lower_bound=0)
SWEEP = flags.DEFINE_bool("sweep", False, "Compile for several slices and batches.")
TOPOLOGIES = flags.DEFINE_list("topologies", ["v3-8", "v3-32", "v4-8", "v5e-8", "v5e-64",
                                              "v5e-256"], "Of a sweep.")
BATCHES = flags.DEFINE_list("per_device_batches", ["8"], "Of a sweep; 0: the config's batches.")
IMAGES = flags.DEFINE_integer("images", 0, "In the data set, where it is not a known one.")
CLASSES = flags.DEFINE_integer("classes", 0, "In the data set, where it is not a known one.")
OUT = flags.DEFINE_string("out", None, "A file of JSON lines to add to, and to look up in.")


def main() -> int:
    """Compiles what the flags ask for."""
    jax.config.update("jax_enable_compilation_cache", False)  # the programs are for other devices
    config = flags.FLAGS.config
    facts = facts_of(config, IMAGES.value, CLASSES.value)
    texts = TOPOLOGIES.value if SWEEP.value else [TOPOLOGY.value]
    topologies = [parse_topology(text) for text in texts]
    batches = [_batch(text) for text in (BATCHES.value if SWEEP.value else [BATCH.value])]
    known = read(OUT.value)
    records = []
    for topology in topologies:
        for per_device in batches:
            wanted = same(config, topology, per_device)
            record = find(known, wanted)
            if record is None:
                try:
                    record = check(config, topology, facts, per_device)
                except UserError as error:
                    if not SWEEP.value:
                        raise
                    record = {**wanted, "devices": topology.devices, "compiles": False,
                              "why_not": str(error)}
                record |= {"config": wanted["config"], "commit": commit(), "jax": jax.__version__}
                if OUT.value and record["compiles"]:
                    with Path(OUT.value).open("a") as file:
                        file.write(json.dumps(record) + "\n")
            records.append(record)
            if not SWEEP.value:
                print_table(("", ""), table(record))
            print(json.dumps(record), flush=True)
    if SWEEP.value:
        print_table(ROW, [row(record) for record in records])
    return 0 if all(r["compiles"] and r["fits"] and r["donated"] for r in records) else 1


def _batch(text: str | int) -> int:
    if not str(text).isdigit():
        raise UserError(f"--per_device_batches names {text!r}: whole numbers with commas")
    return int(text)


if __name__ == "__main__":
    cli.run(main, required=("config",))
