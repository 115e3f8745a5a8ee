"""The same mathematics on 1 and 8 simulated devices, for every method; runs that move."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from sngan_jax.data.image_set import ImageSet
from sngan_jax.methods import METHODS
from sngan_jax.run.feed import feed
from sngan_jax.run.restore import restore_run
from sngan_jax.run.workdir import read_metrics
from sngan_jax.step.devices import all_devices, gathered, own_part, own_places, positions
from sngan_jax.step.sampling import BN_MODES
from tests.compare import assert_same_losses
from tests.run.processes import environment, start, wait

SCRIPT = Path(__file__).with_name("devices_script.py")


def on_devices(*methods):
    done = subprocess.run([sys.executable, SCRIPT, *methods], env=environment(8), text=True,
                          capture_output=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# Of what is smaller, in float64, nothing is compared: gradients that are zero but for rounding, and
# the steps that Adam, whose epsilon is 1e-8, makes of them.
ROUNDING = {".params": 1e-9, ".batch_stats": 1e-9, ".opt_state.mu": 1e-14, ".opt_state.nu": 1e-26}


def check_equal(result):
    """Losses and every array of the state, to 1e-8 of its size."""
    losses = {n: np.array(values) for n, values in result["losses"].items()}
    assert losses["1"].shape == (20, 2) and np.isfinite(losses["1"]).all()
    for n in result["distances"]:
        np.testing.assert_allclose(losses[n], losses["1"], rtol=1e-8,
                                   atol=1e-8 * np.abs(losses["1"]).max())
        for name, (relative, most) in result["distances"][n].items():
            rounding = max((limit for kind, limit in ROUNDING.items() if kind in name), default=0)
            assert relative < 1e-8 or most <= rounding, (
                f"{result['method']}, {n} devices: {name} by {relative}, at most {most}")


@pytest.mark.slow
def test_spectral_normalization_with_synchronized_batch_norm():
    """Batch norm per device is a different function, but keeps the state equal on all devices."""
    together, alone = on_devices("sn", "sn,device")
    check_equal(together)
    images = together["samples"]
    for mode in BN_MODES:
        assert np.shape(images["1"][mode]) == (24, 4)
        np.testing.assert_allclose(images["8"][mode], images["1"][mode], atol=1)
    np.testing.assert_allclose(alone["losses"]["1"], together["losses"]["1"], rtol=1e-8)
    assert np.isfinite(alone["losses"]["8"]).all()
    assert np.abs(np.subtract(alone["losses"]["8"], alone["losses"]["1"])).max() > 1e-3


@pytest.mark.slow
def test_parts_of_a_batch_on_each_device():
    (result,) = on_devices("sn,parts")
    check_equal(result)


@pytest.mark.slow
def test_every_method():
    # Two of them keep what `frobenius` and what `sn` keeps.
    methods = sorted(METHODS.keys() - {"sn", "sn_svd", "sn_bidirectional"})
    results = on_devices(*methods)
    assert [r["method"] for r in results] == methods
    for result in results:
        check_equal(result)


@pytest.mark.slow
def test_a_run_on_eight_devices_goes_on_on_one_and_on_four(tmp_path):
    steps, more = "--config.iterations=4", "--config.iterations=8"
    assert wait(start(1, 8, tmp_path / "8", steps)) == [0]
    for count in (1, 4):
        shutil.copytree(tmp_path / "8", tmp_path / str(count))
    for count in (1, 4, 8):
        assert wait(start(1, count, tmp_path / str(count), more, "--accept-config-changes")) == [0]
    rows = {count: read_metrics(tmp_path / str(count)) for count in (1, 4, 8)}
    assert [row["iteration"] for row in rows[8]] == list(range(1, 9))
    for count in (1, 4):
        assert_same_losses(rows[count], rows[8])
    shapes = {count: jax.tree.map(np.shape, restore_run(tmp_path / str(count)).state)
              for count in (1, 4, 8)}
    assert shapes[1] == shapes[4] == shapes[8]


def test_one_process_has_all_devices_and_all_rows():
    devices = all_devices()
    assert own_places(devices) == list(range(len(devices))) == positions(devices).tolist()
    rows = np.arange(6)
    assert own_part(rows).tolist() == gathered(jax.numpy.asarray(rows)).tolist() == rows.tolist()


@pytest.mark.parametrize("place", [0, 1])
def test_a_process_reads_its_own_part_of_a_stream(place, monkeypatch):
    devices = [SimpleNamespace(process_index=1, id=9)]
    devices.insert(place, jax.devices()[0])
    assert own_places(devices) == [place] == positions(devices).tolist()
    asked = {}

    def batches(stream, key, **options):
        asked.update(options)
        while True:
            yield np.zeros((2, 4, 3, 3, 1), np.uint8), None, 0

    monkeypatch.setattr("sngan_jax.run.feed.batches", batches)
    with feed("a stream", devices, jax.random.key(0), first_iteration=5, n_dis=2,
              batch_size=8) as one:
        assert one()[0].shape == (1, 1, 2, 4, 3, 3, 1)
    assert (asked["start"], asked["count"], asked["batch_size"]) == (4 * place, 4, 8)
    assert asked["first_iteration"] == 5


def test_a_set_in_memory_lies_on_the_device_in_rows():
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 1), np.uint8)
    with feed(ImageSet(images, None, 0, "x"), all_devices(), jax.random.key(0), first_iteration=0,
              n_dis=1, batch_size=4) as one:
        assert one()[0].shape == (5, 6) and one()[1] is None
        np.testing.assert_array_equal(np.asarray(one()[0]).reshape(images.shape), images)
