"""Arrays of an `.npz` whose author is not trusted, checked before memory is spent on them.

Nothing is unpickled. The header of an array must describe exactly the bytes that its member holds.
A member that inflates to far more than the file holds is refused as a decompression bomb.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

# Larger members are inflated only from a file whose size is a share of theirs: deflate reaches
# 1 : 1032, and images that are more than a single colour do not come near 1 : 100.
_MODEST, _MOST_RATIO = 256 << 20, 100
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def refuse_bomb(inflated: int, size: int, what: str) -> None:
    """ValueError if `size` bytes would expand to too many."""
    if inflated > _MODEST and inflated > _MOST_RATIO * size:
        raise ValueError(f"{what} would grow from {size:,} bytes to {inflated:,}: it looks like a "
                         "decompression bomb")


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """The names of the arrays, without '.npy'; other members keep their full names."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def read_arrays(archive: zipfile.ZipFile, names: Iterable[str], file: Path
                ) -> dict[str, np.ndarray]:
    """Arrays by name, with the shapes and dtypes with which they were written.

    Args:
      archive: the open zip.
      names: from `array_names`.
      file: path of the archive.

    Raises:
      ValueError: for a member that is not an array, pickled objects, a wrong header, or a bomb.
      zipfile.BadZipFile, zlib.error, …: for a damaged file.
    """
    members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
    chosen = {name: members[name] for name in names}
    refuse_bomb(sum(member.file_size for member in chosen.values()), file.stat().st_size, "it")
    return {name: _read(archive, member) for name, member in chosen.items()}


def read_single(file: Path) -> np.ndarray:
    """The array of an .npy file, with the shape and dtype with which it was written.

    Raises:
      ValueError: for a file that is not an array, pickled objects, or a wrong header.
      OSError: if it cannot be read.
    """
    with file.open("rb") as opened:
        _check_header(opened, file.stat().st_size, "it")
    with file.open("rb") as opened:
        return np.lib.format.read_array(opened, allow_pickle=False)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    what = f"'{member.filename}'"
    if member.compress_type not in _COMPRESSIONS or member.flag_bits & 1:
        raise ValueError(f"{what} is encrypted, or compressed by a method that NumPy does not use")
    with archive.open(member) as opened:
        _check_header(opened, member.file_size, what)
    with archive.open(member) as opened:
        return np.lib.format.read_array(opened, allow_pickle=False)


def _check_header(opened: IO[bytes], size: int, what: str) -> None:
    """ValueError if an array's header does not agree with its file of `size` bytes."""
    try:
        version = np.lib.format.read_magic(opened)
    except ValueError:
        raise ValueError(f"{what} is not a NumPy array: save the file with np.savez") from None
    readers = {(1, 0): np.lib.format.read_array_header_1_0,
               (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{what} has the format {version}, which does not hold plain numbers")
    shape, _, dtype = readers[version](opened)
    if dtype.hasobject:
        raise ValueError(f"{what} holds pickled objects, which could execute code")
    header = opened.tell()
    promised = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or promised != size - header:
        raise ValueError(f"the header of {what} promises {shape} of {dtype}, {promised:,} bytes, "
                         f"but there are {size - header:,}")
