"""Figures of singular values: 3, 9 and the error of σ for D's layers, 14 for what methods allow."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.analysis.spectra import layer_spectra
from sngan_jax.run.figures import COLOURS
from sngan_jax.run.restore import RestoredRun, at_iteration, restore_run

from ..configs.paper import SETTINGS
from ..sweeps.tables import OWN, TABLES
from .parts import Figure
from .plots import (
    Drawn,
    drawing,
    legend_below,
    new_figure,
    of_run,
    readable,
    save,
    seed_of,
    style_of,
)
from .runs import Collection, Run, Sweep, first_seeds

Spectra = dict[str, np.ndarray]  # {layer of D: singular values, descending}
Errors = dict[int, dict[str, float]]  # {iteration: {layer: relative error of σ}}
Shown = list[tuple[Run, dict[int, Spectra]]]  # by iteration
_SIZE = 50  # side of Figure 14's matrix
_FLOOR = 1e-8  # least error that is drawn, on a logarithmic axis


@functools.lru_cache(maxsize=8)  # a run per method of Table 2, which several figures use
def newest(workdir: Path) -> RestoredRun:
    """The newest checkpoint of a run, with its networks; `at_iteration` loads others from it.

    Raises:
      UserError: if no checkpoint can be read.
    """
    return restore_run(workdir)


@functools.lru_cache(maxsize=256)
def spectra_of(workdir: Path, iteration: int) -> Spectra:
    """The singular values of each W̄ of D at a checkpoint.

    Raises:
      UserError: if the checkpoint cannot be read.
    """
    run = at_iteration(newest(workdir), workdir, iteration)
    config = run.config
    images = np.zeros((2, config.image_size, config.image_width or config.image_size,
                       run.channels), np.float32)
    labels = (np.zeros(2, np.int32),) if run.num_classes else ()
    return layer_spectra(run.discriminator, run.state.discriminator.variables, images, *labels)


def in_one_setting(found: Collection) -> Iterator[tuple[Sweep, list[Run], str]]:
    """For each sweep, one trained run per row, in the setting that most rows have.

    In a tie it is C, the setting of the paper's Figure 9, if C is among them. The run is that of
    the first seed. Sweeps of the paper's tables come first.
    """
    for sweep in sorted(found.sweeps, key=lambda s: ("2", "7", *TABLES, "").index(s.table)):
        first = first_seeds([run for run in found.of(sweep) if run.trained])
        counts = Counter(setting for setting, _ in first)
        order = ["C", *SETTINGS, OWN, ""]
        for setting in sorted(counts, key=lambda s: (-counts[s], order.index(s)))[:1]:
            rows = [row.name for row in TABLES.get(sweep.table, ())] or sorted(
                variant for _, variant in first)
            one_each: dict[str, Run] = {}  # for each method, the row without changes comes first
            for name in rows:
                if run := first.get((setting, name)):
                    one_each.setdefault(run.config["method"], run)
            yield sweep, list(one_each.values()), setting


def _at_checkpoints(runs: Sequence[Run]) -> tuple[Shown, str]:
    """Each run with its spectra by iteration, as far as they can be read; words on the others."""
    there, lost = readable([(run, at) for run in runs for at in run.saved],
                           lambda of: spectra_of(of[0].folder, of[1]))
    by: dict[Path, tuple[Run, dict[int, Spectra]]] = {}
    for (run, at), spectra in there:
        by.setdefault(run.folder, (run, {}))[1][at] = spectra
    return list(by.values()), lost


@drawing("figure3", "Figure 3: squared singular values of each layer of D", in_one_setting,
         "No finished run has a checkpoint that can be read.{lost} Make some with", "2",
         lambda runs: _at_checkpoints([run._replace(saved=run.saved[-1:]) for run in runs]))
def figure3(shown: Shown, setting: str) -> Drawn:
    """Squared singular values of each layer of D, in the last checkpoint of every method."""
    last = [(run, at, spectra) for run, of in shown for at, spectra in of.items()]
    layers = [name for name, values in last[0][2].items() if len(values) > 1]
    figure, axes = new_figure(2.1, len(layers), 4, more=0.9, sharey=True)
    for plot, layer in zip(axes, layers, strict=True):
        for run, _, spectra in last:
            if layer in spectra:
                values = spectra[layer]
                squares = (values / max(values.max(), np.finfo(float).tiny)) ** 2
                plot.plot(np.arange(1, len(squares) + 1), squares, linewidth=1.5, markersize=3.5,
                          markevery=max(len(squares) // 8, 1), **style_of(run.config["method"]))
        plot.set_title(layer, fontsize="medium")
        plot.grid(alpha=0.3)
        plot.set_xlabel("i")
        plot.xaxis.get_major_locator().set_params(integer=True)
    for plot in axes[::4]:
        plot.set_ylabel("σᵢ² / σ₁²")
    legend_below(figure)
    return Drawn(figure, f"{seed_of(last[0][0], setting)}, last checkpoint. The setting "
                 "is the same for all methods (the paper takes the best of each). Values are those "
                 "of W̄ in the forward pass, as a matrix of outputs × the rest, by SVD; i = 1 is "
                 "the largest, scaled to 1. The last dense layer has one singular value and is "
                 "left out.", [of_run(run, f"checkpoint {at:,}") for run, at, _ in last])


def _watched(found: Collection) -> Iterator[tuple[Sweep, list[Run], str]]:
    """The runs of three methods that have several checkpoints."""
    for sweep, runs, setting in in_one_setting(found):
        yield sweep, [run for method in ("sn", "weight_norm", "orthonormal") for run in runs
                      if run.config["method"] == method and len(run.saved) > 1], setting


@drawing("figure9", "Figure 9: largest singular value of W̄ of each layer of D over iterations",
         _watched, "No run of sn, weight_norm or orthonormal has several checkpoints "
         "(keep_every).{lost} Make some with", "2", _at_checkpoints)
def figure9(shown: Shown, setting: str) -> Drawn:
    """The true largest singular value of W̄ over the iterations."""
    from matplotlib import colormaps

    figure, axes = new_figure(3.8, len(shown))
    # From dark to light, so that lightness alone tells the layers apart.
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(next(iter(shown[0][1].values())))))
    for plot, (run, spectra) in zip(axes, shown, strict=True):
        _layers(plot, {at: {layer: values[0] for layer, values in of.items()}
                       for at, of in spectra.items()}, colours, linewidth=1.4)
        plot.axhline(_k(run), color="0.4", linewidth=0.8, linestyle=":")
        plot.set_title(style_of(run.config["method"])["label"], fontsize="medium")
        plot.ticklabel_format(useOffset=False)
    axes[0].set_ylabel("σ(W̄), by SVD")
    legend_below(figure)
    return Drawn(figure, f"{seed_of(shown[0][0], setting)}; all checkpoints that were "
                 "kept. W̄ is the weight used in the forward pass: for SN, K·W over the estimate of "
                 "σ, so that the distance from K (dotted) is the error of the estimate. The scales "
                 "differ between the panels.", _provenance(shown))


def sigma_errors(runs: Sequence[Run]) -> list[tuple[Run, Errors]]:
    """Runs with {iteration: {layer: |σ used - σ by SVD| / σ by SVD}} of readable checkpoints.

    W̄ = K·W/σ used, so its own σ, by SVD, is K·σ/σ used. A weight of zero is left out.
    """
    found = []
    for run, spectra in _at_checkpoints(runs)[0]:
        errors = {at: {layer: abs(_k(run) / float(values[0]) - 1) for layer, values in of.items()
                       if values[0] > 0} for at, of in spectra.items()}
        found.append((run, {at: of for at, of in errors.items() if of}))
    return [(run, errors) for run, errors in found if errors]


def _k(run: Run) -> float:
    return run.config.get("lipschitz", 1.0)


def _by_steps(found: Collection) -> Iterator[tuple[Sweep, list[Run]]]:
    """The first sweep of the table `steps`, with the first seed of each trained row."""
    for sweep in [sweep for sweep in found.sweeps if sweep.table == "steps"][:1]:
        first = first_seeds([run for run in found.of(sweep) if run.trained])
        yield sweep, [first["C", row.name] for row in TABLES["steps"] if ("C", row.name) in first]


@drawing("figure_steps",
         "Power steps: error of σ of each layer over iterations (not in the paper)", _by_steps,
         "No run of the table `steps` has a checkpoint that can be read. Make some with", "steps",
         lambda runs: (sigma_errors(runs), ""))
def figure_steps(shown: list[tuple[Run, Errors]]) -> Drawn:
    """Error of σ of each layer over the iterations, a panel for each number of power steps."""
    figure, axes = new_figure(3.4, len(shown), sharey=True)
    titles = {"sn_svd": "exact (SVD)", "sn,power_steps=1": "1 step"}
    for plot, (run, errors) in zip(axes, shown, strict=True):
        _layers(plot, {at: {layer: max(error, _FLOOR) for layer, error in of.items()}
                       for at, of in errors.items()}, COLOURS, linewidth=1.3)
        plot.set_yscale("log")
        plot.set_title(titles.get(run.variant, f"{run.variant.rpartition('=')[2]} steps"),
                       fontsize="medium")
    axes[0].set_ylabel("|σ used - σ| / σ")
    legend_below(figure)
    return Drawn(figure, f"Setting C, seed {shown[0][0].seed}, all checkpoints that were kept. The "
                 "σ used in a forward pass at evaluation is compared with that by SVD; errors "
                 f"below {_FLOOR:g} are drawn there.", _provenance(shown))


def _layers(plot: Any, values: Mapping[int, Mapping[str, float]], colours: Sequence[Any],
            linewidth: float) -> None:
    """A line for each layer over the iterations of {iteration: {layer: value}}."""
    for i, layer in enumerate(next(iter(values.values()))):
        plot.plot(list(values), [of.get(layer, math.nan) for of in values.values()], label=layer,
                  color=colours[i % len(colours)], marker="osv^DPX<>*"[i % 10], markersize=4,
                  linestyle=("-", "--")[i // len(colours) % 2], linewidth=linewidth)
    plot.set_xlabel("iteration")
    plot.xaxis.get_major_locator().set_params(integer=True)
    plot.grid(alpha=0.3)


def _provenance(shown: Sequence[tuple[Run, Mapping[int, Any]]]) -> list[str]:
    return [of_run(run, f"checkpoints {', '.join(f'{at:,}' for at in of)}") for run, of in shown]


def allowed_sets(n: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{method: the least and the largest i-th singular value, i = 1 … n, that it allows}.

    For an n x n matrix, each over all matrices that are allowed. SN: σ₁ = 1. Frobenius: Σσ² = 1.
    Weight norm: rows of length 1, so Σσ² = n. With a fixed sum, i values of at least σ_i fit if
    σ_i ≤ √(Σ/i), and the largest is at least √(Σ/n). Orthonormal: all are 1.
    """
    i, one = np.arange(1, n + 1), np.ones(n)
    first = np.where(i == 1, one, 0)
    return {"SN": (first, one), "Frobenius norm": (first / np.sqrt(n), np.sqrt(1 / i)),
            "WN": (first, np.sqrt(n / i)), "orthonormal": (one, one)}


def figure14(found: Collection, folder: Path) -> Figure:
    """The sets of singular values that each method allows: computed, without a run."""
    del found
    why = ("σ₁ = 1", "Σσ² = 1", f"Σσ² = {_SIZE}, the outputs", "all σ = 1")
    figure, axes = new_figure(2.9, len(why), sharey=True)
    i = np.arange(1, _SIZE + 1)
    for plot, (name, (lowest, highest)), words, colour in zip(
            axes, allowed_sets(_SIZE).items(), why, COLOURS[:4], strict=True):
        plot.fill_between(i, np.maximum(lowest, 1e-3), highest, color=colour, alpha=0.3,
                          linewidth=0)
        plot.plot(i, highest, color=colour, linewidth=2)
        plot.plot(1, lowest[0], "o", color=colour, clip_on=False, zorder=3)
        plot.set_title(f"{name}\n{words}", fontsize="medium")
        plot.set(xlabel="i", yscale="log", ylim=(0.09, 10), xlim=(1, _SIZE))
        plot.set_xticks([1, *range(10, _SIZE + 1, 10)])
        plot.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
        plot.minorticks_off()
        plot.grid(alpha=0.3)
    axes[0].set_ylabel(f"σᵢ, i-th largest of {_SIZE}")
    return Figure("Figure 14: sets of allowed singular values",
                  f"Computed for a {_SIZE} x {_SIZE} weight, not from a run. The i-th largest "
                  "singular value can lie anywhere from zero to the line. The dot is the smallest "
                  "possible largest value. Orthonormal allows only the line. WN and the Frobenius "
                  "norm fix the sum of squares, so a large first value leaves little for the "
                  "others; SN fixes the largest; orthonormal regularization fixes all.",
                  save(figure, folder / "figure14.png"))
