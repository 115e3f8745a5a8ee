"""Files of named arrays (`.npz`), for weights and statistics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from sngan_jax.data.image_set import one_line


def write_npz(file: Path, arrays: dict[str, Any]) -> None:
    """Writes arrays by name, whole or not at all; makes the folder where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as out:
        np.savez(out, **arrays)
    temporary.replace(file)


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name; nothing in it is executed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged or of another kind.
    """
    try:
        with file.open("rb") as opened:  # np.load would leave a damaged file open
            archive = np.load(opened, allow_pickle=False)
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and NumPy raise almost anything on a damaged file
        raise ValueError(one_line(error)) from error
