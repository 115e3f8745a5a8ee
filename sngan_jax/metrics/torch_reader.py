"""Reads tensors from a PyTorch file (.pth, .pt, TorchScript) without PyTorch.

Such a file is a zip of raw storages and a pickle. The pickle is read with a whitelist of a few
names that build nothing but arrays, dictionaries and plain objects, so a hostile file cannot run
code.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.files import is_file

_DTYPES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16,
           "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
           "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_}
_MOST_COPIES = 4  # of all bytes of the file, in tensors that share storages
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class _Node:
    """An object of a TorchScript file: its attributes, nothing of its class."""

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _Fixed:
    """An object that a pickle cannot change once it is made."""

    def __setstate__(self, _: object) -> None:
        raise pickle.UnpicklingError("it changes an object that is not its own")


class _Type(_Fixed):
    """The type of a storage, by PyTorch's name for it."""

    def __init__(self, name: str):
        self.dtype = np.dtype(_DTYPES[name])


class _Storage(_Fixed):
    """The values of a storage, (n,); not an array, so that nothing can take it for a tensor."""

    def __init__(self, values: np.ndarray):
        self.values = values


def _tensor(values: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
            ) -> np.ndarray:
    """A copy of a part of a storage's values (n,), which must lie within them."""
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 not in size and last >= len(values):
        raise ValueError("a tensor reaches beyond its storage")
    if 0 in size:
        return np.empty(size, values.dtype)
    view = np.lib.stride_tricks.as_strided(
        values[offset:], size, [s * values.itemsize for s in stride])
    return np.array(view)


def _numbers(values: object) -> tuple[int, ...]:
    """Sizes, strides or offsets as plain whole numbers that an array may have."""
    if not isinstance(values, tuple | list) or not all(
            type(n) is int and 0 <= n < 2**62 for n in values):
        raise ValueError("a tensor's offset, size or stride is not a whole number")
    return tuple(values)


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str, file: Path):
        content = _member(archive, f"{root}/data.pkl", file)
        for code, argument, _ in pickletools.genops(content):
            # The unpickler would allocate all memo slots up to the one that is named.
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(content):
                raise pickle.UnpicklingError("it numbers more objects than it can hold")
        super().__init__(io.BytesIO(content))
        self._archive, self._root, self._file = archive, root, file
        self._node = type("Node", (_Node,), {})  # for this file alone, in case it changes the class
        self._storages: dict[str, _Storage] = {}
        self._left = _MOST_COPIES * file.stat().st_size

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        if module == "torch" and name in _DTYPES:
            return _Type(name)
        if module == "__torch__" or module.startswith("__torch__."):
            return self._node  # a class that the file itself describes; not executed
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no weights file needs")

    def persistent_load(self, pid: Sequence[object]) -> _Storage:
        kind, type_, key, _, count = pid
        if kind != "storage" or type(type_) is not _Type or type(key) is not str:
            raise pickle.UnpicklingError(f"it holds a {kind!r}")
        (count,) = _numbers([count])
        if key not in self._storages:
            raw = _member(self._archive, f"{self._root}/data/{key}", self._file)
            self._storages[key] = _Storage(np.frombuffer(raw, type_.dtype, count))
        return self._storages[key]

    def _rebuild(self, storage: object, offset: object, size: object, stride: object,
                 *_: object) -> np.ndarray:
        if type(storage) is not _Storage:
            raise ValueError("a tensor refers to something that is not a storage")
        (offset,), size, stride = _numbers([offset]), _numbers(size), _numbers(stride)
        # A stride of zero, or one storage for many tensors, could ask for any amount of memory.
        self._left -= math.prod(size) * storage.values.itemsize
        if self._left < 0:
            raise ValueError("its tensors are larger than what it holds")
        return _tensor(storage.values, offset, size, stride)


def _member(archive: zipfile.ZipFile, name: str, file: Path) -> bytes:
    """A member's content; PyTorch stores members uncompressed, so none may inflate."""
    member = archive.getinfo(name)
    if member.file_size > file.stat().st_size:
        raise ValueError(f"{name} would be larger than the file")
    return archive.read(member)


def read_torch(file: Path) -> dict[str, np.ndarray]:
    """All tensors, in their own shapes, by their dotted names, such as 'net.layers.conv.weight'.

    Raises:
      UserError: if it is missing, damaged, of another format, or names anything but tensors.
      PermissionError: if this user may not read it.
    """
    if not is_file(file):
        raise UserError(f"there is no file {file}: check its path")
    try:
        with zipfile.ZipFile(file) as archive:
            roots = [name.removesuffix("/data.pkl") for name in archive.namelist()
                     if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise ValueError("it has no data.pkl: a PyTorch file of 1.6 or newer has one")
            return dict(_leaves(_Unpickler(archive, roots[0], file).load(), "", set()))
    except PermissionError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{file} cannot be read as a PyTorch weights file ({one_line(error)}): "
                        "it is damaged or of another kind; fetch it again") from error


def _leaves(node: object, name: str, seen: set[int]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a graph, by name. An object held in several places takes the first name."""
    if isinstance(node, np.ndarray):
        yield name, node
    elif isinstance(node, _Node | dict) and id(node) not in seen:
        seen.add(id(node))
        items = node if isinstance(node, dict) else getattr(node, "attributes", {})
        for key, value in items.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key), seen)
