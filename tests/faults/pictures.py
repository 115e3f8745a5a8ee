"""Damaged pictures in a stream, at which a run saves and stops or uses other pictures: pictures."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from tests.faults.runs import Outcome, differences, refusal_problems, run, said, start

_COUNT = 300
_STREAM = {"image_size": 8, "stream": True, "evaluate_every": 0, "iterations": 200}


def pictures(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Damages the pixels or headers of some pictures; the run that skips them is also killed."""
    held, notes = 0, []
    for n in range(rounds):
        folder, header = work / f"pictures-{n}", n % 3 == 2
        folder.mkdir()
        _draw(folder, rng)
        bad = rng.choice(_COUNT, int(rng.integers(1, 4)), replace=False)
        for i in bad:
            file = folder / f"{i:03d}.png"
            content = file.read_bytes()
            file.write_bytes(b"none" if header else content[:len(content) - 40])
        fields = {**_STREAM, "dataset": f"folder:{folder}"}
        stopped, skipped, killed = (work / f"{name}-{n}" for name in ("stop", "skip", "kill"))
        status = run(stopped, **fields)
        problems = refusal_problems(said(stopped), status)
        if header and not all(f"{i:03d}.png" in said(stopped) for i in bad):
            problems.append(f"not all were named: {said(stopped)[-300:]}")
        if header == stopped.exists():
            problems.append("the workdir was made" if header else "the workdir was not made")
        if not header:
            saved = StoredCheckpoints(stopped).all()
            if f"stopped at iteration {max(saved, default=0):,}" not in said(stopped):
                problems.append(f"{saved}: {said(stopped)[-300:]}")
        if status := run(skipped, on_bad_image="skip", **fields):
            problems.append(f"skip: exit status {status}: {said(skipped)[-300:]}")
        if "takes its place" not in said(skipped):
            problems.append("no warning about a skipped picture")
        process = start(killed, on_bad_image="skip", **fields)
        time.sleep(rng.uniform(3, 12))
        process.kill()
        process.wait()
        if status := run(killed, on_bad_image="skip", **fields):
            problems.append(f"resumed: exit status {status}: {said(killed)[-300:]}")
        problems += problems or differences(killed, skipped)
        held += not problems
        notes += [f"round {n}: {problem}" for problem in problems]
        for place in (folder, stopped, skipped, killed):
            shutil.rmtree(place, ignore_errors=True)
    return Outcome(rounds, held, notes)


def _draw(folder: Path, rng: np.random.Generator) -> None:
    for i in range(_COUNT):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(out, "PNG")
        (folder / f"{i:03d}.png").write_bytes(out.getvalue())
