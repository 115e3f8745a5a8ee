"""Figures of scores: 1 and 2 by setting, 4, 11 and K by a field, 5 and 13 over the iterations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sngan_jax.metrics.scores import LESS_IS_BETTER
from sngan_jax.run.evaluation import recorded

from ..configs.paper import SETTINGS
from ..sweeps.tables import OWN, TABLES
from .frame import score_frame
from .parts import Figure, Missing
from .plots import legend_below, new_figure, of_run, save, style_of, where
from .published import command_like
from .runs import BESIDE, METRICS, Collection, Sweep


def figure1(found: Collection, folder: Path) -> Figure | Missing:
    """Inception Scores, or a classifier's, of every method in every setting."""
    return _by_setting(found, folder, "1", "IS")


def figure2(found: Collection, folder: Path) -> Figure | Missing:
    """FIDs, or a classifier's distances, of every method in every setting."""
    return _by_setting(found, folder, "2", "FID")


def _by_setting(found: Collection, folder: Path, number: str, theirs: str) -> Figure | Missing:
    title = f"Figure {number}: {theirs} of every method in every setting"
    rows = [row.name for row in TABLES["2"] if OWN not in row.settings]
    for sweep, scores in _scored(found, "2"):
        metric = next((m for m in scores["metric"].unique() if BESIDE[m] == theirs), None)
        if metric is None:
            continue
        used = scores[(scores["metric"] == metric) & scores["method"].isin(rows)]
        methods = [name for name in rows if (used["method"] == name).any()]
        figure, axes = new_figure(4.2)
        plot = axes[0, 0]
        for place, setting in enumerate(SETTINGS):
            if place % 2:
                plot.axvspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
            if not (used["setting"] == setting).any():
                plot.text(place, 0.5, "not run", ha="center", color="0.4", style="italic",
                          transform=plot.get_xaxis_transform())
        for i, method in enumerate(methods):
            offset = (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
            of = used[used["method"] == method].groupby("setting")["value"].apply(list)
            _marks(plot, {place + offset: of[setting] for place, setting in enumerate(SETTINGS)
                          if setting in of}, method, linestyle="none", markersize=8,
                   markeredgecolor="white", markeredgewidth=0.5, zorder=3)
        plot.set_xticks(range(len(SETTINGS)), [f"{name}\n(n_dis {s.n_dis})"
                                               for name, s in SETTINGS.items()])
        plot.set(xlim=(-0.5, len(SETTINGS) - 0.5), xlabel="setting of Table 1",
                 ylabel=axis_label(metric), yscale="log" if theirs == "FID" else "linear")
        readable(plot, "y")
        legend_below(figure, axes)
        count, name = used.groupby(["method", "setting"]).ngroups, METRICS[metric]
        possible = sum(OWN not in row.settings and not row.paper_scale for row in TABLES["2"])
        return Figure(
            title if name == theirs else f"Figure {number}: {name} of every method in every "
            f"setting (the paper: {theirs})",
            f"{where(sweep)} {count} of {len(SETTINGS) * possible} combinations have been run; the "
            "others are missing. Large marks: mean of the last checkpoints over seeds; small: "
            f"each seed. {_protocol(used)}", save(figure, folder / f"figure{number}.png"),
            _provenance(used))
    return Missing(title, "No finished run of Table 2 has it. Make one with: "
                   f"{command_like(found, '2')}")


def figure4(found: Collection, folder: Path) -> Figure | Missing:
    """Scores against the width of D's last layer."""
    return _by_field(found, folder, "figure4", "Figure 4: scores against the width of D's last "
                     "layer", "last_layer_multiplier", "width of D's last layer, × the CNN's")


def figure11(found: Collection, folder: Path) -> Figure | Missing:
    """n_dis."""
    return _by_field(found, folder, "figure11", "Figure 11: scores against the number of updates "
                     "of D", "n_dis", "n_dis, updates of D per update of G")


def figure_lipschitz(found: Collection, folder: Path) -> Figure | Missing:
    """Scores against K, one line per setting."""
    return _by_field(found, folder, "lipschitz", "K: scores against the constant of each layer of "
                     "D (not in the paper)", "lipschitz", "K", by_setting=True)


def _by_field(found: Collection, folder: Path, table: str, title: str, field: str, axis: str,
              by_setting: bool = False) -> Figure | Missing:
    """Scores of a table's runs against a field of the config, one line per method or setting."""
    for sweep, scores in _scored(found, table):
        scores = scores.assign(x=[run.config[field] for run in scores["run"]],
                               line=[run.setting if by_setting else run.config["method"]
                                     for run in scores["run"]])
        metrics = scores["metric"].unique()
        figure, axes = new_figure(3.6, 1, len(metrics))
        for plot, metric in zip(axes.flat, metrics, strict=True):
            for method, of in scores[scores["metric"] == metric].groupby("line", sort=False):
                _marks(plot, of.groupby("x")["value"].apply(list), method)
            ticks = sorted(scores["x"].unique())
            plot.set_xscale("log", base=2)
            plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            plot.minorticks_off()
            plot.set(xlabel=axis, ylabel=axis_label(metric))
            readable(plot, "y")
        legend_below(figure, axes)
        return Figure(title, f"{where(sweep)} Mean of the last checkpoints; with several "
                      f"seeds, small marks show each of them. {_protocol(scores)}",
                      save(figure, folder / f"{table}.png"), _provenance(scores))
    return Missing(title, f"Make it with: {command_like(found, table)}")


def figure5(found: Collection, folder: Path) -> Figure | Missing:
    """Scores over the iterations, for SN and orthonormal regularisation."""
    title, methods = "Figures 5 and 13: scores over iterations, SN against orthonormal", (
        "sn", "orthonormal")
    for sweep in found.sweeps:
        runs = [run for run in found.of(sweep) if run.variant in methods
                and len({record["fake"].get("iteration") for record in run.records}) > 1]
        there = {(run.variant, run.setting) for run in runs}
        setting = next((s for s in ("C", *SETTINGS, OWN, "")
                        if all((method, s) in there for method in methods)), None)
        curves = pd.DataFrame([(run, run.variant, metric, at, value) for run in runs
                               if run.setting == setting for metric in METRICS
                               for at, value in recorded(run.folder, metric).items()],
                              columns=["run", "method", "metric", "at", "value"])
        if curves.empty:
            continue
        metrics = [metric for metric in METRICS if (curves["metric"] == metric).any()]
        figure, axes = new_figure(3.6, 1, len(metrics))
        for plot, metric in zip(axes.flat, metrics, strict=True):
            for method in methods:
                of = curves[(curves["metric"] == metric) & (curves["method"] == method)]
                _marks(plot, of.groupby("at")["value"].apply(list), method)
            plot.set(xlabel="iteration (generator updates)", ylabel=axis_label(metric),
                     xlim=(0, None))
            readable(plot, "y")
        legend_below(figure, axes)
        return Figure(title, f"{where(sweep)} Setting {setting}. Lines: mean over seeds of the "
                      "scores during training; small marks: each seed. The paper's curves are for "
                      "ImageNet at 128x128 with labels, to 450,000 iterations; these were not run.",
                      save(figure, folder / "figure5.png"),
                      tuple(of_run(run, "scores during training") for run in runs
                            if run.setting == setting))
    return Missing(title, "It needs runs of sn and orthonormal in one setting with several scores "
                   f"(evaluate_every). Make them with: {command_like(found, '2')}")


def _scored(found: Collection, table: str) -> Iterator[tuple[Sweep, pd.DataFrame]]:
    """The sweeps of a table, with the scores that go beside the paper's, by one protocol."""
    scores = score_frame(found)
    for sweep in found.sweeps:
        own = scores[(scores["key"] == sweep.key) & scores["metric"].isin(BESIDE)].dropna(
            subset="value")
        if sweep.table == table and len(own):
            yield sweep, own


def _protocol(scores: pd.DataFrame) -> str:
    return f"{scores['protocol'].iloc[0].sentence()}."


def _provenance(scores: pd.DataFrame) -> tuple[str, ...]:
    return tuple(of_run(score.run, f"{score.metric} {score.value:.6g}")
                 for score in scores.itertuples())


def _marks(plot: Any, of: Mapping[float, Sequence[float]] | pd.Series, method: str, **look: Any
           ) -> None:
    """Means at each place, joined by the method's line; each value as well if there are several."""
    style = style_of(method)
    plot.plot(list(of.keys()), [sum(values) / len(values) for _, values in of.items()], **{
        "marker": style.marker, "linestyle": style.line, "color": style.colour,
        "label": style.label, "markersize": 6, "linewidth": 1.5, **look})
    for x, values in of.items():
        if len(values) > 1:
            plot.plot([x] * len(values), values, ".", color=style.colour, markersize=4)


def axis_label(metric: str) -> str:
    """The score's name and which way is better."""
    better = {True: "\n(less is better)", False: "\n(more is better)"}.get(
        LESS_IS_BETTER.get(metric), "")
    return METRICS[metric] + better


def readable(plot: Any, axis: str) -> None:
    """Sets plain numbers and a grid."""
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    scale = plot.yaxis if axis == "y" else plot.xaxis
    if scale.get_scale() == "log":
        scale.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.6)))
        scale.set_major_formatter(LogFormatter())
    else:
        scale.set_major_formatter(ScalarFormatter(useOffset=False))
    plot.grid(axis=axis, alpha=0.3)
