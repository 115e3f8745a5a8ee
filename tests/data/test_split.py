"""Parts of a split, as TFDS and Python understand them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sngan_jax.data.sources import DataError, load
from sngan_jax.data.split import rows_of


@given(st.integers(1, 300), st.integers(-300, 300), st.integers(-300, 300))
def test_bounds_are_pythons_where_they_are_inside(n, low, high):
    rows = list(range(n))
    inside = all(-n <= bound <= n for bound in (low, high)) and rows[low:high]
    if inside and high != 0:
        assert rows[rows_of(f"train[{low}:{high}]", n)] == rows[low:high]
    elif high:
        with pytest.raises(DataError, match="not a part of"):
            rows_of(f"train[{low}:{high}]", n)


@pytest.mark.parametrize(("split", "expected"), [
    ("train", (0, 60)), ("train[:]", (0, 60)), ("train[:50%]", (0, 30)), ("train[50%:]", (30, 60)),
    ("train[-10%:]", (54, 60)), ("x[3:5]", (3, 5)), ("train[:33%]", (0, 20))])
def test_rows(split, expected):
    rows = rows_of(split, 60)
    assert (rows.start, rows.stop) == expected


@pytest.mark.parametrize("split", ["", "train[", "train[1]", "train[a:b]", "train[5:3]",
                                   "train+test", "train[:0]", "train[:61]"])
def test_what_is_no_part(split):
    with pytest.raises(DataError):
        rows_of(split, 60)


def test_of_arrays_digits_and_folders(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(10))
    part = load(f"npz:{tmp_path}/a.npz", image_size=8, split="train[20%:5]")
    np.testing.assert_array_equal(part.images, images[2:5])
    assert (part.labels.tolist(), part.num_classes) == ([2, 3, 4], 10)
    assert len(load("digits", image_size=8, split="train[:-97]")) == 1700
    with pytest.raises(DataError, match="digits has no split 'test'"):
        load("digits", image_size=8, split="test[:5]")
