"""NVIDIA's compiler itself, asked about cards that are not there: verdicts, and launches as pinned.

The counts are those of one version of XLA (gpu_counts.json); with another one each test says so.
"""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.experiments.compilers import is_installed
from tests.train.processes import environment

ROOT = Path(__file__).parents[2]
PINNED = json.loads((Path(__file__).parent / "gpu_counts.json").read_text())

pytestmark = [
    pytest.mark.gpu_compile,
    pytest.mark.skipif(not is_installed("jax-cuda12-plugin"), reason=(
        "needs NVIDIA's compiler: pip install -e '.[gpu-check]'"))]


def compile_check(*arguments):
    """(record, output, status) of the program."""
    done = subprocess.run([sys.executable, "-m", "experiments.compile_check", *arguments], cwd=ROOT,
                          env=environment(1), text=True, capture_output=True, timeout=550)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout, done.returncode


def assert_as_pinned(record, name):
    """The counts of a record against those of the file."""
    pinned = PINNED["counts"][name]
    found = {key: record["launches_by_origin"][key][2] if key in record["launches_by_origin"]
             else record[key] for key in pinned if key != "arguments"}
    expected = {key: pinned[key] for key in found}
    version = "" if jax.__version__ == PINNED["jax"] else (
        f"; they are of jax {PINNED['jax']} and this is jax {jax.__version__}: another XLA has "
        "other counts, so look at the differences and pin the new ones in gpu_counts.json")
    assert found == expected, f"launches of {name!r}: {found}, pinned: {expected}{version}"


@pytest.mark.parametrize("name", PINNED["counts"])
def test_launches_are_as_pinned(name):
    record, output, status = compile_check("--target=h100", *PINNED["counts"][name]["arguments"])
    assert status == 0 and record["compiles"] and record["fits"] and record["donated"]
    rows = record["launches_by_origin"].values()
    assert record["launches"] == sum(row[2] for row in rows)
    assert all(total == once + record["n_dis"] * update for once, update, total in rows)
    assert "launches of an iteration" in output and "epoch_permutation" in output
    assert_as_pinned(record, name)


def test_a_change_of_version_says_so(monkeypatch):
    name = next(iter(PINNED["counts"]))
    record = {"launches_by_origin": {}, **dict.fromkeys(PINNED["counts"][name], 0)}
    monkeypatch.setattr(jax, "__version__", "9.9.9")
    with pytest.raises(AssertionError, match=r"of jax 0\.10\.2 and this is jax 9\.9\.9"):
        assert_as_pinned(record, name)
