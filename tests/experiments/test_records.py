"""Guesses from the repository's records, for timed methods and in proportion for others."""

import json
import statistics
from pathlib import Path

import pytest

from experiments.read_config import load_config
from experiments.sweeps import records
from experiments.sweeps.plan import plan
from experiments.sweeps.records import guess, record_for, work
from experiments.sweeps.table_progress import grid_summary

RESULTS = Path(records.__file__).parents[1] / "results"
# As experiments/results/fashion_mnist_table2/methods.json was taken.
TIMED = ("generator_width=8", "discriminator_width=8", "batch_size=16", "generator_batch_size=16")


@pytest.mark.parametrize("method", ["sn", "gan_gp"])
def test_what_was_timed_is_what_was_timed(method):
    timed = json.loads((RESULTS / "fashion_mnist_table2" / "methods.json").read_text())
    row = timed["parts"][0]["methods"][method]
    (found,), about = guess([(f"cifar10_cnn:{method},C", TIMED, 1000)])
    start = record_for(load_config("cifar10_cnn"), "cpu").start
    assert found == pytest.approx(10 * row["seconds"] + start) and 10 < start < 40
    assert "2 x86_64 cores" in about and "4a2581c" in about


def test_the_rest_follows_in_proportion():
    small, large = load_config("cifar10_cnn:sn,C", TIMED), load_config("cifar10_cnn:sn,C")
    assert work(large) == work(small) * (64 / 8) ** 2 * (64 / 16)
    large.n_dis = 5
    assert work(large) == work(small) * (64 / 8) ** 2 * (64 / 16) * 3
    large.image_size = 64
    assert work(large) == work(small) * (64 / 8) ** 2 * (64 / 16) * 3 * 4


def test_a_card_is_guessed_from_the_runs_on_one(monkeypatch):
    monkeypatch.setattr(records.jax, "default_backend", lambda: "gpu")
    for kind, text in (("cnn", "cifar10_cnn:sn,C"), ("resnet", "cifar10_resnet")):
        rows = [json.loads(line) for line in (
            RESULTS / "fashion_mnist_h100" / f"{kind}-metrics.jsonl").read_text().splitlines()]
        rate = statistics.median(row["iterations_per_second"] for row in rows
                                 if "iterations_per_second" in row)
        (found,), about = guess([(text, (), 7000)])
        assert found == pytest.approx(7000 / rate + rows[0]["compile_seconds"])
        assert "one H100" in about


def test_what_has_no_record_is_unknown(tmp_path):
    assert guess([("cifar10_resnet", (), 10)]) == ([None], "")
    runs = plan("digits", [], 2)
    assert grid_summary(runs, tmp_path) == [
        "predicted time of the 2 remaining runs: unknown until a run like it has finished"]
    runs = plan("cifar10_cnn:sn,C", [("seed", ["1"])], 1, TIMED)
    assert "for 1 run" in grid_summary(runs, tmp_path)[0]


def test_runs_of_other_seeds_are_alike(tmp_path):
    runs = plan("digits", [("learning_rate", ["1e-3", "2e-4"])], 2, ["iterations=10"])
    (runs[0].workdir(tmp_path) / "checkpoints" / "10").mkdir(parents=True)
    (runs[0].workdir(tmp_path) / "metrics.jsonl").write_text(json.dumps(
        {"iteration": 10, "iterations_per_second": 0.5, "compile_seconds": 7}) + "\n")
    assert grid_summary(runs, tmp_path) == [
        "predicted training time, one run after another: 27 s for 1 run; 2 more: unknown until a "
        "run like it has finished"]
