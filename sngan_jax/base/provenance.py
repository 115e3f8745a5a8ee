"""Which source code a result comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of the source tree, with +changes where it has been changed; None if unknown."""
    folder = Path(__file__).parent
    try:
        def git(*arguments: str) -> str:
            return subprocess.run(["git", *arguments], cwd=folder, check=True, text=True,
                                  capture_output=True, timeout=10).stdout.strip()
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
