"""Programs. `experiments.accelerators` says what happens here."""

from experiments import accelerators

accelerators.hide()
