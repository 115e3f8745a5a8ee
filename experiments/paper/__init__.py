"""The numbers that were published, as data: a module for each table, each a tuple of `Row`.

    from experiments.paper import table2
    [row for row in table2.ROWS if row.method == "sn"]

Table 1 is `table1.SETTINGS`; what the papers print is not rounded, corrected or averaged.
"""

from typing import NamedTuple

SOURCE = ("Miyato, Kataoka, Koyama, Yoshida, Spectral Normalization for Generative Adversarial "
          "Networks, ICLR 2018, arXiv 1802.05957")


class Value(NamedTuple):
    """A number as printed, with the deviation behind its ±, None where none is printed."""

    mean: float
    std: float | None = None


class Row(NamedTuple):
    """A row of a published table.

    label: label as printed, or nearly.
    architecture: 'cnn', 'resnet', '' where none was trained or it is another one.
    method: a key of `sngan_jax.methods.METHODS`, '' where the method is none of ours.
    loss: a key of `sngan_jax.losses.LOSSES`, '' where none is stated.
    values: (metric, data set) -> Value; what the table leaves empty is absent. Metrics are 'IS',
      'FID', 'intra-FID'; data sets 'cifar10', 'stl10', 'imagenet128', 'fashion_mnist'.
    quoted_from: source of a number that the table's authors did not measure, else ''.
    footnote: further remark on the row.
    """

    label: str
    architecture: str
    method: str
    loss: str
    values: dict[tuple[str, str], Value]
    quoted_from: str = ""
    footnote: str = ""
