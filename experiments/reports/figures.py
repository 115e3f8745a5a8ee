"""The figures of a report, in order; each is a function of (collection, folder)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .critic import figure15
from .extra import figure_steps
from .parts import Figure, Missing
from .runs import Collection
from .scores import figure1, figure2, figure4, figure5, figure11, figure_lipschitz
from .sheets import figure6, figure7, figure12
from .spectra import figure3, figure9, figure14
from .timings import figure10

Drawing = Callable[[Collection, Path], Figure | Missing]
FIGURES: tuple[Drawing, ...] = (
    figure1, figure2, figure3, figure4, figure5, figure6, figure7, figure9, figure10, figure11,
    figure12, figure14, figure15, figure_steps, figure_lipschitz)


def draw(figures: Sequence[Drawing], found: Collection, folder: Path
         ) -> tuple[Figure | Missing, ...]:
    """Draws the figures into a folder, in order."""
    return tuple(figure(found, folder) for figure in figures)
