"""A whole run at toy size: files, resume, refusal, interruption, restoring."""

import contextlib
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.configs import digits
from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import DataError
from sngan_jax.run.conditions import conditions
from sngan_jax.run.loop import train
from sngan_jax.run.restore import (
    GoneError,
    at_iteration,
    check_classes,
    restore_run,
    saved_iterations,
)
from sngan_jax.run.workdir import read_metrics
from tests.compare import assert_same_images, assert_same_losses
from tests.conftest import FINISHED
from tests.run.tensorboard_reader import scalars
from tests.run.test_workdir import content
from tests.small_model import one_step

pytestmark = pytest.mark.usefixtures("small")


def tiny(**changes):
    config = digits.get_config()
    config.update({**FINISHED, "model": "small", "ema_decay": 0.5, **changes})
    return config


def like_finished(**changes):
    """The config of `finished_run`, and changes."""
    return tiny(model=digits.get_config().model, conditional=True, ema_decay=0.0, **changes)


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of the finished run, to be continued."""
    return shutil.copytree(finished_run, tmp_path / "finished")


def test_the_workdir_holds_the_run(finished_run):
    finished = finished_run
    assert json.loads((finished / "config.json").read_text())["generator_width"] == 2
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__ and environment["devices"]
    rows = read_metrics(finished)
    assert [row["iteration"] for row in rows] == [1, 2, 4]
    sigmas = {k for k in rows[-1] if k.startswith("sigma/")}
    assert len(sigmas) == 3 + 3 + 2 + 2 + 2  # four blocks, two with a shortcut; dense and embedding
    assert all(np.isfinite(row[k]) for row in rows for k in (*sigmas, "d_loss", "g_loss"))
    for name in ("samples/0000000.png", "samples/0000002.png", "samples/0000004.png",
                 "losses.png", "sigma.png"):
        with Image.open(finished / name) as picture:
            assert min(picture.size) > 40
    assert scalars(finished / "tensorboard")["d_loss"] == pytest.approx(
        {row["iteration"]: row["d_loss"] for row in rows}, rel=1e-5)


@pytest.mark.slow
def test_a_run_made_longer_is_the_run_never_stopped(finished_run, tmp_path):
    train(like_finished(iterations=2), tmp_path)
    train(like_finished(), tmp_path)  # the learning rate is constant: no flag is needed
    a, b = (restore_run(workdir) for workdir in (finished_run, tmp_path))
    assert a.iteration == b.iteration == 4
    jax.tree.map(np.testing.assert_array_equal, a.state, b.state)
    last, resumed = (read_metrics(workdir)[-1] for workdir in (finished_run, tmp_path))
    assert last["iteration"] == 4 and last["d_loss"] == resumed["d_loss"]


def test_a_finished_run_is_not_trained_again(finished, capsys):
    before = (finished / "metrics.jsonl").read_text()
    assert train(like_finished(), finished)
    assert "nothing left to do" in capsys.readouterr().out
    assert (finished / "metrics.jsonl").read_text() == before


def test_ctrl_c_saves_and_the_same_call_goes_on(tmp_path, monkeypatch, capsys):
    import sngan_jax.run.loop as loop
    log = loop.Log.keep

    def interrupt(self, iteration, *rest):
        log(self, iteration, *rest)
        if iteration == 3:
            os.kill(os.getpid(), signal.SIGINT)

    config = tiny(iterations=6, log_every=1, checkpoint_every=100)
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(loop.Log, "keep", interrupt)
    with one_step():
        assert not train(config, tmp_path)
        assert "stopped by SIGINT at iteration 3" in capsys.readouterr().out
        monkeypatch.setattr(loop.Log, "keep", log)
        assert train(config, tmp_path)
    assert "resuming" in capsys.readouterr().out
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_clock_of_the_first_process_decides_when_minutes_are_over(tmp_path, monkeypatch):
    monkeypatch.setattr("sngan_jax.run.distributed.from_first",
                        lambda found: False if found is True else found)
    # The program of the test above, so that it is compiled already.
    train(tiny(iterations=6, log_every=1, checkpoint_every=100, keep_checkpoints=9,
               checkpoint_minutes=1e-9), tmp_path)
    assert saved_iterations(tmp_path) == [6]


@pytest.mark.slow
def test_several_iterations_a_call_are_the_same_run(tmp_path):
    one, two = (tiny(iterations=4, iterations_per_call=k) for k in (1, 2))
    train(one, tmp_path / "one")
    train(two, tmp_path / "two")
    # That the states are the same is asserted in float64, in test_step.py.
    rows = [[row for row in read_metrics(tmp_path / name) if row["iteration"] > 1]
            for name in ("one", "two")]
    assert [row["iteration"] for row in rows[1]] == [2, 4]
    assert_same_losses(*rows, 1e-4)


def test_a_run_stands_where_a_call_ends(finished):
    with pytest.raises(UserError, match=r"iteration 4, which is not a multiple of .* = 3"):
        train(like_finished(iterations=9, iterations_per_call=3, log_every=3, sample_every=3,
                            checkpoint_every=3), finished, accept_changes=True)


@pytest.mark.slow
def test_lines_of_a_run_cut_off_after_its_checkpoint_are_dropped(tmp_path):
    config = tiny(iterations=2)
    train(config, tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 3, "d_loss": 0}\n{"iteration": 4, "d_lo')
    train(tiny(iterations=4), tmp_path, accept_changes=True)
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2, 4]
    assert read_metrics(tmp_path)[2]["d_loss"] != 0


def test_what_is_refused_changes_nothing(finished, monkeypatch):
    before = content(finished)
    with pytest.raises(UserError, match="holds another model"):
        train(like_finished(generator_width=3), finished, accept_changes=True)
    with pytest.raises(UserError, match="method is 'sn' there"):
        train(like_finished(method="none"), finished, accept_changes=True)
    then = conditions()
    monkeypatch.setattr("sngan_jax.run.conditions.conditions",
                        lambda: {**then, "jax_enable_x64": True})
    with pytest.raises(UserError, match="set JAX_ENABLE_X64=False"):
        train(like_finished(), finished)
    assert content(finished) == before


def test_a_deleted_config_is_compared_with_the_checkpoints(finished, capsys):
    (finished / "config.json").unlink()
    before = content(finished)
    with pytest.raises(UserError, match=r"has lost its config.json.*seed: 0 there, 5 here"):
        train(like_finished(seed=5), finished)
    assert content(finished) == before
    assert train(like_finished(), finished)
    assert "it is rewritten" in capsys.readouterr().err
    assert (finished / "config.json").exists()


def test_a_checkpoint_that_a_run_has_removed_is_no_damage(finished, capsys):
    run = restore_run(finished)
    shutil.rmtree(finished / "checkpoints" / "2")
    with pytest.raises(GoneError, match="no checkpoint of iteration 2; it has: 4"):
        at_iteration(run, finished, 2)
    assert restore_run(finished).iteration == 4
    assert capsys.readouterr().err == ""


def test_all_checkpoints_damaged(finished, capsys):
    for file in (finished / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    before = content(finished)
    for read in (lambda: train(like_finished(), finished), lambda: restore_run(finished)):
        with pytest.raises(UserError, match=r"is damaged: bring back .*, or move \S*/checkpoints"):
            read()
        newest, oldest = capsys.readouterr().err.splitlines()
        assert newest.endswith("using the previous one") and oldest.endswith(")")
    assert content(finished) == before


def test_a_name_that_is_not_utf8(finished, tmp_path):
    name = tmp_path / "b\udcfc"
    with pytest.raises(UserError, match=r"b\\udcfc is not UTF-8, which checkpoints need"):
        train(tiny(), name)
    assert not name.exists()
    finished.rename(name)
    with pytest.raises(UserError, match="is not UTF-8"):
        restore_run(name)


def test_classes_that_have_changed_since(finished_run, tmp_path):
    for name in ("bird", "cat"):
        (tmp_path / name).mkdir()
    run = restore_run(finished_run)
    config = run.config.copy_and_resolve_references()
    config.dataset = f"folder:{tmp_path}"
    run = run._replace(config=config, num_classes=2, class_names=("bird", "cat"))
    check_classes(run)
    (tmp_path / "bird").rename(tmp_path / "dog")
    with pytest.raises(UserError, match=r"have changed since .* \('cat' in place of 'bird'\)"):
        check_classes(run)


def test_restored_run_samples_what_is_asked(finished_run):
    run = restore_run(finished_run)
    labels = np.array([3, 1, 4, 1, 5], np.int32)
    images = run.sample(labels, seed=1)
    assert images.shape == (5, 8, 8, 1) and images.dtype == np.uint8
    # Image i depends on (seed, i, its label) alone, whatever is drawn beside it.
    assert_same_images(run.sample(labels[:3], seed=1), images[:3])
    assert (run.sample(labels, seed=2) != images).any()


def test_restoring_what_is_not_there_is_a_sentence(finished_run, tmp_path):
    with pytest.raises(UserError, match="is not the workdir of a run"):
        restore_run(tmp_path)
    with pytest.raises(UserError, match="no checkpoint of iteration 3; it has: 2, 4"):
        restore_run(finished_run, 3)


def test_processes_compare_what_their_numbers_depend_on(tmp_path, monkeypatch):
    compared = {}
    monkeypatch.setattr("sngan_jax.run.distributed.agree", compared.update)
    with pytest.raises(UserError, match="there is no such file"):
        train(tiny(dataset="npz:/nowhere/a.npz", seed=5), tmp_path / "run")
    assert compared["config.seed"] == 5 and conditions().items() <= compared.items()


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"image_size": 12, "model": "cnn"}, "a multiple of 8: use 8 or 16"),
    ({"batch_size": 2000}, "1,?797"),
    ({"dataset": "npz:/nowhere/a.npz"}, "/nowhere/a.npz"),
    ({"dataset": "tfds:cifar10", "data_dir": "/nowhere"}, "/nowhere"),
    ({"loss": "hinged"}, "one of non_saturating, minimax"),
    ({"learning_rate": -1.0}, "a number above 0"),
    ({"learning_rate": 1e300}, r"a number above 0 \(1e-37 to 1e38\)"),
    ({"lipschitz": 1e-300}, r"a number above 0 \(1e-37 to 1e38\)"),
    ({"iterations": 0}, "at least 1"),
    ({"dtype": "float17"}, "float32, bfloat16"),
    ({"image_size": 65536}, r"65536 \(the digits\) need [\d,.]+ GiB"),
    ({"num_samples": 2**31 - 1}, r"config.num_samples = 2,147,483,647 need [\d,.]+ GiB"),
    ({"generator_batch_size": 2**31 - 4}, r"need [\d,.]+ GiB"),
    ({"evaluate_images": 10**20}, "below 2"),
    ({"on_bad_image": "skip"}, "is read whole"),
])
def test_bad_configs_are_sentences_and_leave_no_workdir(changes, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence) as caught:
        train(tiny(**changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("first", "words"), [
    (True, "with everything saved"), (False, "and will continue from its last checkpoint")])
def test_what_a_damaged_image_costs_is_said(first, words, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def damaged(*_, **__):
        def none():
            raise DataError("cannot read a.png")

        yield none

    monkeypatch.setattr("sngan_jax.run.loop.feed", damaged)
    monkeypatch.setattr("sngan_jax.run.distributed.is_first", lambda: first)
    with pytest.raises(DataError, match=f"a.png; the run stopped at iteration 0, {words}; to"):
        train(tiny(), tmp_path)


@pytest.mark.slow
def test_changed_data_is_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    config = tiny(dataset=f"npz:{tmp_path / 'a.npz'}", iterations=2)
    train(config, tmp_path / "run")
    np.savez(tmp_path / "a.npz", images=255 - images)
    with pytest.raises(UserError, match="content hash differs"):
        train(tiny(dataset=config.dataset, iterations=2), tmp_path / "run")


def test_conditional_on_unlabelled_data_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((8, 8, 8), np.uint8))
    with pytest.raises(UserError, match="has no labels"):
        train(tiny(dataset=f"npz:{tmp_path / 'a.npz'}", conditional=True), tmp_path / "run")


@pytest.mark.slow
def test_bfloat16_trains_with_float32_parameters(tmp_path):
    assert train(tiny(dtype="bfloat16", iterations=2), tmp_path)
    state = restore_run(tmp_path).state
    assert {x.dtype for x in jax.tree.leaves(state)} == {np.dtype("float32"), np.dtype("int32")}
    assert all(np.isfinite(row["d_loss"]) for row in read_metrics(tmp_path))
