"""The source code of a result: its commit, and a digest of its files."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of the source tree, with +changes if it was modified; None if unknown.

    Also None if the package is installed inside another project's repository. Only changes in
    `sngan_jax` and `experiments` count.
    """
    folder = Path(__file__).parent
    try:
        def git(*arguments: str) -> str:
            return subprocess.run(["git", *arguments], cwd=folder, check=True, text=True,
                                  capture_output=True, timeout=10).stdout.strip()
        git("ls-files", "--error-unmatch", Path(__file__).name)  # is this file in the repository?
        changed = git("status", "--porcelain", "--", "..", "../../experiments")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def code_version() -> str:
    """A digest of this package's source files, tracked by git or not."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]
