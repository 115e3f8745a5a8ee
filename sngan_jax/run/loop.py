"""A run, from its config to the files in its workdir."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError, printable
from sngan_jax.base.files import write_errors
from sngan_jax.base.output import say, steady
from sngan_jax.base.provenance import code_version, commit
from sngan_jax.base.types import JsonObject
from sngan_jax.data.sources import DataError, ImageSet
from sngan_jax.data.streaming import ImageStream
from sngan_jax.metrics.extractor import Extractor
from sngan_jax.run import distributed
from sngan_jax.run.checkpoint import Checkpoints, NotFiniteState
from sngan_jax.run.conditions import conditions
from sngan_jax.run.evaluation import (
    best_of,
    extractor_of_run,
    is_recorded,
    make_evaluation,
    recorded,
)
from sngan_jax.run.feed import feed
from sngan_jax.run.health import Diverged, Watch
from sngan_jax.run.interruption import Interruption, Stopped
from sngan_jax.run.lock import locked
from sngan_jax.run.log import Log
from sngan_jax.run.preparation import (
    check_apart,
    check_room,
    load_data,
    names_of_classes,
    resumable,
)
from sngan_jax.run.progress import Progress, finished
from sngan_jax.run.restore import RestoredRun
from sngan_jax.run.start_from import check_source, open_source, started_from
from sngan_jax.run.stored_checkpoints import Saved, StoredCheckpoints, identity_of
from sngan_jax.run.validate import config_warnings, names_of, validate
from sngan_jax.run.workdir import METRICS, check_workdir, is_run, make_workdir, open_workdir
from sngan_jax.step.augment import chosen
from sngan_jax.step.devices import all_devices, positions, replicate
from sngan_jax.step.program import make_train_step
from sngan_jax.step.recipe import Recipe
from sngan_jax.step.setup import inputs_of, recipe_of
from sngan_jax.step.state import TrainState, count_parameters, initializer


def train(config: ConfigDict, workdir: str | os.PathLike, *, accept_changes: bool = False,
          own_process: bool = False) -> bool:
    """Trains, or continues training, in `workdir`.

    Several processes (`distributed.joined`) make the same call; only the first one reads and writes
    the workdir.

    Args:
      config: an `ml_collections.ConfigDict` with the fields of `config.FIELDS`.
      workdir: created if missing; if it holds a run of the same config, that run is resumed.
      accept_changes: resume even if the config differs.
      own_process: whether a signal may end this process when Python cannot be interrupted.

    Returns:
      True if all iterations are done; False if a signal ended the run early, with everything saved.

    Raises:
      UserError: a bad config, data set or workdir, in one sentence, before any long work.
      WriteError: a file of the run cannot be written; what was saved before is untouched.
      Diverged: NaN or infinity, and config.on_nan does not (or no longer) allow a rollback.
    """
    devices = all_devices()
    validate(config, len(devices))
    distributed.agree({**{f"config.{k}": v for k, v in config.items()}, "commit": commit(),
                       "code version": code_version(), **conditions(),
                       "number of devices": jax.local_device_count()})
    if distributed.is_first():
        for caution in config_warnings(config):
            say(f"warning: {caution}")
    with steady(), contextlib.ExitStack() as held, Interruption(
            own_process=own_process, several=jax.process_count() > 1) as interruption, \
            distributed.seen_of_first(os.path.expanduser(workdir)) as workdir, \
            write_errors("a file of the run", workdir):
        try:
            with interruption.abandoning():
                interruption.set_fallback(lambda: False)  # nothing to save yet
                # Everything is checked and read before anything on the disk is changed.
                plain = config.to_dict()
                check_workdir(workdir, plain, accept_changes=accept_changes)
                check_apart(config, workdir)
                if there := is_run(workdir):
                    still_ours = held.enter_context(locked(workdir))
                images = load_data(config)
                distributed.agree({"fingerprint of the data set": images.fingerprint()})
                config = config.copy_and_resolve_references()
                config.augment = chosen(config.augment, len(images))
                plain = config.to_dict()
                recipe = recipe_of(config, images.channels, images.num_classes, devices)
                init = initializer(recipe)
                shapes = jax.eval_shape(init, jax.random.key(config.seed))
                check_room(config, recipe, shapes, images, devices)
                step = make_train_step(recipe, devices)
                stored = StoredCheckpoints(workdir)
                saved = resumable(config, workdir, stored, shapes, images, accept_changes)
                source = None
                if config.init_from and saved is None and distributed.is_first():
                    source = open_source(config.init_from)
                    check_source(source, recipe, shapes, names_of_classes(config, images))
                extractor = None
                # Other processes than the first see an empty folder.
                if config.evaluate_every and not distributed.from_first(there):
                    extractor = extractor_of_run(config, images)
                workdir = make_workdir(workdir)
                if not there:
                    still_ours = held.enter_context(locked(workdir))
                    if is_run(workdir):
                        raise UserError(f"another run started and ended in {workdir} in the "
                                        "meantime: run the same command again")
                open_workdir(workdir, plain)
            if images.about:
                print(f"{printable(images.name)}: {printable(images.about)}")
            if distributed.is_first():
                for caution in images.cautions:
                    say(f"warning: {images.name}: {caution}")
            height, width, channels = recipe.image_shape
            print(f"{printable(images.name)}: {len(images):,} images of "
                  f"{height}x{width}x{channels}; generator "
                  f"{count_parameters(shapes.generator.params):,} parameters, "
                  f"discriminator {count_parameters(shapes.discriminator.params):,}; "
                  f"{len(devices)} x {devices[0].device_kind}")
            rollbacks: int | None = None
            with Checkpoints(workdir, config.keep_checkpoints, config.keep_every,
                             still_ours) as checkpoints:
                checkpoints.move_aside(stored.bad)
                while True:
                    try:
                        return _train(config, workdir, recipe, init, shapes, step, images, devices,
                                      extractor, checkpoints, interruption, saved, rollbacks,
                                      source)
                    except Diverged as error:
                        rollbacks = error.rollbacks + 1
                        if config.on_nan != "rollback" or rollbacks > config.on_nan_rollbacks:
                            raise
                        if distributed.is_first():
                            say(f"warning: {error}: going back to {error.last_good} and continuing "
                                f"with other data (rollback {rollbacks} of at most "
                                f"{config.on_nan_rollbacks})")
                    saved = resumable(config, workdir, checkpoints, shapes, images, accept_changes)
        except Stopped:
            print(f"stopped by {interruption.name} before anything was trained; give the same "
                  "command to start again")
            return False


def _train(config: ConfigDict, workdir: Path, recipe: Recipe, init: Callable,
           shapes: TrainState, step: Callable, images: ImageSet | ImageStream,
           devices: list[jax.Device], extractor: Extractor | None, checkpoints: Checkpoints,
           interruption: Interruption, saved: Saved | None, rollbacks: int | None,
           source: RestoredRun | None) -> bool:
    """Trains from a checkpoint to the end, or until a signal.

    Args:
      init: the `initializer` of the state.
      extractor: the extractor for a new run's scores; None in a resumed run, which makes it before
        it trains.
      shapes: shapes of the state, `jax.ShapeDtypeStruct`s.
      saved: the checkpoint from which the first process continues; None for a new run.
      rollbacks: number of returns to a checkpoint because of NaN; None: as stored in `saved`.
      source: the run from whose weights a new one starts, or None.

    Raises:
      Diverged: NaN or infinity; the error has `rollbacks` and, in words, `last_good`.
    """
    per_call = config.iterations_per_call
    with interruption.abandoning():
        first, classes = 0, names_of_classes(config, images)
        if saved:
            state, first = saved.state, saved.iteration
            print(f"resuming {printable(str(workdir))} at iteration {first:,} of "
                  f"{config.iterations:,}")
        elif distributed.is_first():
            state = init(jax.random.key(config.seed))
            if source is not None:
                state, said = started_from(state, source, recipe, classes)
                print("\n".join(said))
        else:  # the first process sends its own
            state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        if rollbacks is None:
            rollbacks = saved.meta.get("rollbacks", 0) if saved else 0
        replaced = saved.meta.get("replaced_images", 0) if saved else 0
        state, (first, rollbacks, replaced) = distributed.from_first(
            (state, (first, rollbacks, replaced)))
        first, rollbacks, replaced = int(first), int(rollbacks), int(replaced)
        meta: JsonObject = {
            "data": images.fingerprint(), "channels": images.channels,
            "num_classes": images.num_classes, "identity": identity_of(config),
            "rollbacks": rollbacks, "config": config.to_dict(), "conditions": conditions(),
            "class_names": list(classes)}
        if config.init_from and not first:  # so that a resumed run no longer needs the source
            checkpoints.save(state, meta)
            checkpoints.wait()
        # If a run was stopped between a checkpoint and its scores, the scores are computed now.
        scores_missing = bool(distributed.from_first(first > 0 and _is_due(
            first, config.evaluate_every, config) and not is_recorded(workdir, first)))
        if first >= config.iterations and not scores_missing:
            if distributed.is_first():
                print(finished(workdir, config, None))
            return True
        watch = Watch(shapes)
        networks = recipe_of(config, images.channels, images.num_classes)
        log = Log(workdir, first, config, networks, meta["num_classes"], watch, rollbacks)
        if saved and log.rows < saved.meta.get("rows", 0):
            say(f"warning: {METRICS} has {log.rows:,} rows of the {saved.meta['rows']:,} that it "
                f"had at iteration {first:,}: the others are lost")
        evaluate = make_evaluation(config, workdir, networks.generator, images, first, extractor)
        metric = names_of(config.evaluate_metrics)[0] if evaluate else ""

        def score(state: TrainState, iteration: int) -> None:
            assert evaluate is not None  # scores are due only if it exists
            log.scores(evaluate(state.generator, iteration, replaced), iteration)
            checkpoints.best = best_of(recorded(workdir, metric), metric, checkpoints.kept())

        if scores_missing:
            score(state, first)
        elif evaluate and first:
            checkpoints.best = best_of(recorded(workdir, metric), metric, checkpoints.all())
        grid = None
        if distributed.from_first(
                _is_due(first, config.sample_every, config) and not log.has_samples(first)):
            # A copy, so that the first iteration need not wait for the picture.
            grid = jax.device_get(state.generator.replace(opt_state=None))

    # After a rollback, the data comes in another order, which depends on the count.
    key = jax.random.key(config.seed + 1)
    key = jax.random.fold_in(key, rollbacks) if rollbacks else key
    stream = feed(images, devices, key, first_iteration=first, n_dis=config.n_dis,
                  batch_size=config.batch_size, iterations_per_call=per_call)
    state, inputs = replicate((state, inputs_of(config, key)), devices)
    inputs = inputs._replace(position=positions(devices))
    # Virtual devices of one CPU can deadlock when steps pile up. Elsewhere two calls keep a device
    # busy, and a signal waits for no more than those.
    # With several processes pmap itself sends the key, 8 bytes, in each call.
    guard = "disallow" if jax.process_count() == 1 else "allow"
    in_flight: deque = deque(maxlen=1 if len(devices) > 1 and devices[0].platform == "cpu" else 2)
    begin = last_save = time.monotonic()
    iteration = first

    def about() -> JsonObject:
        """Meta for the current state; all rows that it counts are in the file, or kept."""
        return {**meta, "replaced_images": replaced, "rows": log.rows}

    try:
        with stream as next_batches, Progress(
                config.iterations, first, shown=distributed.is_first()) as bar:
            while iteration < config.iterations and interruption.signal is None:
                *batch, count = next_batches()
                inputs = inputs._replace(**dict(zip(("images", "labels"), batch, strict=True)))
                # The state before this call is on the disk, or nothing was trained yet.
                interruption.set_fallback((lambda: False) if iteration == first else None)
                with jax.transfer_guard(guard):
                    state, metrics = step(state, inputs)
                if iteration == first:
                    log.compiled(first + per_call)
                iteration += per_call
                replaced += count
                log.write(bar)  # metrics kept before, while the devices work on this call
                watch.note(metrics)
                in_flight.append(metrics)
                jax.block_until_ready(in_flight[0] if len(in_flight) == in_flight.maxlen else ())
                row_due = _is_due(iteration, config.log_every, config) or iteration == per_call
                if row_due:
                    log.keep(iteration, metrics, state, replaced)
                if distributed.told_to_stop():
                    interruption.signal = signal.SIGTERM
                interruption.set_fallback(
                    functools.partial(_save_now, checkpoints, log, state, about()))
                if grid is not None and iteration > first + per_call:
                    log.samples_of(grid, first)
                    grid = None
                # The last grid is drawn even after a signal, because no later call would.
                if _is_due(iteration, config.sample_every, config) and (
                        not interruption.signal or iteration == config.iterations):
                    log.flush(bar)
                    log.samples_of(state.generator, iteration)
                scores_due = evaluate and _is_due(iteration, config.evaluate_every, config)
                # Several processes must see NaN in the same call, so the first one's clock counts.
                late = (config.checkpoint_minutes and (row_due or jax.process_count() == 1)
                        and distributed.from_first(
                            time.monotonic() - last_save > 60 * config.checkpoint_minutes))
                if (late or scores_due or any(_is_due(iteration, every, config) for every in (
                        config.checkpoint_every, config.keep_every))):
                    log.flush(bar)  # so that no line before a checkpoint is ever missing
                    checkpoints.save(state, about())
                    last_save = time.monotonic()
                checkpoints.check()
                if scores_due:
                    with contextlib.suppress(Stopped), interruption.abandoning():
                        score(state, iteration)
                bar.update(per_call)
            log.flush(bar)
            if grid is not None and iteration > first:
                log.samples_of(grid, first)
        interruption.set_fallback(None)  # the main thread is back, and saves by itself
        if iteration > first:
            checkpoints.save(state, about())
        checkpoints.wait()
    except DataError as error:  # an image of a stream
        if iteration > first and distributed.is_first():
            try:
                _save_now(checkpoints, log, state, about())
            except (Diverged, NotFiniteState) as worse:
                raise _diverged(worse, checkpoints, rollbacks) from worse
        # By now the first process has begun a call, which cannot end without this one.
        kept = ("with everything saved" if distributed.is_first() else
                "and will continue from its last checkpoint")
        raise DataError(f"{error}; the run stopped at iteration {iteration:,}, {kept}; to continue "
                        "without it, add --config.on_bad_image=skip --accept-config-changes"
                        ) from error
    except (Diverged, NotFiniteState) as error:
        whole = _diverged(error, checkpoints, rollbacks)
        distributed.from_first(0)  # a process that ended now would end the first one, which writes
        raise whole from error
    finally:
        log.close()
    if iteration < config.iterations:
        print(f"stopped by {interruption.name} at iteration {iteration:,}, saved; give the "
              "same command to continue from there")
        return False
    if distributed.is_first():
        print(finished(workdir, config, time.monotonic() - begin))
    return True


def _is_due(iteration: int, every: int, config: ConfigDict) -> bool:
    """Whether a periodic action is due: every so many iterations (0: never), and at the end."""
    return bool(every) and (iteration % every == 0 or iteration == config.iterations)


def _save_now(checkpoints: Checkpoints, log: Log, state: TrainState, meta: JsonObject) -> None:
    """Writes the log and a checkpoint at once, for a main thread that is blocked or stops."""
    log.flush(None)
    checkpoints.save(state, meta)
    checkpoints.wait()


def _diverged(error: Exception, checkpoints: Checkpoints, rollbacks: int) -> Diverged:
    """The error completed by the last good state and the cure."""
    checkpoints.wait()
    saved = checkpoints.all()
    last_good = (f"the checkpoint of iteration {saved[-1]:,}" if saved else "the start")
    # The other processes see none of the checkpoints.
    where = f"; the last good state is {last_good} in {checkpoints.folder}" * distributed.is_first()
    whole = Diverged(f"{error}{where}; lower config.learning_rate, or let --config.on_nan=rollback "
                     "go back and continue with other data")
    whole.last_good, whole.rollbacks = last_good, rollbacks
    return whole
