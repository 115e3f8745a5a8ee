"""The log of a run: metrics, TensorBoard events, sample grids and curves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from sngan_jax.base.types import JsonObject
from sngan_jax.metrics.evaluate import score_table
from sngan_jax.network import sigmas
from sngan_jax.run.events import Events
from sngan_jax.run.figures import by_class, save_curves, save_grid
from sngan_jax.run.health import Watch
from sngan_jax.run.progress import Progress
from sngan_jax.run.workdir import MetricsFile
from sngan_jax.step.recipe import Recipe
from sngan_jax.step.sampling import NotFiniteError, even_labels, sample_images
from sngan_jax.step.setup import normalized_weights
from sngan_jax.step.state import GeneratorState, TrainState


class Log:
    """Writes metrics, TensorBoard events, sample grids and curves into a workdir."""

    def __init__(self, workdir: Path, iteration: int, config: ConfigDict, recipe: Recipe,
                 num_classes: int, watch: Watch, rollbacks: int):
        self._workdir, self._watch = workdir, watch
        self._extra = {"rollbacks": rollbacks} if rollbacks else {}
        self._images_per_iteration = config.n_dis * config.batch_size
        self._file = MetricsFile(workdir, iteration)
        self._events = Events(workdir / "tensorboard", iteration + 1)
        self._generator, self._config = recipe.generator, config
        self._labels = even_labels(config.num_samples, num_classes if config.conditional else 0)
        self._classes = num_classes if config.conditional else 0
        self._fixed_key = jax.random.key(config.seed + 2)
        self._marker = (iteration, time.perf_counter())
        weights = normalized_weights(recipe)
        self._sigmas = jax.jit(lambda d: sigmas(d.variables, weights) if weights else {})
        self._compile_seconds = 0.0
        self._lock = threading.RLock()
        self._kept: tuple[int, dict[str, jax.Array], dict[str, jax.Array]] | None = None
        (workdir / "samples").mkdir(exist_ok=True)

    @property
    def rows(self) -> int:
        """Number of rows, including one that is kept but not yet written."""
        return len(self._file.rows) + (self._kept is not None)

    def keep(self, iteration: int, metrics: dict[str, jax.Array], state: TrainState,
             replaced: int = 0) -> None:
        """Keeps the metrics (scalars) of an iteration on the device, without waiting for them.

        replaced: number of damaged images that were replaced so far.
        """
        if replaced:
            self._extra = {**self._extra, "replaced_images": replaced}
        self._kept = iteration, metrics, self._sigmas(state.discriminator)

    def compiled(self, iteration: int) -> None:
        """Notes that the step is compiled, because its first call has started."""
        now = time.perf_counter()
        self._compile_seconds = now - self._marker[1]
        self._marker = (iteration, now)

    def write(self, bar: Progress | None) -> None:
        """Fetches the metrics that were kept, if any, and writes them to file, events and bar.

        Raises:
          Diverged: a value is not finite; nothing is written.
        """
        with self._lock:  # a signal's thread may save in place of the main one
            self._write(bar)

    def _write(self, bar: Progress | None) -> None:
        if self._kept is None:
            return
        (iteration, metrics, norms), self._kept = self._kept, None
        self._watch.check()
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        layers = {k: float(v) for k, v in jax.device_get(norms).items()}
        self._watch.row(values, layers)
        layers = {f"sigma/{k}": v for k, v in layers.items()}
        now = time.perf_counter()
        since, then = self._marker
        rate = (iteration - since) / (now - then) if iteration > since else 0.0
        row = {"iteration": iteration, **values, **layers, "time": round(time.time(), 3)}
        timing = {}
        if self._compile_seconds:
            timing["compile_seconds"] = round(self._compile_seconds, 4)
            self._compile_seconds = 0.0
        if rate:
            timing |= {"iterations_per_second": round(rate, 4),
                       "images_per_second": round(rate * self._images_per_iteration, 2)}
        self._file.append({**row, **timing, **self._extra})
        self._events.scalars(values | layers | timing, iteration)
        if bar is not None:
            bar.row(iteration, values, rate, rate * self._images_per_iteration)
        self._marker = (iteration, time.perf_counter())

    def flush(self, bar: Progress | None) -> None:
        """Calls `write` and syncs everything to disk; raises Diverged as `write` does."""
        self._watch.check()
        self.write(bar)
        self._file.sync()
        self._events.flush()

    def has_samples(self, iteration: int) -> bool:
        """Whether an iteration has a sample grid."""
        return self._sample_file(iteration).exists()

    def _sample_file(self, iteration: int) -> Path:
        return self._workdir / "samples" / f"{iteration:07d}.png"

    def samples_of(self, generator: GeneratorState, iteration: int) -> None:
        """Writes a grid of samples, always from the same latents, and the curves so far."""
        try:
            images = sample_images(self._generator, generator, self._fixed_key, self._labels,
                                   self._config)
        except NotFiniteError as error:
            tqdm.write(f"warning: no samples of iteration {iteration}: {error}")
            return
        self._watch.images(images, iteration)
        save_grid(self._sample_file(iteration),
                  *by_class(images, self._classes) if self._classes else (images,))
        self._events.images("samples", images, iteration)
        self.curves()

    def scores(self, record: JsonObject, iteration: int) -> None:
        """Prints a score record, and writes its numbers as events."""
        tqdm.write(score_table([record]))
        self._events.scalars({f"scores/{name}": value for name, value in record["scores"].items()
                              if isinstance(value, float)}, iteration)
        self._marker = (iteration, time.perf_counter())

    def curves(self) -> None:
        """Draws losses and σ over the iterations."""
        rows = self._file.rows
        if not rows:
            return
        iterations = [row["iteration"] for row in rows]

        def columns(names: Iterable[str]) -> dict[str, list[float]]:
            return {name.removeprefix("sigma/"): [row.get(name, float("nan")) for row in rows]
                    for name in names}

        names = ("d_loss", "g_loss", "d_real", "d_fake", "penalty", "d_class", "g_class")
        save_curves(self._workdir / "losses.png", iterations,
                    columns(name for name in names if name in rows[-1]), "loss; mean of D")
        layers = [name for name in rows[-1] if name.startswith("sigma/")]
        if layers:
            save_curves(self._workdir / "sigma.png", iterations, columns(layers),
                        "σ of each weight of D, before normalization")

    def close(self) -> None:
        """Closes the event file; without room on the disk, unflushed events may be lost."""
        with contextlib.suppress(OSError):
            self._events.close()
