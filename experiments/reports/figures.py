"""The figures of a report, in order: functions (Collection, Path) -> Figure | Missing."""

from .critic import figure15
from .scores import figure1, figure2, figure4, figure5, figure11, figure_lipschitz
from .sheets import figure6, figure7, figure12
from .spectra import figure3, figure9, figure14, figure_steps
from .timings import figure10

FIGURES = (figure1, figure2, figure3, figure4, figure5, figure6, figure7, figure9, figure10,
           figure11, figure12, figure14, figure15, figure_steps, figure_lipschitz)
