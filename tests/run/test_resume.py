"""A run that was cut off and resumed is bitwise equal to a run that was never stopped.

Parameters, spectral vectors, batch statistics, optimizers, moving average, metrics and samples. One
method represents each structure that a state can have.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.resume_script import cut_and_resumed

ROOT = Path(__file__).parents[2]


SHAPES = {"plain": "weight_clipping", "batch statistics": "batch_norm", "spectral": "sn",
          "operator norm": "sn_operator", "learnt scale": "sn_wgan_gp"}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_state(shape, tmp_path):
    assert cut_and_resumed(SHAPES[shape], list(SHAPES).index(shape), tmp_path) == []


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
