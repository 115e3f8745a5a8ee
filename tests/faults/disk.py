"""A file system that fills up or becomes read-only during a run: disk."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from sngan_jax.run.stored_checkpoints import StoredCheckpoints, identity_of
from sngan_jax.run.workdir import read_metrics
from sngan_jax.step.setup import recipe_of
from sngan_jax.step.state import abstract_state
from tests.faults.runs import (
    Outcome,
    differences,
    prefix_problem,
    run,
    said,
    start,
    straight,
    tiny_config,
    traceback_of,
    wait_for_iteration,
)

_SIZE = 16 << 20
_FULL, _CANNOT_WRITE = 60.0, (74,)


def disk(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Fills a small tmpfs at a random moment of a run; every fifth round makes it read-only."""
    place = work / "small"
    place.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        return Outcome(rounds, 0, [], skipped="this user may not mount a tmpfs")
    try:
        return _rounds(rounds, rng, work, place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def _rounds(rounds: int, rng: np.random.Generator, work: Path, place: Path) -> Outcome:
    reference = straight(work)
    shapes = abstract_state(recipe_of(tiny_config(), 1, 10))
    identity = identity_of(tiny_config())
    held, notes, done, folder, workdir = 0, [], 0, 0, None
    while done < rounds:
        if workdir is None:
            subprocess.run(f"rm -rf {place}/*", shell=True, check=True)
            workdir, folder = place / f"run-{folder}", folder + 1
            process = start(workdir)  # a run that has saved something
            wait_for_iteration(workdir, process, 15)
            process.kill()
            process.wait()
        problems: list[str] = []
        before = _whole(workdir, shapes, identity)
        read_only = done % 5 == 4
        if read_only:
            _mount("-o", "remount,ro", str(place))
            status = _log_elsewhere(workdir, work)
            _mount("-o", "remount,rw", str(place))
            words = (work / "read_only.log").read_text()
        else:
            process = start(workdir, log=work / "full")
            newest = max((row["iteration"] for row in read_metrics(workdir)), default=0)
            if not wait_for_iteration(workdir, process, newest):  # it finished
                workdir = None
                continue
            time.sleep(rng.uniform(0, 2))
            if process.poll() is not None:
                workdir = None
                continue
            _fill(place / "ballast", int(rng.integers(0, 30_000)))
            try:
                status = process.wait(_FULL)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
                problems.append(f"it went on for {_FULL} s")
            words = (work / "full.log").read_text(errors="replace")
            (place / "ballast").unlink()
            if status == 0:  # done before the room was used up
                workdir = None
                continue
        if status not in _CANNOT_WRITE:
            problems.append(f"exit status {status}: {words[-300:]}")
        sentence = [line for line in words.splitlines() if line.startswith("error: ")]
        if len(sentence) != 1 or str(workdir) not in sentence[0] or "Traceback" in words:
            problems.append(f"no sentence: {words[-300:]}")
        after = _whole(workdir, shapes, identity)
        if max(after, default=0) < max(before, default=0):
            problems.append(f"checkpoints {before} before, {after} after")
        problems += filter(None, [prefix_problem(workdir, reference)])
        done += 1
        held += not problems
        notes += [f"round {done}: {problem}" for problem in problems]
    if workdir is not None:
        status = run(workdir)
        found = [f"status {status}: {said(workdir)[-300:]}"] if status else differences(
            workdir, reference)
        notes += [f"at its end: {problem}" for problem in found + list(
            filter(None, [traceback_of(workdir)]))]
        held = 0 if found else held
    return Outcome(rounds, held, notes)


def _whole(workdir: Path, shapes, identity) -> list[int]:
    """Verifies all checkpoints, and returns their iterations."""
    stored = StoredCheckpoints(workdir)
    for iteration in stored.all():
        stored.read(iteration, lambda meta: shapes, identity)
    return stored.all()


def _log_elsewhere(workdir: Path, work: Path) -> int:
    return start(workdir, log=work / "read_only").wait(_FULL)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _fill(file: Path, leave: int) -> None:
    """Writes until the file system is full, then frees `leave` bytes."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        os.ftruncate(out.fileno(), max(0, out.tell() - leave))
