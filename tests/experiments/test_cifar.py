"""CIFAR from a stand-in archive of the published binary format, by TFDS, without TensorFlow."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import cifar
from sngan_jax.data.sources import DataError, load
from sngan_jax.data.streaming import open_stream
from tests.programs import program

FILES = {"cifar10": ([f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]),
         "cifar100": (["train.bin"], ["test.bin"])}
PREFIX = {"cifar10": "cifar-10-batches-bin/", "cifar100": "cifar-100-binary/"}
CLASSES = {"cifar10": 10, "cifar100": 100}


def records(name, n, seed):
    """(bytes, images (n, 32, 32, 3), labels): color planes after the labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
    labels = rng.integers(0, CLASSES[name], n).astype(np.uint8)
    data = b""
    for image, label in zip(images, labels, strict=True):
        coarse = b"" if name == "cifar10" else bytes([label // 5])
        data += coarse + bytes([label]) + image.transpose(2, 0, 1).tobytes()
    return data, images, labels


def stand_in(folder, name, *, cut=0):
    """An archive like the published one; the images and labels of its training split."""
    train, test = FILES[name]
    contents = {file: records(name, 3, i) for i, file in enumerate((*train, *test))}
    data = {file: content[0] for file, content in contents.items()}
    data[train[-1]] = data[train[-1]][:len(data[train[-1]]) - cut]
    if name == "cifar10":
        data["batches.meta.txt"] = "\n".join(f"class{i}" for i in range(10)).encode() + b"\n\n"
    else:
        data["coarse_label_names.txt"] = "\n".join(f"coarse{i}" for i in range(20)).encode()
        data["fine_label_names.txt"] = "\n".join(f"class{i}" for i in range(100)).encode()
    archive = folder / cifar.archive_name(name)
    with tarfile.open(archive, "w:gz") as tar:
        for file, content in data.items():
            member = tarfile.TarInfo(PREFIX[name] + file)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    images = np.concatenate([contents[file][1] for file in train])
    return archive, images, np.concatenate([contents[file][2] for file in train])


@pytest.fixture
def trusted(monkeypatch):
    """Makes the checksum of an archive the expected one."""
    def trust(archive):
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(cifar, "published_checksum", lambda name: found)
    return trust


@pytest.mark.parametrize("name", cifar.NAMES)
def test_a_placed_archive_is_prepared_and_read(name, tmp_path, trusted):
    archive, images, labels = stand_in(tmp_path, name)
    trusted(archive)
    folder = cifar.prepare_cifar(name, archive, tmp_path / "data")
    assert folder == tmp_path / "data" / name / "3.0.2"
    data = load(f"tfds:{name}", image_size=32, data_dir=str(tmp_path / "data"))
    assert data.num_classes == CLASSES[name] and len(data) == len(images)
    # TFDS shuffles the examples: find each by its pixels.
    order = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [order[image.tobytes()] for image in data.images] == data.labels.tolist()
    assert len(load(f"tfds:{name}", image_size=32, split="test",
                    data_dir=str(tmp_path / "data"))) == 3
    stream = open_stream(f"tfds:{name}", image_size=32, data_dir=str(tmp_path / "data"))
    np.testing.assert_array_equal(stream.read(np.arange(3))[0], data.images[:3])


def test_it_is_the_stock_builders_data_set(tmp_path, trusted):
    archive, images, _ = stand_in(tmp_path, "cifar100")
    trusted(archive)
    builder = tfds.builder_from_directory(cifar.prepare_cifar("cifar100", archive, tmp_path / "d"))
    stock = tfds.builder_cls("cifar100")
    assert (builder.name, builder.version) == ("cifar100", stock.VERSION)
    assert set(builder.info.features) == {"id", "image", "label", "coarse_label"}
    assert builder.info.features["label"].names[7] == "class7"
    example = next(e for e in builder.as_data_source("train")
                   if (e["image"] == images[0]).all())
    assert example["id"] == b"train_00000"
    assert example["coarse_label"] == example["label"] // 5


def test_wrong_missing_and_damaged_archives_are_sentences(tmp_path, trusted):
    archive, _, _ = stand_in(tmp_path, "cifar10", cut=5)
    with pytest.raises(DataError, match=r"SHA-256 is .* expected c4a38c50a1bc5f3a"):
        cifar.prepare_cifar("cifar10", archive, tmp_path / "data")
    with pytest.raises(DataError, match=r"nowhere does not exist: download https://www\.cs"):
        cifar.prepare_cifar("cifar10", tmp_path / "nowhere", tmp_path / "data")
    trusted(archive)
    with pytest.raises(DataError, match=r"data_batch_5\.bin has 9,214 bytes"):
        cifar.prepare_cifar("cifar10", archive, tmp_path / "data")
    archive.write_bytes(archive.read_bytes()[:2000])
    trusted(archive)
    with pytest.raises(DataError, match=r"cannot be read: .*download it again"):
        cifar.prepare_cifar("cifar10", archive, tmp_path / "data")
    with pytest.raises(DataError, match="is not prepared"):  # nothing half-made is left
        load("tfds:cifar10", image_size=32, data_dir=str(tmp_path / "data"))


def test_the_program_looks_in_the_manual_folder(tmp_path):
    done = program("experiments.prepare", "--dataset=cifar10", f"--data-dir={tmp_path}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"{tmp_path}/downloads/manual/cifar-10-binary.tar.gz does not exist" in done.stderr
