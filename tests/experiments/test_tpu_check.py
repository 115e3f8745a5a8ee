"""The check of TPUs: pure functions against known values, and the compiler if it is installed."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.compiler.collectives import AllReduce, all_reduces, executed, loop_share
from experiments.compiler.records import find, read, same
from experiments.compiler.step import SETS, Facts, data_shapes, facts_of, with_batch
from experiments.compiler.tables import ROW, row
from experiments.compiler.tpu import estimate
from experiments.compiler.tpus import CHIPS, parse_topology, tpu_devices
from experiments.configs import cifar10_resnet, digits, folder, imagenet128
from sngan_jax.base.errors import UserError
from tests.experiments.compilers import is_installed, without_flags

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("text", "name", "devices", "hosts"), [
    ("v3-8", "v3:2x2x1", 8, 1), ("v3-32", "v3:4x4x1", 32, 4), ("v4-8", "v4:2x2x1", 4, 1),
    ("v5e-8", "v5e:2x4", 8, 1), ("v5e-64", "v5e:8x8", 64, 8), ("v5e-256", "v5e:16x16", 256, 32),
    ("v6e:2x4", "v6e:2x4", 8, 1), ("v5p-8", "v5p:2x2x1", 4, 1)])
def test_slices(text, name, devices, hosts):
    topology = parse_topology(text)
    assert (topology.name, topology.devices, topology.hosts) == (name, devices, hosts)


@pytest.mark.parametrize(("text", "words"), [
    ("v9-8", "there are v2, v3"), ("v3", "no such TPU"), ("v3-9", "sold as v3-8, v3-32"),
    ("v5e:2xa", "not a shape"), ("v5e:32x16", "512 chips: at most 256")])
def test_a_slice_that_does_not_exist_is_a_sentence(text, words):
    with pytest.raises(UserError, match=words):
        parse_topology(text)


def test_the_farthest_chip_of_a_torus():
    assert parse_topology("v3-8").hops == 2 and parse_topology("v5e-256").hops == 16


HLO = '''
  %psum.1 = f32[2,256]{1,0:T(2,128)} all-reduce(%a), channel_id=1, to_apply=%r, \
metadata={op_name="jit(_fun)/shard_map/while/body/closed_call/ResNetGenerator/norm/norm/psum"}
  %all-reduce.2 = (f32[128]{0:T(256)}, bf16[3,3,3,128]{3,2,1,0}, /*index=5*/f32[]) \
all-reduce(%b, %c), to_apply=%r, metadata={op_name="jit(_fun)/shard_map/while/body/psum"}
  %all-reduce.3 = f32[10]{0} all-reduce(%b), metadata={op_name="jit(_fun)/shard_map/psum"}
  %copy.4 = f32[10]{0} copy(%all-reduce.3)
'''


def test_all_reduces_of_a_program():
    found = all_reduces(HLO)
    assert found == [AllReduce(1, 2048, True, True),
                     AllReduce(3, 4 * 128 + 2 * 9 * 3 * 128 + 4, True, False),
                     AllReduce(1, 40, False, False)]
    assert executed(found, 5) == (11, 5 * (found[0].bytes + found[1].bytes) + 40)


def test_operations_without_an_estimate_are_told_apart():
    assert estimate(0.004) == (0.004, 0)
    seconds, without = estimate(-14.996498)
    assert without == 15 and seconds == pytest.approx(0.003502, abs=1e-6)


def test_batches_of_each_device_keep_the_proportion():
    config = with_batch(cifar10_resnet.get_config(), 8, 256)
    assert (config.batch_size, config.generator_batch_size) == (2048, 4096)
    assert with_batch(cifar10_resnet.get_config(), 0, 256).batch_size == 64


def test_data_of_a_device():
    config = imagenet128.get_config()
    images, labels = data_shapes(config, SETS[config.dataset], 8)
    assert images.shape == (8, 1, 5, 8, 128, 128, 3) and labels.shape == (8, 1, 5, 8)
    config = cifar10_resnet.get_config()
    assert data_shapes(config, SETS[config.dataset], 8)[0].shape == (50_000, 32 * 32 * 3)


def test_facts_of_a_set_that_is_not_known():
    with pytest.raises(UserError, match="add --images"):
        facts_of(folder.get_config(), 0, 0)
    with pytest.raises(UserError, match="add --classes"):
        facts_of(folder.get_config("conditional"), 1000, 0)
    assert facts_of(folder.get_config("conditional"), 1000, 7) == Facts(1000, 3, 7)
    assert facts_of(digits.get_config(), 0, 0) == Facts(1797, 1, 10)


def test_nothing_is_compiled_twice(tmp_path):
    config, topology = cifar10_resnet.get_config(), parse_topology("v3-8")
    wanted = same(config, topology, 8)
    file = tmp_path / "records.jsonl"
    assert read(str(file)) == []
    file.write_text(json.dumps({**wanted, "compiles": True, "loop_share": 0.5}) + "\n")
    assert find(read(str(file)), wanted)["compiles"]
    # A record of a version that took the loop over D's updates for one update is none.
    assert find([{**wanted, "compiles": True}], wanted) is None
    for other in (same(config, topology, 16), same(config, parse_topology("v5e-8"), 8),
                  same(cifar10_resnet.get_config("wgan_gp"), topology, 8)):
        assert find(read(str(file)), other) is None
    for text in ("{", "3"):
        file.write_text(text)
        with pytest.raises(UserError, match="cannot be read"):
            read(str(file))


def test_the_share_of_the_loop_is_that_of_the_cycles():
    text = """HloModule jit_iteration
%body.2 (arg: f32[]) -> f32[] {
  %a = f32[] add(%x, %y), backend_config={"estimated_cycles":"30"}
}
%small (arg: f32[]) -> f32[] {
  %b = f32[] add(%x, %y), backend_config={"estimated_cycles":"1"}
}
ENTRY %main.3 (arg: f32[]) -> f32[] {
  %c = f32[] add(%x, %y), backend_config={"estimated_cycles":"9"}
  %w = (f32[]) while(%t), condition=%c.1, body=%small, metadata={}
  %v = (f32[]) while(%t), condition=%c.1, body=%body.2, metadata={}
}
"""
    assert loop_share(text) == pytest.approx(30 / 40)
    assert loop_share(text.replace("while", "call")) == 0
    assert math.isnan(loop_share("HloModule nothing"))


def test_the_stored_records_are_whole():
    """docs/scaling.md cites them."""
    records = read(str(ROOT / "experiments" / "results" / "tpu" / "scaling.jsonl"))
    for record in records:
        chip = CHIPS[record["topology"].partition(":")[0]]
        assert record["compiles"] and record["fits"] and record["donated"]
        assert record["hbm_bytes"] < record["hbm_of_core"] == chip.hbm_bytes
        assert record["all_reduces"] == record["n_dis"] + 1
        assert record["devices"] == parse_topology(record["topology"]).devices
        assert len(row(record)) == len(ROW)
        updates = 1 + (record["n_dis"] - 1) * record["loop_share"]
        assert record["compute_seconds"] == pytest.approx(
            updates * record["optimal_seconds"], rel=1e-3)
        seconds = record["compute_seconds"] + record["communication_seconds"]
        assert record["iterations_per_second"] == pytest.approx(1 / seconds)
        assert record["hours"] == pytest.approx(record["iterations"] * seconds / 3600)
    # Every config of the paper fits the smallest v3.
    assert len({(r["model"], r["image_size"]) for r in records
                if r["topology"] == "v3:2x2x1"}) == 5


def tpu_check(*arguments):
    return subprocess.run([sys.executable, "-m", "experiments.tpu_check", *arguments], cwd=ROOT,
                          env=without_flags(), text=True, capture_output=True, timeout=500)


def compiled(*arguments):
    """The record of a check that succeeds."""
    done = tpu_check(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


needs_libtpu = pytest.mark.skipif(not is_installed("libtpu"), reason=(
    "needs the TPU compiler: pip install 'sngan_jax[tpu-check]'"))


_WRITTEN_OUT = """
import json, sys
from sngan_jax.step import iteration, program
from experiments.compiler.check import check
from experiments.compiler.step import facts_of
from experiments.compiler.tpus import parse_topology
from experiments.read_config import read_config

repeat = iteration.repeat
if sys.argv[1] == "written out":
    iteration.repeat = program.repeat = (
        lambda body, carry, times, platform: repeat(body, carry, times, "cpu"))
config = read_config("experiments/configs/digits.py", ["n_dis=5"], 8)
print(json.dumps(check(config, parse_topology("v3-8"), facts_of(config, 0, 0))))
"""


@needs_libtpu
@pytest.mark.slow
def test_a_loop_over_five_updates_takes_the_time_of_five():
    """Compares with unrolled updates, each of which the compiler counts."""
    records = {}
    for form in ("loop", "written out"):
        done = subprocess.run([sys.executable, "-c", _WRITTEN_OUT, form], cwd=ROOT, text=True,
                              env=without_flags(), capture_output=True, timeout=500)
        assert done.returncode == 0, done.stderr
        records[form] = json.loads(done.stdout.splitlines()[-1])
    loop, each = records["loop"], records["written out"]
    assert each["optimal_seconds"] > 2.5 * loop["optimal_seconds"]
    # The compiler schedules five unrolled updates differently from a loop.
    assert loop["compute_seconds"] == pytest.approx(each["optimal_seconds"], rel=0.06)
    assert loop["flops"] * (1 + 4 * loop["loop_share"]) == pytest.approx(each["flops"], rel=0.02)


@needs_libtpu
@pytest.mark.slow
def test_the_papers_resnet_compiles_for_v3_8():
    record = compiled("--config=experiments/configs/cifar10_resnet.py", "--topology=v3-8")
    assert record["compiles"] and record["fits"] and record["donated"]
    assert (record["all_reduces"], record["all_reduce_instructions"]) == (6, 2)
    # Seven batch norms: forward in all six passes of G, backward in one.
    assert record["bn_all_reduces"] == 7 * (5 + 2) and record["devices"] == 8
    assert 0 < record["hbm_bytes"] < 2**30 and 1e-3 < record["optimal_seconds"] < 1e-2


@needs_libtpu
@pytest.mark.slow
def test_one_update_of_d_needs_one_all_reduce():
    record = compiled("--config=experiments/configs/cifar10_cnn.py", "--topology=v5e-8")
    assert record["n_dis"] == 1 and record["fits"] and record["donated"]
    assert (record["all_reduces"], record["all_reduce_instructions"]) == (2, 2)


@needs_libtpu
@pytest.mark.slow
def test_batch_norm_per_device_needs_no_further_all_reduce():
    record = compiled("--config=experiments/configs/digits.py", "--topology=v3-8",
                      "--config.bn_sync=device", "--config.n_dis=3", "--per-device-batch=2")
    assert (record["all_reduces"], record["bn_all_reduces"]) == (4, 0)
    done = tpu_check("--config=experiments/configs/digits.py", "--topology=v3:9x2x1")
    assert done.returncode == 2 and "does not know the topology v3:9x2x1" in done.stderr


@needs_libtpu
@pytest.mark.slow
def test_the_compiler_has_the_devices_that_jax_has():
    slices = ["v2-8", "v3-32", "v4-8", "v5p-8", "v5e-64", "v6e-8"]
    # The program itself says to libtpu that there is no TPU.
    code = ("import experiments.compile_check\n"
            "from experiments.compiler.tpus import parse_topology, tpu_devices\n"
            f"print([len(tpu_devices(parse_topology(name))) for name in {slices}])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True,
                          timeout=200, env=without_flags())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [parse_topology(name).devices for name in slices]


def test_without_the_compiler_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'sngan_jax\[tpu-check\]'"):
        tpu_devices(parse_topology("v3-8"))
