"""One writer per workdir, by a kernel lock on the file `<workdir>/lock`, which names the holder.

The kernel releases the lock when the process ends, however it ends. A shared file system may not
show the locks of other hosts, so the holder also updates the file's date as a heartbeat.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say
from sngan_jax.base.types import JsonObject

LOCK = "lock"
# Seconds between heartbeats; seconds without one after which another host's run counts as dead.
_BEAT, _STALE = 2.0, 300.0


class InUse(UserError):
    """A run on another host may be active; a scheduler should try again. Exit status 75."""

    status = os.EX_TEMPFAIL


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[Callable[[], None]]:
    """Holds the lock of an existing folder.

    A thread sends the heartbeat, and makes the file again if it was deleted.

    Yields:
      a function that raises UserError if another run has taken the lock after such a deletion.

    Raises:
      UserError: a run on this host holds the lock.
      InUse: a run on another host holds, or may hold, the lock.
      OSError: the file cannot be written.
    """
    file, left = workdir / LOCK, threading.Event()
    lost: list[str] = []
    descriptor = _take(file)

    def beat() -> None:
        nonlocal descriptor
        while not lost and not left.wait(_BEAT):
            try:
                if not _is_named(descriptor, file):
                    again = _take(file)
                    os.close(descriptor)
                    descriptor = again
                    say(f"warning: {file} was deleted during this run, and is recreated")
                os.utime(descriptor)
            except UserError as error:
                lost.append(f"the lock of this run was deleted, and {error}")
            except OSError:
                pass  # such as a server that does not answer; the next heartbeat may succeed

    def check() -> None:
        if lost:
            raise UserError(lost[0])

    thread = threading.Thread(target=beat, daemon=True, name="lock")
    thread.start()
    try:
        yield check
    finally:
        left.set()
        thread.join()
        with contextlib.suppress(OSError):
            if _is_named(descriptor, file):
                file.unlink()
        os.close(descriptor)


def is_held(workdir: Path) -> bool:
    """Whether a run is active in a folder, on this host or, by its heartbeat, on another."""
    with contextlib.suppress(OSError), (workdir / LOCK).open("r+b") as file:
        return _is_at_work(file.fileno(), fcntl.LOCK_SH)
    return False


def is_lock(file: Path) -> bool:
    """Whether a file is empty or a lock that a run wrote."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return not file.stat().st_size or {"host", "pid"} <= _read(opened.fileno()).keys()


def _take(file: Path) -> int:
    """Takes the lock and returns the file's descriptor; UserError, InUse: another run holds it."""
    while True:
        with contextlib.ExitStack() as failed:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            failed.callback(os.close, descriptor)
            busy = _is_at_work(descriptor, fcntl.LOCK_EX)
            holder = _read(descriptor)
            who = (f"process {holder.get('pid')} on {holder.get('host')}, which began at "
                   f"{holder.get('date')}") if holder else "another run"
            if busy and holder.get("host", socket.gethostname()) != socket.gethostname():
                raise InUse(f"{file.parent} is in use by {who}, or was until less than "
                            f"{_STALE:.0f} s ago: run the same command once that run has ended")
            if busy:
                raise UserError(f"{file.parent} is in use by {who}: wait for that run or stop it, "
                                "or choose another --workdir")
            if not _is_named(descriptor, file):
                continue  # its holder has removed it just now
            if holder:
                say(f"note: the lock of {file.parent} was left by {who}, which is gone: it is "
                    "taken over")
            text = json.dumps({
                "host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()),
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")})
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
            failed.pop_all()
            return descriptor


def _is_named(descriptor: int, file: Path) -> bool:
    """Whether a path still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _is_at_work(descriptor: int, kind: int) -> bool:
    """Whether another run holds the lock; if not, takes it, shared or exclusive."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        taken = True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        taken = False  # a file system without locks, where the file's content decides
    holder = _read(descriptor)
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return time.time() - os.fstat(descriptor).st_mtime < _STALE
    return not taken and holder.get("started") == _started(holder.get("pid"))


def _read(descriptor: int) -> JsonObject:
    """The holder that the file names; empty if it names none."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _started(pid: Any) -> int | None:
    """Start time of a process on this host, in kernel ticks; None if there is no such process."""
    try:
        return int(Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, TypeError, IndexError):
        return None
