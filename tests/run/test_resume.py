"""A run that was cut off and resumed is, to the bit, the run never stopped.

Parameters, spectral vectors, batch statistics, optimizers, moving average, metrics and samples.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sngan_jax.methods import METHODS
from tests.run.resume_script import cut_and_resumed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("number", "method"), [
    pytest.param(n, method, marks=[] if method == "sn" else pytest.mark.slow)
    # The last two keep what `frobenius` and what `sn` keeps.
    for n, method in enumerate(METHODS) if method not in ("sn_svd", "sn_bidirectional")])
def test_every_method(number, method, tmp_path):
    assert cut_and_resumed(method, number, tmp_path) == []


@pytest.mark.slow
def test_on_eight_devices(tmp_path):
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "NPROC": "32",
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"}
    methods = ("sn", "batch_norm", "wgan_gp")
    done = subprocess.run(
        [sys.executable, "-m", "tests.run.resume_script", str(tmp_path), *methods], cwd=ROOT,
        env=environment, text=True, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {method: [] for method in methods}
