"""Table 1: the settings A-F of Adam and n_dis, which `experiments.configs.paper` trains with.

ORIGINS tells where the paper took a setting from; D, E and F are its own. Source: Table 1 of
arXiv 1802.05957.
"""

from experiments.configs.paper import SETTINGS

ORIGINS = {"A": "Gulrajani et al. 2017", "B": "Warde-Farley & Bengio 2017",
           "C": "Radford et al. 2016", "D": "", "E": "", "F": ""}

__all__ = ["ORIGINS", "SETTINGS"]
