"""Figure 15: loss of the critic on training and held-out images, and scores, over iterations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.data.pipeline import scale
from sngan_jax.data.sources import load, options_of
from sngan_jax.losses import LOSSES
from sngan_jax.methods import method_of
from sngan_jax.run.evaluation import recorded
from sngan_jax.run.restore import at_iteration, restore_run
from sngan_jax.step.sampling import even_labels

from .plots import Drawn, drawing, legend_below, new_figure, of_run, readable, style_of
from .runs import METRICS, Collection, Run, Sweep, first_seeds
from .scores import label_scores

_IMAGES = 297  # of each kind: digits has 1,797, of which 1,500 are for training


def held_out_split(split: str) -> str:
    """The split that a run was not trained on: what `train[:n]` leaves out, or the test split."""
    part = re.fullmatch(r"(\w+)\[:(\d+%?)\]", split)
    return f"{part[1]}[{part[2]}:]" if part else "test"


def critic_losses(workdir: Path, iterations: Sequence[int], images: dict[str, np.ndarray]
                  ) -> dict[int, dict[str, float]]:
    """D's loss without its penalty at checkpoints, against the same samples of G.

    Args:
      images: {name: uint8 (n, h, w, c)}.

    Returns:
      {iteration: {name: loss}}, in the order of `iterations`.

    Raises:
      UserError: if a checkpoint cannot be read, or the run is conditional.
    """
    run = restore_run(workdir, iterations[-1])
    if run.num_classes:
        raise UserError(f"{workdir} is a conditional run, whose critic sees labels too")
    loss = LOSSES[method_of(run.config).loss]
    logits = jax.jit(lambda variables, x: run.discriminator.apply(variables, scale(x)))
    losses = {}
    for iteration in iterations:
        at = at_iteration(run, workdir, iteration)
        fake = at.sample(even_labels(min(map(len, images.values())), 0))
        of = {name: logits(at.state.discriminator.variables, pixels)
              for name, pixels in {**images, "fake": fake}.items()}
        losses[iteration] = {name: float(loss.discriminator(of[name], of["fake"]))
                             for name in images}
    return losses


def _critics(found: Collection) -> Iterator[tuple[Sweep, list[Run]]]:
    """For each sweep, the first seed of WGAN-GP, with WN and with SN."""
    for sweep in sorted(found.sweeps, key=lambda sweep: sweep.table != "figure15"):
        first = first_seeds(found.of(sweep)) if sweep.table in ("figure15", "7") else {}
        yield sweep, [first["A", method] for method in ("wgan_gp", "wn_wgan_gp", "sn_wgan_gp")
                      if ("A", method) in first]


def _losses(run: Run) -> tuple[list[str], dict[int, dict[str, float]]]:
    """Numbers of training and held-out images, and the losses."""
    config = run.config
    options = {"channels": config.get("channels") or None, **options_of(config)}
    seen = config.get("split", "train")
    images = {name: load(config["dataset"], split=split, **options).images[:_IMAGES]
              for name, split in (("training", seen), ("held-out", held_out_split(seen)))}
    return ([f"{len(of):,} {name}" for name, of in images.items()],
            critic_losses(run.folder, run.saved, images))


@drawing("figure15", "Figure 15: losses and scores of WGAN-GP, with WN and SN", _critics,
         "{lost} Make its runs with", "figure15", lambda runs: readable(runs, _losses))
def figure15(shown: list[tuple[Run, tuple[list[str], dict[int, dict[str, float]]]]]) -> Drawn:
    """Losses and scores of critics."""
    runs = [run for run, _ in shown]
    metrics = [m for m in METRICS if any(recorded(run.folder, m) for run in runs)][:1]
    figure, axes = new_figure(3.8, 1 + len(metrics))
    for run, (_, losses) in shown:
        style = style_of(run.config["method"])
        for name, line, fill in (("training", "-", "full"), ("held-out", ":", "none")):
            axes[0].plot(list(losses), [of[name] for of in losses.values()], fillstyle=fill,
                         **style | {"linestyle": line, "label": f"{style['label']}, {name}"},
                         markersize=4)
        for plot, metric in zip(axes[1:], metrics, strict=True):
            curve = recorded(run.folder, metric)
            plot.plot(list(curve), list(curve.values()), color=style["color"],
                      marker=style["marker"], markersize=5)
    for plot, metric in zip(axes, ("", *metrics), strict=True):
        plot.set_xlabel("iteration (generator updates)")
        label_scores(plot, metric)
    axes[0].set_ylabel("critic's loss without its penalty")
    legend_below(figure, 3)
    return Drawn(figure, "E D(G(z)) − E D(x) at all checkpoints that were kept, for "
                 f"{' and '.join(shown[0][1][0])} images against the same samples, all quantized "
                 f"to 8 bits; seed {runs[0].seed}. Scores are those during training.",
                 [of_run(run, f"checkpoints {', '.join(f'{at:,}' for at in run.saved)}")
                  for run in runs])
