"""Statistics files, ours and the common ones of other programs."""

import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.metrics.frechet import moments
from sngan_jax.metrics.reference import (
    cache_name,
    is_statistics,
    load_statistics,
    save_statistics,
    without_key,
)
from tests.metrics.fake_extractor import mean_extractor

_ABOUT = {"extractor": "means", "checksum": "0", "resize": "", "data": "digits"}


def test_ours_comes_back_and_others_can_read_it(tmp_path):
    of = moments(np.random.default_rng(0).normal(size=(9, 3)))
    save_statistics(tmp_path / "a" / "s.npz", of, _ABOUT)
    back, about = load_statistics(tmp_path / "a" / "s.npz", mean_extractor())
    np.testing.assert_array_equal(back.covariance, of.covariance)
    assert (back.n, about) == (9, _ABOUT)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["s.npz"]
    with np.load(tmp_path / "a" / "s.npz") as arrays:
        np.testing.assert_array_equal(arrays["mu"], of.mean)
        assert arrays["sigma"].shape == (3, 3)


def test_the_common_file_of_other_programs(tmp_path):
    np.savez(tmp_path / "s.npz", mu=np.ones(3, np.float32), sigma=np.eye(3))
    of, about = load_statistics(tmp_path / "s.npz", mean_extractor())
    assert (of.n, about) == (0, {}) and of.mean.dtype == np.float64


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "other"}, "extractor 'means'"), ({"checksum": "1"}, "checksum '0'"),
    ({"resize": "tf1"}, "resize ''"), ({"dimensions": 4}, "another extractor")])
def test_statistics_of_another_extractor(tmp_path, changes, message):
    save_statistics(tmp_path / "s.npz", moments(np.eye(3)), _ABOUT)
    with pytest.raises(UserError, match=message):
        load_statistics(tmp_path / "s.npz", mean_extractor(**changes))


def test_files_that_are_none(tmp_path):
    file = tmp_path / "s.npz"
    with pytest.raises(UserError, match="there is no"):
        load_statistics(file, mean_extractor())
    np.savez(file, images=np.ones(3))
    with pytest.raises(UserError, match="holds images"):
        load_statistics(file, mean_extractor())
    np.savez(file, mu=np.full(3, np.nan), sigma=np.eye(3))
    with pytest.raises(UserError, match="not finite"):
        load_statistics(file, mean_extractor())
    for sigma in (-np.eye(3), np.eye(3) + np.eye(3, k=1), np.ones((3, 3)) - np.eye(3)):
        np.savez(file, mu=np.zeros(3), sigma=sigma)
        with pytest.raises(UserError, match="not a covariance"):
            load_statistics(file, mean_extractor())
    np.savez(file, mu=np.zeros(3), sigma=np.eye(3) * 1j)
    with pytest.raises(UserError, match="real numbers"):
        load_statistics(file, mean_extractor())
    for content in (b"", b"PK\x03\x04", b"text"):
        file.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_statistics(file, mean_extractor())


def test_images_beside_statistics_are_images(tmp_path):
    statistics = {"mu": np.zeros(3), "sigma": np.eye(3)}
    np.savez(tmp_path / "a.npz", **statistics)
    np.savez(tmp_path / "b.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8), **statistics)
    found = {name: is_statistics(f"{tmp_path}/{name}") for name in (
        "a.npz", "b.npz", "a.npz#mu", "b.npz#mu", "b.npz#arr_0", "c.npz")}
    assert found == {"a.npz": True, "b.npz": False, "a.npz#mu": True, "b.npz#mu": True,
                     "b.npz#arr_0": False, "c.npz": False}
    assert without_key(f"{tmp_path}/b.npz#mu") == f"{tmp_path}/b.npz"


def test_the_cache_tells_apart_all_that_matters():
    names = {cache_name(mean_extractor(), "a", "train", 9),
             cache_name(mean_extractor(checksum="1"), "a", "train", 9),
             cache_name(mean_extractor(resize="tf1"), "a", "train", 9),
             cache_name(mean_extractor(), "b", "train", 9),
             cache_name(mean_extractor(), "a", "test", 9),
             cache_name(mean_extractor(), "a", "train", 8)}
    assert len(names) == 6
    assert cache_name(mean_extractor(), "a", "train", 9) in names
