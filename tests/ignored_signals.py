"""Signals that a shell ignores on behalf of its background jobs."""

import signal


def hear_ignored_signals() -> None:
    """Handles SIGINT and SIGHUP where they are ignored.

    A shell starts `command &` with SIGINT ignored, and nohup ignores SIGHUP. Child processes
    inherit that, and a run leaves ignored signals alone. They do not inherit a handler.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler),
                            (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
