"""A few rounds of each fault of the harness; docs/reliability.md reports longer ones."""

import contextlib
import os
import signal
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
    harness = subprocess.Popen(
        [sys.executable, "-m", "tests.faults", f"--only={fault}", f"--rounds={rounds}",
         "--iterations=100", "--stop_seconds=60"], cwd=ROOT, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said, problems = harness.communicate(timeout=500)
    finally:  # runs that it left behind too: they would train on beside the other tests
        with contextlib.suppress(ProcessLookupError):
            os.killpg(harness.pid, signal.SIGKILL)
    if "may not mount" in said:
        pytest.skip("a tmpfs can be mounted by root only, and not in every container")
    assert harness.returncode == 0, problems[-3000:]
