"""Table 1: the settings A-F of Adam and n_dis, which every config can take.

ORIGINS gives the source of each setting; D, E and F are the paper's own. Source: Table 1 of arXiv
1802.05957.
"""

from typing import NamedTuple

from sngan_jax.run.config import FIELDS


class Setting(NamedTuple):
    """A row of the paper's Table 1: fields of a config (`sngan_jax.run.config`)."""

    learning_rate: float
    beta1: float
    beta2: float
    n_dis: int


SETTINGS = {
    "A": Setting(1e-4, 0.5, 0.9, 5),
    "B": Setting(1e-4, 0.5, 0.999, 1),
    "C": Setting(**{name: FIELDS[name].default for name in Setting._fields}),
    "D": Setting(1e-3, 0.5, 0.9, 5),
    "E": Setting(1e-3, 0.5, 0.999, 5),
    "F": Setting(1e-3, 0.9, 0.999, 5),
}

ORIGINS = {"A": "Gulrajani et al. 2017", "B": "Warde-Farley & Bengio 2017",
           "C": "Radford et al. 2016", "D": "", "E": "", "F": ""}
