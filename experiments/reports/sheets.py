"""Figures of samples: 6 for every method, 7 for every class, 12 between latents and classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sngan_jax.run.figures import image_grid
from sngan_jax.run.restore import RestoredRun
from sngan_jax.step.latents import class_walk, linear
from sngan_jax.step.sampling import even_labels

from .plots import WIDTH, Drawn, drawing, new_figure, of_run, readable, style_of
from .published import command_like
from .runs import Collection, Run, Sweep
from .spectra import in_one_setting, newest

Shown = list[tuple[Run, RestoredRun]]  # from the last checkpoints
_SEED = 0  # of the latents: the same in all panels
_SIDE, _COLUMNS = 5, 4  # images per side of a panel of Figure 6, and panels per row
_CLASSES, _STEPS = 10, 8
_LABELS = {"fashion_mnist": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt",
                             "sneaker", "bag", "boot"),
           "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse",
                       "ship", "truck")}


def _restored(runs: Sequence[Run]) -> tuple[Shown, str]:
    return readable(runs, lambda run: newest(run.folder))


@drawing("figure6", "Figure 6: samples of every method", in_one_setting,
         "No run has a checkpoint that can be read.{lost} Make some with", "2", _restored)
def figure6(shown: Shown, setting: str) -> Drawn:
    """Samples of every method, from the last checkpoint and the same latents."""
    columns = max(min(len(shown), _COLUMNS), 2)  # one panel alone is half as high as wide
    figure, axes = new_figure(WIDTH / columns + 0.25, len(shown), columns)
    for plot, (run, restored) in zip(axes, shown, strict=True):
        _picture(plot, restored.sample(even_labels(_SIDE**2, restored.num_classes), _SEED), _SIDE,
                 _name(run))
    own = f"setting {setting}, " if setting else ""
    same = len({restored.config.latent_size for _, restored in shown}) == 1
    latents = ": an image at the same place has the same latent in every panel" if same else ""
    return Drawn(figure, f"Each panel is from the last checkpoint of one run, {own}seed "
                 f"{shown[0][0].seed}{latents}. No image is chosen.", _provenance(shown))


def _conditional(found: Collection) -> Iterator[tuple[Sweep, list[Run]]]:
    """For each sweep, the first seed of each trained conditional row, in its order."""
    for sweep in sorted(found.sweeps, key=lambda sweep: sweep.table != "conditional"):
        rows = {run.config["conditioning"]: run
                for run in sorted(found.of(sweep), key=lambda run: -run.seed)
                if run.config.get("conditional") and run.saved and run.trained}
        yield sweep, [rows[name] for name in ("projection", "concat", "auxiliary")
                      if name in rows]


@drawing("figure7", "Figure 7: samples of every class", _conditional,
         "No conditional run has a checkpoint.{lost} Make some with", "conditional", _restored)
def figure7(shown: Shown) -> Drawn:
    """A row of samples for each class, for every way to use the labels."""
    classes = min(shown[0][1].num_classes, _CLASSES)
    per_row = {1: 12, 2: 8, 3: 6}[len(shown)]
    height = classes * (WIDTH - 0.8) / (per_row * len(shown)) + 0.4
    figure, axes = new_figure(height, len(shown))
    labels = np.repeat(np.arange(classes, dtype=np.int32), per_row)
    for plot, (run, restored) in zip(axes, shown, strict=True):
        z = np.tile(restored.latents(per_row, _SEED), (classes, 1))
        _picture(plot, restored.images_of(z, labels), per_row, _name(run),
                 _names(run.sweep, classes) if plot is axes[0] else ())
    return Drawn(figure, f"Last checkpoint, seed {shown[0][0].seed}. Each row has its label at the "
                 "left, and each column one latent; no image is chosen. D uses the labels by "
                 "projection or by concatenation (the paper's), or predicts them itself (auxiliary "
                 "classifier).", _provenance(shown))


def _with_sn(found: Collection) -> list[tuple[Sweep, list[Run], str]]:
    """For each sweep, a conditional run; then one of SN. And how to make conditional ones."""
    runs = [*_conditional(found),
            *((sweep, [run for run in runs if run.config["method"] == "sn"])
              for sweep, runs, _ in in_one_setting(found))]
    return [(sweep, of[:1], command_like(found, "conditional")) for sweep, of in runs]


@drawing("figure12", "Figure 12: interpolation of latents and of classes", _with_sn,
         "No run of sn has a checkpoint that can be read.{lost} Make some with", "conditional",
         _restored)
def figure12(shown: Shown, command: str) -> Drawn:
    """Walks between latents and, for a conditional run, between classes."""
    (run, restored), = shown
    classes = min(restored.num_classes, _CLASSES)
    rows, names = classes or 6, _names(run.sweep, classes)
    figure, axes = new_figure(rows * (WIDTH - 1.8) / (2 * _STEPS) + 0.4, 2 if classes else 1)
    # The first latents are also those of the morphs, so that the panels share images.
    z = np.asarray(restored.latents(2 * rows, _SEED))
    walks = np.asarray(linear(z[:rows], z[rows:], _STEPS)).reshape(rows * _STEPS, -1)
    labels = np.repeat(np.arange(rows, dtype=np.int32), _STEPS) if classes else None
    _picture(axes[0], restored.images_of(walks, labels), _STEPS, "from one latent to another",
             names)
    morph = f"There is no conditional run for category morphing. Make one with: {command}"
    if classes:
        ends = [(c, (c + 1) % classes) for c in range(classes)]
        weights = np.concatenate([class_walk(*pair, restored.num_classes, _STEPS)
                                  for pair in ends])
        _picture(axes[1], restored.images_of(np.repeat(z[:rows], _STEPS, axis=0), weights), _STEPS,
                 "from one class to another", [f"{names[a]} → {names[b]}" for a, b in ends])
        morph = ("Left: each row has one class. Right: each row has one latent, and mixes the two "
                 "classes' scales and shifts of every conditional batch norm in equal steps (the "
                 "category morphing of Miyato & Koyama 2018).")
    return Drawn(figure, f"{_name(run)}, last checkpoint, seed {run.seed}. Each row has {_STEPS} "
                 f"equal steps along a straight line, including both ends; no walk is chosen. "
                 f"{morph}", _provenance(shown))


def _name(run: Run) -> str:
    """The method, the use of labels, and the setting."""
    label = style_of(run.config["method"])["label"]
    if run.config.get("conditional"):
        label += f", {run.config['conditioning']}"
    return f"{label} ({run.setting})" if run.setting else label


def _names(sweep: Sweep, classes: int) -> list[str]:
    """The names of the classes; their numbers if the names are unknown."""
    known = _LABELS.get(sweep.dataset, ())
    return [known[c] if c < len(known) else f"class {c}" for c in range(classes)]


def _picture(plot: Any, images: np.ndarray, columns: int, title: str, rows: Sequence[str] = ()
             ) -> None:
    """Draws images uint8 (n, h, w, c) into a panel, with a name at each row."""
    side = images.shape[1]
    gap = max(side // 16, 1)
    grid = image_grid(images, columns, gap=gap)
    plot.imshow(grid.squeeze(-1) if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=255,
                interpolation="nearest")
    plot.set_title(title, fontsize="medium")
    plot.set_xticks([])
    plot.set_yticks([gap + side / 2 + i * (side + gap) for i in range(len(rows))], rows,
                    fontsize="small")
    plot.tick_params(length=0)
    plot.set_frame_on(False)


def _provenance(shown: Shown) -> list[str]:
    return [of_run(run, f"checkpoint {restored.iteration:,}, latents of seed {_SEED}")
            for run, restored in shown]
