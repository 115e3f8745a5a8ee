"""A run, from its config to the files in its workdir."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from tqdm import tqdm

from sngan_jax.collection import sigmas
from sngan_jax.data.sources import ImageSet, check_batch, load
from sngan_jax.data.streaming import ImageStream, open_stream
from sngan_jax.errors import UserError
from sngan_jax.figures import save_curves, save_grid
from sngan_jax.losses import LOSSES
from sngan_jax.methods import method_of
from sngan_jax.metrics.evaluate import table
from sngan_jax.models.build import build_models
from sngan_jax.regularizers import CONSTRAINTS, REGULARIZERS
from sngan_jax.sampling import NotFiniteError, even_labels, sample_images
from sngan_jax.train import distributed
from sngan_jax.train.checkpoint import Checkpoints
from sngan_jax.train.evaluation import make_evaluation
from sngan_jax.train.events import open_events
from sngan_jax.train.feed import all_devices, feed, positions, replicate
from sngan_jax.train.state import TrainState, adam, count_parameters, create_state
from sngan_jax.train.step import AXIS, Objective, StepSettings, linear_decay, make_train_step
from sngan_jax.train.validate import cautions, validate
from sngan_jax.train.workdir import MetricsFile, commit, open_workdir


class Run(NamedTuple):
    """What a config and the facts of its data set determine."""

    generator: nn.Module
    discriminator: nn.Module
    optimizer: optax.GradientTransformation
    initial_state: TrainState


def build_run(config: Any, channels: int, num_classes: int,
              device_kind: str | None = None) -> Run:
    """Networks, optimizer and initial state of a config (not replicated).

    Args:
      device_kind: that the step is for, as of `build_models`.
    """
    generator, discriminator = build_models(
        config, channels=channels, num_classes=num_classes if config.conditional else 0,
        axis_name=AXIS, device_kind=device_kind)
    optimizer = adam(config.beta1, config.beta2)
    init = jax.jit(lambda key: create_state(
        key, generator, discriminator, optimizer, latent_size=config.latent_size,
        image_shape=(config.image_size, config.image_size, channels), ema=config.ema_decay > 0))
    return Run(generator, discriminator, optimizer, init(jax.random.key(config.seed)))


def build_step(config: Any, run: Run, devices: list[jax.Device]) -> Callable:
    """The compiled iteration of a config's method, loss and schedule (`step.make_train_step`)."""
    method = method_of(config)
    objective = Objective(
        LOSSES[method.loss], REGULARIZERS[method.regularizer](config),
        CONSTRAINTS[method.constraint](config),
        (config.auxiliary_discriminator, config.auxiliary_generator))
    settings = StepSettings(
        batch_size=config.batch_size, generator_batch_size=config.generator_batch_size,
        n_dis=config.n_dis, latent_size=config.latent_size,
        learning_rate=linear_decay(config.learning_rate, config.iterations, config.lr_decay_start),
        ema_decay=config.ema_decay, dequantize=config.dequantize, conditional=config.conditional,
        latent=config.latent, flip=config.flip, sigma_updates=config.sigma_updates,
        together=config.discriminator_batches == "together", stream=config.stream,
        iterations_per_call=config.iterations_per_call,
        average_statistics=config.bn_sync == "device",
        image_shape=(config.image_size, config.image_size, run.generator.channels))
    return make_train_step(run.generator, run.discriminator, objective, run.optimizer, settings,
                           devices)


def load_data(config: Any) -> ImageSet | ImageStream:
    """The data set of a config; UserError where it does not suit the config."""
    images = (open_stream if config.stream else load)(
        config.dataset, image_size=config.image_size, channels=config.channels or None,
        split=config.split, data_dir=config.data_dir or None)
    check_batch(images, config.batch_size)
    if config.conditional and not images.num_classes:
        raise UserError(f"config.conditional is true, but the data set {config.dataset!r} has no "
                        "labels: use a labelled set, or --config.conditional=false")
    return images


def train(config: Any, workdir: str | os.PathLike, *, accept_changes: bool = False) -> bool:
    """Trains, or goes on with the training, in `workdir`.

    Several processes (`distributed.joined`) call this alike; the first one alone reads and writes
    the workdir.

    Args:
      config: an `ml_collections.ConfigDict` with the fields of `validate.FIELDS`.
      workdir: created where missing; a run of the same config there is resumed.
      accept_changes: resume even where the config differs.

    Returns:
      True when all iterations are done; False where SIGINT or SIGTERM ended it early, with
      everything saved.

    Raises:
      UserError: bad config, data or workdir, in one sentence, before any long work.
    """
    devices = all_devices()
    validate(config, len(devices))
    distributed.agree("run", {**{f"config.{k}": v for k, v in config.items()}, "commit": commit(),
                              "code version": distributed.code_version(), "jax": jax.__version__,
                              "number of devices": jax.local_device_count()})
    if distributed.is_first():
        for caution in cautions(config):
            print(f"warning: {caution}", file=sys.stderr)
    images = load_data(config)
    distributed.agree("data", {"content hash of the data set": images.fingerprint()})
    with distributed.seen_of_first(workdir) as folder:
        return _train(config, images, folder, devices, accept_changes)


def _train(config: Any, images: ImageSet | ImageStream, workdir: Path, devices: list[jax.Device],
           accept_changes: bool) -> bool:
    """`train` once config and data are checked."""
    workdir = open_workdir(workdir, config.to_dict(), accept_changes=accept_changes)

    run = build_run(config, images.channels, images.num_classes)
    step = build_step(config, run, devices)
    print(f"{images.name}: {len(images):,} images of {config.image_size}x"
          f"{config.image_size}x{images.channels}; generator "
          f"{count_parameters(run.initial_state.generator.params):,} parameters, discriminator "
          f"{count_parameters(run.initial_state.discriminator.params):,}; "
          f"{len(devices)} x {devices[0].device_kind}")

    with Checkpoints(workdir, config.keep_checkpoints) as checkpoints, \
            Interruption() as interruption:
        state, first = run.initial_state, max(checkpoints.all(), default=0)
        if first:
            check_same_data(checkpoints.meta(first), images, workdir)
            state = checkpoints.restore(state, first)
            print(f"resuming {workdir} at iteration {first:,} of {config.iterations:,}")
        state, first = distributed.from_first((state, first))
        first = int(first)
        per_call = config.iterations_per_call
        if first % per_call:
            raise UserError(f"{workdir} stands at iteration {first:,}, which is no multiple of "
                            f"config.iterations_per_call = {per_call}: choose one that divides it")
        if first >= config.iterations:
            print("nothing left to do")
            return True
        meta = {"data": images.fingerprint(), "channels": images.channels,
                "num_classes": images.num_classes}
        log = Log(workdir, first, config, run, meta["num_classes"])
        evaluate = make_evaluation(config, workdir, run.generator, images, first)
        key = jax.random.key(config.seed + 1)
        stream = feed(images, devices, key, first_iteration=first, n_dis=config.n_dis,
                      batch_size=config.batch_size, iterations_per_call=per_call)
        state, key = replicate((state, key), devices)
        position = positions(devices)
        # Virtual devices of one CPU can wait for each other for ever when steps pile up.
        block = len(devices) > 1 and devices[0].platform == "cpu"
        # Among several processes pmap itself sends the key, 8 bytes, in each call.
        guard = "disallow" if jax.process_count() == 1 else "allow"

        if not first:
            log.samples(state, 0)
        with stream as next_data, tqdm(
                total=config.iterations, initial=first, unit="it", dynamic_ncols=True,
                desc="compiling", mininterval=1, disable=not distributed.is_first()) as bar:
            for iteration in range(first + per_call, config.iterations + 1, per_call):
                with jax.transfer_guard(guard):
                    state, metrics = step(state, next_data(), key, position)
                log.write(bar)  # what was kept before, while the devices work on this call
                if block:
                    jax.block_until_ready(metrics)
                if distributed.told_to_stop(iteration // per_call):
                    interruption.signal = signal.SIGTERM
                last = iteration == config.iterations or interruption.signal is not None
                if iteration % config.log_every == 0 or iteration == first + per_call or last:
                    log.keep(iteration, metrics, state)
                if iteration % config.sample_every == 0 or last:
                    log.write(bar)
                    log.samples(state, iteration)
                if iteration % config.checkpoint_every == 0 or last:
                    log.write(bar)  # so that no line before a checkpoint is ever missing
                    checkpoints.save(state, meta)
                if evaluate and (iteration % config.evaluate_every == 0 or last):
                    log.scores(evaluate(state.generator, iteration), iteration)
                bar.update(per_call)
                if last:
                    break
        log.close()
    if interruption.signal is not None and iteration < config.iterations:
        print(f"stopped by {interruption.signal.name} at iteration {iteration:,}, saved; the same "
              "command goes on from there")
        return False
    return True


def check_same_data(meta: dict[str, Any], images: ImageSet | ImageStream, workdir: Path) -> None:
    """UserError where a checkpoint was trained on other data."""
    if meta["data"] != images.fingerprint():
        raise UserError(f"the data set {images.name} has changed since {workdir} was trained on it "
                        "(its content hash differs): restore the data or choose another --workdir")


class Interruption:
    """While entered, the first SIGINT or SIGTERM is only noted; a second acts as usual.

    Among several processes, which must end together, JAX notes SIGTERM (`told_to_stop`), and SIGINT
    is passed on to it.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Interruption:
        self._old = {}
        try:
            if jax.process_count() > 1:
                self._old[signal.SIGINT] = signal.signal(signal.SIGINT, self._pass_on)
                return self
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        except ValueError:  # only the main thread may
            pass
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, number: int, _frame) -> None:
        self.signal = signal.Signals(number)
        self._restore()
        tqdm.write(f"{self.signal.name}: finishing this iteration and saving")

    def _pass_on(self, number: int, _frame) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


class Log:
    """Writes metrics, TensorBoard events, sample grids and curves into a workdir."""

    def __init__(self, workdir: Path, iteration: int, config: Any, run: Run, num_classes: int):
        self._workdir = workdir
        self._images_per_iteration = config.n_dis * config.batch_size
        self._file = MetricsFile(workdir, iteration)
        self._writer = open_events(workdir / "tensorboard", iteration + 1)
        self._generator, self._config = run.generator, config
        self._labels = even_labels(config.num_samples, num_classes if config.conditional else 0)
        self._columns = num_classes if config.conditional else None
        self._fixed_key = jax.random.key(config.seed + 2)
        self._marker = (iteration, time.perf_counter())
        self._sigmas = jax.jit(lambda d: sigmas(d.variables))
        self._first = True
        self._kept: tuple[int, dict[str, jax.Array], dict[str, jax.Array]] | None = None
        (workdir / "samples").mkdir(exist_ok=True)

    def keep(self, iteration: int, metrics: dict[str, jax.Array], state: TrainState) -> None:
        """Notes the metrics of an iteration on the device; nothing waits for them."""
        self._kept = iteration, metrics, self._sigmas(state.discriminator)

    def write(self, bar: tqdm) -> None:
        """Fetches what was kept, if anything, and writes it everywhere."""
        if self._kept is None:
            return
        (iteration, metrics, norms), self._kept = self._kept, None
        values = {k: float(v) for k, v in jax.device_get(metrics).items()}
        layers = {f"sigma/{k}": float(v) for k, v in jax.device_get(norms).items()}
        now = time.perf_counter()
        since, then = self._marker
        rate = (iteration - since) / (now - then)
        row = {"iteration": iteration, **values, **layers, "time": round(time.time(), 3)}
        # The first interval holds the compilation.
        timing = {"compile_seconds" if self._first else "iterations_per_second":
                  round(now - then if self._first else rate, 4)}
        if not self._first:
            timing["images_per_second"] = round(rate * self._images_per_iteration, 2)
        self._first = False
        self._file.append({**row, **timing})
        for name, value in (values | layers | timing).items():
            self._writer.add_scalar(name, value, iteration)
        bar.set_description("training", refresh=False)
        speed = f"{timing.get('images_per_second', 0):,.0f} img/s, "
        bar.set_postfix_str(f"{speed}D {values['d_loss']:.3f}, G {values['g_loss']:.3f}",
                            refresh=False)
        self._marker = (iteration, time.perf_counter())

    def samples(self, state: TrainState, iteration: int) -> None:
        """A grid of the same latents each time, and the curves so far."""
        try:
            images = sample_images(self._generator, state.generator, self._fixed_key, self._labels,
                                   self._config)
        except NotFiniteError as error:
            tqdm.write(f"warning: no samples of iteration {iteration}: {error}")
            return
        save_grid(self._workdir / "samples" / f"{iteration:07d}.png", images, self._columns)
        self._writer.add_images("samples", images, iteration, dataformats="NHWC")
        self.curves()

    def scores(self, record: dict[str, Any], iteration: int) -> None:
        """Shows a record, and writes its numbers as events."""
        tqdm.write(table([record]))
        for name, value in record["scores"].items():
            if isinstance(value, float):
                self._writer.add_scalar(f"scores/{name}", value, iteration)
        self._marker = (iteration, time.perf_counter())

    def curves(self) -> None:
        """Losses and σ over the iterations."""
        rows = self._file.rows
        if not rows:
            return
        iterations = [row["iteration"] for row in rows]

        def columns(names):
            return {name.removeprefix("sigma/"): [row.get(name, float("nan")) for row in rows]
                    for name in names}

        names = ("d_loss", "g_loss", "d_real", "d_fake", "penalty", "d_class", "g_class")
        save_curves(self._workdir / "losses.png", iterations,
                    columns(name for name in names if name in rows[-1]), "loss; mean of D")
        layers = [name for name in rows[-1] if name.startswith("sigma/")]
        if layers:
            save_curves(self._workdir / "sigma.png", iterations, columns(layers),
                        "σ of each weight of D, before normalisation")

    def close(self) -> None:
        """Flushes the events."""
        self._writer.close()
