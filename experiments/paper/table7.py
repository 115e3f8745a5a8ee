"""Table 7: reparametrizations of the critic of WGAN-GP, unsupervised, on CIFAR-10.

W = γ·W/|W| with a learnt γ (Appendix E). Source: Table 7 of arXiv 1802.05957v1.
"""

from . import Row, Value


def _values(score: Value | None, fid: Value | None = None) -> dict[tuple[str, str], Value]:
    columns = {("IS", "cifar10"): score, ("FID", "cifar10"): fid}
    return {column: value for column, value in columns.items() if value is not None}


ROWS = (
    Row("WGAN-GP (standard CNN, baseline)", "cnn", "wgan_gp", "wasserstein",
        _values(Value(6.68, 0.06), Value(40.1)),
        footnote="Table 2 prints FID 40.2 for the same baseline"),
    Row("  w/ Frobenius Norm.", "cnn", "frobenius_wgan_gp", "wasserstein", _values(None),
        footnote="N/A: its training collapsed"),
    Row("  w/ Weight Norm.", "cnn", "wn_wgan_gp", "wasserstein",
        _values(Value(6.36, 0.04), Value(42.4))),
    Row("  w/ Spectral Norm.", "cnn", "sn_wgan_gp", "wasserstein",
        _values(Value(7.20, 0.08), Value(32.0))),
    Row("WGAN-GP (ResNet)", "resnet", "wgan_gp", "wasserstein", _values(Value(7.86, 0.08)),
        quoted_from="Gulrajani et al. 2017"),
    Row("WGAN-GP (ResNet, baseline)", "resnet", "wgan_gp", "wasserstein",
        _values(Value(7.80, 0.11), Value(24.5))),
    Row("  w/ Spectral Norm.", "resnet", "sn_wgan_gp", "wasserstein",
        _values(Value(7.85, 0.06), Value(23.6))),
    Row("  w/ Spectral Norm. (1.5x feature maps in D)", "resnet", "sn_wgan_gp", "wasserstein",
        _values(Value(7.96, 0.06), Value(22.5))),
)
