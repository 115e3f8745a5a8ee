"""Checkpoints: which are kept, how they are restored, and reports of damage."""

import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError
from sngan_jax.run.checkpoint import Checkpoints, NotFiniteState
from sngan_jax.run.integrity import DamagedError
from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from sngan_jax.step.state import DiscriminatorState, GeneratorState, TrainState


def state(iteration, width=3, ema=True):
    params = {"dense": {"kernel": jnp.full((2, width), float(iteration))}}
    opt = optax.adam(1e-3).init(params)
    return TrainState(jnp.int32(iteration),
                      GeneratorState(params, {}, opt, params if ema else None, {} if ema else None),
                      DiscriminatorState(params, {}, opt, spectral={"u": jnp.ones((width,))}))


META = {"data": "abc", "channels": 1, "num_classes": 0, "identity": {"method": "sn"}}


def save(workdir, *iterations, keep=9, **options):
    with Checkpoints(workdir, keep, **options) as checkpoints:
        for i in iterations:
            checkpoints.save(state(i), META)


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()


def files_of(workdir, iteration):
    return sorted(f for f in (workdir / "checkpoints" / str(iteration)).rglob("*") if f.is_file())


def test_round_trip_and_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 3, keep=2)
    stored = StoredCheckpoints(tmp_path)
    assert stored.all() == [2, 3]
    for i in (2, 3):
        found = stored.read(i, lambda meta: state(0))
        equal(found.state, state(i))
        assert META.items() <= found.meta.items()
    assert not any((tmp_path / "checkpoints" / name).exists() for name in ("saving", "deleting"))


def test_the_best_and_every_so_many_are_kept(tmp_path):
    with Checkpoints(tmp_path, 1, every=4) as checkpoints:
        checkpoints.save(state(3), META)
        checkpoints.wait()
        checkpoints.best = 3
        for i in range(4, 11):
            checkpoints.save(state(i), META)
    assert checkpoints.all() == [3, 4, 8, 10]


@pytest.mark.parametrize(("other", "words"), [
    ({"width": 4}, r"float32 \(2, 3\) there, float32 \(2, 4\) expected"),
    ({"ema": False}, "generator/ema_params/dense/kernel: .* there, absent expected")])
def test_another_model_is_refused_with_the_difference(tmp_path, other, words):
    save(tmp_path, 1)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match=words):
        checkpoints.newest(lambda meta: state(0, **other))
    assert checkpoints.all() == [1]  # it is whole, and stays


def test_another_method_or_a_newer_format_is_refused(tmp_path, monkeypatch):
    save(tmp_path, 1)
    stored = StoredCheckpoints(tmp_path)
    with pytest.raises(UserError, match="method is 'sn' there, 'none' here"):
        stored.read(1, lambda meta: state(0), {"method": "none"})
    monkeypatch.setattr("sngan_jax.run.stored_checkpoints.FORMAT", 1)
    with pytest.raises(UserError, match=r"written by a newer version .* format 5"):
        stored.newest(lambda meta: state(0))


@pytest.mark.parametrize("value", [
    {"class_names": 5}, {"class_names": ["a", 5]}, {"untrained": True}, {"rows": "x"}])
def test_a_meta_item_of_other_types_is_damage(tmp_path, value):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), {**META, **value})
    with pytest.raises(DamagedError, match="its meta item has missing or invalid fields"):
        StoredCheckpoints(tmp_path).read(1, lambda meta: state(0))


@pytest.mark.parametrize("damage", [
    "flip", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("cut", "delete"))])
def test_damage_of_any_file_is_noticed_and_the_one_before_is_used(tmp_path, damage, capsys):
    save(tmp_path, 1, 2)
    for n, name in enumerate(files_of(tmp_path, 2), 1):
        whole = name.read_bytes()
        if damage == "flip":
            name.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"x")
        elif damage == "cut":
            name.write_bytes(whole[:len(whole) // 2] if whole else b"x")
        else:
            name.unlink()
        with Checkpoints(tmp_path) as checkpoints:
            found = checkpoints.newest(lambda meta: state(0))
            assert found.iteration == 1, name
            equal(found.state, state(1))
        aside = tmp_path / "checkpoints" / "damaged" / f"2-{n}"
        assert "is damaged" in (said := capsys.readouterr().err) and str(aside) in said
        aside.rename(tmp_path / "checkpoints" / "2")  # back, for the next file
        aside.mkdir()
        name.write_bytes(whole)


def test_an_emptied_step_and_a_save_that_was_cut_off(tmp_path, capsys):
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "2").mkdir()
    (tmp_path / "checkpoints" / "saving" / "3").mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest(lambda meta: state(0)).iteration == 1
    said = capsys.readouterr().err
    assert "interrupted save is not used: 3" in said and "2 is damaged" in said
    assert (tmp_path / "checkpoints" / "damaged" / "unfinished" / "3").is_dir()


def test_when_none_is_left_the_run_does_not_begin_again_silently(tmp_path):
    save(tmp_path, 1)
    files_of(tmp_path, 1)[0].unlink()
    for _ in range(2):
        with Checkpoints(tmp_path) as checkpoints:
            assert checkpoints.newest(lambda meta: state(0)) is None
            assert "has no checkpoint left" in str(checkpoints.none_left())


def test_a_run_that_deletes_its_checkpoints_faster_than_they_are_read(tmp_path, monkeypatch):
    stored, numbers = StoredCheckpoints(tmp_path), itertools.count(1)

    def gone(*_):
        raise DamagedError("its MANIFEST is missing")

    monkeypatch.setattr(stored, "all", lambda: [next(numbers)])
    monkeypatch.setattr(stored, "read", gone)
    with pytest.raises(UserError, match=r"faster than they can be read here \(20 vanished"):
        stored.newest(lambda meta: state(0))


def test_a_reader_moves_nothing(tmp_path, capsys):
    save(tmp_path, 1, 2)
    files_of(tmp_path, 2)[0].unlink()
    assert StoredCheckpoints(tmp_path).newest(lambda meta: state(0)).iteration == 1
    assert "is damaged" in capsys.readouterr().err
    assert StoredCheckpoints(tmp_path).all() == [1, 2]


def without_spectral(state):
    """A step of the first versions, without hashes and without spectral vectors of G."""
    fields = {name: value for name, value in vars(state.generator).items() if name != "spectral"}
    return jax.tree.map(np.array, state.replace(generator=fields))


def test_checkpoints_of_the_version_without_hashes(tmp_path, capsys):
    options = ocp.CheckpointManagerOptions(create=True)
    with ocp.CheckpointManager(tmp_path / "checkpoints", options=options,
                               item_names=("state", "meta")) as manager:
        for i in (1, 2):
            manager.save(i, args=ocp.args.Composite(
                state=ocp.args.StandardSave(without_spectral(state(i))),
                meta=ocp.args.JsonSave({"data": "abc", "channels": 1, "num_classes": 0})))
    with pytest.raises(UserError, match="holds another model"):
        StoredCheckpoints(tmp_path).read(2, lambda meta: state(0, width=5))
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.newest(lambda meta: state(0))
        assert found.iteration == 2
        equal(found.state, state(2))
        assert "stored no hashes" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "checkpoints" / "2" / "state" / "d")
        assert checkpoints.newest(lambda meta: state(0)).iteration == 1


def test_a_state_that_is_not_finite_is_never_saved(tmp_path, monkeypatch):
    bad = state(2)
    bad.discriminator.spectral["u"] = bad.discriminator.spectral["u"].at[1].set(jnp.nan)
    save(tmp_path, 1)
    with Checkpoints(tmp_path) as checkpoints:
        for process in (0, 1):  # all leave the loop in the same call
            monkeypatch.setattr("jax.process_index", lambda process=process: process)
            with pytest.raises(NotFiniteState, match="discriminator/spectral/u"):
                checkpoints.save(bad, META)
    assert checkpoints.all() == [1]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sngan_jax.run.checkpoint.write_manifest", full)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(2), META)
        with pytest.raises(WriteError, match=r"checkpoint of iteration 2 .* \(No space left"):
            checkpoints.wait()
    assert checkpoints.all() == [1] and not (tmp_path / "checkpoints" / "saving").exists()
