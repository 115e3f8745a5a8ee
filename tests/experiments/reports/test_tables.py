"""Tables: last checkpoints, mean and deviation over seeds, the paper's numbers beside them."""

import itertools
import json
import math
import shutil

import numpy as np
import pytest

from experiments.paper import table2, table7, table8
from experiments.reports.published import PUBLISHED, is_ours, rows_of
from experiments.reports.runs import FINISHED, Sweep, collect
from experiments.reports.tables import make_tables
from experiments.sweeps.tables import TABLES, Request
from sngan_jax.base.errors import UserError
from tests.experiments.reports.disk import (
    TINY,
    read_scores,
    record,
    scores_of,
    write_run,
    write_scores,
    write_sweep,
)


def tables_of(*folders):
    return {table.key: table for table in make_tables(collect(folders))}


def cell(table, label, column):
    row = next(row for row in table.rows if row[0].text == label)
    return row[table.head.index(column)]


def shown(value, more=""):
    """Four significant digits, for numbers from 1 to 9,999."""
    return f"{value:.{4 - len(str(int(value)))}f}{more}"


def test_a_cell_is_the_mean_and_deviation_of_last_checkpoints_over_seeds(tmp_path):
    cells = write_sweep(tmp_path / "t2", TINY._replace(seeds=3))
    tables = tables_of(tmp_path / "t2")
    for label, variant, setting, metric in itertools.product(
            ("SN-GANs",), ("sn",), ("A", "C"), ("fcd", "cs")):
        values = [scores_of(c)[metric] for c in cells
                  if (c.variant, c.setting) == (variant, setting)]
        text = cell(tables[f"t2-{metric}"], label, setting).text
        mean, std = map(float, text.split(" ± "))
        assert len(values) == 3
        np.testing.assert_allclose(mean, np.mean(values), rtol=1e-3)
        unit = 10.0 ** -len(text.split(" ± ")[1].partition(".")[2])
        np.testing.assert_allclose(std, np.std(values, ddof=1), atol=unit / 2)
    assert cell(tables["t2-fcd"], "SN-GANs", "B").text == "not run"
    assert cell(tables["t2-fcd"], "Batch Norm.", "A").text == "not run"
    assert cell(tables["t2-fcd"], "SN-GANs, Eq. (17), ResNet", "own").text == "not run"
    assert cell(tables["t2-fcd"], "SN-GANs, Eq. (17), ResNet", "A").text == "–"
    # One seed has no deviation.
    write_sweep(tmp_path / "one", TINY)
    assert "±" not in cell(tables_of(tmp_path / "one")["one-fcd"], "SN-GANs", "A").text


def test_the_best_stands_apart_and_is_called_so(tmp_path):
    cells = write_sweep(tmp_path / "t2")
    table = tables_of(tmp_path / "t2")["t2-hindsight"]
    assert "hindsight" in table.title and "too good" in table.caption
    scores = {c.setting: scores_of(c) for c in cells if c.variant == "sn"}
    row = next(row for row in table.rows if row[0].text == "SN-GANs")
    best = min(scores, key=lambda setting: scores[setting]["fcd"])
    assert row[1].text == shown(scores[best]["fcd"], f" ({best})")
    assert row[2].text == f"1.000 ({best})" and "best of 2 scored" in row[2].title
    best = max(scores, key=lambda setting: scores[setting]["cs"])
    assert row[3].text == shown(scores[best]["cs"], f" ({best})")
    assert row[4].text == f"9.000 ({best})"
    absent = next(row for row in table.rows if row[0].text == "Batch Norm.")
    assert absent[1].text == "not run"


def test_what_is_not_scored_is_not_called_not_run_in_hindsight(tmp_path):
    for one in write_sweep(tmp_path / "t2"):
        if one.variant == "wgan_gp":
            write_scores(tmp_path / "t2" / one.run.name, [record(60, {"fcd": math.nan})])
    table = tables_of(tmp_path / "t2")["t2-hindsight"]
    row = next(row for row in table.rows if row[0].text == "WGAN-GP")
    assert row[1].text == row[2].text == "no finite score"


def test_the_papers_numbers_stand_beside_ours_as_printed(tmp_path):
    write_sweep(tmp_path / "t2")
    tables = tables_of(tmp_path / "t2")
    assert cell(tables["t2-fcd"], "SN-GANs", "paper: FID, CIFAR-10").text == "29.3"
    assert cell(tables["t2-cs"], "SN-GANs", "paper: IS, STL-10").text == "8.28 ± 0.09"
    assert cell(tables["t2-fcd"], "Orthonormal", "paper: FID, CIFAR-10").text == "29.0"
    for table in (tables["t2-fcd"], tables["t2-cs"]):
        assert "not an FID or an Inception Score" in table.caption
        assert "cannot be compared with ours as equals" in table.caption
        assert "500 real images of digits" in table.caption and "seeds (0)" in table.caption
        assert not any("FID" in head or "IS" in head for head in table.head
                       if not head.startswith("paper"))
    # Every number of Tables 2, 7 and 8 appears in some table.
    rows = {"t2-fcd": ("FID", table2), "t2-cs": ("IS", table2), "table7": (None, table7),
            "table8": (None, table8)}
    for key, (metric, module) in rows.items():
        texts = {c.text for row in tables[key].rows for c in row if c.kind == "paper"}
        for row, (column, value) in ((r, v) for r in module.ROWS for v in r.values.items()):
            if metric in (None, column[0]):
                digits = 2 if column[0] == "IS" else 1
                assert any(text.startswith(f"{value.mean:.{digits}f}") for text in texts), row


@pytest.mark.parametrize("other", [{"convention": "clean-fid"}, {"fit": "pad"}])
def test_scores_that_were_read_in_another_way_have_a_table_of_their_own(tmp_path, other):
    (run,) = write_sweep(tmp_path / "t2", TINY._replace(methods=("sn",), settings=("A",)))
    one, second = (record(60, {"fcd": value}) for value in (20.0, 60.0))
    target = second["real"] if "fit" in other else second
    target.update(other)
    write_scores(tmp_path / "t2" / run.run.name, [one, second])
    tables = tables_of(tmp_path / "t2")
    assert cell(tables["t2-fcd"], "SN-GANs", "A").text == "20.00"
    assert cell(tables["t2-2-fcd"], "SN-GANs", "A").text == "60.00"
    assert tables["t2-fcd"].caption != tables["t2-2-fcd"].caption


def test_folders_of_like_names_and_several_protocols_keep_their_own_tables(tmp_path):
    """The second protocol of `t2` and the folders `t2-2` and `T2` would all be `t2-2`."""
    folders = [tmp_path / name for name in ("t2", "t2-2", "T2", "table7")]
    for n, folder in enumerate(folders):
        for cell in write_sweep(folder):
            write_scores(folder / cell.run.name, [
                record(60, {"fcd": 1000.0 * (n + 1)}),
                record(60, {"fcd": 1000.0 * (n + 1) + 1}, n=400)])
    tables = make_tables(collect(folders))
    keys = [table.key.lower() for table in tables]
    assert len(set(keys)) == len(keys) and {"t2-fcd", "t2-2-fcd", "table7"} < set(keys)
    shown = [{row["value"] for row in table.records if row["seed"] == 0}
             for table in tables if table.key.endswith("-fcd")]
    assert [len(values) for values in shown] == [1] * 8
    assert set.union(*shown) == {1000.0 * n + more for n in range(1, 5) for more in (0, 1)}


def test_the_csv_says_why_a_cell_has_no_number(tmp_path):
    cells = write_sweep(tmp_path / "t2", TINY, lambda cell: {"fcd": float("nan"), "cs": 1.0}
                        if cell.setting == "A" else scores_of(cell))
    write_scores(tmp_path / "t2" / next(c for c in cells if c.setting == "C").run.name, [])
    states = {(row["method"], row["setting"]): row["state"]
              for row in tables_of(tmp_path / "t2")["t2-fcd"].records if row["seed"] == "all"}
    first = next(c.variant for c in cells if c.setting == "C")
    assert states["sn", "A"] == "no finite score" and states["sn", "B"] == "not run"
    assert states[first, "C"] == "not scored"


@pytest.mark.parametrize("table", PUBLISHED)
def test_rows_of_ours_are_those_of_the_paper(table):
    rows = rows_of(Sweep(None, "", table, "cifar10", "paper", ""), [])
    variants = {variant.name: variant for variant in TABLES[table]}
    assert {place.variant for place in rows if place.variant} == set(variants)
    assert [place.label for place in rows] == [row.label for row in PUBLISHED[table]]
    for place in rows:
        assert bool(place.variant) == is_ours(place.row)
        if place.variant:
            variant = variants[place.variant]
            assert variant.words[0] == place.row.method
            assert variant.model == place.row.architecture
            assert ("2x" in variant.name) == ("2x" in place.label)
            assert ("1.5x" in variant.name) == ("1.5x" in place.label)
            if variant.model == "cnn" and "wgan" not in variant.words[0]:
                assert ("hinge" in variant.words) == (place.row.loss == "hinge")


def test_a_table_with_one_setting_a_row_has_a_column_for_each_score(tmp_path):
    request = Request("7", "digits", "tiny", methods=("sn_wgan_gp", "wgan_gp"))
    cells = write_sweep(tmp_path / "t7", request)
    table = tables_of(tmp_path / "t7")["t7"]
    (sn,) = [c for c in cells if c.variant == "sn_wgan_gp"]
    distance = cell(table, "  w/ Spectral Norm.", "ours: classifier Fréchet distance ↓")
    assert distance.text == shown(scores_of(sn)["fcd"])
    assert cell(table, "  w/ Weight Norm.", "ours: classifier score ↑").text == "not run"
    assert cell(table, "  w/ Frobenius Norm.", "paper: IS, CIFAR-10").title.startswith("N/A")


def test_more_seeds_and_methods_and_a_deleted_run_show(tmp_path):
    folder = tmp_path / "t2"
    write_sweep(folder)
    before = cell(tables_of(folder)["t2-fcd"], "SN-GANs", "A").text
    write_sweep(folder, TINY._replace(seeds=2))
    after = cell(tables_of(folder)["t2-fcd"], "SN-GANs", "A")
    assert "±" not in before and "±" in after.text and "seed 1: " in after.title
    write_sweep(folder, TINY._replace(methods=("layer_norm",)))
    assert cell(tables_of(folder)["t2-fcd"], "Layer Norm.", "C").kind == "ours"
    for run in folder.glob("wgan_gp,A,*"):
        shutil.rmtree(run)
    tables = tables_of(folder)
    assert cell(tables["t2-fcd"], "WGAN-GP", "A").text == "not run"
    assert "--workdir=" + str(folder) in tables["t2-fcd"].caption
    assert cell(tables["t2-fcd"], "WGAN-GP", "C").kind == "ours"
    (folder / "sn,C,seed=1" / "scores.jsonl").unlink()
    few = cell(tables_of(folder)["t2-fcd"], "SN-GANs", "C")
    assert few.text.endswith("(n=1)") and "seed 1: not scored" in few.title


def test_a_run_that_is_not_finished_is_in_no_mean(tmp_path):
    cells = write_sweep(tmp_path / "t2")
    write_run(tmp_path / "t2" / cells[0].run.name, cells[0], None, at=60)
    shutil.rmtree(tmp_path / "t2" / cells[1].run.name)
    write_run(tmp_path / "t2" / cells[1].run.name, cells[1], None, at=30)
    found = collect([tmp_path / "t2"])
    states = {run.folder.name: run.state for run in found.runs}
    assert states[cells[0].run.name] == "not scored"
    assert states[cells[1].run.name] == "unfinished"
    assert list(states.values()).count(FINISHED) == len(cells) - 2
    table = {t.key: t for t in make_tables(found)}["t2-fcd"]
    texts = [c.text for row in table.rows for c in row if c.kind == "missing" and c.source]
    assert sorted(texts) == ["not scored", "unfinished: 30 of 60"]


def test_scores_of_two_protocols_never_meet_in_a_table(tmp_path):
    cells = write_sweep(tmp_path / "t2")
    folder = tmp_path / "t2" / cells[0].run.name
    write_scores(folder, [*read_scores(folder), record(60, {"fcd": 5.0}, n=9),
                          record(60, {"fcd": 2.0}, best_of=[30, 60])])
    tables = tables_of(tmp_path / "t2")
    assert scores_of(cells[0])["fcd"] == pytest.approx(
        float(cell(tables["t2-fcd"], "WGAN-GP", "A").text), rel=1e-3)
    assert cell(tables["t2-2-fcd"], "WGAN-GP", "A").text == "5.000"
    assert "against 9 generated" in tables["t2-2-fcd"].caption
    assert cell(tables["t2-2-fcd"], "WGAN-GP", "C").text == "not scored"
    # A record without the score of the table; and one whose score is no number.
    other = tmp_path / "t2" / cells[1].run.name
    write_scores(other, [*read_scores(other), record(60, {"fcd": math.nan, "cs": 3.0}, n=9)])
    tables = tables_of(tmp_path / "t2")
    assert cell(tables["t2-2-cs"], "WGAN-GP", "A").text == "not scored"
    assert cell(tables["t2-2-cs"], "WGAN-GP", "C").text == "3.000"
    assert cell(tables["t2-2-fcd"], "WGAN-GP", "C").text == "no finite score"


def test_what_cannot_be_read_or_is_foreign_is_named_and_left_out(tmp_path):
    cells = write_sweep(tmp_path / "t2")
    folder = tmp_path / "t2"
    (folder / cells[0].run.name / "config.json").write_text("{")
    shutil.copytree(folder / cells[1].run.name, folder / "sn,D,seed=3")
    write_run(folder / "mine", cells[1], scores_of(cells[1]))
    with (folder / cells[2].run.name / "scores.jsonl").open("a") as file:
        file.write("{broken\n")
        for odd in ({"real": 3}, {"protocol": ["x"]}, {"fake": {"iteration": "60"}},
                    {"scores": {"fcd": "low", "cs": None}}):
            file.write(json.dumps({**record(60, {"fcd": 1.0}), **odd}) + "\n")
    found = collect([folder])
    assert len(found.runs) == len(cells) - 1 and len(found.notes) == 3
    text = "\n".join(found.notes)
    keys = {table.key: table for table in make_tables(found)}
    assert "t2-2-fcd" not in keys and "t2-fcd" in keys
    assert "damaged" in text and "sn,D,seed=3 is left out: it is not a run of Table 2" in text
    assert "mine is left out" in text
    # A number twice in a mean would be another one.
    write_sweep(tmp_path / "same")
    with pytest.raises(UserError, match="twice"):
        collect([folder, tmp_path / "t2" / ".." / "t2"])


@pytest.mark.parametrize(("make", "words"), [
    (lambda folder: None, "there is no folder"),
    (lambda folder: folder.mkdir(), "holds no run"),
    (lambda folder: (folder.mkdir(), (folder / "sweep.json").write_text("[1]")), "damaged"),
    (lambda folder: (folder.mkdir(), (folder / "sweep.json").write_text(
        '{"table": "9", "dataset": "", "scale": {"name": ""}, "title": "", "changes": []}')),
     "does not know")])
def test_a_folder_that_cannot_be_reported_is_a_sentence(make, words, tmp_path):
    make(tmp_path / "folder")
    with pytest.raises(UserError, match=words):
        collect([tmp_path / "folder"])


def test_plain_runs_have_a_table_without_the_papers_columns(tmp_path):
    cells = write_sweep(tmp_path / "t2")
    (tmp_path / "t2" / "sweep.json").unlink()
    (table, *_) = [t for t in make_tables(collect([tmp_path / "t2"])) if t.key == "t2"]
    assert table.head == ("run", "ours: classifier Fréchet distance ↓", "ours: classifier score ↑")
    assert [row[0].text for row in table.rows] == sorted({
        f"{c.variant},{c.setting}" for c in cells})
    (run,) = collect([tmp_path / "t2" / "sn,A,seed=0"]).runs
    assert run.variant == "sn,A" and run.state == FINISHED


def test_a_folder_of_all_tables_is_its_sweeps_in_their_order(tmp_path):
    write_sweep(tmp_path / "all" / "norms", TINY._replace(table="norms", methods=(), settings=()))
    write_sweep(tmp_path / "all" / "table2")
    found = collect([tmp_path / "all"])
    assert [sweep.table for sweep in found.sweeps] == ["2", "norms"]
    assert len(found.runs) == 4 + 3 and not found.notes


def test_fashion_mnist_beside_the_published_fids(tmp_path):
    cells = write_sweep(tmp_path / "plain", TINY)
    assert "fashion_mnist_fid" not in tables_of(tmp_path / "plain")
    runs = tmp_path / "runs"
    for name, n, split, data, fid in (
            ("resnet", 10_000, "test", "idx:data/fashion-mnist", 11.9),
            ("few", 1_000, "test", "idx:data/fashion-mnist", 99.0),
            ("train", 10_000, "train", "idx:data/fashion-mnist", 5.0),
            ("other", 10_000, "test", "tfds:cifar10", 20.0)):
        write_run(runs / name, cells[0], None, earlier={}, dataset=data)
        scored = record(60, {"fid": fid}, n=n)
        scored["real"] |= {"split": split, "images": data}
        write_scores(runs / name, [scored])
    table = tables_of(runs)["fashion_mnist_fid"]
    ours, theirs = table.head[1:]
    of_us = [row[0].text for row in table.rows if row[1].kind == "ours"]
    assert of_us == ["runs: resnet"]
    assert cell(table, "runs: resnet", ours).text == "11.90"
    assert cell(table, "runs: resnet", ours).source
    assert cell(table, "WGAN", theirs).text == "21.5"
    assert cell(table, "WGAN", ours).text == "–"
    of_csv = [row for row in table.records if row.get("value")]
    assert {row["run_folder"] for row in of_csv if row["seed"] != "all"} == {str(runs / "resnet")}
    assert len(table.records) == 2 + 7
