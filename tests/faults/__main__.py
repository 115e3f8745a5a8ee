"""Injects faults into real runs, and counts the rounds that a run survives.

    python -m tests.faults --rounds=5
    python -m tests.faults --only=kill --rounds=200 --seed=0

Prints a table and one JSON line. The exit status is 1 if a round did not hold. `--rounds` is the
number of rounds of each fault. A round of `malformed` is fifty inputs, a round of `soak` a thousand
iterations. docs/reliability.md has the required numbers of rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs are compiled once for this process and its children. The cache is in the user's home,
# because whoever can write to it can run code here.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR",
                      os.path.expanduser("~/.cache/sngan_jax/faults"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import numpy as np

from sngan_jax.base.provenance import commit
from tests.faults import (
    damage,
    disk,
    malformed,
    nan,
    pictures,
    processes,
    readers,
    refusals,
    runs,
    soak,
    words,
)
from tests.ignored_signals import hear_ignored_signals

FAULTS = {"kill": processes.kill, "sigterm": processes.sigterm, "flip": damage.flip,
          "truncate": damage.truncate, "disk": disk.disk, "lock": processes.lock, "nan": nan.nan,
          "malformed": malformed.malformed, "soak": soak.soak,
          # The second table.
          "output": words.output, "signals": processes.signals, "refuse": refusals.refuse,
          "readers": readers.readers, "sizes": refusals.sizes, "torch": malformed.torch,
          "conditions": refusals.conditions, "pictures": pictures.pictures, "names": words.names,
          "hosts": readers.hosts}


def main() -> int:
    """Runs the faults that the flags name."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(FAULTS), help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=runs.FIELDS["iterations"],
                        help="length of the runs that are killed, stopped and compared")
    parser.add_argument("--stop_seconds", type=float, default=processes.STOP["seconds"],
                        help="seconds that a run may take to stop at a signal")
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    flags = parser.parse_args()
    runs.FIELDS["iterations"] = flags.iterations
    processes.STOP["seconds"] = flags.stop_seconds
    names = [name.strip() for name in flags.only.split(",") if name.strip()]
    if unknown := set(names) - set(FAULTS):
        parser.error(f"there is no fault {', '.join(sorted(unknown))}: {', '.join(FAULTS)}")
    hear_ignored_signals()
    work = Path(tempfile.mkdtemp(prefix="sngan_jax_faults_"))
    results = {}
    for name in names:
        folder = work / name
        folder.mkdir()
        begun = time.monotonic()
        rng = np.random.default_rng([flags.seed, list(FAULTS).index(name)])
        outcome = FAULTS[name](flags.rounds, rng, folder)
        results[name] = outcome._asdict() | {"seconds": round(time.monotonic() - begun)}
        print(f"{name}: {outcome.held} of {outcome.rounds} {outcome.skipped} {outcome.figures}",
              *outcome.notes, sep="\n  ", file=sys.stderr, flush=True)
    if flags.keep:
        print(f"folders: {work}", file=sys.stderr)
    else:
        shutil.rmtree(work, ignore_errors=True)
    print("| fault | rounds | required | held |\n|---|---|---|---|")
    for name, result in results.items():
        held = f"not run: {result['skipped']}" if result["skipped"] else result["held"]
        print(f"| {name} | {result['rounds']} | {result['rounds']} | {held} |")
    print(json.dumps({"seed": flags.seed, "commit": commit(), "faults": results}))
    return int(any(r["held"] < r["rounds"] and not r["skipped"] for r in results.values()))


if __name__ == "__main__":
    sys.exit(main())
