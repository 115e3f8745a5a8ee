"""Files of arrays come back whole, or are refused with one kind of error."""

import numpy as np
import pytest

from sngan_jax.metrics.arrays import read_npz, write_npz


def test_what_is_written_comes_back_and_nothing_is_left_behind(tmp_path):
    file = tmp_path / "new" / "x.npz"
    write_npz(file, {"a/b": np.arange(3), "n": 4})
    back = read_npz(file)
    np.testing.assert_array_equal(back["a/b"], [0, 1, 2])
    assert int(back["n"]) == 4
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "compressed and damaged", "one array"])
def test_damaged_files(tmp_path, kind):
    file = tmp_path / "x.npz"
    values = np.random.default_rng(0).normal(size=1000)
    if kind == "compressed and damaged":
        np.savez_compressed(file, a=values)
        content = bytearray(file.read_bytes())
        content[100:140] = bytes(40)
        file.write_bytes(content)
    elif kind == "cut":
        np.savez(file, a=values)
        file.write_bytes(file.read_bytes()[:500])
    elif kind == "one array":
        with file.open("wb") as out:
            np.save(out, values)
    else:
        file.write_bytes(b"" if kind == "empty" else b"text")
    with pytest.raises(ValueError):
        read_npz(file)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "x.npz")
