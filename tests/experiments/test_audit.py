"""The audit as a person runs it: files, table, one sentence for bad input."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from experiments.configs import digits
from sngan_jax.run.loop import train
from tests.programs import program

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A conditional run of one iteration, of the standard CNN, in bfloat16."""
    config = digits.get_config("conditional")
    config.update({"model": "cnn", "generator_width": 2, "discriminator_width": 2, "n_dis": 1,
                   "batch_size": 4, "generator_batch_size": 4, "iterations": 1, "latent_size": 4,
                   "sample_every": 1, "num_samples": 4, "dtype": "bfloat16"})
    folder = tmp_path_factory.mktemp("run")
    train(config, folder)
    return folder


def test_audit_writes_a_record_a_table_and_a_picture(workdir):
    done = program("experiments.audit", f"--workdir={workdir}", "--num=12", "--ascent-steps=1")
    assert done.returncode == 0, done.stderr
    record = json.loads((workdir / "audit.json").read_text())
    assert record["iteration"] == 1 and record["commit"] and record["date"]
    assert [layer["name"] for layer in record["layers"]] == [
        *(f"conv{i}" for i in range(7)), "head/dense", "head/embed"]
    assert 0 < record["lower_bound"] <= record["upper_bound"]
    assert record["protocol"]["real"] == 12 and record["protocol"]["seed"] == 0
    # K = 1.7 by a power iteration that has just begun.
    assert all(0.5 < layer["sigma"] / 1.7 < 3 for layer in record["layers"])
    text = (workdir / "audit.md").read_text()
    assert "| head/embed | Embed | 10x" in text and "pixels are in [-1, 1]" in text
    assert "| lower bound: the largest of the five |" in done.stdout
    with Image.open(workdir / "spectra.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 7


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--checkpoint=7",), "no checkpoint of iteration 7; it has: 1"),
    (("--num=1",), "--num is 1: it must be at least 2"),
    (("--num=2000",), "--num is 2000, but digits, split 'train', has only 1,797 images"),
    (("--ascent-steps=-1",), "--ascent-steps is -1"),
    (("--workdir=/nowhere",), "/nowhere is not the workdir of a run"),
    (("--out=/dev/null/x", "--num=4"), "/dev/null/x cannot be made")])
def test_bad_input_is_one_sentence(workdir, arguments, sentence):
    done = program("experiments.audit", f"--workdir={workdir}", *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(re.escape(sentence), line), line


def test_a_run_without_a_checkpoint_is_a_sentence(workdir, tmp_path):
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    done = program("experiments.audit", f"--workdir={tmp_path}")
    assert done.returncode == 2 and "has no checkpoint yet" in done.stderr
