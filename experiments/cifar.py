"""CIFAR-10 and CIFAR-100, prepared for TFDS from an archive that you placed by hand.

TFDS's own builder needs TensorFlow, because it passes arrays to TFDS for compression. This one
passes PNG files, and is the same builder otherwise: name, version, features, splits, examples.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sngan_jax.base.errors import one_line
from sngan_jax.base.files import is_file
from sngan_jax.data.image_set import DataError

NAMES = ("cifar10", "cifar100")
_PIXELS = 3 * 32 * 32


def archive_name(name: str) -> str:
    """Name of the file that the authors of the data set publish."""
    return f"{name.replace('cifar', 'cifar-')}-binary.tar.gz"


def prepare_cifar(name: str, archive: Path, data_dir: Path) -> Path:
    """Writes the set as ArrayRecord in TFDS's layout; returns its folder.

    Args:
      name: one of NAMES.
      archive: the published .tar.gz in the binary format; it is checked against TFDS's checksum.
      data_dir: TFDS's folder of prepared data sets.

    Raises:
      DataError: for another or a damaged archive, or a folder that cannot be written.
    """
    if not is_file(archive):
        problem = "is not a file" if archive.exists() else "does not exist"
        raise DataError(f"{archive} {problem}: download "
                        f"https://www.cs.toronto.edu/~kriz/{archive_name(name)} (by hand, on any "
                        "machine) and place it there, or give its path with --archive")
    expected = published_checksum(name)
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        if "-python" in archive.name:
            raise DataError(f"{archive} has the set in Python's format: download the binary one, "
                            f"https://www.cs.toronto.edu/~kriz/{archive_name(name)}")
        raise DataError(f"{archive} is not {archive_name(name)} as TFDS knows it: its SHA-256 is "
                        f"{found[:16]}…, expected {expected[:16]}…; download it again")
    try:
        builder = _builder_class(name)(archive, data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    except DataError:
        raise
    except Exception as error:  # TFDS wraps errors in a split
        cause = error.__cause__ or error
        raise DataError(f"{name} cannot be prepared in {data_dir}: {one_line(cause)}") from error
    return Path(builder.data_dir)


def published_checksum(name: str) -> str:
    """The SHA-256 that TFDS has on record for the archive."""
    import tensorflow_datasets as tfds

    (checksum,) = (info.checksum for url, info in tfds.builder_cls(name).url_infos.items()
                   if url.endswith("/" + archive_name(name)))
    return checksum


def _builder_class(name: str) -> type:
    import tensorflow_datasets as tfds

    stock: Any = tfds.builder_cls(name)

    class FromArchive(stock, skip_registration=True):  # type: ignore[call-arg]  # TFDS's keyword
        """The stock builder, except for the source of the bytes and the PNG files."""

        def __init__(self, archive: Path, **kwargs: Any):
            self._archive = archive
            super().__init__(**kwargs)

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            del dl_manager
            parts = self._cifar_info
            names = {file: key for key, file in zip(parts.label_keys, parts.label_files,
                                                    strict=True)}
            members = _members(self._archive, parts.prefix,
                               [*names, *parts.train_files, *parts.test_files])
            for file, key in names.items():
                self.info.features[key].names = members[file].decode().split()
            return {split: self._of_files(split, [members[file] for file in files])
                    for split, files in (("train", parts.train_files), ("test", parts.test_files))}

        def _of_files(self, split: str, files: list[bytes]) -> Iterator[tuple[int, dict]]:
            keys = self._cifar_info.label_keys
            records = np.frombuffer(b"".join(files), np.uint8).reshape(-1, len(keys) + _PIXELS)
            for i, record in enumerate(records):
                pixels = record[len(keys):].reshape(3, 32, 32).transpose(1, 2, 0)
                png = io.BytesIO()
                Image.fromarray(pixels).save(png, "PNG")
                png.seek(0)
                labels = dict(zip(keys, map(int, record), strict=False))
                yield i, {"id": f"{split}_{i:05d}", "image": png, **labels}

    FromArchive.name = name  # the folder's name
    return FromArchive


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()


def _members(archive: Path, prefix: str, names: list[str]) -> dict[str, bytes]:
    """The contents of some files of an archive; nothing is unpacked to disk."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            found = {name: _content(tar, prefix + name) for name in names}
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise DataError(f"{archive} cannot be read: {one_line(error)}; download it again"
                        ) from error
    for name, data in found.items():
        keys = 2 if prefix.startswith("cifar-100-") else 1
        if name.endswith(".bin") and (not data or len(data) % (keys + _PIXELS)):
            raise DataError(f"{archive}: {prefix}{name} has {len(data):,} bytes, which is not a "
                            f"whole number of records of {keys + _PIXELS}: download it again")
    return found
