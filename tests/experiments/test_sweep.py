"""A sweep: its plan depends on the request and the disk; it continues however it ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sngan_jax.experiments.sweeps.launch

from experiments import cli
from experiments import sweep as program
from experiments.read_config import read_config
from experiments.sweeps import launch
from experiments.sweeps.plan import listing, parse_grid, plan, progress, remaining
from sngan_jax.base.errors import UserError
from sngan_jax.run.workdir import read_metrics
from tests.run.processes import TINY, environment, wait_for

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "experiments" / "configs" / "digits.py")


def save(run, sweep, iteration):
    (run.workdir(sweep) / "checkpoints" / str(iteration)).mkdir(parents=True)


def test_every_combination_with_every_seed(tmp_path):
    grid = parse_grid(["arg=sn+A,wgan_gp", "learning_rate=1e-3,1e-4"])
    runs = plan(DIGITS + ":conditional", grid, 3, ["iterations=7"])
    assert len(runs) == len({run.name for run in runs}) == 2 * 2 * 3
    first = runs[0]
    assert first.name == "arg=sn+A,learning_rate=1e-3,seed=0" and first.iterations == 7
    command = first.command(tmp_path)
    assert command[:3] == [sys.executable, "-m", "experiments.train"]
    assert command[3] == f"--config={DIGITS}:conditional,sn,A"
    assert command[5:] == ["--config.iterations=7", "--config.learning_rate=1e-3",
                           "--config.seed=0"]
    assert [run.name for run in plan(DIGITS, [], 2)] == ["seed=0", "seed=1"]


def test_a_grid_of_a_field_that_is_a_list_or_empty(tmp_path):
    runs = plan(DIGITS, parse_grid(["augment=,color+cutout", "evaluate_metrics=fcd+cs"]), 1)
    assert [run.changes[0] for run in runs] == ["augment=", "augment=color,cutout"]
    assert {run.changes[1] for run in runs} == {"evaluate_metrics=fcd,cs"}
    assert runs[0].name == "augment=,evaluate_metrics=fcd+cs,seed=0"


def test_what_is_finished_is_left_out_and_what_was_cut_off_goes_first(tmp_path):
    new, cut, done = plan(DIGITS, [], 3, ["iterations=10"])
    save(cut, tmp_path, 4)
    save(done, tmp_path, 5)
    save(done, tmp_path, 10)
    (cut.workdir(tmp_path) / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
    assert [progress(run, tmp_path) for run in (new, cut, done)] == [0, 4, 10]
    assert remaining([new, cut, done], tmp_path) == [cut, new]
    assert listing([new, cut, done], tmp_path) == [
        "seed=0: new", "seed=1: cut off at 4 of 10", "seed=2: finished"]


@pytest.mark.parametrize(("grid", "seeds", "words"), [
    (["learning_rate"], 1, "write a field and its values"),
    (["learning_rate=1,"], 1, "write a field and its values"),
    (["=1,2"], 1, "write a field and its values"),
    (["augment="], 1, "write a field and its values"),
    (["seed=1", "seed=2"], 1, "names seed twice"),
    (["n_dis=1,2,1"], 1, "it names '1' twice"),
    (["dataset=folder:a/b,folder:a_b"], 1, "two runs of the grid would have the folder 'dataset="),
    (["learning_rate=1e-3,0.001"], 1, "learning_rate=0.001,seed=0' of the grid have the same"),
    (["learning=1"], 1, "did you mean learning_rate"),
    (["n_dis=0"], 1, "at least 1"),
    (["arg=colour"], 1, "no variant 'colour'"),
    ([], 0, "--seeds is 0: it must be at least 1")])
def test_a_wrong_sweep_is_a_sentence(grid, seeds, words):
    with pytest.raises(UserError, match=words):
        plan(DIGITS, parse_grid(grid), seeds)


def test_a_field_of_the_grid_is_not_set_beside_it():
    with pytest.raises(UserError, match=r"--config\.method=none set the same field"):
        plan(DIGITS, parse_grid(["method=sn,none"]), 1, ["seed=3", "method=none"])


@pytest.mark.parametrize(("arguments", "words"), [
    (("--config=digits", "--grid=seed=1,2"), "--seeds=N sets the seeds of the runs"),
    (("--config=digits", "--config.seed=5"), "--seeds=N sets the seeds of the runs"),
    (("--config=digits", "--slurm=partition", "--launcher=slurm"), "--slurm=partition: write NAME"),
    (("--config=digits", "--slurm=partition=gpu"), "--slurm needs --launcher=slurm"),
    (("--config=digits", "--workdir={}/run"), "run is the workdir of a run: choose another"),
    (("--config=digits", "--workdir={}/file"), "file is a file: give a folder"),
    (("--config=digits", "--workdir={}/file/x"), "cannot be made"),
    (("--table=2", "--dataset=digits", "--scale=tiny", "--workdir={}/file/x"), "cannot be made")])
def test_a_wrong_command_is_a_sentence(arguments, words, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    arguments = [word.format(tmp_path) for word in arguments]
    if not any(word.startswith("--workdir") for word in arguments):
        arguments.append(f"--workdir={tmp_path / 'sweep'}")
    assert cli.run(program.main, program.arguments, "", "sweep", arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_runs_of_another_config_are_not_taken_for_finished(tmp_path, capsys):
    def said(*arguments):
        assert cli.run(program.main, program.arguments, "", "sweep", [
            f"--workdir={tmp_path}", "--dry-run", *arguments]) in (0, 2)
        return "".join(capsys.readouterr())

    (run,) = plan(DIGITS, [], 1, ["iterations=10"])
    save(run, tmp_path, 10)
    (run.workdir(tmp_path) / "config.json").write_text(json.dumps(
        read_config(run.config, run.changes, 1).to_dict()))
    assert "seed=0: finished" in said(f"--config={DIGITS}", "--config.iterations=10")
    assert "seed=0: cut off at 10 of 20" in said(
        f"--config={DIGITS}", "--config.iterations=20", "--config.lr_decay_start=1.0")
    for config, more in ((f"{DIGITS}:wgan_gp", "--config.iterations=10"),
                         (DIGITS, "--config.iterations=5")):
        line = said(f"--config={config}", more)
        assert "seed=0 holds a run of another config" in line
        assert line.endswith(": choose another --workdir\n")
    (tmp_path / "sweep.json").write_text("{}")
    assert "is the folder of a table's sweep" in said(f"--config={DIGITS}")


@pytest.mark.parametrize(("text", "value"), [
    ("cpus_per_task=8", 8), ("time=0", 0), ("account=0042", "0042"), ("comment=²", "²")])
def test_numbers_among_the_options_of_a_job(text, value):
    assert program._option(text) == (text.partition("=")[0], value)


def test_a_refused_job_is_a_sentence(tmp_path):
    submitit = pytest.importorskip("submitit")

    class Refusing:
        def submit(self, *_):
            raise submitit.core.utils.FailedJobError("sbatch: error:\n  no such partition")

    with pytest.raises(UserError, match=r"a job \(sbatch: error: no such partition\): check"):
        launch.launch(plan(DIGITS, [], 1), tmp_path, Refusing(), 1, print)


def test_a_run_that_fails_says_why_and_takes_no_module_from_the_current_folder(
        tmp_path, monkeypatch):
    class Job:
        job_id = 1

        def done(self):
            return True

        def result(self):
            return 2

        def stderr(self):
            return "warning: late\nerror: npz:none.npz: no\nINFO:submitit:Job completed\n"

    class Executor:
        def submit(self, function, command):
            self.safe = os.environ.get("PYTHONSAFEPATH")
            return Job()

    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for module, safe in ((sngan_jax.experiments.sweeps.launch, "1"), (launch, None)):
        executor, said = Executor(), []
        assert module.launch(plan(DIGITS, [], 1), tmp_path, executor, 1, said.append) == {
            "seed=0": 2}
        assert said[-1] == "seed=0: exit status 2: error: npz:none.npz: no"
        assert executor.safe == safe and "PYTHONSAFEPATH" not in os.environ


def test_runs_of_an_earlier_sweep_are_waited_for_aloud(tmp_path, monkeypatch):
    (run,) = plan(DIGITS, [], 1, ["iterations=10"])
    looks, said = iter([True, True, False]), []
    monkeypatch.setattr(launch, "is_held", lambda _: next(looks))
    monkeypatch.setattr(launch.time, "sleep", lambda _: None)
    save(run, tmp_path, 10)
    assert launch.launch([run], tmp_path, None, 1, said.append) == {}
    assert said == ["seed=0: still running, started by an earlier sweep",
                    "seed=0: done, by an earlier sweep"]


def test_ctrl_c_in_a_terminal_reaches_the_sweep_alone(tmp_path):
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    local = pytest.importorskip("submitit.local.local")
    line = "import os, sys; sys.stderr.write(f'{os.getsid(0) == os.getpid()}')"
    with launch._apart(tmp_path / "jobs" / "log"):
        assert local.subprocess.Popen([sys.executable, "-S", "-c", line]).wait(60) == 0
    assert local.subprocess is subprocess
    assert (tmp_path / "jobs" / "log").read_text() == "True"


def sweep(workdir, *arguments):
    return [sys.executable, "-m", "experiments.sweep", TINY[0], f"--workdir={workdir}",
            *(option.replace("--config.", "--set=") for option in TINY[1:]), *arguments]


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_saves_and_goes_on(tmp_path):
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    options = {"cwd": ROOT, "env": environment(1), "text": True, "stdout": subprocess.PIPE,
               "stderr": subprocess.STDOUT}
    long = sweep(tmp_path, "--seeds=2", "--set=iterations=3000", "--set=checkpoint_every=100",
                 "--set=log_every=100", "--parallel=2")

    def saved():  # one is faster than the other, and keeps its newest checkpoints only
        return [max((int(path.name) for path in (tmp_path / f"seed={i}" / "checkpoints").glob("*")
                     if path.name.isdigit()), default=0) for i in range(2)]

    process = subprocess.Popen(long, **options)
    wait_for(lambda: all(saved()), "checkpoints of both", of=[process])
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130, process.stdout.read()
    process.stdout.close()
    # A run stops at any iteration, and has logged every hundredth.
    at = saved()
    assert all(100 <= n < 3000 for n in at), at
    logged = [read_metrics(tmp_path / f"seed={i}")[-1]["iteration"] for i in range(2)]
    assert all(n - 100 < last <= n for n, last in zip(at, logged, strict=True)), (at, logged)
    listed = subprocess.run([*long, "--dry-run"], **options)
    assert listed.stdout.splitlines()[:2] == [
        f"seed={i}: cut off at {at[i]:,} of 3,000" for i in range(2)]
    done = subprocess.run(long, **options)
    assert done.returncode == 0, done.stdout
    for i in range(2):
        iterations = [row["iteration"] for row in read_metrics(tmp_path / f"seed={i}")]
        assert iterations == [1, *range(100, 3001, 100)]
    assert "2 runs, 2 of them finished" in subprocess.run(long, **options).stdout


@pytest.mark.slow
def test_a_run_that_fails_is_named(tmp_path):
    pytest.importorskip("submitit", reason="a sweep needs submitit: pip install 'sngan_jax[sweep]'")
    done = subprocess.run(sweep(tmp_path, "--set=dataset=npz:none.npz"), cwd=ROOT,
                          env=environment(1), text=True, capture_output=True)
    assert done.returncode == 1 and "seed=0: exit status 2" in done.stdout
    assert "not finished: seed=0" in done.stdout
    (log,) = (tmp_path / "jobs").glob("*.err")
    assert "none.npz" in log.read_text()
