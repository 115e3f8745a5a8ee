"""Files of named arrays (`.npz`), for weights and statistics."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.base.errors import one_line
from sngan_jax.base.files import is_file, replacing
from sngan_jax.data.archive import array_names, read_arrays


def checksum(arrays: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of all names and arrays, as float32."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()[:16]


def write_npz(file: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Writes arrays by name, atomically; makes the folder if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, temporary.open("wb") as out:
        (np.savez_compressed if compressed else np.savez)(out, **arrays)


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name, in their own shapes; nothing in it is executed.

    Raises:
      FileNotFoundError: if there is no such file.
      PermissionError: if this user may not read it.
      ValueError: if it is damaged or of another kind.
    """
    if not is_file(file):
        raise FileNotFoundError(str(file))
    try:
        with zipfile.ZipFile(file) as archive:
            return read_arrays(archive, array_names(archive), file)
    except PermissionError:
        raise
    except Exception as error:  # zipfile and NumPy raise almost anything on a damaged file
        raise ValueError(one_line(error)) from error
