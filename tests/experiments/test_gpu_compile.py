"""NVIDIA's compiler, asked about absent cards: verdicts, and pinned numbers of launches.

The counts are for one version of XLA (gpu_counts.json); with another, each test names the version.
"""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.experiments.compilers import is_installed, without_flags

ROOT = Path(__file__).parents[2]
PINNED = json.loads((Path(__file__).parent / "gpu_counts.json").read_text())
DIGITS = ("--config=experiments/configs/digits.py", "--config.n_dis=2")

pytestmark = [
    pytest.mark.gpu_compile,
    pytest.mark.skipif(not is_installed("jax-cuda12-plugin"), reason=(
        "needs NVIDIA's compiler: pip install 'sngan_jax[gpu-check]'"))]


def compile_check(*arguments):
    """Record, output and exit status of the program."""
    done = subprocess.run([sys.executable, "-m", "experiments.compile_check", *arguments], cwd=ROOT,
                          env=without_flags(), text=True, capture_output=True, timeout=580)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout, done.returncode


def count(record, key):
    """A pinned number: of an origin, of `none` for comparison, or of the record."""
    if key in record["launches_by_origin"]:
        return record["launches_by_origin"][key][2]
    return record["compared_with"]["launches"] if key == "none" else record[key]


def assert_as_pinned(record, name):
    """Compares the counts of a record with the file."""
    expected = {key: value for key, value in PINNED["counts"][name].items() if key != "arguments"}
    found = {key: count(record, key) for key in expected}
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
    assert [one["function"] for one in record["open_loops"]] == ["epoch_permutation"]
    assert "launches of an iteration" in output
    assert_as_pinned(record, name)


def test_a_change_of_version_says_so(monkeypatch):
    name = next(iter(PINNED["counts"]))
    record = {"launches_by_origin": {}, **dict.fromkeys(PINNED["counts"][name], 0)}
    monkeypatch.setattr(jax, "__version__", "9.9.9")
    with pytest.raises(AssertionError, match=r"of jax 0\.10\.2 and this is jax 9\.9\.9"):
        assert_as_pinned(record, name)


def test_eight_cards_of_one_host():
    record, output, status = compile_check("--target=h100x8", *DIGITS)
    assert status == 0 and record["devices"] == 8 and "8 x NVIDIA H100" in output
    assert record["all_reduces"] >= record["n_dis"] + 1  # of the gradients, and batch norm's


def test_a_card_without_bfloat16_is_compiled_for_all_the_same():
    record, _, _ = compile_check("--target=t4", *DIGITS, "--config.dtype=bfloat16")
    assert record["compiles"] and record["fits"] and record["dtype"] == "bfloat16"


_KERNEL = """
import sys
import jax
import jax.experimental.pallas.triton as triton
import jax.numpy as jnp
from jax.experimental import pallas, topologies
from jax.sharding import NamedSharding, PartitionSpec
from experiments.compiler.cards import CARDS
from experiments.compiler.gpu import OPTIONS
from experiments.compiler.hlo import Program
from experiments.compiler.launches import launches_of
from sngan_jax.base.errors import UserError

def double(x, out):
    out[...] = 2 * x[...]

def function(x):
    return pallas.pallas_call(
        double, jax.ShapeDtypeStruct(x.shape, x.dtype), grid=(4,),
        in_specs=[pallas.BlockSpec((64,), lambda i: (i,))],
        out_specs=pallas.BlockSpec((64,), lambda i: (i,)), name=sys.argv[1],
        compiler_params=triton.CompilerParams(num_warps=2))(x) + 1

topology = topologies.get_topology_desc(
    platform="cuda", target_config=CARDS["h100"].text, topology="1x1x1")
place = NamedSharding(topologies.make_mesh(topology, (1,), ("d",)), PartitionSpec())
x = jax.ShapeDtypeStruct((256,), jnp.float32, sharding=place)
lowered = jax.jit(function).trace(x).lower(lowering_platforms=("cuda",))
try:
    print(launches_of(Program(lowered.compile(compiler_options=OPTIONS).as_text())).total)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("name", "said"), [
    ("double_stages_1", "2\n"), ("double_stages_3", "4\n"),
    ("double", "the kernel 'double' (__gpu$xla.gpu.triton) does not say how many stages it has")])
def test_a_kernel_of_pallas(name, said):
    done = subprocess.run([sys.executable, "-c", _KERNEL, name], cwd=ROOT, text=True, timeout=300,
                          env=without_flags(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)
