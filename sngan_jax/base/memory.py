"""Sizes that a config or a file asks for, compared with the available memory in advance."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from sngan_jax.base.errors import UserError

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def host_memory() -> int:
    """Bytes of this machine's memory, or of the part that its container may use."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in map(Path, _LIMITS):
        with contextlib.suppress(OSError, ValueError):  # no such file, or it says "max"
            found.append(int(limit.read_text()))
    return min(found)


def check_memory(needed: int, what: str, cure: str, error: Callable[[str], UserError] = UserError,
                 *, there: int | None = None) -> None:
    """Raises an error if an allocation cannot succeed.

    Args:
      needed: bytes.
      what: name of the contents, in the plural.
      cure: advice on what to change, as an imperative.
      error: the class of the exception.
      there: available bytes; None for this machine's memory.

    Raises:
      UserError: or `error`.
    """
    there = host_memory() if there is None else there
    if needed > there:
        raise error(f"{what} need {gibibytes(needed)}, and there are {gibibytes(there)}: {cure}")


def gibibytes(count: int) -> str:
    """A number of bytes in GiB, as text."""
    return f"{count / 2**30:,.1f} GiB"
