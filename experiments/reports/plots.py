"""The look of a report's figures, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import replacing
from sngan_jax.run.figures import COLOURS

from .parts import Figure, Missing
from .published import command_like
from .runs import Collection, Run

Of = TypeVar("Of")
Read = TypeVar("Read")

WIDTH = 8.0  # inches, the page's width
_GREY = "#7F7F7F"
# Label, colour, marker and line of a method or of a setting of Table 1, the same in all figures;
# colour and marker both identify it.
_STYLES = {
    "sn": ("SN", COLOURS[0], "o", "-"),
    "orthonormal": ("orthonormal", COLOURS[1], "s", "--"),
    "weight_norm": ("WN", COLOURS[2], "^", "-."),
    "weight_clipping": ("weight clipping", COLOURS[3], "v", ":"),
    "wgan_gp": ("WGAN-GP", COLOURS[4], "D", "--"),
    "gan_gp": ("GAN-GP", COLOURS[5], "P", "-."),
    "layer_norm": ("LN", COLOURS[6], "X", ":"),
    "batch_norm": ("BN", _GREY, "<", "--"),
    "sn_wgan_gp": ("WGAN-GP with SN", COLOURS[0], "o", "-"),
    "wn_wgan_gp": ("WGAN-GP with WN", COLOURS[2], "^", "-."),
    "none": ("none", _GREY, ">", ":"),
    "sn_svd": ("SN, exact σ", COLOURS[1], "s", "--"),
    "sn_operator": ("SN, operator norm", COLOURS[2], "^", "-."),
    "sn_bidirectional": ("SN, bidirectional", COLOURS[3], "v", ":"),
    "weight_projection": ("weight projection", COLOURS[4], "D", "--"),
    "frobenius_wgan_gp": ("WGAN-GP, Frobenius", COLOURS[6], "X", ":"),
    "A": ("setting A", COLOURS[0], "o", "-"),
    "C": ("setting C", COLOURS[1], "s", "--"),
    "E": ("setting E", COLOURS[2], "^", "-."),
}


class Drawn(NamedTuple):
    """figure: Matplotlib's; caption: without the sweep's title; title: if not the usual one."""

    figure: Any
    caption: str
    provenance: Sequence[str]
    title: str = ""


def drawing(name: str, title: str, attempts: Callable[[Collection], Iterable[tuple[Any, ...]]],
            absent: str, table: str, read: Callable[[Any], tuple[Any, str]] = lambda of: (of, "")
            ) -> Callable[[Callable[..., Drawn]], Callable[[Collection, Path], Figure | Missing]]:
    """A decorator that makes a figure of the first sweep that has something to draw.

    Args:
      name: name of the file.
      attempts: the sweeps in turn, each with what to draw, and further arguments of the function.
      absent: the reason if there is nothing, before the command that makes the runs of `table`;
        what could not be read stands at {lost}.
      read: function of what to draw: the readable part, and the end of a caption on the rest.
    """
    def decorate(draw: Callable[..., Drawn]) -> Callable[[Collection, Path], Figure | Missing]:
        def figure(found: Collection, folder: Path) -> Figure | Missing:
            lost = ""
            for sweep, wanted, *more in attempts(found):
                shown, words = read(wanted)
                if len(shown):
                    drawn = draw(shown, *more)
                    return Figure(drawn.title or title, f"{sweep.title}. {drawn.caption}{words}",
                                  save(drawn.figure, folder / f"{name}.png"),
                                  tuple(drawn.provenance))
                lost = words or lost
            reason = absent.format(lost=lost).strip()
            return Missing(title, f"{reason}: {command_like(found, table)}")
        return figure
    return decorate


def readable(wanted: Iterable[Of], read: Callable[[Of], Read], words: str = "Left out"
             ) -> tuple[list[tuple[Of, Read]], str]:
    """Whatever can be read, with what was read, and the end of a caption on the rest."""
    there, lost = [], []
    for one in wanted:
        try:
            there.append((one, read(one)))
        except UserError as error:
            lost.append(str(error))
    return there, f" {words}: {'; '.join(dict.fromkeys(lost))}." if lost else ""


def style_of(name: str) -> dict[str, Any]:
    """The options of `plot` for a method or a setting; unknown ones are grey."""
    return dict(zip(("label", "color", "marker", "linestyle"),
                    _STYLES.get(name, (name, _GREY, ">", ":")), strict=True))


def new_figure(height: float, panels: int = 1, columns: int = 0, more: float = 0, **options: Any
               ) -> tuple[Any, list[Any]]:
    """A figure of the page's width, and its panels.

    Args:
      height: inches of each row of panels; more: inches besides the rows.
      columns: panels per row; 0 for one row.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here

    columns = min(columns, panels) or panels
    rows = -(-panels // columns)
    figure = Figure(figsize=(WIDTH, rows * height + more), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for empty in axes[panels:]:
        empty.set_axis_off()
    return figure, axes[:panels]


def save(figure: Any, file: Path) -> Path:
    """Writes the PNG; returns its path."""
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return file


def legend_below(figure: Any, columns: int = 4) -> None:
    """One legend for all panels, under them."""
    handles = {label: handle for panel in figure.axes
               for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns,
                  frameon=False)


def seed_of(run: Run, setting: str) -> str:
    """The beginning of a caption: 'Setting C, seed 0', or 'Seed 0' outside of a table."""
    return f"Setting {setting}, seed {run.seed}" if setting else f"Seed {run.seed}"


def of_run(run: Run, what: str) -> str:
    """A line for the provenance of a figure."""
    return (f"{run.folder}: {run.variant}, setting {run.setting or 'its own'}, seed {run.seed}; "
            f"{what}; commit {run.environment.get('commit') or 'unknown'}")
