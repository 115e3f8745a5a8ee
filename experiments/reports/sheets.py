"""Figures of samples: 6 for every method, 7 for every class, 12 between latents and classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.run.figures import image_grid
from sngan_jax.run.restore import RestoredRun
from sngan_jax.step.latents import class_walk, linear
from sngan_jax.step.sampling import even_labels

from .parts import Figure, Missing
from .plots import WIDTH, left_out, new_figure, of_run, save, style_of, where
from .published import command_like
from .runs import FINISHED, NOT_SCORED, Collection, Run, Sweep
from .spectra import in_one_setting, newest

_SEED = 0  # of the latents: the same in all panels
_SIDE, _COLUMNS = 5, 4  # images per side of a panel of Figure 6, and panels per row
_CLASSES, _STEPS = 10, 8
_LABELS = {"fashion_mnist": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt",
                             "sneaker", "bag", "boot"),
           "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse",
                       "ship", "truck")}


def figure6(found: Collection, folder: Path) -> Figure | Missing:
    """Samples of every method, from the last checkpoint and the same latents."""
    title, lost = "Figure 6: samples of every method", ""
    for sweep, setting, runs in in_one_setting(found):
        shown, lost = _restored(runs)
        if not shown:
            continue
        rows = -(-len(shown) // _COLUMNS)
        figure, axes = new_figure(rows * (WIDTH / _COLUMNS + 0.25), rows, _COLUMNS)
        for plot, (run, restored) in zip(axes.flat, shown, strict=False):
            images = restored.sample(even_labels(_SIDE**2, restored.num_classes), _SEED)
            _picture(plot, images, _SIDE)
            plot.set_title(_name(run), fontsize="medium")
        for plot in list(axes.flat)[len(shown):]:
            plot.set_axis_off()
        own = f"setting {setting}, " if setting else ""
        latents = len({restored.config.latent_size for _, restored in shown}) == 1
        return Figure(title, f"{where(sweep)} Each panel is from the last checkpoint "
                      f"of one run, {own}seed {shown[0][0].seed}"
                      + (": an image at the same place has the same latent in every panel."
                         if latents else ".") + f" No image is chosen.{lost}",
                      save(figure, folder / "figure6.png"), _provenance(shown))
    return Missing(title, f"No run has a checkpoint that can be read.{lost} Make some "
                   f"with: {command_like(found, '2')}")


def figure7(found: Collection, folder: Path) -> Figure | Missing:
    """A row of samples for each class, for every way to use the labels."""
    title, lost = "Figure 7: samples of every class", ""
    for sweep, runs in _conditional(found):
        shown, lost = _restored(runs[:3])
        if not shown:
            continue
        classes = min(shown[0][1].num_classes, _CLASSES)
        per_row = {1: 12, 2: 8, 3: 6}[len(shown)]
        height = classes * (WIDTH - 0.8) / (per_row * len(shown)) + 0.4
        figure, axes = new_figure(height, 1, len(shown))
        for i, (plot, (run, restored)) in enumerate(zip(axes.flat, shown, strict=True)):
            z = restored.latents(per_row, _SEED)
            images = restored.images_of(np.tile(z, (classes, 1)),
                                        np.repeat(np.arange(classes, dtype=np.int32), per_row))
            _picture(plot, images, per_row, _names(sweep, classes) if i == 0 else None)
            plot.set_title(_name(run), fontsize="medium")
        return Figure(title, f"{where(sweep)} Last checkpoint, seed {shown[0][0].seed}. Each row "
                      "has its label at the left, and each column one latent; no image is "
                      "chosen. D uses the labels by projection or by concatenation (the paper's), "
                      "or predicts them "
                      f"itself (auxiliary classifier).{lost}",
                      save(figure, folder / "figure7.png"), _provenance(shown))
    return Missing(title, f"No conditional run has a checkpoint.{lost} Make some with: "
                   f"{command_like(found, 'conditional')}")


def figure12(found: Collection, folder: Path) -> Figure | Missing:
    """Walks between latents and, for a conditional run, between classes."""
    title, lost = "Figure 12: interpolation of latents and of classes", ""
    first = [(sweep, runs[:1]) for sweep, runs in _conditional(found)]
    others = [(sweep, [run for run in runs if run.config["method"] == "sn"][:1])
              for sweep, _, runs in in_one_setting(found)]
    for sweep, runs in (*first, *others):
        shown, lost = _restored(runs)
        if not shown:
            continue
        (run, restored), = shown
        classes = min(restored.num_classes, _CLASSES)
        rows = classes or 6
        panels = 2 if classes else 1
        figure, axes = new_figure(rows * (WIDTH - 1.8) / (2 * _STEPS) + 0.4, 1, panels)
        # The first latents are also those of the morphs, so that the panels share images.
        z = np.asarray(restored.latents(2 * rows, _SEED))
        walks = np.asarray(linear(z[:rows], z[rows:], _STEPS)).reshape(rows * _STEPS, -1)
        labels = np.repeat(np.arange(rows, dtype=np.int32), _STEPS) if classes else None
        _picture(axes[0, 0], restored.images_of(walks, labels), _STEPS,
                 _names(sweep, classes) if classes else None)
        axes[0, 0].set_title("from one latent to another", fontsize="medium")
        if classes:
            ends = [(c, (c + 1) % classes) for c in range(classes)]
            weights = np.concatenate([class_walk(*pair, restored.num_classes, _STEPS)
                                      for pair in ends])
            names = _names(sweep, classes)
            _picture(axes[0, 1], restored.images_of(np.repeat(z[:rows], _STEPS, axis=0), weights),
                     _STEPS, [f"{names[a]} → {names[b]}" for a, b in ends])
            axes[0, 1].set_title("from one class to another", fontsize="medium")
        morph = ("Left: each row has one class. Right: each row has one latent, and mixes the two "
                 "classes' scales and shifts of every conditional batch norm in equal steps (the "
                 "category morphing of Miyato & Koyama 2018)." if classes else
                 "There is no conditional run for category morphing. Make one with: "
                 f"{command_like(found, 'conditional')}")
        return Figure(title, f"{where(sweep)} {_name(run)}, last checkpoint, seed {run.seed}. Each "
                      f"row has {_STEPS} equal steps along a straight line, including both ends; "
                      f"no walk is chosen. {morph}{lost}",
                      save(figure, folder / "figure12.png"), _provenance(shown))
    return Missing(title, f"No run of sn has a checkpoint that can be read.{lost} Make some with: "
                   f"{command_like(found, 'conditional')}")


def _conditional(found: Collection) -> list[tuple[Sweep, list[Run]]]:
    """For each sweep, the first seed of each trained conditional row, in its order."""
    result = []
    for sweep in sorted(found.sweeps, key=lambda sweep: sweep.table != "conditional"):
        rows: dict[str, Run] = {}
        for run in sorted(found.of(sweep), key=lambda run: run.seed):
            if run.config.get("conditional") and run.saved and run.state in (FINISHED, NOT_SCORED):
                rows.setdefault(run.config["conditioning"], run)
        order = ("projection", "concat", "auxiliary")
        result.append((sweep, [rows[name] for name in order if name in rows]))
    return result


def _restored(runs: Sequence[Run]) -> tuple[list[tuple[Run, RestoredRun]], str]:
    """The runs whose last checkpoint can be read, and in words those for which it cannot."""
    shown, lost = [], []
    for run in runs:
        try:
            shown.append((run, newest(run.folder)))
        except UserError as error:
            lost.append(str(error))
    return shown, left_out(lost)


def _name(run: Run) -> str:
    """The method, the use of labels, and the setting."""
    label = style_of(run.config["method"]).label
    if run.config.get("conditional"):
        label += f", {run.config['conditioning']}"
    return f"{label} ({run.setting})" if run.setting else label


def _names(sweep: Sweep, classes: int) -> list[str]:
    """The names of the classes; their numbers if the names are unknown."""
    known = _LABELS.get(sweep.dataset, ())
    return [known[c] if c < len(known) else f"class {c}" for c in range(classes)]


def _picture(plot: Any, images: np.ndarray, columns: int, rows: Sequence[str] | None = None
             ) -> None:
    """Draws images uint8 (n, h, w, c) into a panel, with a name at each row."""
    side = images.shape[1]
    gap = max(side // 16, 1)
    grid = image_grid(images, columns, gap=gap)
    plot.imshow(grid.squeeze(-1) if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=255,
                interpolation="nearest")
    plot.set_xticks([])
    plot.set_yticks([gap + side / 2 + i * (side + gap) for i in range(len(rows or ()))],
                    rows or (), fontsize="small")
    plot.tick_params(length=0)
    plot.set_frame_on(False)


def _provenance(shown: Sequence[tuple[Run, RestoredRun]]) -> tuple[str, ...]:
    return tuple(of_run(run, f"checkpoint {restored.iteration:,}, latents of seed {_SEED}")
                 for run, restored in shown)
