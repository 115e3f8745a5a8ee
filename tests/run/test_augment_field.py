"""`config.augment` in a run: 'auto' is decided once, and samples are not augmented."""

import json
import shutil
from unittest import mock

import numpy as np

from experiments.configs import digits
from sngan_jax.run.loop import train
from sngan_jax.run.restore import restore_run
from sngan_jax.run.workdir import CONFIG, read_config


def test_auto_is_decided_by_the_data_and_written(tmp_path):
    config = digits.get_config()
    config.augment = "auto"
    with mock.patch("sngan_jax.run.loop._train", return_value=True) as trained:
        for _ in range(2):  # the same command goes on
            assert train(config, tmp_path / "few")
        with mock.patch("sngan_jax.step.augment.FEW_IMAGES", 1796):
            assert train(config, tmp_path / "many")
    assert config.augment == "auto"
    assert read_config(tmp_path / "few")["augment"] == "color,translation,cutout"
    assert read_config(tmp_path / "many")["augment"] == ""
    assert [call.args[2].augment for call in trained.call_args_list] == [
        ("color", "translation", "cutout")] * 2 + [()]


def test_samples_are_not_augmented(finished_run, tmp_path):
    copy = shutil.copytree(finished_run, tmp_path / "run")
    changed = {**read_config(copy), "augment": "color,translation,cutout"}
    (copy / CONFIG).write_text(json.dumps(changed))
    np.testing.assert_array_equal(*(restore_run(run).sample(np.arange(3))
                                    for run in (finished_run, copy)))
