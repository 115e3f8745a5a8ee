"""The tables of power steps and of norms: numbers from spectra and audits written by hand."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from experiments.reports import extra, spectra
from experiments.reports.page import sources_of
from experiments.reports.parts import Missing
from experiments.reports.runs import collect
from experiments.reports.scores import figure_lipschitz
from experiments.reports.tables import make_tables
from experiments.sweeps.tables import Request
from sngan_jax.base.errors import UserError
from tests.experiments.reports.disk import scores_of, write_run, write_sweep

K = 2.0
# W̄ = K·W/σ: a σ that is a quarter too small makes the largest singular value of W̄ equal to
# K / 0.75.
USED = {"conv0": {20: 0.5, 60: 0.99}, "head/dense": {20: 0.75, 60: 0.9999}}


def spectra_of(folder, iteration):
    if "power_steps=20" in folder.name:
        raise UserError("damaged")
    if folder.name.startswith("sn_svd"):
        return {layer: np.array([K, K / 3]) for layer in USED}
    return {layer: np.array([K / of[iteration], 0.1]) for layer, of in USED.items()} | {
        "zero": np.zeros(2)}


@pytest.fixture
def steps(tmp_path, monkeypatch):
    monkeypatch.setattr(spectra, "spectra_of", spectra_of)
    cells = write_sweep(tmp_path / "steps", Request("steps", "digits", "tiny", seeds=2))
    for cell in cells:
        folder = tmp_path / "steps" / cell.run.name
        (folder / "checkpoints" / "20").mkdir()
        write_run(folder, cell, scores_of(cell), lipschitz=K)
        (folder / "metrics.jsonl").write_text(
            '{"iteration": 1}\n{"iteration": 60, "iterations_per_second": 12.0}\n')
    return collect([tmp_path / "steps"])


def texts(table):
    return [dict(zip(table.head, (cell.text for cell in row), strict=True)) for row in table.rows]


def test_the_error_of_sigma(steps):
    table = extra.steps_table(steps)
    one, *_, twenty, exact = texts(table)
    assert one["σ by"] == "power steps: 1" and exact["σ by"] == "SVD, exact"
    assert one["σ error, first checkpoint"] == "0.5000 ± 0" and one["last"] == "0.01000 ± 0"
    assert one["layer of the last"] == "conv0" and one["iterations/s"] == "12.00 ± 0"
    assert float(exact["last"].split()[0]) < 1e-7 and exact["middle"] != "not run"
    assert twenty["last"] == "not run" != twenty["iterations/s"]
    layers = {(r["layer"], r["iteration"]): r["value"] for r in table.records
              if r["method"] == "sn,power_steps=2" and r["seed"] == 1}
    assert layers == {("conv0", 20): pytest.approx(0.5), ("conv0", 60): pytest.approx(0.01),
                      ("head/dense", 20): pytest.approx(0.25),
                      ("head/dense", 60): pytest.approx(1e-4)}
    shown = make_tables(steps)
    assert table.title in [t.title for t in shown]
    anchors = {source["anchor"] for source in sources_of(steps)}
    assert {cell.source for row in table.rows for cell in row if cell.source} <= anchors
    assert len(anchors) == len(sources_of(steps)) == 5


def test_the_error_is_drawn_by_layer(steps, tmp_path):
    figure = spectra.figure_steps(steps, tmp_path)
    assert len(figure.provenance) == 4 and "checkpoints 20, 60" in figure.provenance[0]
    with Image.open(figure.file) as picture:
        assert 900 <= picture.width <= 1200


def test_bounds_are_those_of_the_audits(tmp_path):
    cells = write_sweep(tmp_path / "norms", Request("norms", "digits", "tiny", seeds=2))
    for n, cell in enumerate(cells[:5]):
        layers = [{"name": "conv0", "sigma": 1.0, "operator_norm": 2.0 + n},
                  {"name": "head/dense", "sigma": 0.5, "operator_norm": 0.5}]
        (tmp_path / "norms" / cell.run.name / "audit.json").write_text(json.dumps(
            {"layers": layers, "upper_bound": 10.0 * n, "upper_bound_reshaped": 1.0,
             "lower_bound": 0.25, "more": None}))
        (tmp_path / "norms" / cell.run.name / "metrics.jsonl").write_text("")
    (tmp_path / "norms" / cells[5].run.name / "metrics.jsonl").write_text("")
    table = extra.norms_table(collect([tmp_path / "norms"]))
    sn, operator, both = texts(table)
    assert sn["method"] == "sn" and sn["product bound"] == "15.00 ± 21"  # of seeds 0 and 3 of three
    assert operator["largest operator norm"] == "4.500 ± 2.1"
    assert sn["measured constant"] == "0.2500 ± 0"
    assert both["product bound"] == "20.00" and sn["iterations/s"] == "not run"
    last = tmp_path / "norms" / cells[5].run.name
    assert f"Without an audit: sngan audit --workdir={last}." in table.caption
    assert {r["metric"] for r in table.records} >= {"upper_bound", "lower_bound"}


def test_scores_are_drawn_against_k(tmp_path):
    """Every run is a point of the figure, with its own value."""
    cells = write_sweep(tmp_path / "k", Request("lipschitz", "digits", "tiny", seeds=2))
    figure = figure_lipschitz(collect([tmp_path / "k"]), tmp_path)
    assert len(cells) == 30
    want = {(c.variant, c.setting, c.seed, f"{scores_of(c)[m]:.6g}") for c in cells
            for m in ("fcd", "cs")}
    line = re.compile(r": (sn,K=[\d.]+), setting (\w), seed (\d); \w+ ([\d.]+);")
    assert {(v, s, int(seed), value) for v, s, seed, value in (
        line.search(text).groups() for text in figure.provenance)} == want
    with Image.open(figure.file) as picture:
        assert 900 <= picture.width <= 1200


@pytest.mark.parametrize("text", ["{", "[]", '{"layers": []}', json.dumps(
    {"layers": [], "upper_bound": 1, "upper_bound_reshaped": 1, "lower_bound": 1})])
def test_another_file_is_no_audit(text, tmp_path):
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(UserError, match="not a report of sngan audit"):
        extra.read_audit(tmp_path)


def test_what_has_not_been_run_says_how(tmp_path):
    write_sweep(tmp_path / "t", Request("2", "digits", "tiny", settings=("C",), methods=("sn",)))
    found = collect([tmp_path / "t"])
    assert "--table=steps" in extra.steps_table(found).caption
    assert "--table=norms" in extra.norms_table(found).caption
    absent = spectra.figure_steps(found, tmp_path)
    assert isinstance(absent, Missing) and "--table=steps" in absent.reason
    assert "--table=lipschitz" in figure_lipschitz(found, tmp_path).reason
