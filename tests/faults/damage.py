"""Changed bytes and missing files in the newest checkpoint: flip, truncate."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import numpy as np

from sngan_jax.run.checkpoint import Checkpoints
from sngan_jax.run.stored_checkpoints import StoredCheckpoints, identity_of
from sngan_jax.step.setup import recipe_of
from sngan_jax.step.state import abstract_state
from tests.faults.runs import Outcome, differences, run, said, straight, tiny_config

# One round in this many goes through the real program, and is trained to the end.
_REAL = 40


def flip(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Flips one or more bits of a random byte in a random file."""
    def damage(step: Path) -> str:
        file = _random_file(step, rng)
        content = bytearray(file.read_bytes())
        at = int(rng.integers(len(content)))
        content[at] ^= int(rng.integers(1, 256))
        file.write_bytes(content)
        return f"byte {at} of {file.relative_to(step)}"

    return _rounds(rounds, work, damage)


def truncate(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Cuts or deletes a random file, deletes three, or empties or deletes a folder."""
    def damage(step: Path) -> str:
        kind = rng.choice(["cut", "delete", "several", "empty", "folder"])
        if kind == "cut":
            file = _random_file(step, rng)
            size = int(rng.integers(file.stat().st_size))
            with file.open("r+b") as opened:
                opened.truncate(size)
            return f"{file.relative_to(step)} cut to {size}"
        if kind == "delete":
            _random_file(step, rng, empty=True).unlink()
        elif kind == "several":
            for _ in range(3):
                _random_file(step, rng, empty=True).unlink()
        elif kind == "empty":
            shutil.rmtree(step)
            step.mkdir()
        else:
            folders = sorted(path for path in step.rglob("*") if path.is_dir())
            shutil.rmtree(folders[int(rng.integers(len(folders)))])
        return str(kind)

    return _rounds(rounds, work, damage)


def _random_file(step: Path, rng: np.random.Generator, *, empty: bool = False) -> Path:
    files = sorted(f for f in step.rglob("*") if f.is_file() and (empty or f.stat().st_size))
    return files[int(rng.integers(len(files)))]


def _rounds(rounds: int, work: Path, damage) -> Outcome:
    reference = straight(work)
    shapes = abstract_state(recipe_of(tiny_config(), 1, 10))
    identity = identity_of(tiny_config())
    saved = StoredCheckpoints(reference).all()
    newest, before = saved[-1], saved[-2]
    whole = StoredCheckpoints(reference).read(before, lambda meta: shapes, identity).state
    held, notes = 0, []
    for n in range(rounds):
        workdir = work / "damaged"
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(reference, workdir)
        what = damage(workdir / "checkpoints" / str(newest))
        problems = []
        if n % _REAL == _REAL - 1:
            status, words = run(workdir), said(workdir)
            problems += [f"status {status}"] if status else differences(workdir, reference)
        else:
            words = io.StringIO()
            with contextlib.redirect_stderr(words), Checkpoints(workdir) as checkpoints:
                found = checkpoints.newest(lambda meta: shapes, identity)
            words = words.getvalue()
            if found is None or found.iteration != before or not _equal(found.state, whole):
                problems.append(f"{found and found.iteration} was used instead of {before}")
        if f"{newest} is damaged" not in words:
            problems.append("nothing was said")
        if not any((workdir / "checkpoints" / "damaged").glob(f"{newest}-*")):
            problems.append("it was not moved aside")
        held += not problems
        notes += [f"round {n}, {what}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes)


def _equal(a, b) -> bool:
    import jax

    return all(x.tobytes() == y.tobytes() for x, y in zip(
        jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
