"""Cache of what was fetched or computed once: weights, statistics, compiled programs."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def cache_folder() -> Path:
    """$SNGAN_JAX_CACHE, or the folder sngan_jax in the user's cache."""
    given = os.environ.get("SNGAN_JAX_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sngan_jax"


def others_may_write(folder: Path) -> bool:
    """Whether another user may put something into a folder, or into one that is to be made.

    The group is not counted: where every user has a group of their own, it may write.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        about = there.stat()
    except (OSError, StopIteration):
        return False
    if there != folder and about.st_mode & stat.S_ISVTX:
        return False  # as in /tmp: what is made there is one's own
    return about.st_uid not in (os.getuid(), 0) or bool(about.st_mode & stat.S_IWOTH)
