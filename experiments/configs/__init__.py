"""Configs of the experiments: the settings of the paper, and one file for each data set."""
