"""The programs. `experiments.accelerators` explains the call below."""

from . import accelerators

accelerators.hide()
