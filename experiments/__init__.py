"""Programs. `experiments.accelerators` says what happens here."""

from . import accelerators

accelerators.hide()
