"""Output of programs, which may be lost, and cannot control a terminal with text from outside."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from sngan_jax.base.errors import printable

# All control characters but tabs, line ends, colours and tqdm's step upwards.
_STEERS = re.compile("\x1b(?!\\[A|\\[[\\d;]*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f"
                     "\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Steady:
    """A text stream that drops what cannot be written; otherwise it is the stream that it wraps.

    Args:
      stream: the stream to wrap, or None to drop everything.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes with terminal controls escaped; returns the length in any case."""
        safe = _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
        with _dropping(self._stream):
            try:
                self._stream.write(safe)
            except UnicodeEncodeError:
                self._stream.write(safe.encode("ascii", "backslashreplace").decode())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Calls `write` for each line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes the buffer, as far as the system accepts it."""
        with _dropping(self._stream):
            self._stream.flush()


@contextlib.contextmanager
def _dropping(stream: Any) -> Iterator[None]:
    """Context that is left if output cannot be written: a closed pipe, a full disk, no stream."""
    try:
        yield
    except BrokenPipeError:
        # Otherwise the rest of the buffer would be tried again at exit.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    except OSError:
        pass
    except ValueError:  # closed
        if not getattr(stream, "closed", True):
            raise
    except AttributeError:
        if stream is not None:
            raise


def make_steady() -> None:
    """Makes this process's standard output and error `Steady`, for good."""
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), Steady):
            setattr(sys, name, Steady(getattr(sys, name)))


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Context in which no failure to print can end the work."""
    with contextlib.redirect_stdout(Steady(sys.stdout)), \
            contextlib.redirect_stderr(Steady(sys.stderr)):
        yield


def say(sentence: str) -> None:
    """Prints a sentence on standard error, on one line."""
    print(printable(sentence), file=sys.stderr, flush=True)
