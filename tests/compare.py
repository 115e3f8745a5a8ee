"""Comparisons of numbers that were summed in different orders."""

import numpy as np


def assert_same_losses(ours, theirs, limit=1e-5):
    """Asserts equal losses in rows, relative to the largest, because one may be near zero."""
    assert [row["iteration"] for row in ours] == [row["iteration"] for row in theirs]
    for loss in ("d_loss", "g_loss"):
        a, b = (np.array([row[loss] for row in rows]) for rows in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * np.abs(b).max(), err_msg=loss)


def assert_same_images(ours, theirs):
    """Asserts equal uint8 images, up to one level, because of rounding at a border."""
    apart = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert apart.max() <= 1 and apart.mean() < 0.01
