"""What can be asserted of numbers that were summed in another order."""

import numpy as np


def assert_same_losses(ours, theirs, limit=1e-5):
    """Rows of metrics with the same losses: to a share of the largest, as one may be near zero."""
    assert [row["iteration"] for row in ours] == [row["iteration"] for row in theirs]
    for loss in ("d_loss", "g_loss"):
        a, b = (np.array([row[loss] for row in rows]) for rows in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * np.abs(b).max(), err_msg=loss)


def assert_same_images(ours, theirs):
    """uint8 images of the same numbers: one at the border of two levels may be either."""
    apart = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert apart.max() <= 1 and apart.mean() < 0.01
