"""Figure 15: loss of the critic on training and held-out images, and scores, over iterations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.data.pipeline import scale
from sngan_jax.data.sources import DataError, load, options_of
from sngan_jax.losses import LOSSES
from sngan_jax.methods import method_of
from sngan_jax.run.evaluation import recorded
from sngan_jax.run.restore import at_iteration, restore_run
from sngan_jax.step.sampling import even_labels

from .parts import Figure, Missing
from .plots import legend_below, new_figure, of_run, save, style_of, where
from .published import command_like
from .runs import METRICS, Collection, Run
from .scores import axis_label, readable

_METHODS = ("wgan_gp", "wn_wgan_gp", "sn_wgan_gp")
_IMAGES = 297  # of each kind: digits has 1,797, of which 1,500 are for training


def held_out_split(split: str) -> str:
    """The split of images that a run has not seen: the rest of a part, or the test split."""
    part = re.fullmatch(r"(\w+)\[:(\d+%?)\]", split)
    return f"{part[1]}[{part[2]}:]" if part else "test"


def critic_losses(workdir: Path, iterations: Sequence[int], images: dict[str, np.ndarray]
                  ) -> list[tuple[int, dict[str, float]]]:
    """D's loss without its penalty at checkpoints, against the same samples of G.

    Args:
      images: {name: uint8 (n, h, w, c)}.

    Returns:
      (iteration, {name: loss}), in the order of `iterations`.

    Raises:
      UserError: if a checkpoint cannot be read, or the run is conditional.
    """
    run = restore_run(workdir, iterations[-1])
    if run.num_classes:
        raise UserError(f"{workdir} is a conditional run, whose critic sees labels too")
    loss = LOSSES[method_of(run.config).loss]
    logits = jax.jit(lambda variables, x: run.discriminator.apply(variables, scale(x)))
    losses = []
    for iteration in iterations:
        at = at_iteration(run, workdir, iteration)
        fake = at.sample(even_labels(min(map(len, images.values())), 0))
        of = {name: logits(at.state.discriminator.variables, pixels)
              for name, pixels in {**images, "fake": fake}.items()}
        losses.append((iteration, {name: float(loss.discriminator(of[name], of["fake"]))
                                   for name in images}))
    return losses


def figure15(found: Collection, folder: Path) -> Figure | Missing:
    """Losses and scores of WGAN-GP, with WN and with SN."""
    title = "Figure 15: losses and scores of WGAN-GP, with WN and SN"
    lost = ""
    for sweep in sorted(found.sweeps, key=lambda sweep: sweep.table != "figure15"):
        if sweep.table not in ("figure15", "7"):
            continue
        runs = _first_seeds(found.of(sweep))
        if not runs:
            continue
        try:
            images = _images(runs[0])
            losses = [critic_losses(run.folder, run.saved, images) for run in runs]
        except (UserError, DataError) as error:
            lost = f"{error}. "
            continue
        metrics = [m for m in METRICS if any(recorded(run.folder, m) for run in runs)][:1]
        figure, axes = new_figure(3.8, 1, 1 + len(metrics))
        for run, points in zip(runs, losses, strict=True):
            style = style_of(run.config["method"])
            for name, line in (("training", "-"), ("held-out", ":")):
                axes[0, 0].plot([at for at, _ in points], [of[name] for _, of in points], line,
                                color=style.colour, marker=style.marker, markersize=4,
                                fillstyle="full" if name == "training" else "none",
                                label=f"{style.label}, {name}")
            for plot, metric in zip(axes.flat[1:], metrics, strict=True):
                curve = recorded(run.folder, metric)
                plot.plot(list(curve), list(curve.values()), color=style.colour,
                          marker=style.marker, markersize=5)
        axes[0, 0].set_ylabel("critic's loss without its penalty")
        for plot, metric in zip(axes.flat[1:], metrics, strict=True):
            plot.set_ylabel(axis_label(metric))
        for plot in axes.flat:
            plot.set_xlabel("iteration (generator updates)")
            readable(plot, "y")
        legend_below(figure, axes, 3)
        count = len(images["held-out"])
        return Figure(title, f"{where(sweep)} E D(G(z)) − E D(x) at all checkpoints that were "
                      f"kept, for {len(images['training']):,} training and {count:,} held-out "
                      "images against the same samples, all with 8 bits; seed "
                      f"{runs[0].seed}. Scores are those during training.",
                      save(figure, folder / "figure15.png"),
                      tuple(of_run(run, f"checkpoints {', '.join(map(str, run.saved))}")
                            for run in runs))
    return Missing(title, f"{lost}Make its runs with: {command_like(found, 'figure15')}")


def _first_seeds(runs: list[Run]) -> list[Run]:
    """One run with checkpoints for each method, in the order of the legend."""
    usable = sorted((run for run in runs if run.saved), key=lambda run: run.seed)
    chosen = [next((run for run in usable if run.variant == method), None) for method in _METHODS]
    return [run for run in chosen if run]


def _images(run: Run) -> dict[str, np.ndarray]:
    """Training and held-out images: `_IMAGES` of each, or all if there are fewer."""
    config = run.config
    options = {"channels": config["channels"] or None, **options_of(config)}
    return {name: load(config["dataset"], split=split, **options).images[:_IMAGES]
            for name, split in (("training", config["split"]),
                                ("held-out", held_out_split(config["split"])))}
