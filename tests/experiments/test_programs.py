"""The programs as a person runs them: exit status, one sentence for bad input, files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
TINY = ("--config=experiments/configs/digits.py:conditional", "--config.iterations=2",
        "--config.model=resnet32", "--config.generator_width=2", "--config.discriminator_width=2",
        "--config.batch_size=4", "--config.generator_batch_size=4", "--config.n_dis=1")


def program(name, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    return subprocess.run([sys.executable, "-m", f"experiments.{name}", *arguments], cwd=ROOT,
                          env=environment, text=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = program("train", *TINY, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "digits: 1,797 images of 8x8x1" in done.stdout
    return folder


def test_sample_writes_arrays_and_a_grid(workdir):
    done = program("sample", f"--workdir={workdir}", "--num=23")
    assert done.returncode == 0, done.stderr
    with np.load(workdir / "samples-2.npz") as file:
        assert file["images"].shape == (23, 8, 8, 1) and file["images"].dtype == np.uint8
        assert file["labels"].tolist() == [i % 10 for i in range(23)]
    with Image.open(workdir / "samples-2.png") as picture:
        assert picture.size[0] > 400


def test_check_digits_prints_a_record(workdir):
    done = program("check_digits", f"--workdir={workdir}", "--num=50")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert sum(record["class_share"]) == pytest.approx(1, abs=1e-3)
    assert record["classifier_accuracy"] >= 0.98 and record["frechet_over_halves"] > 0


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--config.batchsize=3",), "config.batchsize is not a field.*did you mean batch_size"),
    (("--config.batch_size=many",), "batch_size"),
    (("--config.n_dis=1.5",), "n_dis"),
    (("--config.dataset=npz:none.npz",), "none.npz"),
    (("--config=experiments/configs/none.py",), "none.py cannot be read"),
    (("--config=experiments/configs/digits.py:colour",), "no variant 'colour'"),
    (("--config=",), "--config"),
    (("--wrokdir=x",), "wrokdir"),
    (("stray",), "unexpected argument 'stray'"),
])
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, tmp_path):
    done = program("train", *TINY, f"--workdir={tmp_path / 'run'}", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(sentence, line), line


def test_a_missing_workdir_is_a_sentence():
    done = program("sample", "--workdir=/nowhere")
    assert done.returncode == 2 and "is not the workdir of a run" in done.stderr
    done = program("sample")
    assert done.returncode == 2 and "--workdir is missing" in done.stderr
