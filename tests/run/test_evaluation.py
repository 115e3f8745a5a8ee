"""Scores while a run trains."""

import json
import shutil

import jax
import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import load
from sngan_jax.metrics import classifier
from sngan_jax.run.evaluation import extractor_of_run
from sngan_jax.run.loop import train
from tests.run.tensorboard_reader import scalars
from tests.run.test_loop import like_finished, tiny

pytestmark = pytest.mark.usefixtures("small")

EVERY = {"evaluate_every": 2, "evaluate_extractor": "classifier", "evaluate_images": 20,
         "evaluate_metrics": "fcd, cs"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNGAN_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifier, "STEPS", 5)
        yield


def records(workdir):
    return [json.loads(line) for line in (workdir / "scores.jsonl").read_text().splitlines()]


def test_every_so_many_iterations_and_at_the_end(tmp_path, capsys):
    train(tiny(iterations=5, **EVERY), tmp_path)
    rows = records(tmp_path)
    assert [row["fake"]["iteration"] for row in rows] == [2, 4, 5]
    for row in rows:
        assert row["while_training"] and row["fake"]["n"] == row["real"]["n"] == 20
        assert np.isfinite(row["scores"]["fcd"]) and row["scores"]["cs"] >= 1
    assert scalars(tmp_path / "tensorboard")["scores/fcd"] == pytest.approx(
        {row["fake"]["iteration"]: row["scores"]["fcd"] for row in rows}, rel=1e-5)
    assert "fcd" in capsys.readouterr().out


@pytest.mark.slow
def test_a_resumed_run_has_no_record_twice(tmp_path):
    train(tiny(iterations=4, **EVERY), tmp_path)
    before = records(tmp_path)
    # As if the run had been cut off after iteration 2's checkpoint; a person's own record stays.
    own = {**before[1], "while_training": False}
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write(json.dumps(own) + "\n" + '{"scores": {"fc')
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    train(tiny(iterations=4, **EVERY), tmp_path)
    after = records(tmp_path)
    assert [(row["fake"]["iteration"], row["while_training"]) for row in after] == [
        (2, True), (4, False), (4, True)]
    assert after[2]["scores"] == before[1]["scores"]


def test_the_classifier_is_that_of_the_first_process(monkeypatch):
    monkeypatch.setattr("sngan_jax.run.distributed.from_first",
                        lambda tree: jax.tree.map(np.zeros_like, tree))
    extractor = extractor_of_run(tiny(**EVERY), load("digits", image_size=8))
    assert not any(leaf.any() for leaf in jax.tree.leaves(extractor.params))


@pytest.mark.parametrize(("changes", "message"), [
    ({"evaluate_metrics": "fid"}, "no metric 'fid' with the extractor classifier"),
    ({"evaluate_metrics": ""}, "no metric is named"),
    ({"evaluate_extractor": "vgg"}, "evaluate_extractor"),
    ({"evaluate_metrics": "intra_fcd"}, "no labels"),
    ({"evaluate_metrics": "cs", "evaluate_images": 8}, "too few for cs, .* at least 10 samples"),
    ({"evaluate_metrics": "prdc", "evaluate_images": 5}, "too few for prdc, .* at least 6 real"),
    ({"evaluate_metrics": "fcd_halves", "evaluate_images": 3}, "too few for fcd_halves, .* 4 real"),
    ({"evaluate_metrics": "intra_fcd", "conditional": True}, "2 real images and samples of each"),
    ({"evaluate_extractor": "inception", "evaluate_metrics": "fid"}, "get-inception")])
def test_what_cannot_be_scored_is_said_before_training(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train(tiny(**{**EVERY, **changes}), tmp_path)
    assert not any(tmp_path.iterdir())


def test_older_runs_go_on_without_the_new_fields(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in list(config):
        if name.startswith("evaluate_"):
            del config[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert train(like_finished(), tmp_path)
