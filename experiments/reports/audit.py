"""A Lipschitz audit for readers: tables in Markdown, and a picture of the spectra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.base.files import replacing
from sngan_jax.run.figures import COLOURS


def as_markdown(record: dict[str, Any]) -> str:
    """The record as tables: a row for each layer, then bounds and measurements."""
    norms = record["gradient_norm"]
    lines = ["| layer | kind | shape | σ | operator norm | stable rank |",
             "|---|---|---|---|---|---|",
             *(f"| {layer['name']} | {layer['kind']} | {'x'.join(map(str, layer['shape']))} | "
               f"{layer['sigma']:.3g} | {layer['operator_norm']:.3g} | "
               f"{layer['stable_rank']:.2f} of {len(layer['singular_values'])} |"
               for layer in record["layers"]),
             "", "| Lipschitz constant of D | |", "|---|---|"]
    for name, value in (
            ("upper bound: product of operator norms", record["upper_bound"]),
            ("the same with σ of the reshaped kernels (the paper's; not a bound)",
             record["upper_bound_reshaped"]),
            ("largest gradient norm, real images", norms["real"]),
            ("largest gradient norm, samples", norms["samples"]),
            ("largest gradient norm, between them", norms["between"]),
            ("largest gradient norm, by ascent", norms["ascent"]),
            ("largest ratio of a pair", record["pair_ratio"]),
            ("lower bound: the largest of the five", record["lower_bound"])):
        lines.append(f"| {name} | {'none' if value is None else f'{value:,.4g}'} |")
    return "\n".join(lines) + (f"\n\nNo upper bound: {record['why']}." if record["why"] else "")


def save_spectra(file: Path, spectra: dict[str, Sequence[float]], columns: int = 4) -> None:
    """Draws the singular values of each layer, over the largest, into its own panel of a PNG.

    Args:
      spectra: {name of a layer: its singular values in descending order}. Values of 0, and those
        below a thousandth of the largest, are below the panel.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here

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
