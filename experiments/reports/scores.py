"""Figures of scores: 1 and 2 by setting, 4 and 11 by a field, 5 and 13 over the iterations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sngan_jax.metrics.scores import LESS_IS_BETTER
from sngan_jax.run.evaluation import recorded

from ..configs.paper import SETTINGS
from ..sweeps.tables import OWN, TABLES
from .parts import Figure, Missing
from .plots import legend_below, new_figure, of_run, save, style_of, where
from .published import command_like
from .runs import (
    BESIDE,
    METRICS,
    Collection,
    RecordedProtocol,
    Run,
    Sweep,
    last_record,
    mean_std,
    metrics_of,
    protocols,
    value_of,
)


def figure1(found: Collection, folder: Path) -> Figure | Missing:
    """Inception Scores, or a classifier's, of every method in every setting."""
    return _by_setting(found, folder, "1", "IS")


def figure2(found: Collection, folder: Path) -> Figure | Missing:
    """FIDs, or a classifier's distances."""
    return _by_setting(found, folder, "2", "FID")


def _by_setting(found: Collection, folder: Path, number: str, theirs: str) -> Figure | Missing:
    title = f"Figure {number}: {theirs} of every method in every setting"
    for sweep, runs, protocol, metrics in _scored(found, "2"):
        metric = next((m for m in metrics if BESIDE.get(m) == theirs), None)
        if metric is None:
            continue
        methods = [row.name for row in TABLES["2"] if OWN not in row.settings
                   and _last(runs, protocol, metric, variant=row.name)]
        used, count = [], 0
        figure, axes = new_figure(4.2)
        plot = axes[0, 0]
        for place, setting in enumerate(SETTINGS):
            if place % 2:
                plot.axvspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
            for i, method in enumerate(methods):
                x = place + (i - (len(methods) - 1) / 2) * 0.8 / max(len(methods), 1)
                values = _last(runs, protocol, metric, variant=method, setting=setting)
                used += values
                count += bool(values)
                _mean_and_seeds(plot, x, [v for _, v in values], method)
            if not any(run.setting == setting for run, _ in used):
                plot.text(place, 0.5, "not run", ha="center", color="0.4", style="italic",
                          transform=plot.get_xaxis_transform())
        plot.set_xticks(range(len(SETTINGS)), [f"{name}\n(n_dis {s.n_dis})"
                                               for name, s in SETTINGS.items()])
        plot.set(xlim=(-0.5, len(SETTINGS) - 0.5), xlabel="setting of Table 1",
                 ylabel=axis_label(metric), yscale="log" if theirs == "FID" else "linear")
        readable(plot, "y")
        legend_below(figure, axes)
        file = save(figure, folder / f"figure{number}.png")
        name = METRICS[metric]
        return Figure(
            title if name == theirs else f"Figure {number}: {name} of every method in every "
            f"setting (the paper: {theirs})",
            f"{where(sweep)} {count} of {len(SETTINGS) * _rows()} combinations are run, and the "
            "others are absent. Large marks: mean of the last checkpoints over seeds; small ones: "
            f"each seed. {protocol.sentence()}.", file, tuple(of_run(run, f"{metric} {value:.6g}")
                                                        for run, value in used))
    return Missing(title, "No finished run of Table 2 has it. Make it by: "
                   f"{command_like(found, '2')}")


def _rows() -> int:
    """How many rows of Table 2 are trained in every setting."""
    return sum(OWN not in row.settings and not row.paper_scale for row in TABLES["2"])


def figure4(found: Collection, folder: Path) -> Figure | Missing:
    """D's last layer, widened."""
    return _by_field(found, folder, "4", "last_layer_multiplier",
                     "width of D's last layer, × the CNN's",
                     "the width of D's last layer")


def figure11(found: Collection, folder: Path) -> Figure | Missing:
    """n_dis."""
    return _by_field(found, folder, "11", "n_dis", "n_dis, updates of D for one of G",
                     "the number of updates of D")


def _by_field(found: Collection, folder: Path, number: str, field: str, axis: str, what: str
              ) -> Figure | Missing:
    title, table = f"Figure {number}: scores against {what}", f"figure{number}"
    for sweep, runs, protocol, metrics in _scored(found, table):
        figure, axes = new_figure(3.6, 1, len(metrics))
        used = []
        for plot, metric in zip(axes.flat, metrics, strict=True):
            for method in dict.fromkeys(run.config["method"] for run in runs):
                values = sorted({run.config[field] for run in runs
                                 if run.config["method"] == method})
                points = [(x, found_) for x in values if (found_ := _last(
                    [run for run in runs if run.config[field] == x], protocol, metric,
                    method=method))]
                _line(plot, [x for x, _ in points],
                      [[v for _, v in of_x] for _, of_x in points], method)
                used += [pair for _, of_x in points for pair in of_x]
            ticks = sorted({run.config[field] for run in runs})
            plot.set_xscale("log", base=2)
            plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            plot.minorticks_off()
            plot.set(xlabel=axis, ylabel=axis_label(metric))
            readable(plot, "y")
        legend_below(figure, axes)
        file = save(figure, folder / f"figure{number}.png")
        return Figure(title, f"{where(sweep)} Mean of the last checkpoints; where there are "
                      f"several seeds, small marks are each of them. {protocol.sentence()}.", file,
                      tuple(of_run(run, f"{value:.6g}") for run, value in used))
    return Missing(title, f"Make it by: {command_like(found, table)}")


def figure5(found: Collection, folder: Path) -> Figure | Missing:
    """Scores over the iterations, of SN and orthonormal regularisation."""
    title = "Figures 5 and 13: scores over iterations, SN against orthonormal"
    for sweep in found.sweeps:
        runs = [run for run in found.of(sweep) if run.variant in ("sn", "orthonormal")
                and len({record["fake"].get("iteration") for record in run.records}) > 1]
        metrics = [m for m in METRICS if any(recorded(run.folder, m) for run in runs)]
        settings = [s for s in ("C", *SETTINGS, OWN, "") if all(
            any((run.variant, run.setting) == (method, s) for run in runs)
            for method in ("sn", "orthonormal"))]
        if not metrics or not settings:
            continue
        shown = [run for run in runs if run.setting == settings[0]]
        figure, axes = new_figure(3.6, 1, len(metrics))
        for plot, metric in zip(axes.flat, metrics, strict=True):
            for method in ("sn", "orthonormal"):
                curves = [recorded(run.folder, metric) for run in shown if run.variant == method]
                at = sorted({i for curve in curves for i in curve})
                _line(plot, at, [[c[i] for c in curves if i in c] for i in at], method)
            plot.set(xlabel="iteration (generator updates)", ylabel=axis_label(metric),
                     xlim=(0, None))
            readable(plot, "y")
        legend_below(figure, axes)
        return Figure(title, f"{where(sweep)} Setting {settings[0]}. Lines: mean over seeds of the "
                      "scores taken while training; small marks: each seed. The paper's are of "
                      "ImageNet at 128x128 with labels, to 450,000 iterations: not run.",
                      save(figure, folder / "figure5.png"),
                      tuple(of_run(run, "scores taken while training") for run in shown))
    return Missing(title, "It needs runs of sn and orthonormal in one setting with several scores "
                   f"(evaluate_every). Make it by: {command_like(found, '2')}")


def _scored(found: Collection, table: str
            ) -> list[tuple[Sweep, list[Run], RecordedProtocol, list[str]]]:
    """The scored sweeps of a table, each with the protocol that most runs have."""
    result = []
    for sweep in found.sweeps:
        runs = found.of(sweep)
        if sweep.table == table and (by := protocols(runs)):
            metrics = [m for m in metrics_of(runs, by[0]) if m in BESIDE]
            if metrics:
                result.append((sweep, runs, by[0], metrics))
    return result


def _last(runs: Sequence[Run], protocol: RecordedProtocol, metric: str, *,
          variant: str | None = None, setting: str | None = None, method: str | None = None
          ) -> list[tuple[Run, float]]:
    """Runs and the scores of their last checkpoints."""
    chosen = (run for run in runs if variant in (None, run.variant)
              and setting in (None, run.setting) and method in (None, run.config["method"]))
    pairs = ((run, value_of(last_record(run, protocol), metric)) for run in chosen)
    return [(run, value) for run, value in pairs if value is not None]


def _mean_and_seeds(plot: Any, x: float, values: Sequence[float], method: str) -> None:
    style = style_of(method)
    mean = mean_std(values)[0] if values else float("nan")
    plot.plot([x], [mean], style.marker, color=style.colour, markersize=8, label=style.label,
              linestyle="none", markeredgecolor="white", markeredgewidth=0.5, zorder=3)
    if len(values) > 1:
        plot.plot([x] * len(values), values, ".", color=style.colour, markersize=4, zorder=2)


def _line(plot: Any, at: Sequence[float], values: Sequence[Sequence[float]], method: str) -> None:
    style = style_of(method)
    plot.plot(at, [mean_std(own)[0] for own in values], style.marker, linestyle=style.line,
              color=style.colour, label=style.label, markersize=6, linewidth=1.5)
    for x, own in zip(at, values, strict=True):
        if len(own) > 1:
            plot.plot([x] * len(own), own, ".", color=style.colour, markersize=4)


def axis_label(metric: str) -> str:
    """The score's name and which way is better."""
    better = {True: "\n(less is better)", False: "\n(more is better)"}.get(
        LESS_IS_BETTER.get(metric), "")
    return METRICS[metric] + better


def readable(plot: Any, axis: str) -> None:
    """Plain numbers and a grid."""
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    scale = plot.yaxis if axis == "y" else plot.xaxis
    if scale.get_scale() == "log":
        scale.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.6)))
        scale.set_major_formatter(LogFormatter())
    else:
        scale.set_major_formatter(ScalarFormatter(useOffset=False))
    plot.grid(axis=axis, alpha=0.3)
