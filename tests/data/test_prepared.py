"""Data sets that TFDS itself has prepared, in both of its formats."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sngan_jax.data.image_set import Reading
from sngan_jax.data.sources import DataError, load
from sngan_jax.data.streaming import open_stream
from tests.data.tiny_tfds import TinyModes, TinyPng, TinyTensor, tiny_images

ROOT = Path(__file__).parents[2]
TFRECORD = """
import sys

from sngan_jax.data.sources import load
from tests.data.tiny_tfds import TinyPng

folder, *splits = sys.argv[1:]
TinyPng(data_dir=folder, file_format="tfrecord").download_and_prepare()
for split in splits:
    print(load("tfds:tiny_png", data_dir=folder, image_size=8, split=split).fingerprint())
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the two tiny sets, prepared as ArrayRecord."""
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (TinyPng, TinyTensor):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("reading a data set must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def loaded(name, root, **options):
    return load(f"tfds:{name}", data_dir=str(root), **{"image_size": 8, **options})


def order(root, split):
    """The ids of the examples in the order in which TFDS has stored them."""
    source = tfds.data_source("tiny_png", split=split, data_dir=root)
    return [int(example["id"]) for example in source]


class TestPictures:
    """Files within a set are decoded as files of a folder, whatever mode they have."""

    @pytest.mark.parametrize("channels", [1, 3])
    def test_modes(self, tmp_path, channels):
        TinyModes(data_dir=tmp_path, file_format="array_record").download_and_prepare()
        for alpha in ("white", "black", "drop"):
            options = {"data_dir": str(tmp_path), "image_size": 8, "channels": channels,
                       "reading": Reading(alpha=alpha)}
            data = load("tfds:tiny_modes", **options)
            stream = open_stream("tfds:tiny_modes", **options)
            np.testing.assert_array_equal(stream.read(np.arange(len(data)))[0], data.images)
            folder = tmp_path / "folder"
            folder.mkdir(exist_ok=True)
            source = tfds.data_source("tiny_modes", split="train", data_dir=tmp_path,
                                      decoders={"image": tfds.decode.SkipDecoding()})
            for i, example in enumerate(source):
                (folder / f"{i}.png").write_bytes(example["image"])
            same = load(f"folder:{folder}", **options)
            np.testing.assert_array_equal(data.images, same.images)


class TestReading:
    def test_png(self, root):
        data = loaded("tiny_png", root)
        ids = order(root, "train")
        images = tiny_images(30, 9, 12, 3, 0)[ids][:, :, 1:10]
        expected = [
            np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR))
            for image in images
        ]
        np.testing.assert_array_equal(data.images, expected)
        np.testing.assert_array_equal(data.labels, np.array(ids) % 5)
        assert (data.labels.dtype, data.num_classes) == (np.int32, 5)  # 'label', not 'coarse'

    def test_tensor(self, root):
        data = loaded("tiny_tensor:1.0.0", root)
        assert data.images.shape == (12, 8, 8, 1)
        expected = tiny_images(12, 8, 8, 1, 2)
        assert sorted(map(bytes, data.images)) == sorted(map(bytes, expected))
        np.testing.assert_array_equal(loaded("tiny_tensor", root, split="all").images, data.images)
        assert (data.labels, data.num_classes) == (None, 0)

    def test_unlabelled_split(self, root):
        data = loaded("tiny_png", root, split="unlabelled", channels=1)
        assert data.images.shape == (7, 8, 8, 1)
        assert (data.labels, data.num_classes) == (None, 0)

    def test_slices_of_splits(self, root):
        whole = loaded("tiny_png", root)
        part = loaded("tiny_png", root, split="train[20%:50%]")
        np.testing.assert_array_equal(part.images, whole.images[6:15])
        np.testing.assert_array_equal(part.labels, whole.labels[6:15])

    def test_configurations_and_versions(self, root, tmp_path):
        source = root / "tiny_tensor" / "1.0.0"
        for place in ("one/1.0.0", "two/1.0.0", "two/1.10.0", "two/1.9.0"):
            shutil.copytree(source, tmp_path / "tiny_tensor" / place)
        with pytest.raises(DataError, match=r"choose tfds:tiny_tensor/one or tfds:tiny_tensor/two"):
            loaded("tiny_tensor", tmp_path)
        assert len(loaded("tiny_tensor/two", tmp_path)) == 12
        with pytest.raises(DataError, match=r"two: there is only 1\.0\.0, 1\.9\.0, 1\.10\.0"):
            loaded("tiny_tensor/two:2.0.0", tmp_path)
        note = tmp_path / "tiny_tensor" / ".config" / "metadata.json"
        note.parent.mkdir()
        note.write_text('{"default_config_name": "one"}')
        assert len(loaded("tiny_tensor", tmp_path)) == 12

    def test_the_environment_names_the_folder(self, root, monkeypatch):
        monkeypatch.setenv("TFDS_DATA_DIR", str(root))
        assert len(load("tfds:tiny_tensor", image_size=8)) == 12

    @pytest.mark.peers
    def test_tfrecord_equals_array_record(self, root, tmp_path):
        """Runs separately, because TensorFlow and PyTorch have crashed in one process."""
        splits = ("train", "train[:50%]", "unlabelled")
        done = subprocess.run([sys.executable, "-c", TFRECORD, tmp_path, *splits], text=True,
                              cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
                              capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-len(splits):] == [
            loaded("tiny_png", root, split=split).fingerprint() for split in splits]


class TestSentences:
    def test_not_prepared(self, root, monkeypatch):
        monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
        with pytest.raises(DataError, match=r"\(looked in .*tensorflow_datasets/mnist\)") as info:
            load("tfds:mnist", image_size=32)
        assert str(info.value).endswith(
            'prepare it once with: pip install "sngan_jax[tf]" && python -c "import '
            "tensorflow_datasets as tfds; tfds.builder('mnist', file_format='array_record')"
            '.download_and_prepare()"'
        )
        with pytest.raises(DataError, match=f"looked in {root}/mnist.*data_dir='{root}', file_"):
            loaded("mnist", root)
        with pytest.raises(DataError, match=f"prepare --dataset=cifar10 --data-dir={root}, from"):
            loaded("cifar10", root)
        with pytest.raises(DataError, match=r"ILSVRC2012_img_train\.tar must be in"):
            loaded("imagenet2012", root)

    @pytest.mark.parametrize("name", ["../secret", "a:b", "a/b/c", "a:1.0"])
    def test_no_name(self, root, name):
        with pytest.raises(DataError, match="does not name a data set: write tfds:name"):
            loaded(name, root)

    @pytest.mark.parametrize(
        ("split", "sentence"),
        [
            ("test", "there is no such split; the splits are train, unlabelled"),
            ("test[:3]", "Unknown split 'test'"),
            ("train[:0]", "this split is empty"),
            ("train[3:1]", "this split is empty"),
            ("train[:", "cannot be read: "),
        ],
    )
    def test_split(self, root, split, sentence):
        with pytest.raises(DataError, match=sentence):
            loaded("tiny_png", root, split=split)

    def test_partly_labelled(self, root):
        with pytest.raises(DataError, match=r"the labels of tfds:tiny_png.* hold the class -1"):
            loaded("tiny_png", root, split="train+unlabelled")

    @pytest.fixture
    def copy(self, root, tmp_path):
        return shutil.copytree(root / "tiny_png" / "1.0.0", tmp_path / "tiny_png" / "1.0.0")

    def edit(self, file, **changes):
        tree = json.loads(file.read_text())
        tree.update(changes)
        file.write_text(json.dumps(tree))

    def test_a_feature_of_another_module_is_not_imported(self, copy, tmp_path):
        self.edit(copy / "features.json", pythonClassName="antigravity.Feature")
        with pytest.raises(DataError, match=r"asks for the class 'antigravity\.Feature'"):
            loaded("tiny_png", tmp_path)

    def test_no_image(self, copy, tmp_path):
        file = copy / "features.json"
        tree = json.loads(file.read_text())
        del tree["featuresDict"]["features"]["image"]
        file.write_text(json.dumps(tree))
        with pytest.raises(DataError, match="its features are coarse, id, label"):
            loaded("tiny_png", tmp_path)

    def test_damaged_records(self, copy, tmp_path):
        for file in copy.glob("*train*"):
            file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"split 'train', in .*: cannot be read: "):
            loaded("tiny_png", tmp_path)

    def test_damaged_features(self, copy, tmp_path):
        (copy / "features.json").write_text("{")
        with pytest.raises(DataError, match=r"features\.json cannot be read"):
            loaded("tiny_png", tmp_path)

    def test_tfrecord_without_tensorflow(self, copy, tmp_path, monkeypatch):
        self.edit(copy / "dataset_info.json", fileFormat="tfrecord")
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name == "tensorflow" else find_spec(name, *rest),
        )
        with pytest.raises(DataError, match=r'TensorFlow reads: pip install "sngan_jax\[tf\]"'):
            loaded("tiny_png", tmp_path)
