"""The programs as a person runs them: exit status, one sentence for bad input, files."""

import errno
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from experiments import cli, sample
from experiments.__main__ import main
from sngan_jax.run.interruption import SIGNALS
from tests.programs import program

CONFIG = "--config=experiments/configs/digits.py:conditional"


@pytest.fixture(scope="module")
def workdir(finished_run, tmp_path_factory):
    """A copy of the finished run, for programs that write into it."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("run") / "run")


def test_train_says_what_it_trains_on(finished_run):
    said = finished_run.with_name("finished.txt").read_text()
    assert "digits: 1,797 images of 8x8x1" in said


def test_sample_writes_arrays_and_a_grid(workdir):
    done = program("experiments.sample", f"--workdir={workdir}", "--num=23")
    assert done.returncode == 0, done.stderr
    with np.load(workdir / "samples-4.npz") as file:
        assert file["images"].shape == (23, 8, 8, 1) and file["images"].dtype == np.uint8
        assert file["labels"].tolist() == [i % 10 for i in range(23)]
    with Image.open(workdir / "samples-4.png") as picture:
        assert picture.size[0] > 400


@pytest.mark.parametrize(("out", "made"), [
    ("new/", "new/samples-4"), ("there", "there/samples-4"), ("my.png", "my"), ("v1.5", "v1.5")])
def test_where_samples_are_written(out, made, workdir, tmp_path):
    (tmp_path / "there").mkdir()
    assert cli.run(sample.main, sample.arguments, "", "sample", [
        f"--workdir={workdir}", "--num=2", f"--out={tmp_path}/{out}"]) == 0
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")
            if path.is_file()} == {f"{made}.npz", f"{made}.png"}


def test_a_full_disk_leaves_the_earlier_samples(workdir, tmp_path, monkeypatch, capsys):
    def full(file, **_):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "s.npz").write_bytes(b"earlier")
    monkeypatch.setattr(np, "savez_compressed", full)
    assert cli.run(sample.main, sample.arguments, "", "sample", [
        f"--workdir={workdir}", "--num=2", f"--out={tmp_path / 's'}"]) == 74
    assert "s.npz cannot be written (No space left on device)" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


WALK = ("experiments.sample", "--rows=3", "--seed=4")


def test_walks_between_latents_and_classes(workdir):
    done = program(*WALK, f"--workdir={workdir}", "--interpolate=5")
    assert done.returncode == 0 and "3 walks of 5 steps" in done.stdout, done.stderr
    done = program("experiments.sample", f"--workdir={workdir}", "--morph=all", "--steps=3")
    assert done.returncode == 0, done.stderr
    with np.load(workdir / "interpolation-4.npz") as file:
        assert file["images"].shape == (15, 8, 8, 1) and file["z"].shape == (15, 4)
        assert file["labels"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
        rows = file["z"].reshape(3, 5, -1)
        np.testing.assert_allclose(rows[:, 2], (rows[:, 0] + rows[:, 4]) / 2, atol=1e-6)
    with np.load(workdir / "morph-4.npz") as file:
        assert file["weights"].shape == (30, 10)
        assert file["weights"][-3:].argmax(1)[[0, 2]].tolist() == [9, 0]
        assert (np.ptp(file["z"].reshape(10, 3, -1), axis=1) == 0).all()
    for name, size in (("interpolation-4", (252, 152)), ("morph-4", (152, 502))):
        with Image.open(workdir / f"{name}.png") as picture:
            assert picture.size == size


@pytest.mark.slow
def test_walks_move_classes_have_names_and_samples_have_neighbours(workdir, tmp_path):
    for i in range(10):
        (tmp_path / "data" / f"c{i}").mkdir(parents=True)
    named = shutil.copytree(workdir, tmp_path / "run")
    config = json.loads((named / "config.json").read_text())
    (named / "config.json").write_text(json.dumps(config | {
        "dataset": f"folder:{tmp_path / 'data'}"}))
    done = program(*WALK, f"--workdir={named}", "--morph=c3,c9", "--steps=3", "--moving=gif",
                   f"--out={named}/morph-4.gif")
    assert done.returncode == 0, done.stderr
    with np.load(named / "morph-4.npz") as file:
        assert file["weights"][[0, 2]].argmax(1).tolist() == [3, 9]
    done = program(*WALK, f"--workdir={workdir}", "--interpolate", "--moving=webp",
                   "--truncation=0.5")
    assert "3 walks of 8 steps" in done.stdout, done.stderr
    with np.load(workdir / "interpolation-4.npz") as file:
        assert np.abs(file["z"]).max() <= 0.5
    for file, frames in ((named / "morph-4.gif", 4), (workdir / "interpolation-4.webp", 14)):
        with Image.open(file) as picture:
            assert picture.n_frames == frames
    done = program("experiments.sample", f"--workdir={workdir}", "--num=4", "--nearest=2",
                   f"--out={tmp_path}/near")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "near.png") as picture:
        assert picture.size == (3 * 50 + 2, 4 * 50 + 2)


WRONG_WALKS = [
    (("--interpolate=5", "--morph=1,2"), "--interpolate and --morph exclude each other"),
    (("--interpolate=1",), "--interpolate is 1: it must be at least 2"),
    (("--morph=1,2", "--steps=1"), "--steps is 1: it must be at least 2"),
    (("--interpolate=3", "--rows=0"), "--rows is 0"),
    (("--interpolate=3", "--num=7"), "--num is for plain samples, not for --interpolate"),
    (("--morph=1,2", "--path=linear"), "--path is for --interpolate, not for --morph"),
    (("--steps=4",), "--steps is for --morph, which is missing"),
    (("--rows=4",), "--rows needs --interpolate or --morph"),
    (("--morph=1,2", "--label=3"), "--morph takes two: leave it out"),
    (("--morph=1",), "--morph=1: give two classes, as in --morph=3,5, or all"),
    (("--morph=1,10",), "--morph is 10, but the classes of this model are 0 to 9"),
    (("--morph=all", "--rows=2"), "one row per class"),
    (("--label=10",), "--label is 10, but the classes of this model are 0 to 9"),
    (("--label=nine",), "--label is nine, but the classes of this model are 0 to 9"),
    (("--truncation=0",), "--truncation is '0': it must be a number above 0"),
    (("--moving=gif",), "--moving needs --interpolate or --morph, and both are missing"),
    (("--morph=1,2", "--nearest=2"), "--nearest is for plain samples, not for --morph"),
    (("--num=0",), "--num is 0: it must be at least 1"),
    (("--workdir=no-classes", "--morph=1,2"), "unconditional model: train one with :conditional"),
    (("--workdir=uniform", "--interpolate=3", "--path=spherical"), "choose --path=linear")]


def test_walks_that_cannot_be_are_sentences(workdir):
    arguments = [(f"--workdir={workdir}", *given) for given, _ in WRONG_WALKS]
    done = program("tests.experiments.sample_script", json.dumps(arguments))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    for (given, sentence), words in zip(WRONG_WALKS, said, strict=True):
        assert sentence in words, given


def test_check_digits_prints_a_record(workdir):
    done = program("experiments.check_digits", f"--workdir={workdir}", "--num=50")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert sum(record["class_share"]) == pytest.approx(1, abs=1e-3)
    assert record["classifier_accuracy"] >= 0.98 and record["frechet_over_halves"] > 0


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--config.batchsize=3",), "config.batchsize is not a field.*did you mean batch_size"),
    (("--config.batch_size=many",), "batch_size"),
    (("--config.n_dis=1.5",), "n_dis"),
    (("--config.dataset=npz:none.npz",), "none.npz"),
    (("--config=experiments/configs/none.py",), "there is no file experiments/configs/none.py"),
    (("--config=experiments/configs/digits.py:colour",), "no variant 'colour'"),
    (("--config=",), "--config"),
    (("--wrokdir=x",), "wrokdir"),
    (("stray",), "unexpected argument 'stray'"),
])
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, tmp_path):
    done = program("experiments.train", CONFIG, f"--workdir={tmp_path / 'run'}", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(sentence, line), line


def test_a_missing_workdir_is_a_sentence():
    done = program("experiments.sample", "--workdir=/nowhere")
    assert done.returncode == 2 and "is not the workdir of a run" in done.stderr
    done = program("experiments.sample")
    assert done.returncode == 2 and "--workdir is missing" in done.stderr


def test_a_program_that_python_calls_leaves_the_signals_as_they_are(tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    assert main(["train", "--config=digits", "--config.dataset=npz:none.npz",
                 f"--workdir={tmp_path / 'run'}"]) == 2
    assert [signal.getsignal(number) for number in SIGNALS] == before
