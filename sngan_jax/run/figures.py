"""Pictures of a run: sample grids and curves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from sngan_jax.base.files import replacing

# Okabe and Ito's colours, distinguishable by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


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

    # Fixed margins: a layout engine draws the figure twice.
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.09, 0.12, 0.89, 0.85))
    for i, (name, values) in enumerate(curves.items()):
        axes.plot(iterations, values, label=name, linewidth=1.2, color=COLOURS[i % len(COLOURS)],
                  linestyle=("-", "--", ":")[i // len(COLOURS) % 3])
    axes.set(xlabel="iteration (generator updates)", ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2 if len(curves) > 6 else 1)
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
