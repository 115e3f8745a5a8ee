"""Figures of singular values and of the critic's loss, against closed forms and whole runs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.reports import critic
from experiments.reports.critic import critic_losses, held_out_split
from experiments.reports.runs import collect
from experiments.reports.spectra import allowed_sets, spectra_of
from experiments.sweeps.tables import Request
from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import load
from sngan_jax.run.restore import restore_run
from tests.experiments.reports.disk import write_sweep
from tests.run.processes import environment

ROOT = Path(__file__).parents[3]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_the_allowed_sets_hold_every_weight_that_a_method_makes(n, seed):
    sets = allowed_sets(n)
    w = np.random.default_rng(seed).normal(size=(n, n)) ** 3
    made = {"SN": w / np.linalg.norm(w, 2), "Frobenius norm": w / np.linalg.norm(w),
            "WN": w / np.linalg.norm(w, axis=1, keepdims=True),
            "orthonormal": np.linalg.qr(w)[0]}
    assert set(made) == set(sets)
    for name, weight in made.items():
        values = np.linalg.svd(weight, compute_uv=False)
        lowest, highest = sets[name]
        assert (values <= highest + 1e-9).all(), name
        assert (values >= lowest - 1e-9).all(), name


def test_the_bounds_of_the_allowed_sets_are_reached():
    n = 9
    sets = allowed_sets(n)
    for name, total in (("Frobenius norm", 1.0), ("WN", float(n))):
        lowest, highest = sets[name]
        for i in range(1, n + 1):  # i equal values, and no others
            np.testing.assert_allclose(highest[i - 1], np.sqrt(total / i))
        assert lowest[0] == pytest.approx(np.sqrt(total / n))
        np.testing.assert_allclose(lowest[1:], 0)
    # Rows of length 1, all the same: rank one, the largest value of all.
    same_rows = np.full((n, n), n**-0.5)
    assert np.linalg.norm(same_rows, 2) == pytest.approx(sets["WN"][1][0])


@pytest.mark.parametrize(("split", "rest"), [
    ("train[:1500]", "train[1500:]"), ("train[:80%]", "train[80%:]"), ("train", "test"),
    ("unlabelled[:7]", "unlabelled[7:]")])
def test_held_out_images_are_those_that_a_run_has_not_seen(split, rest):
    assert held_out_split(split) == rest


def test_a_critic_that_cannot_be_read_is_left_out_and_the_others_are_drawn(tmp_path, monkeypatch):
    def losses(run):
        if run.variant == "wgan_gp":
            raise UserError("damaged")
        return ["3 training", "2 held-out"], {60: {"training": 1.0, "held-out": 2.0}}

    monkeypatch.setattr(critic, "_losses", losses)
    write_sweep(tmp_path / "f", Request("figure15", "digits", "tiny"))
    figure = critic.figure15(collect([tmp_path / "f"]), tmp_path)
    assert "3 training and 2 held-out images" in figure.caption
    assert figure.caption.endswith(" Left out: damaged.")
    assert [line.split(": ")[1].split(",")[0] for line in figure.provenance] == [
        "wn_wgan_gp", "sn_wgan_gp"]


@pytest.mark.slow
def test_a_real_sweep_and_its_report(tmp_path):
    """Trains three tiny runs, and compares the page with NumPy's values from their checkpoints."""
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    short = ("--set=iterations=20", "--set=keep_every=10", "--set=checkpoint_every=10",
             "--set=batch_size=16", "--set=evaluate_every=10", "--set=evaluate_images=200")

    def program(name, *options):
        done = subprocess.run([sys.executable, "-m", f"experiments.{name}", *options], cwd=ROOT,
                              env=environment(1), text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    same = ("--dataset=digits", "--scale=tiny", *short)
    program("sweep", "--table=2", "--methods=sn,orthonormal", "--settings=C", *same,
            f"--workdir={tmp_path / 'table2'}")
    program("sweep", "--table=figure15", "--methods=wgan_gp", *same,
            f"--workdir={tmp_path / 'figure15'}")
    said = program("report", f"--workdir={tmp_path / 'table2'},{tmp_path / 'figure15'}",
                   f"--out={tmp_path / 'out'}")
    assert "3 runs, 3 finished and scored" in said
    drawn = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert {f"figure{n}" for n in (1, 2, 3, 5, 9, 14, 15)} <= drawn
    page = (tmp_path / "out" / "report.html").read_text()
    assert "checkpoints 10, 20" in page

    run = tmp_path / "table2" / "sn,C,seed=0"
    restored = restore_run(run, 20)
    d = restored.state.discriminator
    for i in (0, 3, 6):
        w = np.asarray(d.params[f"conv{i}"]["kernel"], np.float64)
        matrix = w.reshape(-1, w.shape[-1]).T
        # W̄ = W/σ with σ = uᵀWv of the stored vectors (Algorithm 1).
        u, v = (np.asarray(d.spectral[f"conv{i}"][k], np.float64) for k in "uv")
        expected = np.linalg.svd(matrix, compute_uv=False) / (u @ matrix @ v)
        np.testing.assert_allclose(spectra_of(run, 20)[f"conv{i}"], expected, rtol=1e-4)

    trained = tmp_path / "figure15" / "wgan_gp,A,seed=0"
    images = load("digits", image_size=8, split="train[1500:]").images[:50]
    restored = restore_run(trained, 10)

    def mean(pixels):
        x = (np.asarray(pixels, np.float32) + 0.5) / 128 - 1
        return np.asarray(restored.discriminator.apply(
            restored.state.discriminator.variables, x)).mean(dtype=np.float64)

    fake = restored.sample(np.zeros(50, np.int32))
    (first, losses), _ = critic_losses(trained, [10, 20], {"held-out": images}).items()
    assert first == 10
    np.testing.assert_allclose(losses["held-out"], mean(fake) - mean(images), rtol=1e-3, atol=1e-5)
    assert re.search(r"297 training and 297 held-out", page)
