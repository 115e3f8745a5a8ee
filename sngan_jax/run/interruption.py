"""Signals that end a run; the run is saved first, whatever it is doing.

Python runs a signal handler between two bytecode instructions of the main thread, which can be
minutes away while XLA compiles. A second thread therefore reads signals from Python's wake-up
descriptor. It gives the main thread time to stop by itself. If that takes too long, it saves the
run and ends the process.
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

from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say

STOPPED = os.EX_TEMPFAIL
Handler = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` takes it
# Ctrl-C and `kill`; a closed terminal or ssh session; a scheduler's warning before the time limit
# (SLURM's --signal, submitit); the limit of CPU time.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGXCPU)
# If one of these comes again, a person does not want to wait. The others repeat without a person:
# the shell sends SIGHUP after the terminal, the kernel SIGXCPU each second.
_AT_ONCE = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal came while the main thread did work that it can leave without losing anything."""


class Interruption:
    """Context that only notes the first of SIGNALS; a second SIGINT or SIGTERM acts as usual.

    A signal that was ignored before, such as SIGHUP under `nohup`, stays ignored.

    Args:
      own_process: whether the process may be ended while its main thread cannot be interrupted, at
        once by a second signal. On leaving the context it is about to end, and ignores signals.
      grace: seconds that the main thread has to stop by itself.
      several: whether this is one of several processes, which must end together. JAX then notes
        SIGTERM (`distributed.told_to_stop`), and other signals are passed on as SIGTERM.

    Attributes:
      signal: the signal that came, or None.
    """

    def __init__(self, *, own_process: bool = False, grace: float = 3.0, several: bool = False):
        self.signal: signal.Signals | None = None
        self._own_process, self._grace, self._several = own_process, grace, several
        self._abandoning = False
        self._fallback: Callable[[], object] | None = None
        self._lock = threading.Lock()
        self._old: dict[signal.Signals, Handler] = {}
        self._watcher: threading.Thread | None = None

    @property
    def name(self) -> str:
        """Name of the signal that came; empty if none did."""
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

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            # The program's own process has nothing left to do but to end.
            signal.signal(number, signal.SIG_IGN if self._own_process and not self._several
                          else handler)
        if self._watcher is None:
            return
        if sys.unraisablehook == self._unraisable:  # a hook that another has set must stay
            sys.unraisablehook = self._old_hook
        signal.set_wakeup_fd(self._old_fd)
        self.set_fallback(None)
        self._writer.close()
        self._watcher.join()

    @contextlib.contextmanager
    def abandoning(self) -> Iterator[None]:
        """Context in which a signal raises Stopped, for work that can be left and done again."""
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
            raise Stopped from error  # C code turned it into another error, such as SystemError
        finally:
            self._abandoning = False

    def set_fallback(self, save: Callable[[], object] | None) -> None:
        """Sets the function that saves the run if the main thread does not stop in time.

        `save` returns False if there was nothing to save.
        None means that only the main thread can save, because it holds the state or is saving. If
        the other thread is already saving, the call does not return, because the process ends.
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
        # If Stopped cannot be raised (in a destructor, in a callback of XLA), the note is enough.
        if not isinstance(unraisable.exc_value, Stopped):
            self._old_hook(unraisable)

    def _watch(self, reader: socket.socket) -> None:
        came: signal.Signals | None = None
        with reader:
            while True:
                try:
                    numbers = reader.recv(64)
                    if not numbers:
                        return  # the context has closed the socket
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
                nothing = self._fallback() is False
                sentence, status = f"stopped by {came.name}" + (
                    "; there was nothing new to save: run the same command to continue" if nothing
                    else ", saved; the same command continues from there"), STOPPED
            except BaseException as error:
                sentence, status = f"error: {error}", getattr(error, "status", 1)
            say(sentence)
            sys.stdout.flush()
            os._exit(status)


def _pass_on(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
