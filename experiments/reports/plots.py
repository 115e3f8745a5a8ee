"""The look of a report's figures: sizes, colours, markers, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sngan_jax.base.files import replacing
from sngan_jax.run.figures import COLOURS

from .runs import Run, Sweep

WIDTH = 8.0  # inches, the page's width
_GREY = "#7F7F7F"


class Style(NamedTuple):
    """The look of a method, the same in all figures; colour and marker both identify it."""

    label: str
    colour: str
    marker: str
    line: str = "-"


_STYLES = {
    "sn": Style("SN", COLOURS[0], "o"),
    "orthonormal": Style("orthonormal", COLOURS[1], "s", "--"),
    "weight_norm": Style("WN", COLOURS[2], "^", "-."),
    "weight_clipping": Style("weight clipping", COLOURS[3], "v", ":"),
    "wgan_gp": Style("WGAN-GP", COLOURS[4], "D", "--"),
    "gan_gp": Style("GAN-GP", COLOURS[5], "P", "-."),
    "layer_norm": Style("LN", COLOURS[6], "X", ":"),
    "batch_norm": Style("BN", _GREY, "<", "--"),
    "sn_wgan_gp": Style("WGAN-GP with SN", COLOURS[0], "o"),
    "wn_wgan_gp": Style("WGAN-GP with WN", COLOURS[2], "^", "-."),
    "none": Style("none", _GREY, ">", ":"),
    "sn_svd": Style("SN, exact σ", COLOURS[1], "s", "--"),
    "sn_operator": Style("SN, operator norm", COLOURS[2], "^", "-."),
    "sn_bidirectional": Style("SN, bidirectional", COLOURS[3], "v", ":"),
    "weight_projection": Style("weight projection", COLOURS[4], "D", "--"),
    "frobenius_wgan_gp": Style("WGAN-GP, Frobenius", COLOURS[6], "X", ":"),
    # Settings of Table 1, for figures that compare these.
    "A": Style("setting A", COLOURS[0], "o"),
    "C": Style("setting C", COLOURS[1], "s", "--"),
    "E": Style("setting E", COLOURS[2], "^", "-."),
}


def style_of(method: str) -> Style:
    """The style for a method's or a setting's name; unknown ones are grey."""
    return _STYLES.get(method, Style(method, _GREY, ">", ":"))


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure of the page's width and its axes, an array (rows, columns)."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Any, file: Path) -> Path:
    """Writes the PNG; returns its path."""
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return file


def legend_below(figure: Any, axes: Any, columns: int = 4) -> None:
    """One legend for all panels, under them."""
    handles: dict[str, Any] = {}
    for one in axes.flat:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns,
                  frameon=False)


def of_run(run: Run, iterations: object = "") -> str:
    """A line for the provenance of a figure."""
    at = f"; {iterations}" if iterations else ""
    return (f"{run.folder}: {run.variant}, setting {run.setting or 'its own'}, seed {run.seed}"
            f"{at}; commit {run.environment.get('commit') or 'unknown'}")


def left_out(reasons: Sequence[str]) -> str:
    """The end of a caption, on data that could not be read; empty if all could."""
    return f" Left out: {'; '.join(reasons)}." if reasons else ""


def where(sweep: Sweep) -> str:
    """The first sentence of a caption."""
    return f"{sweep.title}."
