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
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sngan_jax.base.errors import UserError

LOCK = "lock"
_BEAT, _STALE = 20.0, 300.0  # seconds: between signs of life; after which another host is dead


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds the lock of an existing folder.

    Raises:
      UserError: another run holds it.
      OSError: the file cannot be written.
    """
    file = workdir / LOCK
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, file)
        left = threading.Event()
        beat = threading.Thread(target=_beat, args=(file, left), daemon=True, name="lock")
        beat.start()
        try:
            yield
        finally:
            left.set()
            beat.join()
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


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


def _take(descriptor: int, file: Path) -> None:
    busy = _is_at_work(descriptor, fcntl.LOCK_EX)
    holder = _read(descriptor)
    if busy:
        raise _refusal(file, holder)
    if holder:
        print(f"note: {file.parent} was left by {_who(holder)} without an end: taken over",
              file=sys.stderr)
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(),
                       "started": _started(os.getpid()),
                       "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


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
    except (ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _refusal(file: Path, holder: dict[str, Any]) -> UserError:
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


def _beat(file: Path, left: threading.Event) -> None:
    while not left.wait(_BEAT):
        with contextlib.suppress(OSError):
            os.utime(file)
