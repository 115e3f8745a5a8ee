"""Refusals before anything is written or allocated: refuse, sizes, conditions."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.run.loop import train
from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from tests.faults.runs import (
    Outcome,
    content,
    refusal_problems,
    run,
    said,
    start,
    straight,
    tiny_config,
)

_FOREIGN = ("lock", "metrics.jsonl", "scores.jsonl", "environment.json", "losses.png",
            "samples/0.png", "tensorboard/events", "checkpoints/best.pt", "checkpoints/9/weights")
_ACCEPT = ("--accept-config-changes",)
_SECONDS, _MEMORY = 10.0, 1 << 30


def refuse(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Gives a run a foreign folder, an unfit config or bad data; nothing on disk may change."""
    reference = straight(work, iterations=20)

    def foreign(folder: Path) -> dict:
        for name in ("notes.txt", *rng.choice(_FOREIGN, int(rng.integers(1, 3)), replace=False)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(rng.bytes(int(rng.integers(1, 99))))
        return {}

    def run_of(folder: Path, **changes) -> dict:
        shutil.copytree(reference, folder, dirs_exist_ok=True)
        return {"iterations": 20, **changes}

    def own_config(folder: Path) -> dict:
        changes = run_of(folder)
        config = json.loads((folder / "config.json").read_text())
        config[str(rng.choice(["mine", "a.b", "seed"]))] = {"x": 1}
        (folder / "config.json").write_text(json.dumps(config))
        return changes

    def damaged(folder: Path) -> dict:
        changes = run_of(folder, generator_width=3)
        newest = folder / "checkpoints" / str(StoredCheckpoints(folder).all()[-1]) / "MANIFEST"
        newest.write_bytes(b"x")
        return changes

    cases: list[Callable[[Path], dict]] = [
        foreign, lambda folder: run_of(folder, generator_width=3),
        lambda folder: run_of(folder, method="none"), own_config, damaged,
        lambda folder: run_of(folder, dataset="npz:/nowhere.npz"),
        lambda folder: run_of(folder, iterations_per_call=7, iterations=21, log_every=7,
                              sample_every=7, checkpoint_every=7, evaluate_every=7)]
    held, notes = 0, []
    for n in range(rounds):
        folder = work / f"refuse-{n}"
        folder.mkdir()
        changes = cases[n % len(cases)](folder)
        before = content(folder)
        status = start(folder, flags=_ACCEPT, **changes).wait()
        problems = refusal_problems(said(folder), status)
        if content(folder) != before:
            problems.append("something on the disk changed")
        held += not problems
        notes += [f"round {n}, case {n % len(cases)}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes)


def sizes(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Trains with sizes whose product exceeds any memory; refused at once, with the number."""
    np.savez_compressed(work / "many.npz", images=np.zeros((4_194_304, 1, 1), np.uint8))
    big = [{"dataset": f"npz:{work / 'many.npz'}", "image_size": 65536},
           {"image_size": 65536}, {"image_size": 32768, "channels": 3},
           {"num_samples": 2_000_000_000}, {"num_samples": 2**31 - 1, "image_size": 64},
           {"generator_batch_size": 2**31 - 8, "image_size": 64},
           {"evaluate_images": 10**20, "evaluate_every": 25}, {"latent_size": 65536,
            "image_size": 64, "generator_width": 1024},
           {"generator_width": 65536, "discriminator_width": 65536}]
    held, notes, slowest = 0, [], 0.0
    for n in range(rounds):
        changes = {"evaluate_every": 0, **big[n % len(big)]}
        base, begun, problems = _peak(), time.monotonic(), []
        try:
            train(tiny_config(**changes), work / f"sizes-{n}")
            problems.append("it was not refused")
        except UserError as error:
            if "GiB" not in str(error) and "evaluate_images" not in str(error):
                problems.append(f"no number: {error}")
        except BaseException as error:
            problems.append(repr(error)[:300])
        took = time.monotonic() - begun
        slowest = max(slowest, took)
        if took > _SECONDS:
            problems.append(f"took {took:.0f} s")
        if (grown := _peak() - base) > _MEMORY:
            problems.append(f"memory grew by {grown >> 20} MiB")
        if (work / f"sizes-{n}").exists():
            problems.append("the workdir was made")
        held += not problems
        notes += [f"round {n}, {changes}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes, figures={"slowest_seconds": round(slowest, 1)})


def conditions(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Resumes a run with other JAX settings or without a file; refused, or with a warning."""
    reference = straight(work, iterations=20)
    held, notes = 0, []
    for n in range(rounds):
        folder, case = work / f"conditions-{n}", n % 5
        shutil.copytree(reference, folder)
        variables, changes, words = [
            ({"JAX_ENABLE_X64": "1"}, {}, "JAX_ENABLE_X64"),
            ({"JAX_THREEFRY_PARTITIONABLE": "0"}, {}, "JAX_THREEFRY_PARTITIONABLE"),
            ({"JAX_DEFAULT_PRNG_IMPL": "rbg"}, {}, "JAX_DEFAULT_PRNG_IMPL"),
            ({}, {"learning_rate": 0.5}, "has lost its config.json"),
            ({}, {}, "metrics.jsonl has 0 rows")][case]
        if case == 3:
            (folder / "config.json").unlink()
        if case == 4:
            (folder / "metrics.jsonl").unlink()
        before = content(folder)
        status = start(folder, variables=variables, **{"iterations": 20 if case < 4 else 30,
                                                       **changes},
                       flags=_ACCEPT if case == 4 else ()).wait()
        if case < 4:
            problems = refusal_problems(said(folder), status)
            problems += [] if content(folder) == before else ["something on the disk changed"]
        else:
            problems = [] if status == 0 else [f"exit status {status}: {said(folder)[-300:]}"]
        if words not in said(folder):
            problems.append(f"no sentence with {words!r}: {said(folder)[-300:]}")
        if case == 3 and run(folder, iterations=20):  # the checkpoint's own config
            problems.append(f"it did not go on: {said(folder)[-300:]}")
        held += not problems
        notes += [f"round {n}, case {case}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
