"""Pictures of a run: sample grids and curves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from sngan_jax.base.files import replacing
from sngan_jax.base.shapes import Shaped, UInt8

# Okabe and Ito's colours, distinguishable by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def image_grid(images: UInt8[np.ndarray, "n h w c"], columns: int | None = None, *, gap: int = 2
               ) -> UInt8[np.ndarray, "height width c"]:
    """Arranges pictures in a grid.

    Args:
      images: pictures with 1 or 3 channels.
      columns: pictures per row; None for a nearly square grid.
      gap: white pixels between pictures.
    """
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    grid = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (h + gap) + gap, (i % columns) * (w + gap) + gap
        grid[top:top + h, left:left + w] = image
    return grid


def by_class(images: Shaped[np.ndarray, "n h w c"], num_classes: int
             ) -> tuple[Shaped[np.ndarray, "m h w c"], int]:
    """Images and number of columns for a nearly square grid in which each class has a fixed place.

    A few classes have several columns each. Many classes take several rows, and the last of these
    rows is padded with white.

    Args:
      images: uint8 pictures of classes 0, 1, …, num_classes - 1, 0, 1, ….
      num_classes: at least 1.

    Returns:
      the images, possibly with white ones among them, and the number of columns, for `image_grid`.
    """
    side = max(round(math.sqrt(len(images))), 1)
    if num_classes <= 2 * side:
        return images, num_classes * max(round(side / num_classes), 1)
    if num_classes >= len(images):
        return images, -(-len(images) // side)
    rows = -(-num_classes // side)
    columns = -(-num_classes // rows)
    if gap := rows * columns - num_classes:
        rounds = [images[i:i + num_classes] for i in range(0, len(images), num_classes)]
        white = np.full((gap, *images.shape[1:]), 255, images.dtype)
        images = np.concatenate([part for each in rounds for part in (each, white)])
        images = images[:len(images) - gap]
    return images, columns


def save_grid(file: Path, images: UInt8[np.ndarray, "n h w c"], columns: int | None = None) -> None:
    """Writes `image_grid` as PNG; small images are enlarged to at least 48 pixels a side."""
    grid = image_grid(_enlarged(images), columns)
    with replacing(file) as temporary:
        _picture(grid).save(temporary, "PNG")


# Additional arguments for Pillow, by format of the animation.
MOVING: dict[str, dict[str, bool | int]] = {"gif": {}, "webp": {"lossless": True, "method": 4}}


def save_walks(file: Path, walks: UInt8[np.ndarray, "walks steps h w c"], kind: str,
               milliseconds: int = 80) -> None:
    """Writes walks side by side as one animation that runs back and forth in a loop.

    Args:
      walks: pictures with 1 or 3 channels.
      kind: a key of MOVING; GIF has 256 colours, WebP all.
      milliseconds: how long a step is shown.
    """
    order = [*range(walks.shape[1]), *range(walks.shape[1] - 2, 0, -1)]
    frames = [_picture(image_grid(_enlarged(walks[:, step]))) for step in order]
    with replacing(file) as temporary:
        frames[0].save(temporary, kind.upper(), save_all=True, append_images=frames[1:],
                       duration=milliseconds, loop=0, **MOVING[kind])


def _enlarged(images: np.ndarray) -> np.ndarray:
    times = max(1, -(-48 // images.shape[1]))
    return images.repeat(times, 1).repeat(times, 2)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)


def save_curves(file: Path, iterations: list[int], curves: dict[str, list[float]],
                ylabel: str) -> None:
    """Draws named curves over the iterations into a PNG."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    # Fixed margins, because a layout engine draws the figure twice. Many curves leave no room for a
    # legend between them.
    beside = len(curves) > 6
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.09, 0.12, 0.69 if beside else 0.89, 0.85))
    for i, (name, values) in enumerate(curves.items()):
        axes.plot(iterations, values, label=name, linewidth=1.2, color=COLOURS[i % len(COLOURS)],
                  linestyle=("-", "--", ":")[i // len(COLOURS) % 3])
    axes.set(xlabel="iteration (generator updates)", ylabel=ylabel)
    axes.grid(alpha=0.3)
    if beside:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    else:
        axes.legend(fontsize="small")
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
