"""Integrity of a checkpoint: a manifest with the size and SHA-256 of every file of the step.

The manifest begins with its own SHA-256, so no byte of a step can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from sngan_jax.base.files import write_text

MANIFEST = "MANIFEST"


class DamagedError(Exception):
    """A checkpoint is not what was written; the message says what is wrong with it."""


def write_manifest(folder: Path) -> None:
    """Writes the manifest of all files below a folder, and syncs them to disk."""
    listed = {}
    for file in folder.rglob("*"):
        if file.is_file() and file.name != MANIFEST:
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
            listed[file.relative_to(folder).as_posix()] = [file.stat().st_size, _hash_of(file)]
    text = json.dumps(listed, indent=0, sort_keys=True)
    write_text(folder / MANIFEST, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


def check_manifest(folder: Path) -> None:
    """Compares the files of a folder with its manifest.

    Files that the manifest does not name, such as a file manager's, are ignored.

    Raises:
      DamagedError: a file is missing or is not what the manifest says.
      ValueError, TypeError, OSError and others: the manifest is malformed, or a file is unreadable.
    """
    digest, _, text = (folder / MANIFEST).read_bytes().partition(b"\n")
    if digest != hashlib.sha256(text).hexdigest().encode():
        raise DamagedError(f"its {MANIFEST} does not match its own checksum")
    for name, (_, expected) in json.loads(text).items():
        if not (folder / name).is_file():
            raise DamagedError(f"{name} is missing")
        if _hash_of(folder / name) != expected:
            raise DamagedError(f"the content of {name} has changed")


def _hash_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
