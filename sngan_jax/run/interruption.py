"""Signals that end a run: it is saved first, wherever it stands when the signal comes.

Python runs a signal's handler between two of its own instructions, which can be minutes away while
XLA compiles. So a thread learns of the signal at once, by Python's wake-up descriptor. It gives the
main thread time to stop by itself; where that does not come back, it saves in its stead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say

STOPPED = os.EX_TEMPFAIL
# Ctrl-C and `kill`; the terminal or ssh closed; what schedulers send before their time is over
# (SLURM's --signal, submitit); the limit of CPU time.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGXCPU)
# A second one of these is a person who will not wait. The others are sent again by themselves: by
# the shell after the terminal, by the kernel each second.
_AT_ONCE = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by a signal, where nothing is lost by leaving the work."""


class Interruption:
    """While entered, the first of SIGNALS is only noted; a second SIGINT or SIGTERM acts as usual.

    A signal that was ignored before, as SIGHUP under `nohup`, stays ignored.

    Args:
      own_process: whether this process may be ended where its main thread cannot be interrupted;
        a second signal then ends it even there. Left, it is to end, and signals are ignored.
      grace: seconds that the main thread has to stop by itself.
      several: whether this is one of several processes, which must end together: JAX notes SIGTERM
        then (`distributed.told_to_stop`), and the others are passed on to it.

    Attributes:
      signal: the one that came, or None.
    """

    def __init__(self, *, own_process: bool = False, grace: float = 3.0, several: bool = False):
        self.signal: signal.Signals | None = None
        self._own_process, self._grace, self._several = own_process, grace, several
        self._abandoning = False
        self._fallback: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._old: dict[signal.Signals, Any] = {}
        self._watcher: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The name of the signal that came; empty where none did."""
        return self.signal.name if self.signal else ""

    def __enter__(self) -> Interruption:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python lets only the main thread handle signals
        heard = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
        if self._several:
            self._old = {n: signal.signal(n, _pass_on) for n in heard if n != signal.SIGTERM}
            return self
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, args=(reader,), daemon=True,
                                         name="signals")
        self._watcher.start()
        self._old_hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._old = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._old.items():
            # A process of its own has nothing left to do but to end.
            signal.signal(number, signal.SIG_IGN if self._own_process and not self._several
                          else handler)
        if self._watcher is None:
            return
        if sys.unraisablehook == self._unraisable:  # and not another's, which is to stay
            sys.unraisablehook = self._old_hook
        signal.set_wakeup_fd(self._old_fd)
        self.set_fallback(None)
        self._writer.close()
        self._watcher.join()

    @contextlib.contextmanager
    def abandoning(self) -> Iterator[None]:
        """Context in which a signal raises Stopped: its work can be left and done again."""
        self._abandoning = True
        try:
            if self.signal is not None:
                raise Stopped
            yield
        except UserError:
            raise
        except Exception as error:
            if self.signal is None:
                raise
            raise Stopped from error  # C code has made another error of it, as a SystemError
        finally:
            self._abandoning = False

    def set_fallback(self, save: Callable[[], None] | None) -> None:
        """Function that saves the run should the main thread not come back in time.

        None where only the main thread can: it holds the state, or is saving. Returns never while
        another thread is saving: the process ends then.
        """
        with self._lock:
            self._fallback = save

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            return
        self.signal = signal.Signals(number)
        for each in self._old.keys() & _AT_ONCE:
            signal.signal(each, signal.SIG_DFL if self._own_process else self._old[each])
        if self._abandoning:
            raise Stopped

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        # Where Stopped cannot be raised (a destructor, a callback of XLA), the note is enough.
        if not isinstance(unraisable.exc_value, Stopped):
            self._old_hook(unraisable)

    def _watch(self, reader: socket.socket) -> None:
        came: signal.Signals | None = None
        with reader:
            while True:
                try:
                    numbers = reader.recv(64)
                    if not numbers:
                        return  # closed: left
                except TimeoutError:
                    numbers = b""
                for number in numbers:
                    if number not in self._old:
                        continue
                    if came is None:
                        came, since = signal.Signals(number), time.monotonic()
                        reader.settimeout(0.2)
                        say(f"{came.name}: stopping at the end of this iteration; SIGINT or "
                            "SIGTERM now stops at once")
                    elif self._own_process and number in _AT_ONCE:
                        os._exit(128 + number)
                if came is not None and self._own_process and (
                        time.monotonic() - since > self._grace):
                    self._save_instead(came)

    def _save_instead(self, came: signal.Signals) -> None:
        with self._lock:
            if self._fallback is None:
                return
            try:
                self._fallback()
                sentence, status = (f"stopped by {came.name}, saved; the same command goes on from "
                                    "there"), STOPPED
            except BaseException as error:
                sentence, status = f"error: {error}", getattr(error, "status", 1)
            say(sentence)
            sys.stdout.flush()
            os._exit(status)


def _pass_on(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
