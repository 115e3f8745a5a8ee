"""Files: tests for existence, and atomic writes, which change a file completely or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sngan_jax.base.errors import UserError

_ABANDONED = 3600.0  # seconds after which a temporary file has no writer


class WriteError(UserError):
    """A file cannot be written: the disk is full, the folder read-only. Exit status 74."""

    status = os.EX_IOERR


def is_file(path: Path) -> bool:
    """Whether a regular file exists at a path; False for a name that no file can have.

    PermissionError for a path below a folder that this user may not read.
    """
    return stat.S_ISREG(_mode(path))


def is_dir(path: Path) -> bool:
    """Whether a folder exists at a path, as `is_file`."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """The mode of what exists at a path, or 0."""
    try:
        return path.stat().st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):
        return 0


def cannot_use(error: OSError, path: Path | None = None, other: str = "another") -> str:
    """The sentence about a path; by default the error's own. other: what to choose in its place."""
    allowed = "give this user the right to it, or " if isinstance(error, PermissionError) else ""
    name = os.fsdecode(error.filename if path is None else path)
    return f"{name} cannot be used ({error.strerror}): {allowed}choose {other}"


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """The path of a temporary file, which takes the place of `file` when the block succeeds.

    The content is on disk before the file is renamed. A failure leaves the old file as it was, and
    no temporary one behind.

    Raises:
      OSError: if it cannot be written.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    for left in leftovers(file.parent, file.name):  # from processes that were killed
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(file)
        raise
    sync_folder(file.parent)


def leftovers(folder: Path, name: str = "") -> list[Path]:
    """Temporary files of `replacing` in a folder, for one name or for all."""
    return [path for path in folder.glob(f"{glob.escape(name) or '*'}.*.tmp")
            if path.name.removesuffix(".tmp").rpartition(".")[2].isdecimal()]


def write_text(file: Path, text: str) -> None:
    """Writes a text file atomically; OSError if that fails."""
    with replacing(file) as temporary:
        temporary.write_text(text)


def sync_folder(folder: Path) -> None:
    """Syncs a folder, so that its names survive a loss of power, if the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Adds the name of the file to an OSError that leaves the block."""
    try:
        yield
    except OSError as error:
        error.filename = str(file)
        raise


@contextlib.contextmanager
def write_errors(what: str, place: Path) -> Iterator[None]:
    """Turns an OSError of the block into a WriteError with the file, the folder and the cure."""
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else str(place)
        raise WriteError(cannot_write(what, Path(named), error.strerror or str(error))) from error


def check_writable(file: Path, flag: str, *, replaced: bool = False) -> None:
    """UserError if a file that a flag names cannot be written, before long work for its content.

    Missing folders do not count: the writer makes them.

    Args:
      replaced: whether an old file is replaced, which its folder must allow, and not appended to.
    """
    there = next(path for path in (file, *file.absolute().parents) if os.path.exists(path))
    if there == file and there.is_dir():
        raise UserError(f"{flag}={file} is a folder: give the name of a file")
    if there != file and not there.is_dir():
        raise UserError(f"{flag}={file}: {there} is a file and not a folder; choose another place")
    if replaced and there == file:
        there = file.absolute().parent
    if not os.access(there, os.W_OK):
        raise UserError(f"{file} cannot be written: choose another place by {flag}")


def cannot_write(what: str, file: Path, why: str) -> str:
    """The sentence about a file that cannot be written."""
    return (f"{what} cannot be written: {file.name} in the folder {file.parent} ({why}); what was "
            "saved before is untouched: free some space or make the folder writable, and run the "
            "same command again")
