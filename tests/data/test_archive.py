"""Arrays of files that are not trusted."""

import io
import struct
import zipfile

import numpy as np
import pytest

from sngan_jax.data.archive import array_names, read_arrays, refuse_bomb


def npz(file, **members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name + ".npy", content)
    return file


def saved(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def header(shape, dtype="|u1"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def read(file):
    with zipfile.ZipFile(file) as archive:
        return read_arrays(archive, array_names(archive), file)


@pytest.mark.parametrize("array", [
    np.arange(12, dtype=np.int64).reshape(3, 4), np.asfortranarray(np.eye(3)), np.array("text"),
    np.zeros((0, 5)), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.float32(3)])
def test_arrays_come_back(tmp_path, array):
    back = read(npz(tmp_path / "x.npz", a=saved(array)))["a"]
    assert back.dtype == np.asarray(array).dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(("content", "words"), [
    (header((10**6, 10**6)) + bytes(9), "1,000,000,000,000 bytes, but there are 9"),
    (header((-3,)) + bytes(9), "promises"),
    (header((8,)) + bytes(9), "8 bytes, but there are 9"),
    (b"plain text", "not a NumPy array"),
    (saved(np.array([{}], object), allow_pickle=True), "pickled objects")])
def test_what_its_header_does_not_keep_is_refused(tmp_path, content, words):
    with pytest.raises(ValueError, match=words):
        read(npz(tmp_path / "x.npz", a=content))


def test_a_bomb_is_refused_before_it_inflates(tmp_path):
    refuse_bomb(1 << 20, 1, "small")
    refuse_bomb(1 << 40, 1 << 38, "large")
    file = tmp_path / "x.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, \
            archive.open("a.npy", "w") as member:
        member.write(header((300 << 20,)))
        for _ in range(300):
            member.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="decompression bomb"):
        read(file)
