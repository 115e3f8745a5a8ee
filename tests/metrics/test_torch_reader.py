"""PyTorch's format, written here by hand: PyTorch is not installed with the tests."""

import io
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.metrics.torch_reader import read_torch


class _Storage:
    def __init__(self, key, values):
        self.key, self.values = key, values


class _Tensor:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def torch(monkeypatch):
    """Modules with PyTorch's names, so that pickle writes them."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    modules["torch"].FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    return modules["torch"]


def _write(file, tree, storages, storage_type):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, _Storage):
                return ("storage", storage_type, value.key, "cpu", len(value.values))
            return None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(tree)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", buffer.getvalue())
        for storage in storages:
            archive.writestr(f"model/data/{storage.key}", storage.values.tobytes())


def test_strides_offsets_and_shared_storages(tmp_path, torch):
    values = np.arange(12, dtype="<f4")
    storage = _Storage("0", values)
    tree = {"a.weight": _Tensor(storage, 0, (3, 4), (4, 1), False, {}),
            "b": {"c": _Tensor(storage, 1, (2, 3), (1, 4), False, {})}, "epoch": 3}
    _write(tmp_path / "x.pth", tree, [storage], torch.FloatStorage)
    tensors = read_torch(tmp_path / "x.pth")
    assert set(tensors) == {"a.weight", "b.c"}
    np.testing.assert_array_equal(tensors["a.weight"], values.reshape(3, 4))
    np.testing.assert_array_equal(tensors["b.c"], values.reshape(3, 4)[:, 1:3].T)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path, torch):
    storage = _Storage("0", np.zeros(4, "<f4"))
    _write(tmp_path / "x.pth", {"a": _Tensor(storage, 1, (4,), (1,), False, {})}, [storage],
           torch.FloatStorage)
    with pytest.raises(UserError, match="beyond its storage"):
        read_torch(tmp_path / "x.pth")


@pytest.mark.parametrize("change", [
    {"storage": np.zeros((2**40, 0), "<f4")}, {"storage": None}, {"size": (2**70,)},
    {"size": (-1,)}, {"offset": -4}, {"stride": (2.5,)}, {"size": "ab"}])
def test_a_tensor_of_no_storage_or_no_size_is_refused(tmp_path, torch, change):
    storage = _Storage("0", np.zeros(4, "<f4"))
    # A tensor (n, 0) is n long and holds nothing: whoever takes it for a storage reads beyond it.
    empty = _Tensor(storage, 0, (2**40, 0), (0, 0), False, {})
    arguments = {"storage": storage, "offset": 0, "size": (4,), "stride": (1,), **change}
    if isinstance(arguments["storage"], np.ndarray):
        arguments["storage"] = empty
    _write(tmp_path / "x.pth", {"a": _Tensor(*arguments.values(), False, {})}, [storage],
           torch.FloatStorage)
    with pytest.raises(UserError, match=r"not a storage|not a whole|beyond its storage|larger"):
        read_torch(tmp_path / "x.pth")


def test_an_object_of_the_reader_cannot_be_changed(tmp_path, torch):
    storage = _Storage("0", np.zeros(4, "<f4"))
    _write(tmp_path / "x.pth", {"a": _Tensor(storage, 0, (4,), (1,), False, {})}, [storage],
           torch.FloatStorage)
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        data = archive.read("model/data.pkl")
    # BUILD of the type, on top of the stack after its name, with a dictionary.
    name = b"ctorch\nFloatStorage\n"
    assert name in data
    data = data.replace(name, name + b"}X\x05\0\0\0dtypeX\x01\0\0\0Osb", 1)
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        archive.writestr("model/data.pkl", data)
        archive.writestr("model/data/0", bytes(16))
    with pytest.raises(UserError, match="an object that is not its own"):
        read_torch(tmp_path / "y.pth")


def test_shared_dictionaries_are_walked_once(tmp_path, torch):
    storage = _Storage("0", np.arange(4, dtype="<f4"))
    tree = {"w": _Tensor(storage, 0, (4,), (1,), False, {})}
    for _ in range(60):
        tree = {"a": tree, "b": tree}
    _write(tmp_path / "x.pth", tree, [storage], torch.FloatStorage)
    tensors = read_torch(tmp_path / "x.pth")
    assert list(tensors) == [".".join("a" * 60) + ".w"]


class _Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile_was_here",)


def test_nothing_in_a_hostile_file_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "x.pth", {"a": _Hostile()}, [], None)
    with pytest.raises(UserError, match="mkdir"):
        read_torch(tmp_path / "x.pth")
    assert not (tmp_path / "hostile_was_here").exists()


@pytest.mark.parametrize(("content", "message"), [
    (None, "there is no file"), (b"", "damaged or of another kind"),
    (b"\x80\x02}q\x00.", "damaged or of another kind")])
def test_files_that_are_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_torch(tmp_path / "x.pth")
