"""The examples run by the commands in their docstrings, and print what those promise."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_minimal_gan_trains_and_shows_its_samples(tmp_path, monkeypatch, capsys):
    out = tmp_path / "samples.png"
    monkeypatch.setattr(sys, "argv", ["minimal.py", "--steps=3", f"--out={out}"])
    runpy.run_path(str(EXAMPLES / "minimal.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "SNDense_0: σ of its weight" in printed and "64 samples" in printed
    grid = image.imread(out)
    assert grid.shape == (320, 320, 4) and np.ptp(grid[..., 0]) > 0


def test_the_minimal_gan_in_nnx_does_the_same(tmp_path, monkeypatch, capsys):
    out = tmp_path / "samples.png"
    monkeypatch.setattr(sys, "argv", ["minimal_nnx.py", "--steps=3", f"--out={out}"])
    runpy.run_path(str(EXAMPLES / "minimal_nnx.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "layers/0: σ of its weight" in printed and "out: σ" in printed
    grid = image.imread(out)
    assert grid.shape == (320, 320, 4) and np.ptp(grid[..., 0]) > 0


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(example):
    assert len(example.read_text().splitlines()) <= 150
