"""Compilers of absent devices are started only by the program that needs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.accelerators import has_card, has_tpu, hide
from tests.experiments.compilers import is_installed

ROOT = Path(__file__).parents[2]
SKIP = "JAX_SKIP_CUDA_CONSTRAINTS_CHECK"


def hidden(root, environment):
    """Effect of `hide` on a machine: (modules, environment)."""
    modules = {}
    hide(root, environment, modules)
    return modules, environment


def test_without_a_device_both_are_hidden(tmp_path):
    modules, environment = hidden(tmp_path, {"HOME": "/h"})
    assert modules == {"libtpu": None} and set(environment) == {"HOME", SKIP}


@pytest.mark.parametrize("file", ["dev/accel0", "dev/vfio/0"])
def test_where_there_is_a_tpu_nothing_changes_for_it(tmp_path, file):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert has_tpu(tmp_path, {}) and hidden(tmp_path, {})[0] == {}


@pytest.mark.parametrize("file", ["dev/nvidia0", "dev/nvidiactl", "dev/dxg"])
def test_where_there_is_a_card_nothing_changes_for_it(tmp_path, file):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert has_card(tmp_path) and hidden(tmp_path, {})[1] == {}
    # Not even where the process that started this one, elsewhere, had none; a person's own stays.
    (tmp_path / "empty").mkdir()
    _, elsewhere = hidden(tmp_path / "empty", {})
    assert elsewhere and hidden(tmp_path, elsewhere)[1] == {}
    assert hidden(tmp_path, {SKIP: "1"})[1] == {SKIP: "1"}


@pytest.mark.parametrize("variables", [
    {"JAX_PLATFORMS": "tpu,cpu"}, {"JAX_PLATFORMS": "cpu"}])
def test_who_names_the_platforms_is_left_alone(tmp_path, variables):
    assert hidden(tmp_path, dict(variables)) == ({}, variables)


def test_who_means_a_tpu_gets_libtpu(tmp_path):
    for name, value in {"TPU_NAME": "mine", "TPU_LIBRARY_PATH": "/my/libtpu.so"}.items():
        assert hidden(tmp_path, {name: value})[0] == {}
    # This one the package sets when JAX is imported.
    package = {"TPU_LIBRARY_PATH": "/x/site-packages/libtpu/libtpu.so"}
    modules, environment = hidden(tmp_path, package)
    assert modules == {"libtpu": None} and "TPU_LIBRARY_PATH" not in environment
    (tmp_path / "dev" / "vfio").mkdir(parents=True)
    (tmp_path / "dev" / "vfio" / "vfio").touch()  # the driver, with no device
    assert hidden(tmp_path, {})[0] == {"libtpu": None}


def run(*arguments):
    """stderr of a process whose environment does not choose a platform."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("JAX_PLATFORMS", SKIP) and not key.startswith("TPU_")}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, text=True, capture_output=True,
                          timeout=200, env={**environment, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not (is_installed("libtpu") or is_installed("jax-cuda12-plugin")),
                    reason="needs [tpu-check] or [gpu-check]")
@pytest.mark.skipif(has_tpu() or has_card(), reason="there is a device here")
def test_a_program_is_silent_beside_the_compilers():
    """Without `experiments`, JAX starts them, and they complain (except beside one another)."""
    devices = "jax.devices()"
    assert run("-c", f"import experiments, jax; {devices}") == ""
    assert run("-c", f"import jax, experiments; {devices}") == ""
    assert run("-c", f"import experiments.train, jax; {devices}") == ""
