"""Imported first by a program that can go on later: a signal that comes before it has begun."""

import os
import signal
import sys
from types import FrameType


def end_at_once() -> None:
    """Until somebody else handles them, SIGINT and SIGTERM end the process with status 75."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    print(f"stopped by {signal.Signals(number).name} before anything was done", file=sys.stderr)
    sys.stderr.flush()
    os._exit(os.EX_TEMPFAIL)


end_at_once()
