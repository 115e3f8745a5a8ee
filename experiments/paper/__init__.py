"""The published numbers, as data: a module for each table, each a tuple of `Row`.

    from experiments.paper import table2
    [row for row in table2.ROWS if row.method == "sn"]

Table 1 is `table1.SETTINGS`. Numbers are as printed: not rounded, corrected or averaged.
"""

from typing import NamedTuple


class Value(NamedTuple):
    """A number as printed, with the deviation after its ±; None if none is printed."""

    mean: float
    std: float | None = None


class Row(NamedTuple):
    """A row of a published table.

    label: label as printed, or nearly so.
    architecture: 'cnn' or 'resnet'; '' if nothing, or another network, was trained.
    method: a key of `sngan_jax.methods.METHODS`; '' if the method is not one of ours.
    loss: a key of `sngan_jax.losses.LOSSES`; '' if none is stated.
    values: {(metric, data set): Value}, without the table's empty cells. Metrics are 'IS', 'FID',
      'intra-FID'; data sets 'cifar10', 'stl10', 'imagenet128', 'fashion_mnist'.
    quoted_from: source of a number that the table's authors did not measure; otherwise ''.
    footnote: a further remark on the row.
    """

    label: str
    architecture: str
    method: str
    loss: str
    values: dict[tuple[str, str], Value]
    quoted_from: str = ""
    footnote: str = ""
