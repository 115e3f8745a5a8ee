"""Signals that come before the work of a resumable program begins."""

import os
import signal
from types import FrameType

# Those of sngan_jax/run/interruption.py, which cannot be imported without the extra `train`.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGXCPU)


def end_at_once() -> None:
    """Makes signals end the process with status 75, until other handlers replace this one.

    For the process of a program, not for one that calls its `main`. Signals that are ignored, such
    as SIGHUP under `nohup`, stay ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def ends_at_once() -> bool:
    """Whether `end_at_once` is in effect."""
    return any(signal.getsignal(number) is _end for number in SIGNALS)


def _end(number: int, _frame: FrameType | None) -> None:
    try:
        os.write(2, f"stopped by {signal.Signals(number).name} before anything was done\n".encode())
    finally:
        os._exit(os.EX_TEMPFAIL)
