"""FIDs on Fashion-MNIST from Lucic et al. 2018, Are GANs Created Equal? (arXiv 1711.10337).

10,000 generated images against the 10,000 of the test set; each is the best of their search over
hyper-parameters. None has spectral normalization, and the networks differ from ours.
"""

from . import Row, Value


def _row(label: str, fid: float, method: str = "", loss: str = "") -> Row:
    return Row(label, "", method, loss, {("FID", "fashion_mnist"): Value(fid)})


ROWS = (
    _row("MM GAN", 29.6, "none", "minimax"),
    _row("NS GAN", 26.5, "none", "non_saturating"),
    _row("LSGAN", 30.7),
    _row("WGAN", 21.5, "weight_clipping", "wasserstein"),
    _row("WGAN GP", 24.5, "wgan_gp", "wasserstein"),
    _row("DRAGAN", 27.7),
    _row("BEGAN", 22.9),
)
