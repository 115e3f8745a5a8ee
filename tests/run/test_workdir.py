"""Lines of a run's files after it was cut off, and the best of its scores."""

import json

import pytest

from sngan_jax.run.evaluation import best_of, is_recorded, recorded
from sngan_jax.run.workdir import MetricsFile, read_metrics


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
