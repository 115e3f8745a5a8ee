"""Cache of files that are fetched or computed once: weights, statistics, compiled programs."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def cache_folder() -> Path:
    """$SNGAN_JAX_CACHE, or the folder sngan_jax in the user's cache folder."""
    given = os.environ.get("SNGAN_JAX_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sngan_jax"


def others_may_write(folder: Path) -> bool:
    """Whether another user may write to a folder, or to one that would be made.

    A group counts, unless it belongs to the owner alone: a primary group with the owner's name and
    no other member, which Debian and other systems give to each user.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        about = there.stat()
    except (OSError, StopIteration):
        return False
    if there != folder and about.st_mode & stat.S_ISVTX:
        return False  # as in /tmp, where a folder that you make is your own
    if about.st_mode & stat.S_IWGRP and not _is_private(about.st_gid, about.st_uid):
        return True
    return about.st_uid not in (os.getuid(), 0) or bool(about.st_mode & stat.S_IWOTH)


def _is_private(group: int, user: int) -> bool:
    """Whether a group belongs to one user alone."""
    try:
        owner, found = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:  # one of them is unknown here, as in a container
        return False
    return (owner.pw_gid == group and owner.pw_name == found.gr_name
            and not {*found.gr_mem} - {owner.pw_name})
