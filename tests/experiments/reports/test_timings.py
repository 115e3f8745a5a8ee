"""Figure 10: bars for the methods in the file of sngan bench methods, words for the others."""

import json

import pytest
from PIL import Image

from experiments.bench.methods import figures
from experiments.reports.parts import Figure, Missing
from experiments.reports.runs import collect
from experiments.reports.timings import figure10, read_timings
from sngan_jax.base.errors import UserError
from tests.experiments.reports.disk import TINY, write_sweep

METHODS = ("sn", "wgan_gp", "gan_gp", "weight_norm", "weight_clipping", "orthonormal", "layer_norm",
           "batch_norm", "none")


def report():
    seconds = {name: [1 + i / 9 + turn / 40 for turn in range(5)]
               for i, name in enumerate(reversed(METHODS))}
    part = figures(seconds, 2.0)
    for i, row in enumerate(part.values()):
        row["gflop"] = 1 + i / 8
    return {"size": "cnn of width 8", "config": "cifar10_cnn.py", "repeats": 5, "updates": 50,
            "command": "python -m experiments.bench methods", "commit": "beef", "device": "1 x cpu",
            "cores": 2, "machine": "x86_64", "jax": "0", "date": "today",
            "parts": [{"n_dis": n, "methods": part} for n in (1, 5)]}


def test_figures_are_of_paired_turns():
    found = figures({"a": [1.0, 3.0, 8.0], "none": [1.0, 2.0, 4.0]}, 100 / 50)
    assert found["a"] == {"seconds": 6.0, "seconds_low": 4.0, "seconds_high": 11.0,
                          "ratio": 1.5, "ratio_low": 1.25, "ratio_high": 1.75}
    assert found["none"]["ratio"] == found["none"]["ratio_high"] == 1
    assert figures({"none": [2.0]}, 1)["none"]["seconds_low"] == 2


def test_the_bars(tmp_path):
    write_sweep(tmp_path / "t", TINY)
    found = collect([tmp_path / "t"])
    absent = figure10(found, tmp_path)
    assert isinstance(absent, Missing)
    assert f"--out={tmp_path / 't' / 'methods.json'}" in absent.reason
    (tmp_path / "t" / "methods.json").write_text(json.dumps(report()))
    figure = figure10(found, tmp_path)
    assert isinstance(figure, Figure) and "cnn of width 8" in figure.caption
    assert "commit beef" in figure.provenance[0]
    with Image.open(figure.file) as picture:
        assert 900 <= picture.width <= 1200


@pytest.mark.parametrize(("change", "words"), [
    (lambda r: r.pop("commit"), "has no commit"),
    (lambda r: r.update(parts=[]), "has no part"),
    (lambda r: r["parts"][0]["methods"]["sn"].update(ratio=float("nan")), "not numbers"),
    (lambda r: r["parts"][0].pop("methods"), "not a report of sngan bench methods")])
def test_another_file_is_named(change, words, tmp_path):
    wrong = report()
    change(wrong)
    file = tmp_path / "methods.json"
    file.write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=words):
        read_timings(file)
    file.write_text("{")
    with pytest.raises(UserError):
        read_timings(file)
