"""Pictures of a run: sample grids and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sngan_jax.base.files import replacing


def image_grid(images: np.ndarray, columns: int | None = None, *, gap: int = 2) -> np.ndarray:
    """One picture of many.

    Args:
      images: uint8 (n, h, w, 1 or 3).
      columns: pictures a row; None for a near square.
      gap: white pixels between them.

    Returns:
      uint8 (height, width, 1 or 3).
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    grid = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap) + gap, (i % columns) * (w + gap) + gap
        grid[top:top + h, left:left + w] = image
    return grid


def save_grid(file: Path, images: np.ndarray, columns: int | None = None) -> None:
    """Writes `image_grid` as PNG; small images are enlarged to at least 48 pixels a side.

    images: uint8 (n, h, w, 1 or 3).
    """
    enlarge = max(1, -(-48 // images.shape[1]))
    grid = image_grid(images.repeat(enlarge, 1).repeat(enlarge, 2), columns)
    with replacing(file) as temporary:
        Image.fromarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid).save(temporary, "PNG")


def save_curves(file: Path, iterations: list[int], curves: dict[str, list[float]],
                ylabel: str) -> None:
    """Draws named curves over the iterations into a PNG."""
    from matplotlib.figure import Figure  # slow to import, and only here

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, values) in enumerate(curves.items()):
        axes.plot(iterations, values, label=name, linewidth=1.2, color=COLOURS[i % len(COLOURS)],
                  linestyle=("-", "--", ":")[i // len(COLOURS) % 3])
    axes.set(xlabel="iteration (generator updates)", ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2 if len(curves) > 6 else 1)
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def save_spectra(file: Path, spectra: dict[str, Sequence[float]], columns: int = 4) -> None:
    """Draws the singular values of each layer, over the largest, into one panel each of a PNG.

    Args:
      spectra: name of a layer -> its singular values in descending order. Values of 0, and those
        below a thousandth of the largest, are below the panel.
    """
    from matplotlib.figure import Figure  # slow to import, and only here

    relative = {name: np.divide(values, values[0], where=values[0] > 0, out=np.zeros(len(values)))
                for name, values in spectra.items()}
    shown = np.concatenate(list(relative.values()))
    lowest = max(shown[shown > 0].min(initial=0.5) / 1.5, 1e-3)
    rows = -(-len(spectra) // columns)
    figure = Figure(figsize=(9, 1 + 1.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (name, values) in zip(panels.flat, relative.items(), strict=False):
        n = len(values)
        axes.plot(np.arange(1, n + 1), np.where(values > 0, values, np.nan), color=COLOURS[0],
                  linewidth=1.6, marker="o", markersize=3 if n < 20 else 0)
        axes.set(yscale="log", ylim=(lowest, 1.3), xlim=(1 - 0.03 * n, n + 0.03 * n),
                 xticks=sorted({1, (n + 1) // 2, n}))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{name}  (σ {spectra[name][0]:.3g})", fontsize="medium")
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(spectra):]:
        axes.set_axis_off()
    figure.supxlabel("number of the singular value")
    figure.supylabel("singular value / σ, the largest")
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


# Okabe and Ito's colours, distinguishable by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
