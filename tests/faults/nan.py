"""NaN in a batch, a weight or a gradient of a real run, in this process: nan."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from sngan_jax.run import loop
from sngan_jax.run.health import Diverged
from sngan_jax.run.restore import restore_run
from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from sngan_jax.run.workdir import read_metrics
from sngan_jax.step import devices, iteration
from sngan_jax.step.checks import named_leaves
from tests.faults.runs import Outcome, tiny_config

_LOG, _SAVE, _ITERATIONS = 4, 4, 16
_KERNELS = {"generator": ("block1/conv1/kernel", "dense/kernel"),
            "discriminator": ("block2/conv2/kernel", "head/dense/kernel")}


def nan(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Injects NaN, which must be noticed within one logging interval, located, and never saved."""
    held, notes = 0, []
    for n in range(rounds):
        kind = ("batch", "weight", "gradient")[n % 3]
        network = str(rng.choice(list(_KERNELS)))
        leaf = str(rng.choice(_KERNELS[network]))
        at = int(rng.integers(2, _ITERATIONS - _LOG))
        back = bool(rng.random() < 0.5)
        words = {"batch": "metric d_loss (and 1 more) is not finite, on a batch of real images",
                 "weight": f"parameter {network}/{leaf}",
                 "gradient": f"gradient of {network}/{leaf}"}[kind]
        problems = _round(work / f"nan-{n}", kind, network, leaf, at, back, words)
        held += not problems
        notes += [f"round {n}, {kind} {network}/{leaf} at {at}: {p}" for p in problems]
    return Outcome(rounds, held, notes)


def _round(workdir: Path, kind: str, network: str, leaf: str, at: int, back: bool,
           words: str) -> list[str]:
    config = tiny_config(iterations=_ITERATIONS, log_every=_LOG, checkpoint_every=_SAVE,
                         sample_every=_ITERATIONS, evaluate_every=0,
                         on_nan="rollback" if back else "stop")
    calls: list[int] = []
    said, problems = io.StringIO(), []
    jax.clear_caches()  # otherwise the programs of all rounds pile up
    with _injected(kind, network, leaf, at, calls), contextlib.redirect_stderr(said), \
            contextlib.redirect_stdout(io.StringIO()):
        try:
            finished, sentence = loop.train(config, workdir), said.getvalue()
        except Diverged as error:
            finished, sentence = False, str(error)
    if f"in iteration {at:,} the {words}" not in sentence:
        problems.append(f"not located: {sentence[-400:]}")
    good = (at - 1) // _SAVE * _SAVE
    if (f"checkpoint of iteration {good:,}" if good else "the start") not in sentence:
        problems.append(f"the last good state is not named: {sentence[-400:]}")
    noticed = calls[calls.index(at) + 1:]
    noticed = noticed[:noticed.index(min(noticed))] if back and noticed else noticed
    if len(noticed) > _LOG:
        problems.append(f"{len(noticed)} more iterations were done")
    if finished != back:
        problems.append(f"config.on_nan={config.on_nan}, and train returned {finished}")
    saved = StoredCheckpoints(workdir).all()
    if not all(np.isfinite(leaf).all() for i in saved[-1:]
               for leaf in jax.tree.leaves(restore_run(workdir, i).state)):
        problems.append("a state that is not finite was saved")
    rows = read_metrics(workdir)
    if any(not np.isfinite(v) for row in rows for v in row.values()):
        problems.append("a number that is not finite was logged")
    if back and (rows[-1].get("rollbacks") != 1 or saved[-1] != _ITERATIONS):
        problems.append("it did not go back and finish")
    return problems


@contextlib.contextmanager
def _injected(kind: str, network: str, leaf: str, at: int, calls: list[int]):
    """Context in which the run's step goes wrong once, when it first reaches iteration `at`."""
    build = loop.make_train_step

    def poison(array):
        return array.at[(0,) * array.ndim].set(jnp.nan)

    def changed(tree, path):
        return jax.tree_util.tree_map_with_path(
            lambda p, x: poison(x) if jax.tree_util.keystr(
                p, simple=True, separator="/") == path else x, tree)

    def make_train_step(recipe, devices):
        clean, poisoned = build(recipe, devices), build(recipe, devices)

        def one(state, inputs):
            with jax.transfer_guard("allow"):
                iteration = int(state.iteration) + 1
                bad = iteration == at and at not in calls
                calls.append(iteration)
                if not bad:
                    return clean(state, inputs)
                if kind == "weight":
                    state = changed(state, f"{network}/params/{leaf}")
                    return clean(state, inputs)
                with _wrong_step(kind, network, leaf, changed):
                    return poisoned(state, inputs)

        return one

    with mock.patch.object(loop, "make_train_step", make_train_step):
        yield


def _wrong_step(kind: str, network: str, leaf: str, changed):
    """Context in which a step that is traced has NaN in its batch or gradient."""
    if kind == "batch":
        real = iteration.real_batch

        def real_batch(*arguments):
            batch = real(*arguments)
            return batch._replace(images=batch.images.at[0, 0, 0, 0].set(jnp.nan))

        return mock.patch.object(iteration, "real_batch", real_batch)
    pmean = devices.lax.pmean

    def poisoned(tree, axis, **options):
        whole = pmean(tree, axis, **options)
        if not isinstance(whole, tuple):
            return whole
        names = {name.split("/")[-1] for name in named_leaves(whole)}
        mine = "g_loss" if network == "generator" else "d_loss"
        if mine not in names:
            return whole
        return tuple(changed(part, leaf) for part in whole)

    return mock.patch.object(devices.lax, "pmean", poisoned)
