"""Table 8: the critic of WGAN-GP with an auxiliary classifier (labels used), on CIFAR-10.

Source: Table 8 of arXiv 1802.05957v1.
"""

from . import Row, Value


def _values(score: Value, fid: Value | None = None) -> dict[tuple[str, str], Value]:
    return {("IS", "cifar10"): score, **({("FID", "cifar10"): fid} if fid else {})}


ROWS = (
    Row("AC-WGAN-GP (ResNet)", "resnet", "wgan_gp", "wasserstein", _values(Value(8.42, 0.10)),
        quoted_from="Gulrajani et al. 2017"),
    Row("AC-WGAN-GP (ResNet, baseline)", "resnet", "wgan_gp", "wasserstein",
        _values(Value(8.29, 0.12), Value(19.5))),
    Row("  w/ Spectral Norm.", "resnet", "sn_wgan_gp", "wasserstein",
        _values(Value(8.59, 0.12), Value(18.6))),
    Row("  w/ Spectral Norm. (1.5x feature maps in D)", "resnet", "sn_wgan_gp", "wasserstein",
        _values(Value(8.60, 0.08), Value(17.5))),
)
