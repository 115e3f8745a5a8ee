"""Table 2: inception scores and FIDs of unsupervised generation on CIFAR-10 and STL-10.

Each row of the standard CNN is the best of the settings A-F, after 100,000 iterations unless its
footnote gives more. Inception score of 5,000 samples ten times; FID of 10,000 real and 5,000
generated images. Source: Table 2 of arXiv 1802.05957v1 (its blind submission had other numbers).
"""

from . import Row, Value

TWICE = "twice the updates: 200,000 iterations"


def _values(is_cifar: Value | None, is_stl: Value | None, fid_cifar: Value | None,
            fid_stl: Value | None) -> dict[tuple[str, str], Value]:
    """The four columns, in the order of the table."""
    columns = {("IS", "cifar10"): is_cifar, ("IS", "stl10"): is_stl,
               ("FID", "cifar10"): fid_cifar, ("FID", "stl10"): fid_stl}
    return {column: value for column, value in columns.items() if value is not None}


ROWS = (
    Row("Real data", "", "", "",
        _values(Value(11.24, 0.12), Value(26.08, 0.26), Value(7.8), Value(7.9))),
    Row("Weight clipping", "cnn", "weight_clipping", "non_saturating",
        _values(Value(6.41, 0.11), Value(7.57, 0.10), Value(42.6), Value(64.2))),
    Row("GAN-GP", "cnn", "gan_gp", "non_saturating",
        _values(Value(6.93, 0.08), None, Value(37.7), None)),
    Row("WGAN-GP", "cnn", "wgan_gp", "wasserstein",
        _values(Value(6.68, 0.06), Value(8.42, 0.13), Value(40.2), Value(55.1)),
        footnote="Table 7 prints FID 40.1 for the same CIFAR-10 baseline"),
    Row("Batch Norm.", "cnn", "batch_norm", "non_saturating",
        _values(Value(6.27, 0.10), None, Value(56.3), None)),
    Row("Layer Norm.", "cnn", "layer_norm", "non_saturating",
        _values(Value(7.19, 0.12), Value(7.61, 0.12), Value(33.9), Value(75.6))),
    Row("Weight Norm.", "cnn", "weight_norm", "non_saturating",
        _values(Value(6.84, 0.07), Value(7.16, 0.10), Value(34.7), Value(73.4))),
    Row("Orthonormal", "cnn", "orthonormal", "non_saturating",
        _values(Value(7.40, 0.12), Value(8.56, 0.07), Value(29.0), Value(46.7))),
    Row("SN-GANs", "cnn", "sn", "non_saturating",
        _values(Value(7.42, 0.08), Value(8.28, 0.09), Value(29.3), Value(53.1))),
    Row("Orthonormal (2x updates)", "cnn", "orthonormal", "non_saturating",
        _values(None, Value(8.67, 0.08), None, Value(44.2)), footnote=TWICE),
    Row("SN-GANs (2x updates)", "cnn", "sn", "non_saturating",
        _values(None, Value(8.69, 0.09), None, Value(47.5)), footnote=TWICE),
    Row("SN-GANs, Eq. (17)", "cnn", "sn", "hinge",
        _values(Value(7.58, 0.12), None, Value(25.5), None)),
    Row("SN-GANs, Eq. (17) (2x updates)", "cnn", "sn", "hinge",
        _values(None, Value(8.79, 0.14), None, Value(43.2)), footnote=TWICE),
    Row("Orthonormal, Eq. (17), ResNet", "resnet", "orthonormal", "hinge",
        _values(Value(7.92, 0.04), Value(8.72, 0.06), Value(23.8, 0.58), Value(42.4, 0.99))),
    Row("SN-GANs, Eq. (17), ResNet", "resnet", "sn", "hinge",
        _values(Value(8.22, 0.05), Value(9.10, 0.04), Value(21.7, 0.21), Value(40.1, 0.50))),
    Row("DCGAN", "", "", "", _values(Value(6.64, 0.14), Value(7.84, 0.07), None, None),
        quoted_from="Radford et al. 2016",
        footnote="quoted by the paper; who measured it is not in the notes this was made from"),
    Row("LR-GANs", "", "", "", _values(Value(7.17, 0.07), None, None, None),
        quoted_from="Yang et al. 2017"),
    Row("Warde-Farley & Bengio", "", "", "",
        _values(Value(7.72, 0.13), Value(8.51, 0.13), None, None),
        quoted_from="Warde-Farley & Bengio 2017"),
    Row("WGAN-GP (ResNet)", "resnet", "wgan_gp", "wasserstein",
        _values(Value(7.86, 0.08), None, None, None), quoted_from="Gulrajani et al. 2017"),
)
