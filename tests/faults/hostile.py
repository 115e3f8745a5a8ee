"""Contents of hostile files: damage, decompression bombs, absurd headers, pickles that run code.

`malformed` passes them to the readers of these files.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes some bytes, cuts out or doubles a piece, or cuts off the end."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if not data:
            return bytes(rng.integers(0, 256, 20, np.uint8))
        at = int(rng.integers(len(data)))
        match int(rng.integers(5)):
            case 0:
                data[at] = int(rng.integers(256))
            case 1:
                del data[at:]
            case 2:
                del data[at:at + int(rng.integers(1, 64))]
            case 3:
                data[at:at] = data[max(0, at - 40):at]
            case _:  # a number in a header becomes absurd
                data[at:at + 4] = struct.pack(">I", int(rng.choice([0, 2**31 - 1, 2**32 - 1])))
    return bytes(data)


def picture(rng: np.random.Generator) -> tuple[str, bytes]:
    kind = str(rng.choice(["PNG", "JPEG"]))
    pixels = rng.integers(0, 256, (9, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return {"PNG": "png", "JPEG": "jpg"}[kind], out.getvalue()


@functools.cache
def bomb_png(width: int, height: int, honest: bool) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    rows = zlib.compressobj(1)
    size, count = (width, height) if honest else (1000, 3)
    data = b"".join(rows.compress(bytes(1 + size * 3)) for _ in range(count))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0,
            0)) + chunk(b"IDAT", data + rows.flush()) + chunk(b"IEND", b""))


def npz_content(arrays: dict, *, compressed: bool) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


@functools.cache
def _bomb_npz(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content + bytes(400_000_000))
    return out.getvalue()


def hostile_npz(rng: np.random.Generator, folder: Path, name: str) -> bytes:
    """An archive whose member has an absurd header, is a bomb, or is a pickle with a Payload."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        match int(rng.integers(4)):
            case 0:
                shape = str(rng.choice(["(100000, 100000, 3)", "(-1, 8, 8)", f"({2**62}, 4)",
                                        "(8,)", "(" * 500]))
                header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n"
                archive.writestr(name, b"\x93NUMPY\x01\0" + struct.pack("<H", len(header))
                                 + header.encode() + bytes(64))
            case 1:
                header = "{'descr': '|u1', 'fortran_order': False, 'shape': (400000000,), }\n"
                content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode()
                if rng.random() < 0.1:
                    return _bomb_npz(name, content)
                archive.writestr(name, content)
            case 2:
                array = io.BytesIO()
                np.save(array, np.array([Payload(folder)], object), allow_pickle=True)
                archive.writestr(name, array.getvalue())
            case _:
                archive.writestr(name, Payload.pickled(folder))
    return out.getvalue()


class Payload:
    """An object whose unpickling makes a folder, as a trace."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder / "executed"),)

    @classmethod
    def pickled(cls, folder: Path) -> bytes:
        return pickle.dumps(cls(folder))


def torch_tensor(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The pickle of one tensor over 16 bytes of storage 0, as PyTorch writes it."""
    storage = (b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
               + _number(4) + b"tQ")
    return b"\x80\x02}" + _text("w") + _tensor(storage, size, stride) + b"s."


def tensor_of_tensor(length: int, count: int) -> bytes:
    """The pickle of a tensor of `count` numbers whose storage is a tensor of shape (length, 0)."""
    storage = (b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
               + _number(4) + b"tQ")
    empty = _tensor(storage, (length, 0), (0, 0))
    return b"\x80\x02}" + _text("w") + _tensor(empty, (count,), (1,)) + b"s."


def shared_tree(levels: int) -> bytes:
    """The pickle of nested dictionaries, each with two references to the next, and a tensor."""
    tree = torch_tensor((4,), (1,))[2:-1]
    for place in range(levels):
        put, get = (code + struct.pack("<I", place) for code in (b"r", b"j"))
        tree = tree + put + b"0}" + _text("a") + get + b"s" + _text("b") + get + b"s"
    return b"\x80\x02" + tree + b"."


def _tensor(storage: bytes, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    def several(values) -> bytes:
        return b"(" + b"".join(map(_number, values)) + b"t"

    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0) + several(size)
            + several(stride) + b"I00\n" + b"Nt" + b"R")


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _number(value: int) -> bytes:
    return b"I" + str(value).encode() + b"\n"
