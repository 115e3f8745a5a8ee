"""Targets of compile_check, their devices, and the cost of a method, without a compiler."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.compiler import compare
from experiments.compiler.cards import CARDS, SHARE
from experiments.compiler.check import memory_of
from experiments.compiler.origins import NORMALIZATION, ORIGINS
from experiments.compiler.records import find, same
from experiments.compiler.step import facts_of
from experiments.compiler.tables import launch_row, table, verdict
from experiments.compiler.targets import devices_of, parse_target
from experiments.configs import cifar10_resnet, digits
from sngan_jax.base.errors import UserError
from tests.programs import program

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("text", "name", "devices", "memory"), [
    ("h100", "h100", 1, 84_929_347_584), ("H100x8", "h100x8", 8, 84_929_347_584),
    ("a100", "a100", 1, 85_100_068_864), ("l4", "l4", 1, 22_565 * 2**20),
    ("t4", "t4", 1, 15_637_086_208), ("b200", "b200", 1, 191_514_411_008),
    ("v5e-8", "v5e:2x4", 8, 2**34), ("v3:2x2x1", "v3:2x2x1", 8, 2**34)])
def test_targets(text, name, devices, memory):
    target = parse_target(text)
    assert (target.name, target.devices, target.memory, target.hosts) == (name, devices, memory, 1)


@pytest.mark.parametrize(("text", "words"), [
    ("h200", "no such device; there are the TPUs v2, v3, .* cards h100, a100, l4, t4, b200"),
    ("", "no such device"), ("h100x0", "1 to 16 cards"), ("h100x17", "1 to 16 cards"),
    ("h100-8", "no such device"), ("v5e", "no such TPU"), ("v3-9", "sold as v3-8"),
    ("v9-8", "no such device"), ("l4x", "no such device"), ("v5e:²x4", "not a shape")])
def test_a_target_that_does_not_exist_is_a_sentence(text, words):
    with pytest.raises(UserError, match=words):
        parse_target(text)


def test_a_card_is_described_to_the_compiler():
    text = CARDS["t4"].text
    assert "cuda_compute_capability { major: 7 minor: 5 }" in text
    assert 'device_description_str: "Tesla T4"' in text and "core_count: 40 " in text
    assert "device_memory_size: 15637086208\n" in text and text.count("{") == text.count("}")


def test_without_nvidias_compiler_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"separate .*pip install 'sngan_jax\[gpu-check\]'"):
        devices_of(parse_target("h100"))


def memory(**parts):
    names = ("argument", "output", "alias", "temp", "generated_code")
    return SimpleNamespace(**{f"{name}_size_in_bytes": parts.get(name, 0) for name in names})


def test_memory_of_a_card_is_held_against_what_jax_takes_of_it():
    card = CARDS["l4"].memory
    for share, fits, words in ((0.5, True, "fits"), (0.8, False, "XLA_PYTHON_CLIENT_MEM_FRACTION"),
                               (0.97, False, "DOES NOT FIT")):
        temporaries = int(share * card) - 100
        record = memory_of(memory(argument=100, output=60, alias=60, temp=temporaries),
                           {"D's parameters": 60, "data": 30}, parse_target("l4"))
        assert record["hbm_of_core"] == int(SHARE * card) and record["fits"] is fits
        assert record["donated"] and record["hbm_parts"]["padding of arrays"] == 10
        assert sum(record["hbm_parts"].values()) == record["hbm_bytes"] == int(share * card)
        assert words in verdict({**record, "compiles": True, "launches": 1})
    assert not memory_of(memory(output=60), {"D's parameters": 60}, parse_target("l4"))["donated"]


def record(method, launches, **fields):
    rows = {origin: [0, 0, 0] for origin in ORIGINS}
    rows[NORMALIZATION] = [2, launches, 2 + 5 * launches]
    return {"topology": "h100", "devices": 1, "hosts": 1, "device": "NVIDIA H100 80GB HBM3",
            "model": "cnn", "dataset": "digits", "method": method, "dtype": "float32", "n_dis": 5,
            "fusion": "all", "bn_sync": "all", "batch_size": 64, "generator_batch_size": 64,
            "compiler": "of a test", "compiles": True, "compile_seconds": 1.0, "hbm_bytes": 2**30,
            "hbm_of_core": 2**34, "hbm_of_device": 2**35, "fits": True,
            "hbm_parts": {"data": 2**20}, "donated": True, "launches": 2 + 5 * launches,
            "launches_once": 2, "launches_of_an_update": launches, "launches_by_origin": rows,
            "open_loops": [{"function": "epoch_permutation", "does": "draws", "times": 5,
                            "launches_of_a_pass": 3}],
            "all_reduces": 0, "all_reduce_bytes": 0, "launch_seconds_on_h100": 1e-3, **fields}


def test_the_table_of_a_card():
    rows = dict(table(record("sn", 10)))
    assert rows["launches of an iteration"].startswith("52 = 2 + 5 x 10")
    assert rows[f"  {NORMALIZATION}"] == "52 = 2 + 5 x 10" and rows["state donated"] == "yes"
    assert "3 launches per pass" in rows["beside them"]
    assert launch_row(record("sn", 10))[5:10] == ("1.00", "16.0", "52", "2", "10")
    failed = {**record("sn", 10), "compiles": False, "why_not": "no bfloat16"}
    assert ("compiles", "no: no bfloat16") in table(failed)
    assert launch_row(failed)[-1] == "no bfloat16" and verdict(failed) == "does not compile"


def test_what_a_method_costs_on_a_card():
    sn, none = record("sn", 10), record("none", 4, hbm_bytes=2**29)
    found = compare.difference(sn, none)
    assert found["launches"] == 30 and found["hbm_bytes"] == 2**29
    assert found["launches_by_origin"][NORMALIZATION] == [0, 6, 30]
    header, *rows = compare.table(sn, none)
    assert header[1:4] == ("sn", "none", "difference")
    assert ("launches of an iteration", "52", "22", "+30", "+136.4 %") in rows
    failed = {**none, "compiles": False}
    assert compare.difference(sn, failed) == {}
    assert compare.table(sn, failed)[1][:3] == ("compiles", "yes", "no")


def test_what_a_method_costs_on_a_tpu():
    times = {"optimal_seconds": 2e-3, "compute_seconds": 8e-3, "bytes_accessed": 3e9,
             "flops": 1e9, "hbm_bytes": 2**20, "compiles": True, "method": "sn", "n_dis": 5}
    less = {**times, "compute_seconds": 4e-3, "method": "none"}
    assert compare.difference(times, less)["compute_seconds"] == pytest.approx(4e-3)
    assert ("compute of an iteration, ms", "8.00", "4.00", "+4.00", "+100.0 %") in compare.table(
        times, less)


def test_another_method_of_a_config():
    config = digits.get_config()
    other = compare.with_method(config, "wgan_gp")
    assert (other.method, config.method) == ("wgan_gp", "sn")
    with pytest.raises(UserError, match="no such method; there are sn, weight_clipping"):
        compare.with_method(config, "nothing")
    with pytest.raises(UserError, match="has this method already"):
        compare.with_method(config, "sn")


def test_records_of_another_version_are_not_taken(monkeypatch):
    import jax

    wanted = same(cifar10_resnet.get_config(), parse_target("h100"), 0)
    stored = {**wanted, "compiles": True, "launches": 1}
    assert find([stored], wanted) == stored
    monkeypatch.setattr(jax, "__version__", "9.9.9")
    assert find([stored], same(cifar10_resnet.get_config(), parse_target("h100"), 0)) is None


def test_records_of_other_data_are_not_taken():
    config, target = cifar10_resnet.get_config(), parse_target("v3-8")
    known = same(config, target, 0)
    assert same(config, target, 0, facts_of(config, 0, 0)) == known
    config.dataset = "folder:mine"
    few, many = (same(config, target, 0, facts_of(config, n, 0)) for n in (1000, 10**8))
    assert few != many


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "--target is missing"), (["--sweep", "--target=h100"], "--sweep has its own flags"),
    (["--target=h100", "--out=docs"], "--out=docs is a folder"),
    (["--target=h100", "--compare=nothing"], "no such method"),
    (["--topology=v3-9"], "sold as v3-8"),
    (["--target=h100", "--per-device-batch=8", "--config.batch_size=0"], "config.batch_size is 0"),
    (["--target=h100", "--targets=a100"], "are flags of a sweep"),
    (["--sweep", "--targets="], "--targets is empty"),
    (["--sweep", "--per-device-batches=,"], "--per-device-batches is empty"),
    (["--target"], "--target has no value")])
def test_bad_input_is_a_sentence(arguments, words):
    done = program("experiments.compile_check", "--config=digits", *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_sweep_goes_on_after_a_target_that_does_not_compile():
    done = program("experiments.tpu_check", "--config=digits", "--sweep", "--compare=none",
                   "--targets=v3:9x2x1", "--per-device-batches=0")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert '"compared_with"' in done.stdout and done.stdout.count("v3:9x2x1") > 2


def test_the_stored_records_of_cards_are_whole():
    """docs/compile_check.md is made from the records."""
    file = ROOT / "experiments" / "results" / "nvidia" / "launches.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert records
    for one in records:
        for each in (one, *([one["compared_with"]] if "compared_with" in one else [])):
            assert each["compiles"] or each["why_not"]
            if each["compiles"]:
                rows = each["launches_by_origin"]
                assert tuple(rows) == ORIGINS
                assert each["launches"] == sum(row[2] for row in rows.values())
                assert each["launches"] == each["launches_once"] + each["n_dis"] * each[
                    "launches_of_an_update"]
                assert each["hbm_of_device"] == parse_target(each["topology"]).memory
                assert sum(each["hbm_parts"].values()) == each["hbm_bytes"]
    # What the page says of today's step.
    totals = {(r["row"], r["topology"]): (r["launches"], r.get("compared_with", {}).get("launches"))
              for r in records}
    assert totals["cifar10_resnet, bfloat16", "h100"] == (2002, 1763)
    assert totals["cifar10_resnet, bfloat16, together", "h100"][0] == 1612
    assert totals["cifar10_cnn:sn,C", "h100"] == (513, 419)
