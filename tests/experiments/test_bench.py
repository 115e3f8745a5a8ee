"""experiments.bench: figures that agree with known values, one sentence for bad input."""

import json

import jax
import pytest

from experiments.bench.__main__ import main
from experiments.bench.step import ratio, shown
from experiments.bench.timing import in_turns
from experiments.read_config import read_config
from experiments.reports.timings import read_timings
from sngan_jax.base.errors import UserError
from tests.metrics.fake_extractor import mean_extractor

SMALL = ["--set", "batch_size=4", "--set", "generator_batch_size=4", "--set", "generator_width=4",
         "--set", "discriminator_width=4", "--repeats=1"]


def report(capsys, *arguments):
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.slow
def test_an_iteration_and_its_parts(capsys, tmp_path):
    result = report(capsys, "step", "--config=experiments/configs/cifar10_resnet.py:sn", *SMALL,
                    "--set", "n_dis=1", "--compare=unfused", f"--profile={tmp_path}")
    ours, unfused = result["ours"], result["unfused"]
    assert 1.2 < unfused["flops_ratio"] < 1.8 and ours["flops_ratio"] == 1
    assert ours["images_per_second_per_device"] == pytest.approx(8 * ours["iterations_per_second"])
    assert ours["donated_bytes"] >= 0.9 * ours["state_bytes"] > 1000
    assert len(result["parts"]) == 9 and all(v > 0 for v in result["parts"].values())
    assert result["device"] == f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_arithmetic_that_is_not_counted_is_no_number():
    assert shown(ratio(3.0, 2.0), ".2f") == "1.50"
    assert shown(ratio(None, 2.0), ".2f") == shown(ratio(3.0, None), ".1%") == "not counted"


@pytest.mark.slow
def test_a_later_start_reads_what_the_first_compiled(capsys):
    result = report(capsys, "start", "--config=experiments/configs/digits.py", "--repeats=1",
                    *SMALL[:-1])
    assert 0 < result["import_seconds"] < result["later_seconds"] < result["first_seconds"]


def test_scores_are_timed(capsys, monkeypatch):
    monkeypatch.setattr("experiments.bench.metrics.make_extractor",
                        lambda *_, batch_size: mean_extractor(batch_size=batch_size))
    result = report(capsys, "metrics", "--num=40", "--batch=2", "--repeats=1")
    assert set(result["seconds"]) == {"fid", "is", "kid", "prdc", "moments of one set"}
    assert result["images_per_second"] > 0 and min(result["seconds"].values()) > 0


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--num=3"], "--num is 3: it must be at least 10"),
    (["--extractor=classifier", "--torchscript=x.pt"], "--torchscript is an Inception network"),
])
def test_bad_input_of_metrics(capsys, arguments, sentence):
    assert main(["metrics", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_the_start_of_a_run_that_fails_is_a_sentence(capsys, tmp_path):
    assert main(["start", "--config=experiments/configs/digits.py",
                 "--set", f"dataset=npz:{tmp_path}/none.npz"]) == 2
    assert "did not get to its first iteration" in capsys.readouterr().err


@pytest.mark.slow
def test_updates_of_methods_in_turns(capsys, tmp_path):
    result = report(capsys, "methods", "--methods=sn,sn_svd", "--n-dis=1", "--width=2", "--batch=4",
                    "--updates=2", "--repeats=2", "--set", "image_size=8", "--set",
                    "dataset=digits", f"--out={tmp_path}/methods.json")
    (part,) = result["parts"]
    assert part["n_dis"] == 1 and set(part["methods"]) == {"sn", "sn_svd", "none"}
    assert all(row["ratio_low"] <= row["ratio"] <= row["ratio_high"] and row["seconds"] > 0
               for row in part["methods"].values())
    assert part["methods"]["sn"]["gflop"] > part["methods"]["none"]["gflop"] > 0
    assert "width 2" in result["size"] and "generator_width=2" in result["changes"]
    assert read_timings(tmp_path / "methods.json")["parts"] == result["parts"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--methods=sn,spectral"], "--methods names 'spectral': the methods are sn, weight_clipping"),
    (["--n-dis=1,0"], "--n-dis is 0: it must be at least 1"),
    (["--width=-1"], "--width is -1: it must be at least 0"),
    (["--config=none.py"], "there is no file none.py"),
    (["--out=/dev/shm"], "--out=/dev/shm is a folder: give the name of a file")])
def test_bad_input_of_methods(capsys, arguments, sentence):
    assert main(["methods", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_turns_alternate():
    order = []
    in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, warmup=1)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--config=nothing.py"], "there is no file nothing.py"),
    (["--config=experiments/configs/digits.py", "--set", "batchsize=3"], "did you mean batch_size"),
    (["--config=experiments/configs/digits.py", "--set", "batch_size=x"],
     "batch_size is 'x', expected a whole number"),
    (["--config=experiments/configs/digits.py", "--compare=tensorflow"], "unfused, unnormalized"),
])
def test_bad_input_is_one_sentence(capsys, arguments, sentence):
    assert main(["step", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error and len(error.splitlines()) == 1


def test_values_of_every_kind_are_read():
    config = read_config("experiments/configs/cifar10_cnn.py:sn,C",
                         ["conditional=true", "learning_rate=1e-3", "method=none", "seed=4"], 1)
    assert (config.conditional, config.learning_rate, config.method, config.seed) == (
        True, 1e-3, "none", 4)
    with pytest.raises(UserError, match="conditional is 'yes', expected true or false"):
        read_config("experiments/configs/cifar10_cnn.py", ["conditional=yes"], 1)
    with pytest.raises(UserError, match=r"README\.md is not a Python file"):
        read_config("README.md", [], 1)
