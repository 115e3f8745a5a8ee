"""Runs of older versions continue: one of commit b97922f (conditional digits, 4 iterations)."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from sngan_jax.run.loop import train
from sngan_jax.run.restore import restore_run
from sngan_jax.run.workdir import read_config, read_metrics


@pytest.fixture
def workdir(tmp_path):
    with zipfile.ZipFile(Path(__file__).with_name("run_of_b97922f.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_an_older_run_is_restored(workdir):
    run = restore_run(workdir)
    assert (run.iteration, run.num_classes) == (4, 10)
    assert run.state.generator.spectral == {}
    assert run.sample(np.arange(3)).shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_an_older_run_goes_on(workdir, capsys):
    config = ConfigDict(read_config(workdir))
    config.iterations = 6
    assert train(config, workdir, accept_changes=True)
    assert "at iteration 4 of 6" in capsys.readouterr().out
    row = read_metrics(workdir)[-1]
    # The values with which b97922f itself continued.
    assert row["iteration"] == 6
    assert row["d_loss"] == pytest.approx(4.50675106048584, rel=1e-4)
    assert row["g_loss"] == pytest.approx(0.6826164722442627, rel=1e-4)
    assert row["sigma/head/dense"] == pytest.approx(0.5014171600341797, rel=1e-4)
