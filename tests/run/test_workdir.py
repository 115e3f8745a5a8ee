"""Lines of a run's files after it was cut off, and the best of its scores."""

import json

import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.run.config import defaults
from sngan_jax.run.evaluation import best_of, is_recorded, recorded
from sngan_jax.run.restore import restore_run
from sngan_jax.run.workdir import (
    MetricsFile,
    check_workdir,
    is_run,
    open_workdir,
    read_config,
    read_metrics,
)


def test_a_line_that_was_cut_off_is_repaired(tmp_path, capsys):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3, "d_lo')
    metrics = MetricsFile(tmp_path, 2)
    metrics.append({"iteration": 3})
    metrics.sync()
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    assert file.read_text().endswith('{"iteration": 3}\n') and capsys.readouterr().err == ""


@pytest.mark.parametrize("line", ["[1]", "null", '{"iter": 1}', '{"iteration": "x"}', "[" * 9999])
def test_a_damaged_line_is_said_and_left_out(tmp_path, line, capsys):
    (tmp_path / "metrics.jsonl").write_text(f'{{"iteration": 1}}\n{line}\n{{"iteration": 3}}\n')
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 3]
    assert "line 2 of" in capsys.readouterr().err


def test_the_best_of_the_scores_noted_while_training(tmp_path):
    def record(iteration, value, training=True):
        return json.dumps({"scores": {"fid": value, "is": value}, "while_training": training,
                           "fake": {"iteration": iteration}}) + "\n"

    (tmp_path / "scores.jsonl").write_text(
        record(1, 9.0) + record(2, 5.0) + record(3, float("nan")) + record(4, 1.0, False)
        + record(5, 7.0) + '{"scores": {"fi')
    fid = recorded(tmp_path, "fid")
    assert fid == {1: 9.0, 2: 5.0, 5: 7.0}
    assert best_of(fid, "fid", [1, 2, 3, 5]) == 2 and best_of(fid, "fid", [1, 5]) == 5
    assert best_of(recorded(tmp_path, "is"), "is", [1, 2, 5]) == 1
    assert best_of(fid, "fid", [3]) is None
    assert is_recorded(tmp_path, 3) and not is_recorded(tmp_path, 4)


def content(folder):
    """Contents and dates of all files in a folder."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in folder.rglob("*")}


def foreign(folder, name):
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("of another program")


@pytest.mark.parametrize("name", [
    "lock", "metrics.jsonl", "scores.jsonl", "environment.json", "losses.png", "samples/1.png",
    "tensorboard/events", "checkpoints/best.pt", "checkpoints/100/model.bin",
    "checkpoints/saving.txt"])
def test_a_folder_of_another_program_is_refused_and_left_alone(tmp_path, name):
    foreign(tmp_path, "notes.txt")
    foreign(tmp_path, name)
    before = content(tmp_path)
    with pytest.raises(UserError, match=f"its {name.split('/')[0]} would be overwritten"):
        check_workdir(tmp_path, defaults())
    assert content(tmp_path) == before and not is_run(tmp_path)


@pytest.mark.parametrize("text", ['{"model": "x"}', "[1]", "{", '{"seed": "a"}', '{"own": 1}'])
def test_a_config_that_is_no_runs_is_refused_whatever_is_accepted(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    before = content(tmp_path)
    with pytest.raises(UserError) as caught:
        check_workdir(tmp_path, defaults(), accept_changes=True)
    assert "config.json" in str(caught.value) and "\n" not in str(caught.value)
    assert content(tmp_path) == before


def test_a_file_that_we_do_not_write_is_no_reason(tmp_path):
    foreign(tmp_path, "log.txt")
    foreign(tmp_path, "data/1.png")
    (tmp_path / "lock").touch()
    (tmp_path / "checkpoints").mkdir()
    check_workdir(tmp_path, defaults())
    check_workdir(tmp_path / "new", defaults())


def test_the_history_of_starts_and_what_killed_runs_left(tmp_path, capsys):
    (tmp_path / "samples").mkdir()
    for name in ("config.json.77.tmp", "samples/0000010.png.78.tmp", "samples/kept.tmp"):
        foreign(tmp_path, name)
    for _ in range(3):
        open_workdir(tmp_path, defaults())
    assert sorted(path.name for path in tmp_path.rglob("*.tmp")) == ["kept.tmp"]
    start = json.loads((tmp_path / "environment.json").read_text())
    assert len(start["earlier"]) == 2 and start["jax_enable_x64"] is False
    assert all(earlier["command"] == start["command"] for earlier in start["earlier"])
    (tmp_path / "environment.json").write_text("{")
    open_workdir(tmp_path, defaults())
    assert "earlier starts is lost" in capsys.readouterr().err
    assert read_config(tmp_path) == defaults()


def test_a_run_is_restored_from_a_path_or_its_text(tmp_path):
    for workdir in (tmp_path, str(tmp_path)):
        with pytest.raises(UserError, match="is not the workdir of a run"):
            restore_run(workdir)
