"""Output that cannot be written, and names with control characters: output, names."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.runs import (
    ROOT,
    Outcome,
    command,
    differences,
    environment,
    run,
    said,
    start,
    straight,
    traceback_of,
    wait_for_iteration,
)

_STOP = 60.0


def output(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Closes the output's pipe, or fills its disk; the run must continue, or save at Ctrl-C."""
    reference = straight(work)
    held, notes = 0, []
    for n, kind in zip(range(rounds), itertools.cycle(("tee", "head", "full")), strict=False):
        workdir, problems = work / f"output-{n}", []
        if kind == "tee":
            read, write = os.pipe()
            process = subprocess.Popen(command(workdir), cwd=ROOT, env=environment(), stdout=write,
                                       stderr=write, start_new_session=True)
            os.close(write)
            wait_for_iteration(workdir, process)
            time.sleep(rng.uniform(0, 1.5))
            os.close(read)
            time.sleep(rng.choice([0, 0.05, 0.5]))
            process.send_signal(signal.SIGINT)
            status = process.wait(_STOP)
            if status not in (0, 75):  # 0: the run finished just before
                problems.append(f"exit status {status}")
            if run(workdir):
                problems.append(f"it did not go on: {said(workdir)[-300:]}")
        else:
            to = {"head": "2>&1 | head -1", "full": ">/dev/full 2>&1"}[kind]
            status = subprocess.run(
                ["bash", "-c", f'"$@" {to}; exit ${{PIPESTATUS[0]}}', "-", *command(workdir)],
                cwd=ROOT, env=environment(), capture_output=True).returncode
            if status:
                problems.append(f"exit status {status}")
        problems += problems or differences(workdir, reference)
        held += not problems
        notes += [f"round {n}, {kind}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes)


def names(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Names images with random control characters, one damaged; none may reach the output."""
    held, notes = 0, []
    marks = ["\x1b]0;x\x07", "\x1b[2J", "\n", "\r", "\x9b31m", "\u202e", "\udcff", "\x08"]
    for n in range(rounds):
        folder, workdir = work / f"names-{n}", work / f"run-{n}"
        folder.mkdir()
        mark = str(rng.choice(marks))
        inside = folder / f"a{mark}b"
        inside.mkdir()
        for i in range(9):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(inside / f"{i}.png")
        (inside / f"x{mark}y.png").write_bytes(b"no image")
        flags = {"dataset": f"folder:{folder}", "image_size": 8, "evaluate_every": 0}
        problems = [] if run(workdir, **flags) == 2 else ["it was not refused"]
        refused = said(workdir)
        if start(workdir, on_bad_image="skip", iterations=10, **flags).wait():
            problems.append(f"it was not skipped: {said(workdir)[-300:]}")
        for words in (refused, said(workdir)):
            shown = words.replace("\x1b[A", "").replace("\r", "" if mark != "\r" else "\r")
            if mark == "\n":
                shown = "".join(f"{line}\n" for line in words.splitlines() if "y.png" in line
                                and "a\\nb" not in line)
            if mark == "\r":
                shown = "".join(line for line in words.splitlines() if "y.png" in line)
            if mark in shown or (mark == "\n" and shown):
                problems.append(f"{mark!r} was shown: {shown[:200]!r}")
        problems += filter(None, [traceback_of(workdir)])
        held += not problems
        notes += [f"round {n}, {mark!r}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes)
