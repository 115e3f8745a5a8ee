"""A few rounds of each fault of the harness; docs/reliability.md reports longer ones."""

import os
import subprocess
import sys

import pytest

from tests.faults.runs import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "rounds"), [
    ("kill", 1), ("sigterm", 1), ("flip", 20), ("truncate", 10), ("disk", 1), ("lock", 1),
    ("nan", 2), ("malformed", 1), ("output", 3), ("signals", 2), ("refuse", 7), ("readers", 10),
    ("sizes", 9), ("torch", 20), ("conditions", 5), ("pictures", 1), ("names", 1), ("hosts", 2)])
def test_a_few_rounds(fault, rounds):
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", f"--only={fault}", f"--rounds={rounds}",
         "--iterations=100", "--stop_seconds=60"], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True, timeout=500)
    if "may not mount" in done.stdout:
        pytest.skip("a tmpfs can be mounted by root only, and not in every container")
    assert done.returncode == 0, done.stderr[-3000:]
