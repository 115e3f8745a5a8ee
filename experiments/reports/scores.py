"""Figures of scores: 1 and 2 by setting, 4, 11 and K by a field, 5 and 13 over the iterations."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pandas as pd

from sngan_jax.run.evaluation import recorded

from ..configs.paper import SETTINGS
from ..sweeps.tables import OWN, TABLES
from .frame import score_frame
from .parts import better
from .plots import Drawn, drawing, legend_below, new_figure, of_run, style_of
from .runs import BESIDE, METRICS, Collection, Sweep


def _scored(table: str, found: Collection, theirs: tuple[str, ...] = ("FID", "IS")
            ) -> Iterator[tuple[Sweep, pd.DataFrame]]:
    """The sweeps of a table, with the scores that go beside the paper's, by one protocol.

    Rows for the paper's scale alone, with settings of their own or longer training, are left out.
    """
    scores = score_frame(found)
    rows = [row.name for row in TABLES[table] if not row.paper_scale]
    beside = scores["metric"].map(BESIDE).isin(theirs) & scores["method"].isin(rows)
    for sweep in found.sweeps:
        if sweep.table == table:
            yield sweep, scores[(scores["key"] == sweep.key) & beside].dropna(subset="value")


def _by_setting(number: str, theirs: str, scores: pd.DataFrame) -> Drawn:
    """Scores of every method in every setting; theirs: the paper's score."""
    metric = scores["metric"].iloc[0]
    used = scores[scores["metric"] == metric]
    methods = [row.name for row in TABLES["2"] if (used["method"] == row.name).any()]
    figure, (plot,) = new_figure(4.2)
    for place, setting in enumerate(SETTINGS):
        if place % 2:
            plot.axvspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
        if not (used["setting"] == setting).any():
            plot.text(place, 0.5, "not run", ha="center", color="0.4", style="italic",
                      transform=plot.get_xaxis_transform())
    places = used["setting"].map(list(SETTINGS).index)
    for i, method in enumerate(methods):
        offset = (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
        _marks(plot, used.assign(x=places + offset)[used["method"] == method], method,
               linestyle="none", markersize=8, markeredgecolor="white", markeredgewidth=0.5,
               zorder=3)
    plot.set_xticks(range(len(SETTINGS)), [f"{name}\n(n_dis {s.n_dis})"
                                           for name, s in SETTINGS.items()])
    plot.set(xlim=(-0.5, len(SETTINGS) - 0.5), xlabel="setting of Table 1",
             yscale="log" if theirs == "FID" else "linear")
    label_scores(plot, metric)
    legend_below(figure)
    count = used.groupby(["method", "setting"]).ngroups
    possible = sum(not row.paper_scale for row in TABLES["2"])
    return Drawn(
        figure, f"{count} of {len(SETTINGS) * possible} combinations have been run; the others are "
        "missing. Large marks: mean of the last checkpoints over seeds; small: each seed. "
        f"{_protocol(used)}", _provenance(used), "" if METRICS[metric] == theirs else
        f"Figure {number}: {METRICS[metric]} of every method in every setting (the paper: "
        f"{theirs})")


figure1, figure2 = (
    drawing(f"figure{number}", f"Figure {number}: {theirs} of every method in every setting",
            functools.partial(_scored, "2", theirs=(theirs,)),
            "No finished run of Table 2 has it. Make one with", "2")(
                functools.partial(_by_setting, number, theirs))
    for number, theirs in (("1", "IS"), ("2", "FID")))


def _by_field(field: str, axis: str, scores: pd.DataFrame) -> Drawn:
    """Scores against a field of the config, one line per method; for K, one per setting."""
    scores = scores.assign(x=[run.config[field] for run in scores["run"]],
                           line=[run.setting if field == "lipschitz" else run.config["method"]
                                 for run in scores["run"]])
    metrics, ticks = scores["metric"].unique(), sorted(scores["x"].unique())
    figure, axes = new_figure(3.6, len(metrics))
    for plot, metric in zip(axes, metrics, strict=True):
        for line, of in scores[scores["metric"] == metric].groupby("line", sort=False):
            _marks(plot, of, line)
        plot.set_xscale("log", base=2)
        plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        plot.minorticks_off()
        plot.set_xlabel(axis)
        label_scores(plot, metric)
    legend_below(figure)
    return Drawn(figure, "Mean of the last checkpoints; with several seeds, small marks show each "
                 f"of them. {_protocol(scores)}", _provenance(scores))


figure4, figure11, figure_lipschitz = (
    drawing(table, title, functools.partial(_scored, table), "Make it with", table)(
        functools.partial(_by_field, field, axis))
    for table, title, field, axis in (
        ("figure4", "Figure 4: scores against the width of D's last layer",
         "last_layer_multiplier", "width of D's last layer, × the CNN's"),
        ("figure11", "Figure 11: scores against the number of updates of D", "n_dis",
         "n_dis, updates of D per update of G"),
        ("lipschitz", "K: scores against the constant of each layer of D (not in the paper)",
         "lipschitz", "K")))


def _curves(found: Collection) -> Iterator[tuple[Sweep, pd.DataFrame, str | None]]:
    """For each sweep, the scores during training of SN and orthonormal in one setting of both."""
    for sweep in found.sweeps:
        curves = pd.DataFrame(
            [(run, run.variant, run.setting, metric, at, value) for run in found.of(sweep)
             if run.variant in ("sn", "orthonormal") for metric in METRICS
             if len(curve := recorded(run.folder, metric)) > 1 for at, value in curve.items()],
            columns=["run", "method", "setting", "metric", "x", "value"])
        there = set(zip(curves["method"], curves["setting"], strict=True))
        setting = next((s for s in ("C", *SETTINGS, OWN, "")
                        if {("sn", s), ("orthonormal", s)} <= there), None)
        yield sweep, curves[curves["setting"] == setting], setting


@drawing("figure5", "Figures 5 and 13: scores over iterations, SN against orthonormal", _curves,
         "It needs runs of sn and orthonormal in one setting with several scores (evaluate_every). "
         "Make them with", "2")
def figure5(curves: pd.DataFrame, setting: str) -> Drawn:
    """Scores over the iterations, for SN and orthonormal regularization."""
    metrics = [metric for metric in METRICS if (curves["metric"] == metric).any()]
    figure, axes = new_figure(3.6, len(metrics))
    for plot, metric in zip(axes, metrics, strict=True):
        for method in ("sn", "orthonormal"):
            _marks(plot, curves[(curves["metric"] == metric) & (curves["method"] == method)],
                   method)
        plot.set(xlabel="iteration (generator updates)", xlim=(0, None))
        label_scores(plot, metric)
    legend_below(figure)
    runs = {run.folder: run for run in curves["run"]}.values()
    own = f"Setting {setting}. " if setting else ""
    return Drawn(figure, f"{own}Lines: mean over seeds of the scores during "
                 "training; small marks: each seed. The paper's curves are for ImageNet at 128x128 "
                 "with labels, to 450,000 iterations; these were not run.",
                 [of_run(run, "scores during training") for run in runs])


def _protocol(scores: pd.DataFrame) -> str:
    return f"{scores['protocol'].iloc[0].sentence()}."


def _provenance(scores: pd.DataFrame) -> list[str]:
    return [of_run(score.run, f"{score.metric} {score.value:.6g}")
            for score in scores.itertuples()]


def _marks(plot: Any, scores: pd.DataFrame, name: str, **look: Any) -> None:
    """Means at each x, joined by the line of a method; each value as well if there are several."""
    at, style = scores.groupby("x")["value"], style_of(name)
    plot.plot(at.mean(), **{**style, "markersize": 6, "linewidth": 1.5, **look})
    several = scores[at.transform("size") > 1]
    plot.plot(several["x"], several["value"], ".", color=style["color"], markersize=4)


def label_scores(plot: Any, metric: str) -> None:
    """Labels the axis of a score, with plain numbers and a grid."""
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    plot.set_ylabel(better(metric, "\n(lower is better)", "\n(higher is better)"))
    if plot.get_yscale() == "log":
        plot.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.6)))
        plot.yaxis.set_major_formatter(LogFormatter())
    else:
        plot.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    plot.grid(axis="y", alpha=0.3)
