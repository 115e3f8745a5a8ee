"""Proof that a checkpoint is the one that was written: a manifest of its files.

It has the size and the SHA-256 of every file of the step, and begins with its own: no byte of a
step can change unnoticed. Shapes and dtypes of the leaves stand in the `meta` item.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.step.checks import named_leaves

MANIFEST = "MANIFEST"

Leaves = dict[str, dict[str, Any]]  # path -> shape and dtype


class DamagedError(Exception):
    """A checkpoint is not what was written; the text says what is wrong with it."""


def describe(tree: Any) -> Leaves:
    """Shape and dtype of every leaf (arrays or `jax.ShapeDtypeStruct`s)."""
    return {path: {"shape": list(leaf.shape), "dtype": np.dtype(leaf.dtype).name}
            for path, leaf in named_leaves(tree).items()}


def difference(expected: Leaves, found: Leaves) -> str | None:
    """The first leaf that differs in shape or dtype, in words; None where none does."""
    def words(leaves: Leaves, path: str) -> str:
        if path not in leaves:
            return "absent"
        return f"{leaves[path]['dtype']} {tuple(leaves[path]['shape'])}"

    for path in sorted(expected.keys() | found.keys()):
        wanted, there = words(expected, path), words(found, path)
        if wanted != there:
            return f"{path}: {there} there, {wanted} expected"
    return None


def write_manifest(folder: Path) -> None:
    """Writes the manifest of all files below a folder, and brings everything to the disk."""
    listed = {}
    for file in _files(folder):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        listed[file.relative_to(folder).as_posix()] = [file.stat().st_size, _hash_file(file)]
    text = json.dumps(listed, indent=0, sort_keys=True).encode()
    with (folder / MANIFEST).open("wb") as out:
        out.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        out.flush()
        os.fsync(out.fileno())


def check_manifest(folder: Path) -> None:
    """DamagedError where a file of the folder is missing or is not what the manifest says.

    Files that the manifest does not name, as a file manager's, are no damage.

    Raises:
      FileNotFoundError: there is no manifest.
    """
    content = (folder / MANIFEST).read_bytes()
    digest, _, text = content.partition(b"\n")
    if digest != hashlib.sha256(text).hexdigest().encode():
        raise DamagedError(f"its {MANIFEST} does not have its own checksum")
    try:
        listed = [(str(name), size, expected) for name, (size, expected) in
                  json.loads(text).items()]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"its {MANIFEST} is none") from error
    for name, size, expected in listed:
        file = folder / name
        try:
            if not file.is_file():
                raise DamagedError(f"{name} is missing")
            found = file.stat().st_size
            if found != size:
                raise DamagedError(f"{name} has {found:,} bytes and not {size:,}")
            if _hash_file(file) != expected:
                raise DamagedError(f"the content of {name} has changed")
        except PermissionError:
            raise
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror})") from error


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _hash_file(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def not_finite(tree: Any) -> str | None:
    """The path of the first leaf with a NaN or an infinity; None where there is none."""
    for path, leaf in named_leaves(tree).items():
        if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all():
            return path
    return None
