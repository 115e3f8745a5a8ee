"""Figures of singular values: 3 and 9 for D's layers, 14 for the sets that each method allows."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sngan_jax.analysis.spectra import layer_spectra
from sngan_jax.base.errors import UserError
from sngan_jax.run.figures import COLOURS
from sngan_jax.run.restore import RestoredRun, at_iteration, restore_run

from ..configs.paper import SETTINGS
from ..sweeps.tables import OWN, TABLES
from .parts import Figure, Missing
from .plots import (
    left_out,
    legend_below,
    new_figure,
    of_run,
    save,
    style_of,
    where,
)
from .published import command_like
from .runs import FINISHED, NOT_SCORED, Collection, Run, Sweep

_SIZE = 50  # side of Figure 14's matrix
_WATCHED = ("sn", "weight_norm", "orthonormal")


@functools.lru_cache(maxsize=8)  # a run per method of Table 2, which several figures use
def newest(workdir: Path) -> RestoredRun:
    """The newest checkpoint of a run, with its networks; `at_iteration` loads others from it.

    Raises:
      UserError: if no checkpoint can be read.
    """
    return restore_run(workdir)


@functools.lru_cache(maxsize=256)
def spectra_of(workdir: Path, iteration: int) -> dict[str, np.ndarray]:
    """{layer of D: the singular values of its W̄ at a checkpoint, descending}.

    Raises:
      UserError: if the checkpoint cannot be read.
    """
    run = at_iteration(newest(workdir), workdir, iteration)
    config = run.config
    images = np.zeros((2, config.image_size, config.image_width or config.image_size,
                       run.channels), np.float32)
    labels = (np.zeros(2, np.int32),) if run.num_classes else ()
    return layer_spectra(run.discriminator, run.state.discriminator.variables, images, *labels)


def figure3(found: Collection, folder: Path) -> Figure | Missing:
    """Squared singular values of each layer of D, in the last checkpoint of every method."""
    title, lost = "Figure 3: squared singular values of each layer of D", ""
    for sweep, setting, runs in in_one_setting(found):
        shown, lost = _readable([(run, run.saved[-1:]) for run in runs])
        if not shown:
            continue
        layers = [name for name, values in shown[0][1][0][1].items() if len(values) > 1]
        rows = -(-len(layers) // 4)
        figure, axes = new_figure(2.1 * rows + 0.9, rows, 4, sharey=True)
        for plot, layer in zip(axes.flat, layers, strict=False):
            for run, spectra in shown:
                values = spectra[-1][1].get(layer)
                if values is None:
                    continue
                style = style_of(run.config["method"])
                squares = (values / max(values.max(), np.finfo(float).tiny)) ** 2
                plot.plot(np.arange(1, len(squares) + 1), squares, style.line, color=style.colour,
                          label=style.label, linewidth=1.5, marker=style.marker, markersize=3.5,
                          markevery=max(len(squares) // 8, 1))
            plot.set_title(layer, fontsize="medium")
            plot.grid(alpha=0.3)
            plot.set_xlabel("i")
        for plot in list(axes.flat)[len(layers):]:
            plot.set_axis_off()
        for plot in axes[:, 0]:
            plot.set_ylabel("σᵢ² / σ₁²")
        legend_below(figure, axes)
        return Figure(title, f"{where(sweep)} Setting {setting}, seed {shown[0][0].seed}, last "
                      "checkpoint. The setting is the same for all methods (the paper takes the "
                      "best of each). Values are those of W̄ in the forward pass, as a matrix of "
                      "outputs × the rest, by SVD; i = 1 is the largest, scaled to 1. The last "
                      f"dense layer has one singular value and is left out.{lost}",
                      save(figure, folder / "figure3.png"),
                      tuple(of_run(run, f"checkpoint {spectra[-1][0]:,}")
                            for run, spectra in shown))
    return Missing(title, f"No finished run has a checkpoint that can be read.{lost} Make some "
                   f"with: {command_like(found, '2')}")


def figure9(found: Collection, folder: Path) -> Figure | Missing:
    """The true largest singular value of W̄ over the iterations."""
    title = "Figure 9: largest singular value of W̄ of each layer of D over iterations"
    lost = ""
    for sweep, setting, runs in in_one_setting(found):
        watched = [(run, run.saved) for method in _WATCHED for run in runs
                   if run.config["method"] == method and len(run.saved) > 1]
        shown, lost = _readable(watched)
        if not shown:
            continue
        figure, axes = new_figure(3.8, 1, len(shown))
        for plot, (run, spectra) in zip(axes.flat, shown, strict=True):
            layers = list(spectra[0][1])
            colours = _in_order(len(layers))
            for i, layer in enumerate(layers):
                plot.plot([at for at, _ in spectra], [of[layer][0] for _, of in spectra],
                          color=colours[i], label=layer, linewidth=1.4, marker="osv^DPX<>*"[i % 10],
                          markersize=4)
            plot.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
            plot.set_title(style_of(run.config["method"]).label, fontsize="medium")
            plot.set_xlabel("iteration")
            plot.ticklabel_format(useOffset=False)
            plot.grid(alpha=0.3)
        axes[0, 0].set_ylabel("σ(W̄), by SVD")
        legend_below(figure, axes)
        return Figure(title, f"{where(sweep)} Setting {setting}, seed {shown[0][0].seed}; all "
                      "checkpoints that were kept. W̄ is the weight used in the forward pass: for "
                      "SN, W over the estimate of σ, so that the distance from 1 is the error of "
                      f"the estimate. The scales differ between the panels.{lost}",
                      save(figure, folder / "figure9.png"),
                      tuple(of_run(run, "checkpoints " + ", ".join(f"{at:,}" for at, _ in spectra))
                            for run, spectra in shown))
    return Missing(title, "No run of sn, weight_norm or orthonormal has several checkpoints "
                   f"(keep_every).{lost} Make some with: {command_like(found, '2')}")


def in_one_setting(found: Collection) -> Iterator[tuple[Sweep, str, list[Run]]]:
    """For each sweep, one trained run per row, in the setting that most rows have.

    If several have as many, it is C, that of the paper's Figure 9. The run is that of the first
    seed. Sweeps of the paper's tables come first.
    """
    for sweep in sorted(found.sweeps, key=lambda s: ("2", "7", *TABLES, "").index(s.table)):
        trained = [run for run in found.of(sweep) if run.saved
                   and run.state in (FINISHED, NOT_SCORED)]
        by: dict[str, dict[str, Run]] = {}
        for run in sorted(trained, key=lambda run: run.seed):
            by.setdefault(run.setting, {}).setdefault(run.variant, run)
        order = ["C", *(name for name in SETTINGS if name != "C"), OWN, ""]
        for setting in sorted(by, key=lambda s: (-len(by[s]), order.index(s)))[:1]:
            rows = [row.name for row in TABLES.get(sweep.table, ())] or sorted(by[setting])
            one_each: dict[str, Run] = {}  # for each method, the row without changes comes first
            for name in dict.fromkeys(rows):
                if run := by[setting].get(name):
                    one_each.setdefault(run.config["method"], run)
            yield sweep, setting, list(one_each.values())


def _readable(wanted: Sequence[tuple[Run, Sequence[int]]]
              ) -> tuple[list[tuple[Run, list[tuple[int, dict[str, np.ndarray]]]]], str]:
    """Runs with (iteration, spectra) of their checkpoints, and in words the unreadable ones."""
    shown, lost = [], []
    for run, iterations in wanted:
        spectra = []
        for iteration in iterations:
            try:
                spectra.append((iteration, spectra_of(run.folder, iteration)))
            except UserError as error:
                lost.append(str(error))
        if spectra:
            shown.append((run, spectra))
    return shown, left_out(lost)


def _in_order(n: int) -> list[tuple[float, ...]]:
    """Colours of layers, from dark to light, which lightness alone tells apart."""
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0, 0.9, n)]


class Allowed(NamedTuple):
    """The range that a method allows for the i-th largest singular value, i = 1 … n."""

    name: str
    lowest: np.ndarray
    highest: np.ndarray
    why: str


def allowed_sets(n: int) -> list[Allowed]:
    """The bounds in Figure 14 for an n x n matrix, each over all matrices that are allowed.

    SN: σ₁ = 1. Frobenius: Σσ² = 1. Weight norm: rows of length 1, so Σσ² = n. With a fixed sum,
    i values of at least σ_i fit if σ_i ≤ √(Σ/i), and the largest is at least √(Σ/n). Orthonormal:
    all are 1.
    """
    i = np.arange(1, n + 1)
    zero, one = np.zeros(n), np.ones(n)

    def sum_of_squares(total: float) -> tuple[np.ndarray, np.ndarray]:
        return np.where(i == 1, np.sqrt(total / n), 0.0), np.sqrt(total / i)

    return [
        Allowed("SN", np.where(i == 1, one, zero), one, "σ₁ = 1"),
        Allowed("Frobenius norm", *sum_of_squares(1.0), "Σσ² = 1"),
        Allowed("WN", *sum_of_squares(float(n)), f"Σσ² = {n}, the outputs"),
        Allowed("orthonormal", one, one, "all σ = 1"),
    ]


def figure14(found: Collection, folder: Path) -> Figure | Missing:
    """The sets of singular values that each method allows: computed, without a run."""
    del found
    sets = allowed_sets(_SIZE)
    figure, axes = new_figure(2.9, 1, len(sets), sharey=True)
    i = np.arange(1, _SIZE + 1)
    for plot, allowed, colour in zip(axes.flat, sets, COLOURS[:4], strict=True):
        plot.fill_between(i, np.maximum(allowed.lowest, 1e-3), allowed.highest, color=colour,
                          alpha=0.3, linewidth=0)
        plot.plot(i, allowed.highest, color=colour, linewidth=2)
        plot.plot(1, allowed.lowest[0], "o", color=colour, clip_on=False, zorder=3)
        plot.set_title(f"{allowed.name}\n{allowed.why}", fontsize="medium")
        plot.set(xlabel="i", yscale="log", ylim=(0.09, 10), xlim=(1, _SIZE))
        plot.set_xticks([1, *range(10, _SIZE + 1, 10)])
        plot.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
        plot.minorticks_off()
        plot.grid(alpha=0.3)
    axes[0, 0].set_ylabel(f"σᵢ, i-th largest of {_SIZE}")
    return Figure("Figure 14: sets of allowed singular values",
                  f"For a weight of {_SIZE} x {_SIZE}, computed, not from a run: below the line, "
                  "down to zero, are the values that the i-th largest singular value can take; the "
                  "dot is the smallest possible largest value. Orthonormal: only the line. WN and "
                  "the Frobenius norm fix the sum of squares, so a large first value leaves little "
                  "for the others; SN fixes the largest; orthonormal regularisation fixes all.",
                  save(figure, folder / "figure14.png"))

