"""One writer a workdir: the kernel's lock on `<workdir>/lock`, and in it who holds it.

The kernel gives the lock free when its process ends, however it ends. On a file system shared
with other hosts, where their locks may not be seen, the holder's sign of life is the file's date.
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

LOCK = "lock"
_LOOK, _BEAT, _STALE = 2.0, 20.0, 300.0  # seconds: between looks at the file; between signs of
# life; after which another host is dead


class InUse(UserError):
    """A run of another host may be at work; a scheduler is to try again. Exit status 75."""

    status = os.EX_TEMPFAIL


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[Callable[[], None]]:
    """Holds the lock of an existing folder.

    Yields:
      a function that raises UserError where another run has the folder now, because the file was
      deleted. One that was only deleted is made again.

    Raises:
      UserError, InUse: another run holds it, on this or on another host.
      OSError: the file cannot be written.
    """
    lock = _Lock(workdir / LOCK)
    try:
        yield lock.check
    finally:
        lock.release()


def is_held(workdir: Path) -> bool:
    """Whether a run is at work in a folder, on this host or, by its sign of life, on another."""
    try:
        descriptor = os.open(workdir / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return _is_at_work(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_lock(file: Path) -> bool:
    """Whether a file is one that a run wrote, or empty."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return not os.fstat(descriptor).st_size or {"host", "pid"} <= _read(descriptor).keys()
    finally:
        os.close(descriptor)


class _Removed(Exception):
    """The file that was opened has no name any more."""


class _Lock:
    def __init__(self, file: Path):
        self._file, self._lost = file, ""
        self._mutex, self._left = threading.Lock(), threading.Event()
        self._descriptor = _take(file)
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock")
        self._thread.start()

    def check(self) -> None:
        with self._mutex:
            if not self._lost and not _is_named(self._descriptor, self._file):
                try:
                    again = _take(self._file)
                except (UserError, OSError) as error:
                    self._lost = f"the lock of this run was deleted, and {error}"
                else:
                    os.close(self._descriptor)
                    self._descriptor = again
                    say(f"warning: {self._file} was deleted under this run, and is made again")
        if self._lost:
            raise UserError(self._lost)

    def release(self) -> None:
        self._left.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if _is_named(self._descriptor, self._file):
                self._file.unlink()
        os.close(self._descriptor)

    def _beat(self) -> None:
        beaten = time.monotonic()
        while not self._left.wait(_LOOK):
            with contextlib.suppress(UserError, OSError):  # what is lost, the run itself says
                self.check()
                if time.monotonic() - beaten >= _BEAT:
                    os.utime(self._descriptor)
                    beaten = time.monotonic()


def _take(file: Path) -> int:
    """A descriptor that holds the lock."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            busy = _is_at_work(descriptor, fcntl.LOCK_EX)
            holder = _read(descriptor)
            if busy:
                raise _refusal(file, holder)
            if not _is_named(descriptor, file):
                raise _Removed  # by its holder, just now
            if holder:
                say(f"note: {file.parent} was left by {_who(holder)} without an end: taken over")
            text = json.dumps({
                "host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()),
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")})
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
            return descriptor
        except BaseException as error:
            os.close(descriptor)
            if not isinstance(error, _Removed):
                raise


def _is_named(descriptor: int, file: Path) -> bool:
    """Whether the name is still that of the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False
    except OSError:  # a server that does not answer, say
        return True


def _is_at_work(descriptor: int, kind: int) -> bool:
    """Whether another run holds the lock; takes it where not, shared or exclusive."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        taken = True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        taken = False  # a file system without locks: what stands in the file must do
    holder = _read(descriptor)
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return time.time() - os.fstat(descriptor).st_mtime < _STALE
    return not taken and holder.get("started") == _started(holder.get("pid"))


def _read(descriptor: int) -> dict[str, Any]:
    """Who stands in the file; empty where nobody does."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _refusal(file: Path, holder: dict[str, Any]) -> UserError:
    if holder and holder.get("host") != socket.gethostname():
        return InUse(f"{file.parent} is in use by {_who(holder)}, or was until less than "
                     f"{_STALE:.0f} s ago: the same command goes on when that run has ended")
    return UserError(f"{file.parent} is in use by {_who(holder)}: wait for that run or stop it, or "
                     "choose another --workdir")


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "another run"
    return (f"process {holder.get('pid')} on {holder.get('host')}, which began at "
            f"{holder.get('date')}")


def _started(pid: Any) -> int | None:
    """When a process of this host started, in the kernel's ticks; None where there is none."""
    try:
        return int(Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, TypeError, IndexError):
        return None
