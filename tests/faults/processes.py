"""Processes that are killed, stopped, or share a folder: kill, sigterm, signals, lock."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sngan_jax.run.interruption import SIGNALS
from sngan_jax.run.stored_checkpoints import StoredCheckpoints
from sngan_jax.run.workdir import read_metrics
from tests.faults.runs import (
    FIELDS,
    ITERATIONS,
    Outcome,
    differences,
    prefix_problem,
    run,
    said,
    start,
    straight,
    traceback_of,
    wait_for_iteration,
)

# Seconds until a process has finished its imports, and until it trains.
_IMPORTS, _TRAINING = 1.0, 6.0
_LANES = 2
# Seconds that a stop may take, the flag `--stop_seconds`.
STOP = {"seconds": 10.0}
_LONG = {"iterations": ITERATIONS * 50, "evaluate_every": 0}


def kill(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Kills a run at random moments and resumes it; it must end like the undisturbed run."""
    reference = straight(work)
    plans = [rng.uniform(_IMPORTS, _TRAINING + 8, size=rounds) for _ in range(_LANES)]
    share = [rounds // _LANES + (lane < rounds % _LANES) for lane in range(_LANES)]

    def lane(number: int) -> tuple[int, int, list[str]]:
        left, held, notes, folder = share[number], 0, [], 0
        while left:
            workdir, kills, problems = work / f"kill-{number}-{folder}", 0, []
            folder += 1
            while True:
                process = start(workdir)
                if kills < share[number] and left - kills > 0:
                    deadline = time.monotonic() + plans[number][left - kills - 1]
                    while process.poll() is None and time.monotonic() < deadline:
                        time.sleep(0.02)
                    if process.poll() is None:
                        process.kill()
                        process.wait()
                        kills += 1
                        problems += filter(None, [prefix_problem(workdir, reference),
                                                  traceback_of(workdir)])
                        continue
                status = process.wait()
                problems += [f"status {status}: {said(workdir)[-300:]}"] if status else []
                break
            problems += [] if problems else differences(workdir, reference)
            left -= kills
            held += 0 if problems else kills
            notes += [f"{workdir.name} ({kills} kills): {problem}" for problem in problems]
        return share[number], held, notes

    with ThreadPoolExecutor(_LANES) as pool:
        parts = list(pool.map(lane, range(_LANES)))
    return Outcome(sum(p[0] for p in parts), sum(p[1] for p in parts),
                   [note for part in parts for note in part[2]])


def sigterm(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Sends SIGTERM or SIGINT at a random moment; no logged iteration may be lost, in 10 s."""
    return _stopped(rounds, rng, work, lambda: (
        signal.SIGTERM if rng.random() < 0.8 else signal.SIGINT))


def signals(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Sends the other signals that end a run, in turn; the requirements are the same."""
    others = itertools.cycle(n for n in SIGNALS if n not in (signal.SIGTERM, signal.SIGINT))
    return _stopped(rounds, rng, work, lambda: next(others))


def _stopped(rounds: int, rng: np.random.Generator, work: Path,
             choose: Callable[[], signal.Signals]) -> Outcome:
    reference = straight(work, log_every=1)
    held, notes, slowest, folder, workdir, done = 0, [], 0.0, 0, None, 0
    while done < rounds:
        if workdir is None:
            workdir, folder = work / f"sigterm-{folder}", folder + 1
        process, begun = start(workdir, log_every=1), time.monotonic()
        delay = rng.uniform(0.5, _TRAINING + 7)
        number = choose()
        while process.poll() is None and time.monotonic() - begun < delay:
            time.sleep(0.02)
        if process.poll() is not None:  # finished before its signal
            problems = [] if process.returncode == 0 else [said(workdir)[-300:]]
            problems += differences(workdir, reference)
            notes += [f"{workdir.name}: {problem}" for problem in problems]
            workdir = None
            continue
        newest = max((row["iteration"] for row in read_metrics(workdir)), default=0)
        sent = time.monotonic()
        process.send_signal(number)
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            status = None
        took = time.monotonic() - sent
        slowest, done = max(slowest, took), done + 1
        saved = max(StoredCheckpoints(workdir).all(), default=0)
        told = re.search(r"at iteration ([\d,]+), saved", said(workdir))
        problems = []
        # Python needs a moment before it has a handler, and the run may finish by itself.
        if status != 75 and not (status == -number and delay < _IMPORTS) and not (
                status == 0 and saved == FIELDS["iterations"]):
            problems.append(f"exit status {status} after {delay:.1f} s: {said(workdir)[-300:]}")
        if took > STOP["seconds"]:
            problems.append(f"took {took:.1f} s")
        if saved < newest:
            problems.append(f"iteration {newest} was logged, {saved} is the newest saved")
        if told and int(told[1].replace(",", "")) != saved:
            problems.append(f"said {told[0]}, but the newest checkpoint is {saved}")
        problems += filter(None, [prefix_problem(workdir, reference), traceback_of(workdir)])
        held += not problems
        notes += [f"round {done}: {problem}" for problem in problems]
    if workdir is not None:
        run(workdir, log_every=1)
        notes += [f"{workdir.name}, at its end: {p}" for p in differences(workdir, reference)]
    return Outcome(rounds, 0 if any(", at its end: " in n for n in notes) else held, notes,
                   figures={"slowest_seconds": round(slowest, 1)})


def lock(rounds: int, rng: np.random.Generator, work: Path) -> Outcome:
    """Starts two runs on one folder, up to three seconds apart; exactly one must refuse."""
    held, notes, slowest = 0, [], 0.0
    for n in range(rounds):
        workdir = work / f"lock-{n}"
        if n % 2:  # the folder holds a run already
            stopped = start(workdir, **_LONG)
            wait_for_iteration(workdir, stopped)
            stopped.kill()
            stopped.wait()
        first = start(workdir, **_LONG)
        time.sleep(rng.uniform(0, 3))
        second_log = workdir.with_name(workdir.name + "-second")
        both = [first, start(workdir, log=second_log, **_LONG)]
        begun = time.monotonic()
        while all(process.poll() is None for process in both) and time.monotonic() - begun < 60:
            time.sleep(0.02)
        slowest = max(slowest, time.monotonic() - begun)
        running = [process for process in both if process.poll() is None]
        gone = [process for process in both if process.poll() is not None]
        problems = []
        if len(gone) != 1 or gone[0].returncode != 2:
            problems.append(f"exit statuses {[p.returncode for p in both]}")
        words = said(workdir) + said(second_log)
        if words.count("is in use by process") != 1:
            problems.append(f"the sentence is missing: {words[-300:]}")
        for process in running:
            process.send_signal(signal.SIGTERM)
            if (status := process.wait(60)) != 75:
                problems.append(f"the other run ended with {status}")
        held += not problems
        notes += [f"round {n}: {problem}" for problem in problems]
    return Outcome(rounds, held, notes, figures={"slowest_seconds": round(slowest, 1)})
