"""Several processes as one run: the same losses, one set of files, errors if one is lost."""

import itertools
import os
import signal
import threading
import time
from unittest import mock

import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError
from sngan_jax.run import distributed
from sngan_jax.run.health import Diverged
from sngan_jax.run.lock import InUse
from sngan_jax.run.workdir import read_metrics
from tests.compare import assert_same_losses
from tests.run.processes import output, sentence, start, wait, wait_for

SLURM = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "2"}


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, False), (SLURM, True), ({**SLURM, "SLURM_NTASKS": "1"}, False),
    ({"SLURM_NTASKS": "2"}, False),  # a batch script that does not use srun
    ({"OMPI_COMM_WORLD_SIZE": "4"}, True), ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, True), ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
    ({"MEGASCALE_NUM_SLICES": "2"}, True)])
def test_environments_with_several_processes(environment, expected):
    assert distributed.several(environment) is expected


def test_one_process_joins_nothing(monkeypatch):
    for name in ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    with distributed.joined():
        assert distributed.is_first() and not distributed.told_to_stop()
        distributed.agree({"a": 1})
    tree = {"a": np.ones(2)}
    assert distributed.from_first(tree) is tree


def test_the_calls_before_a_stop_are_counted_from_the_start_of_the_process(monkeypatch):
    # JAX chooses the next number, 1 at the start, wherever the run resumes.
    asked = []
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr(distributed, "_CALLS", itertools.count(1))
    monkeypatch.setattr("jax.experimental.multihost_utils.reached_preemption_sync_point",
                        asked.append)
    for _ in range(3):
        distributed.told_to_stop()
    assert asked == [1, 2, 3]


@pytest.mark.parametrize(("arguments", "words"), [
    ({"coordinator": "a:1"}, "go together"), ({"num_processes": 2}, "go together"),
    ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "the ids are 0 to 1"),
    ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "host:port")])
def test_half_a_start_is_a_sentence(arguments, words):
    with pytest.raises(UserError, match=words), distributed.joined(**arguments):
        pass


def test_processes_may_compare_facts_again(monkeypatch):
    stored = {}

    def put(key, value):
        assert key not in stored  # as JAX's service refuses it
        stored[key] = value

    client = mock.Mock(key_value_set=put, blocking_key_value_get=lambda *_: [*stored.values()][-1])
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr(distributed, "_client", lambda: client)
    for seed in (0, 1):
        distributed.agree({"config.seed": seed})
    assert len(stored) == 2


def test_disagreements_name_the_field_and_both_hosts():
    first = {"host": "a", "facts": {"config.seed": 0, "commit": "x"}}
    second = {"host": "b", "facts": {"config.seed": 1, "commit": "x", "jax": "2"}}
    assert distributed.disagreements([first, first]) == []
    words = "; ".join(distributed.disagreements([first, first, second]))
    assert "config.seed is 1 in process 2 on b and 0 in process 0 on a" in words
    assert "jax is '2'" in words and "'absent'" in words and "commit" not in words


@pytest.mark.parametrize(("error", "status"), [
    (UserError("x"), 2), (InUse("x"), 75), (WriteError("x"), 74), (Diverged("x"), 70)])
def test_a_process_ends_with_the_status_of_its_error(error, status, monkeypatch):
    ended = []
    monkeypatch.setattr(distributed._Watch, "__init__", lambda self: None)
    monkeypatch.setattr(distributed._Watch, "_tell", lambda *_: None)
    monkeypatch.setattr(distributed._Watch, "_end", lambda self, *found: ended.append(found))
    watch = distributed._Watch()
    watch._me, watch._ending, watch._thread = 1, threading.Event(), mock.Mock()
    watch.fail(error)
    assert ended == [("x", status)]


def iterations(workdir):
    return [row["iteration"] for row in read_metrics(workdir)]


@pytest.mark.slow
def test_processes_wait_for_each_other_longer_than_a_collective_does(tmp_path):
    """One process reaches the first collective 40 s late; Gloo times out after 30 s."""
    slow = tmp_path / "slow" / "sitecustomize.py"
    slow.parent.mkdir()
    slow.write_text(_SLOW)
    started = start(2, 1, tmp_path / "run", "--config.iterations=2", path=slow.parent)
    assert wait(started) == [0, 0], sentence(tmp_path / "run", 0)


# Process 1 sleeps before it waits at the first barrier.
_SLOW = """
import sys, threading, time
if "--process-id=1" in sys.argv:
    def late():
        while "sngan_jax.run.distributed" not in sys.modules:
            time.sleep(0.1)
        time.sleep(1)
        module = sys.modules["sngan_jax.run.distributed"]
        old, first = module.from_first, [True]
        def from_first(tree):
            if first:
                first.clear()
                time.sleep(40)
            return old(tree)
        module.from_first = from_first
    threading.Thread(target=late, daemon=True).start()
"""


@pytest.mark.slow
def test_processes_train_like_one_and_move_to_one(tmp_path):
    """1 x 4 devices, 2 x 2 and 4 x 1: the same losses; a part by two, the rest by one."""
    steps = "--config.iterations=12"
    assert wait(start(1, 4, tmp_path / "one", steps)) == [0]
    expected = read_metrics(tmp_path / "one")
    assert len(expected) == 12
    assert wait(start(4, 1, tmp_path / "four", steps, "--config.iterations=6")) == [0] * 4
    assert_same_losses(read_metrics(tmp_path / "four"), expected[:6])
    started = start(2, 2, tmp_path / "two", "--config.iterations=100000")
    wait_for(lambda: (tmp_path / "two" / "checkpoints" / "8").is_dir(), "a checkpoint", of=started)
    for process in started:
        process.kill()
    wait(started)
    kept = max(int(p.name) for p in (tmp_path / "two" / "checkpoints").iterdir()
               if p.name.isdigit())
    more = f"--config.iterations={kept + 4}"
    assert wait(start(1, 1, tmp_path / "two", more, "--accept-config-changes")) == [0]
    assert iterations(tmp_path / "two") == list(range(1, kept + 5))
    assert_same_losses(read_metrics(tmp_path / "two")[:12], expected[:kept + 4])
    assert f"at iteration {kept}" in output(tmp_path / "two", 0).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_loss_of_one_ends_the_other_with_a_sentence(victim, tmp_path):
    workdir, survivor = tmp_path / "run", 1 - victim
    started = start(2, 1, workdir, "--config.iterations=100000")
    wait_for(lambda: (workdir / "checkpoints" / "4").is_dir(), "a checkpoint", of=started)
    started[victim].kill()
    killed = time.monotonic()
    status = wait([started[survivor]], 60)[0]
    assert time.monotonic() - killed < 60 and status != 0
    wait(started)
    # Where the coordinator is lost, JAX aborts, and a sentinel speaks.
    words = "process 1 of 2 is lost" if victim == 1 else "the coordinator at 127.0.0.1"
    line = wait_for(lambda: words in output(workdir, survivor).read_text(), words, 10)
    assert line and words in sentence(workdir, survivor)
    if victim == 0:
        return
    kept = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    more = f"--config.iterations={kept + 2}"
    assert wait(start(2, 1, workdir, more, "--accept-config-changes")) == [0, 0]
    assert f"resuming {workdir} at iteration {kept}" in output(workdir, 0).read_text()
    assert iterations(workdir) == list(range(1, kept + 3))


@pytest.mark.slow
def test_processes_that_disagree_end_alike(tmp_path):
    started = start(2, 1, tmp_path / "run", only={1: ("--config.learning_rate=0.5",)})
    assert wait(started, 120) == [2, 2]
    for process in (0, 1):
        words = sentence(tmp_path / "run", process)
        assert "config.learning_rate is 0.5 in process 1" in words and "0.001 in process 0" in words
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_hosts_with_other_data_or_none_are_told(tmp_path):
    folders = [tmp_path / name for name in ("first", "other", "none")]
    for i, folder in enumerate(folders):
        folder.mkdir()
        if i < 2:
            np.savez(folder / "a.npz", images=np.full((20, 8, 8), i, np.uint8))
    spec = "--config.dataset=npz:a.npz"
    run = tmp_path / "run"
    assert wait(start(2, 1, run, spec, folders=(folders[0], folders[1])), 120) == [2, 2]
    for process in (0, 1):
        assert "fingerprint of the data set is" in sentence(run, process)
    assert wait(start(2, 1, run, spec, folders=(folders[0], folders[2])), 120) == [3, 2]
    assert "npz:a.npz: there is no such file" in sentence(run, 1)
    assert "process 1 of 2 ended: npz:a.npz: there is no such file" in sentence(run, 0)
    assert not run.exists()


@pytest.mark.slow
def test_sigterm_to_one_stops_both_at_one_iteration(tmp_path):
    workdir = tmp_path / "run"
    started = start(2, 1, workdir, "--config.iterations=100000")
    wait_for(lambda: (workdir / "checkpoints" / "4").is_dir(), "a checkpoint", of=started)
    os.kill(started[1].pid, signal.SIGTERM)
    assert wait(started, 90) == [75, 75]
    kept = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    assert f"stopped by SIGTERM at iteration {kept:,}, saved" in output(workdir, 0).read_text()
    # A signal that comes before the first iteration of a resumed run stops it after that one.
    started = start(2, 1, workdir, "--config.iterations=100000")
    wait_for(lambda: "resuming" in output(workdir, 0).read_text(), "the checkpoint", of=started)
    os.kill(started[1].pid, signal.SIGTERM)
    assert wait(started, 90) == [75, 75]
    assert "stopped by SIGTERM at iteration" in output(workdir, 0).read_text()


@pytest.mark.slow
def test_both_end_at_numbers_that_are_not_finite(tmp_path):
    workdir = tmp_path / "run"
    started = start(2, 1, workdir, "--config.iterations=40", "--config.checkpoint_every=1",
                    "--config.learning_rate=1e30")
    assert wait(started, 120) == [70, 70]
    assert ["the last good state" in sentence(workdir, i) for i in (0, 1)] == [True, False]


@pytest.mark.slow
def test_the_classifier_and_the_clock_of_the_first_process(tmp_path):
    workdir = tmp_path / "run"
    started = start(
        2, 1, workdir, "--config.iterations=4", "--config.log_every=2",
        "--config.checkpoint_minutes=1e-7", "--config.evaluate_every=2",
        "--config.evaluate_extractor=classifier", "--config.evaluate_metrics=fcd,cs",
        "--config.evaluate_images=40")
    assert wait(started, 240) == [0, 0]
    assert iterations(workdir)[-1] == 4
    assert len((workdir / "scores.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_process_that_waits_in_vain_says_so(tmp_path):
    started = start(2, 1, tmp_path / "run", "--join-within=6")
    started[0].kill()
    wait([started[0]])
    assert wait([started[1]], 60) != [0]
    words = "could not join the coordinator"  # JAX aborts, and a sentinel speaks
    wait_for(lambda: words in output(tmp_path / "run", 1).read_text(), words, 10)
    assert "within 6 s: start all processes" in sentence(tmp_path / "run", 1)
