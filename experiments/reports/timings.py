"""Figure 10: how long generator updates take with each method, from `sngan bench methods`."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

from sngan_jax.base.errors import UserError

from .parts import Figure, Missing
from .plots import legend_below, new_figure, readable, save, style_of
from .runs import Collection

TIMINGS = "methods.json"


def figure10(found: Collection, folder: Path) -> Figure | Missing:
    """Bars for the time of 100 generator updates, as ratios to no normalization."""
    title = "Figure 10: time of 100 generator updates"
    # Also beside the sweeps of --table=all.
    places = list(dict.fromkeys(folder / TIMINGS for sweep in found.sweeps
                                for folder in (sweep.folder, sweep.folder.parent)))
    reports, lost = readable([file for file in places if file.is_file()], read_timings)
    if not reports:
        return Missing(title, f"Nothing has been timed.{lost} Do it with: sngan bench methods "
                       f"--n-dis=1,5 --out={shlex.quote(str(places[0]))}")
    file, report = reports[0]
    rows = [row for part in report["parts"] for row in part["methods"].values()]
    diamonds = ("Diamonds are the compiler's count of arithmetic, as the same ratio. "
                if any("gflop" in row for row in rows) else "")
    return Figure(title, "By updates of D per update of G. Bars are medians of the ratio to the "
                  f"plain discriminator's time in that turn, of {report['repeats']} turns of "
                  f"{report['updates']} updates each in one process; lines are quartiles. "
                  f"{diamonds}Seconds are at the right. The images are random, with "
                  f"{report['size']}; {report['config']}. The paper's seconds are from another "
                  "machine and full size; in its text SN takes 110 to 120 % of WN's time on "
                  f"CIFAR-10.{lost}", save(bars(report), folder / "figure10.png"),
                  (f"{file}: {report['command']}; commit {report['commit']}, {report['device']}, "
                   f"{report['cores']} cores, {report['machine']}, jax {report['jax']}, "
                   f"{report['date']}",))


def read_timings(file: Path) -> dict[str, Any]:
    """The report that `sngan bench methods --out` wrote; UserError for anything else."""
    try:
        report = json.loads(file.read_text())
        rows = [row for part in report["parts"] for row in part["methods"].values()]
        finite = all(math.isfinite(row[key]) for row in rows for key in (
            "seconds", "ratio", "ratio_low", "ratio_high"))
        missing = {"size", "config", "repeats", "updates", "command", "commit", "device", "cores",
                   "machine", "jax", "date"} - report.keys()
    except (KeyError, TypeError, AttributeError, OSError, ValueError) as error:
        raise UserError(f"{file} is not a report of sngan bench methods ({error!r})") from error
    if missing or not rows:
        raise UserError(f"{file} has no {min(missing, default='part')}")
    if not finite:
        raise UserError(f"{file} has times that are not numbers")
    return report


def bars(report: dict[str, Any]) -> Any:
    """A panel for each n_dis of a report, with a bar for each method."""
    parts = report["parts"]
    count = max(len(part["methods"]) for part in parts)
    figure, axes = new_figure(0.34 * count + 1.4, len(parts))
    order = sorted(parts[0]["methods"], key=lambda name: parts[0]["methods"][name]["ratio"])
    for plot, part in zip(axes, parts, strict=True):
        rows = part["methods"]
        names = [name for name in order if name in rows]
        plain = rows["none"].get("gflop")
        widest = max(max(row["ratio_high"], row.get("gflop", 0) / (plain or math.inf))
                     for row in rows.values())
        for y, name in enumerate(names):
            row = rows[name]
            plot.barh(y, row["ratio"], color=style_of(name)["color"], height=0.7, alpha=0.85)
            plot.plot([row["ratio_low"], row["ratio_high"]], [y, y], color="black", linewidth=1.6,
                      solid_capstyle="butt", label="quartiles of the turns")
            if plain and "gflop" in row:
                plot.plot(row["gflop"] / plain, y, "D", color="white", markeredgecolor="black",
                          markersize=5, label="arithmetic, counted by the compiler")
            plot.text(1.04 * widest, y, f"{row['ratio']:.2f}   {row['seconds']:.2f} s",
                      va="center", fontsize="small")
        plot.axvline(1, color="0.3", linewidth=0.8, linestyle=":")
        plot.set_yticks(range(len(names)), [
            style_of(name)["label"] if plot is axes[0] else "" for name in names])
        plot.set(xlim=(0, 1.55 * widest), xlabel="time / time of none")
        many = "s" if part["n_dis"] > 1 else ""
        plot.set_title(f"{part['n_dis']} update{many} of D per update of G", fontsize="medium")
        plot.spines[["top", "right"]].set_visible(False)
    legend_below(figure)
    return figure
