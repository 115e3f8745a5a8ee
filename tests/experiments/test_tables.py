"""The sweep of a table: a plan depends on its request, and a larger request only adds runs."""

import itertools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.configs.paper import SETTINGS
from experiments.paper import table2, table7, table8
from experiments.read_config import read_config
from experiments.sweeps.launch import make_executor
from experiments.sweeps.plan import is_finished, remaining
from experiments.sweeps.table_progress import (
    CUT_OFF,
    FAILED,
    FINISHED,
    NEW,
    PROGRESS,
    RUNNING,
    Display,
    duration,
    grid,
    predicted_seconds,
    state,
    summary,
    table_listing,
)
from experiments.sweeps.tables import (
    SCALES,
    TABLES,
    Request,
    check_sweep,
    open_sweep,
    plan_table,
    tables_of,
)
from sngan_jax.base.errors import UserError
from sngan_jax.run.evaluation import read_scores
from sngan_jax.run.lock import locked
from tests.programs import program
from tests.run.processes import environment, wait_for

ROOT = Path(__file__).parents[2]
TINY = Request("2", "digits", "tiny")


def config_of(cell):
    return read_config(cell.run.config, cell.run.changes, 1)


def pretend(cell, sweep, iteration, *, scores=True, rate=2.0):
    """Files of a run at this iteration."""
    folder = cell.run.workdir(sweep)
    (folder / "checkpoints" / str(iteration)).mkdir(parents=True, exist_ok=True)
    rows = [{"iteration": 1, "compile_seconds": 7.0},
            {"iteration": iteration, "iterations_per_second": rate}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if scores:
        (folder / "scores.jsonl").write_text(json.dumps(
            {"while_training": True, "scores": {"fcd": 1.0}, "fake": {"iteration": iteration}})
            + "\n")


def test_table_2_is_every_method_in_every_setting_with_every_seed():
    cells = plan_table(TINY._replace(seeds=2))
    names = [cell.run.name for cell in cells]
    assert len(set(names)) == len(names) == 8 * 6 * 2
    assert len({(c.variant, c.setting, c.seed) for c in cells}) == len(cells)
    assert [c.seed for c in cells] == [0] * 48 + [1] * 48
    published = {row.method for row in table2.ROWS if row.architecture == "cnn"}
    assert {c.variant for c in cells} == published
    for cell in cells[:48]:
        config = config_of(cell)
        assert {k: config[k] for k in ("learning_rate", "beta1", "beta2", "n_dis")} == (
            SETTINGS[cell.setting]._asdict())
        assert (config.method, config.model, config.seed) == (cell.variant, "cnn", cell.seed)
        assert config.iterations == cell.run.iterations == 60 == 5 * config.evaluate_every
        # Ten checkpoints stay, and the last one is scored.
        assert config.iterations == 10 * config.keep_every == 10 * config.checkpoint_every
        assert (config.generator_width, config.discriminator_width) == (4, 4)
        # Whatever is not a named reduction keeps the paper's value.
        assert (config.lipschitz, config.ema_decay, config.batch_size) == (1.0, 0.0, 64)
    assert len(plan_table(TINY._replace(methods=("sn", "wgan_gp"), settings=("A", "C")))) == 4


@pytest.mark.parametrize("more", [
    {"seeds": 3}, {"methods": ("sn", "layer_norm")}, {"settings": ("A", "B")}])
def test_more_seeds_methods_or_settings_only_add_runs(more, tmp_path):
    small = TINY._replace(methods=("sn",), settings=("A",))
    before = plan_table(small)
    after = plan_table(small._replace(**more))
    assert before == plan_table(small) and len(after) > len(before)
    assert {c.run for c in before} < {c.run for c in after}
    open_sweep(small, tmp_path)
    open_sweep(small._replace(**more), tmp_path)  # the same sweep
    for cell in before:
        pretend(cell, tmp_path, 60)
    left = remaining([c.run for c in after], tmp_path)
    assert {r.name for r in left} == {c.run.name for c in after} - {c.run.name for c in before}


def test_the_paper_scale_reduces_nothing_and_has_all_rows_of_the_paper():
    for dataset, table in itertools.product(("cifar10", "stl10"), ("2", "7", "8")):
        if dataset == "stl10" and table != "2":
            continue
        cells = plan_table(Request(table, dataset, "paper"))
        made = set()
        for cell in cells:
            config = config_of(cell)
            assert (config.dataset, config.image_size) == (
                f"tfds:{dataset}", {"cifar10": 32, "stl10": 48}[dataset])
            loss = config.loss or {"wgan_gp": "wasserstein"}.get(config.method, "non_saturating")
            loss = "wasserstein" if config.method.endswith("wgan_gp") else loss
            model = "cnn" if config.model == "cnn" else "resnet"
            made.add((model, config.method, loss))
            if model == "cnn":
                assert config.generator_width == 0
                assert config.iterations == (200_000 if "2x" in cell.variant else 100_000)
        rows = {"2": table2, "7": table7, "8": table8}[table].ROWS
        assert {(r.architecture, r.method, r.loss) for r in rows
                if r.method and not r.quoted_from
                and any(key[1] == dataset for key in r.values)} <= made


def test_every_table_scale_and_data_set_makes_valid_configs():
    for table, dataset, scale in itertools.product(
            TABLES, ("digits", "fashion_mnist", "cifar10"), SCALES):
        if table == "8" and scale != "paper":
            with pytest.raises(UserError, match=r"residual networks, for --scale=paper only$"):
                plan_table(Request(table, dataset, scale))
            continue
        cells = plan_table(Request(table, dataset, scale))
        assert len({c.run.name for c in cells}) == len(cells) > 0
    with pytest.raises(UserError, match="no rows: use --dataset=cifar10 or digits or fashion_mni"):
        plan_table(Request("conditional", "stl10", "paper"))
    steps = [config_of(c) for c in plan_table(Request("steps", "digits", "tiny"))]
    assert [(c.method, c.power_steps) for c in steps] == [
        ("sn", 1), ("sn", 2), ("sn", 5), ("sn", 20), ("sn_svd", 1)]
    norms = plan_table(Request("norms", "digits", "tiny"))
    assert [c.variant for c in norms] == ["sn", "sn_operator", "sn_bidirectional"]
    ks = [(c.setting, config_of(c).lipschitz) for c in plan_table(
        Request("lipschitz", "fashion_mnist", "quick"))]
    assert sorted(ks) == [(s, k) for s in "ACE" for k in (0.5, 1, 2, 4, 8)]
    labelled = [config_of(c) for c in plan_table(Request("conditional", "fashion_mnist", "tiny"))]
    assert all(c.conditional for c in labelled)
    assert [c.conditioning for c in labelled] == ["projection", "concat", "auxiliary"]


def test_a_scale_makes_large_images_smaller_and_small_ones_not_larger():
    for dataset, size in (("digits", 8), ("fashion_mnist", 16), ("cifar10", 16)):
        cells = plan_table(Request("2", dataset, "quick"))
        assert {config_of(cell).image_size for cell in cells} == {size}
    assert {config_of(c).image_size for c in plan_table(Request("2", "cifar10", "small"))} == {32}
    assert "at most 16 pixels" in Request("2", "cifar10", "quick").title()


def test_a_figure_is_a_sweep_of_the_field_that_it_is_drawn_against():
    def fields(table, dataset, scale, *names):
        return {(c.variant.partition(",")[0], *(config_of(c)[name] for name in names))
                for c in plan_table(Request(table, dataset, scale))}

    widths = (0.5, 1, 2, 4, 6, 8)
    assert fields("figure4", "stl10", "paper", "last_layer_multiplier", "n_dis") == {
        (method, m, 1) for method in ("sn", "orthonormal") for m in widths}
    assert fields("figure11", "cifar10", "paper", "n_dis", "iterations", "learning_rate") == {
        (method, n, 10_000, 1e-3) for method in ("sn", "weight_norm") for n in (1, 2, 5, 10, 20)}
    assert fields("figure15", "digits", "tiny", "split", "n_dis") == {
        (method, "train[:1500]", 5) for method in ("wgan_gp", "wn_wgan_gp", "sn_wgan_gp")}
    assert {split for _, split in fields("figure15", "cifar10", "paper", "split")} == {"train"}
    assert Request("figure4", "digits", "tiny").title().startswith("Figure 4 on digits")


def test_all_tables_of_a_data_set_and_a_scale():
    tiny = tables_of(Request("all", "digits", "tiny"))
    assert "8" not in tiny  # residual networks alone
    assert set(tiny) == set(TABLES) - {"8"}
    assert set(tables_of(Request("all", "stl10", "paper"))) == set(TABLES) - {
        "7", "8", "figure15", "conditional"}
    with pytest.raises(UserError, match="there are digits"):
        tables_of(Request("all", "mnist", "tiny"))


@pytest.mark.parametrize(("changes", "words"), [
    ({"table": "3"}, "there are 2, 7, 8"),
    ({"dataset": "mnist"}, "there are digits, fashion_mnist"),
    ({"scale": "huge"}, "there are tiny, quick, small, paper"),
    ({"seeds": 0}, "--seeds is 0: it must be at least 1"),
    ({"table": "7", "dataset": "stl10"}, "Table 7 is for CIFAR-10 only"),
    ({"table": "figure15", "dataset": "stl10"}, "Figure 15 is for CIFAR-10 only"),
    ({"methods": ("sn_wgan_gp",)}, "at scale tiny has weight_clipping"),
    ({"settings": ("G",)}, "names 'G'"),
    ({"settings": ("own",)}, "names 'own'"),
    ({"scale": "paper", "methods": ("wgan_gp",), "settings": ("own",)}, "has no row of wgan_gp"),
    ({"changes": ("seed=3",)}, "--seeds sets"),
    ({"changes": ("iterations",)}, "FIELD=VALUE"),
    ({"changes": ("colour=3",)}, "config.colour is not a field")])
def test_what_cannot_be_is_a_sentence(changes, words):
    with pytest.raises(UserError, match=words):
        plan_table(TINY._replace(**changes))


def test_a_folder_is_of_one_table_data_set_scale_and_set(tmp_path):
    open_sweep(TINY, tmp_path)
    there = json.loads((tmp_path / "sweep.json").read_text())
    assert there["scale"] == {"name": "tiny", "width": 4, "iterations": 60, "images": 500,
                              "image_size": 0}
    assert "reduced: width 4, 60 iterations" in there["title"]
    for other in (TINY._replace(scale="small"), TINY._replace(dataset="fashion_mnist"),
                  TINY._replace(table="7"), TINY._replace(changes=("lipschitz=1.7",))):
        with pytest.raises(UserError, match="another sweep, Table 2 on digits, scale tiny"):
            check_sweep(other, tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        check_sweep(TINY, tmp_path)


def test_changes_of_all_runs_win_over_the_scale():
    (cell,) = plan_table(TINY._replace(methods=("sn",), settings=("A",), changes=(
        "iterations=40", "lipschitz=1.7")))
    config = config_of(cell)
    assert (config.iterations, config.evaluate_every, config.lipschitz) == (40, 8, 1.7)
    (cell,) = plan_table(TINY._replace(methods=("sn",), settings=("A",), changes=(
        "iterations=41",)))
    assert config_of(cell).evaluate_every == 41  # the last iteration is scored
    assert "but iterations=40, lipschitz=1.7" in TINY._replace(
        changes=("iterations=40", "lipschitz=1.7")).title()


def test_a_run_without_its_scores_is_not_finished(tmp_path):
    (cell,) = plan_table(TINY._replace(methods=("sn",), settings=("A",)))
    assert state(cell, tmp_path) == NEW
    pretend(cell, tmp_path, 60, scores=False)
    assert not is_finished(cell.run, tmp_path) and state(cell, tmp_path) == CUT_OFF
    pretend(cell, tmp_path, 60)
    assert state(cell, tmp_path) == FINISHED
    assert state(cell, tmp_path, running=[cell.run.name]) == RUNNING


def test_time_is_predicted_from_runs_that_do_the_same_work_only(tmp_path):
    cells = plan_table(TINY._replace(methods=("sn", "wgan_gp"), settings=("A", "B", "D"), seeds=2))
    of = {(c.variant, c.setting, c.seed): c for c in cells}
    runs = [(cell.run, (cell.variant, cell.setting == "B")) for cell in cells]
    assert "unknown until" in summary(predicted_seconds(runs, tmp_path))
    pretend(of["sn", "A", 0], tmp_path, 60, rate=2.0)
    pretend(of["sn", "D", 1], tmp_path, 20, scores=False)  # cut off
    seconds = predicted_seconds(runs, tmp_path)
    assert "sn,A,seed=0" not in seconds
    # n_dis is 5 in A and D, 1 in B.
    assert seconds["sn,A,seed=1"] == seconds["sn,D,seed=0"] == 60 / 2 + 7
    assert seconds["sn,D,seed=1"] == 40 / 2 + 7
    assert seconds["sn,B,seed=0"] is seconds["wgan_gp,A,seed=0"] is None
    lines = table_listing(cells, tmp_path)
    assert "sn,A,seed=0: finished" in lines
    assert "sn,D,seed=1: cut off at 20 of 60; time: 27 s" in lines
    with locked(of["sn", "D", 1].run.workdir(tmp_path)):
        assert "sn,D,seed=1: running, 20 of 60 saved; time: 27 s" in table_listing(cells, tmp_path)
    assert summary(seconds) == ("predicted training time, one run after another: 2 min for 3 runs; "
                                "8 more: unknown until a run like it has finished")
    assert summary(seconds) in Display("", cells, tmp_path).text((), {})
    # What is unknown is estimated from the records of the repository.
    assert re.search("another: .* for 11 runs$", lines[-2])
    assert re.search("^8 of them estimated from this repository.* commit 4a2581c", lines[-1])
    assert [duration(s) for s in (0.2, 89, 600, 7200)] == ["1 s", "89 s", "10 min", "2.0 h"]


def test_the_progress_table(tmp_path):
    cells = plan_table(TINY._replace(methods=("sn", "wgan_gp"), settings=("A", "B"), seeds=2))
    assert grid(cells, [c.setting.lower() if c.seed else "·" for c in cells]) == [
        "        A  B", "wgan_gp ·a ·b", "sn      ·a ·b"]
    said = []
    display = Display(TINY.title(), cells, tmp_path, said.append, terminal=False)
    pretend(cells[0], tmp_path, 60)
    display.say("one")
    display.look({cells[1].run.name}, {cells[2].run.name: 1})
    text = (tmp_path / PROGRESS).read_text()
    assert said == ["one\n"] and text.startswith(TINY.title())
    assert "8 runs: 1 finished, 1 running, 1 failed" in text
    assert f"wgan_gp {FINISHED}{NEW} {RUNNING}{NEW}" in text and f"sn      {FAILED}{NEW}" in text
    pretend(cells[1], tmp_path, 60)
    display.finish()
    assert "2 finished, 0 running" in said[-1]


def test_on_a_terminal_the_table_takes_its_own_place(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    cells = plan_table(TINY._replace(methods=("sn",), settings=("A",)))
    shown = []
    display = Display("t" * 100, cells, tmp_path, shown.append, terminal=True)
    display.say("no line of its own")
    display.look({cells[0].run.name}, {})
    pretend(cells[0], tmp_path, 60)
    display.finish()
    first, last = shown
    # The title and the legend are wider than the terminal, and so are the words on the time.
    assert sum(-(-len(line) // 70) for line in first.splitlines()) == 9 > first.count("\n")
    assert last.startswith("\x1b[9F\x1b[J") and "1 finished" in last


def test_a_run_on_this_machine_has_no_time_limit(tmp_path):
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    # submitit's own is two minutes.
    assert make_executor("local", tmp_path, {}).parameters["timeout_min"] > 60 * 24 * 365
    assert make_executor("local", tmp_path, {"timeout_min": 5}).parameters["timeout_min"] == 5


def sweep(workdir, *arguments):
    return [sys.executable, "-m", "experiments.sweep", f"--workdir={workdir}", *arguments]


TABLE = ("--table=2", "--dataset=digits", "--scale=tiny")


@pytest.mark.parametrize(("arguments", "words"), [
    ((*TABLE, "--config=experiments/configs/digits.py"), "--config and --table exclude"),
    ((*TABLE, "--grid=seed=1"), "--grid and --table exclude"),
    (("--table=2", "--scale=tiny"), "--table needs --dataset: one of digits"),
    (("--scale=tiny",), "--scale needs --table"),
    (("--table=all", "--dataset=digits", "--scale=tiny", "--methods=sn"), "selects from one table"),
    ((), "--config is missing")])
def test_flags_that_do_not_go_together(arguments, words, tmp_path):
    done = program("experiments.sweep", f"--workdir={tmp_path}", *arguments)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_table_that_is_killed_and_widened_goes_on(tmp_path):
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    options = {"cwd": ROOT, "env": {**environment(1), "SNGAN_JAX_CACHE": str(tmp_path / "cache")},
               "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    folder = tmp_path / "table"
    # Fewer images in a batch than the scale's, named in the title as every --set is.
    small = ["--set=batch_size=8", "--set=generator_batch_size=8", "--set=evaluate_images=100"]
    one = sweep(folder, *TABLE, *small, "--methods=sn", "--settings=B")
    listed = subprocess.run([*one, "--dry-run"], **options).stdout.splitlines()
    assert "scale tiny" in listed[0] and "new, 60 iterations; time: " in listed[1]
    assert not folder.exists()
    process = subprocess.Popen(one, **options)
    wait_for(lambda: (folder / "sn,B,seed=0" / "config.json").is_file(), "a run", of=[process])
    process.send_signal(signal.SIGKILL)  # its run goes on, and is not started twice
    process.wait()
    process.stdout.close()
    done = subprocess.run([*one, "--seeds=2"], **options)
    assert done.returncode == 0, done.stdout
    assert "2 runs: 2 finished" in done.stdout and "exit status" not in done.stdout
    for seed in range(2):
        record = read_scores(folder / f"sn,B,seed={seed}")[-1]
        assert record["fake"]["iteration"] == 60 and {"fcd", "cs"} <= set(record["scores"])
    assert "nothing is left to do" in (folder / PROGRESS).read_text()
    again = subprocess.run([*one, "--seeds=2"], **options).stdout
    assert "2 runs, 2 of them finished" in again and "started as job" not in again
