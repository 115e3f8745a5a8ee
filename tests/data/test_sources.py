"""Digits, arrays in files, and errors about files that cannot be read."""

import dataclasses
import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sngan_jax.data.image_set import ImageSet, check_batch
from sngan_jax.data.sources import DataError, load, options_of
from sngan_jax.data.streaming import open_stream
from sngan_jax.run.config import defaults

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 0, 2, 2], np.uint8)


def idx(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


class TestLoad:
    def test_digits(self):
        digits = load("digits", image_size=8)
        reference = load_digits()
        assert digits.images.shape == (1797, 8, 8, 1)
        assert digits.images.dtype == np.uint8
        assert digits.labels.dtype == np.int32
        assert (digits.num_classes, digits.name) == (10, "digits")
        assert (digits.images.min(), digits.images.max()) == (0, 255)
        exact = reference.images[..., None] * 255 / 16
        assert np.abs(digits.images - exact).max() <= 0.5
        np.testing.assert_array_equal(digits.labels, reference.target)

    def test_digits_of_another_size_and_color(self):
        assert load("digits", image_size=32, channels=3).images.shape == (1797, 32, 32, 3)
        assert load("digits", image_size=20).images.shape == (1797, 20, 20, 1)

    @pytest.mark.parametrize("size", [16, 24])
    def test_enlarged_digits_average_to_the_originals(self, size):
        k = size // 8
        blocks = load("digits", image_size=size).images.reshape(1797, 8, k, 8, k, 1).mean((2, 4))
        np.testing.assert_array_equal(blocks, load("digits", image_size=8).images)

    @pytest.mark.parametrize(
        ("spec", "sentence"),
        [
            ("digit", "unknown data set 'digit', did you mean 'digits'"),
            ("folders:/x", "did you mean 'folder:<folder>'"),
            ("idx:", "unknown data set 'idx:', did you mean 'idx:<folder>'"),
            ("digits:all", "did you mean 'digits'"),
            ("cifar10", r"unknown data set 'cifar10'\. There are: digits, tfds:<name>"),
            ("", "unknown data set ''"),
        ],
    )
    def test_unknown_spec(self, spec, sentence):
        with pytest.raises(DataError, match=sentence):
            load(spec, image_size=8)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"image_size": 0}, "image_size is 0"),
            ({"image_size": 8, "channels": 2}, "channels is 2: it must be 1"),
            ({"image_size": 8, "split": "test"}, "digits has no split 'test'"),
        ],
    )
    def test_bad_arguments(self, arguments, sentence):
        with pytest.raises(DataError, match=sentence):
            load("digits", **arguments)

    def test_a_path_without_its_kind(self, tmp_path):
        np.savez(tmp_path / "x.npz", images=IMAGES)
        for spec, sentence in ((tmp_path, "is a folder: write folder:"),
                               (tmp_path / "x.npz", "is a file: write npz:"),
                               (tmp_path / "nothing", "there is no folder or file")):
            for opened in (load, open_stream):
                with pytest.raises(DataError, match=sentence):
                    opened(str(spec), image_size=8)

    def test_importing_is_light(self):
        code = (
            "import sys, sngan_jax.data; "
            "heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn'} & set(sys.modules); "
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestImageSet:
    def test_fingerprint_is_of_the_content(self):
        one = ImageSet(IMAGES[..., None], LABELS.astype(np.int32), 3, "one")
        same = dataclasses.replace(one, images=one.images.copy(), name="other")
        pixel = one.images.copy()
        pixel[3, 4, 5] ^= 1
        others = [
            dataclasses.replace(one, images=pixel),
            dataclasses.replace(one, images=one.images.reshape(6, 4, 16, 1)),
            dataclasses.replace(one, labels=one.labels[::-1]),
            dataclasses.replace(one, labels=None),
        ]
        assert len(one) == 6
        assert one.fingerprint() == same.fingerprint()
        assert len({s.fingerprint() for s in [one, *others]}) == 5
        int(one.fingerprint(), 16)

    def test_options_of_a_config(self):
        options = options_of({**defaults(), "image_size": 16, "image_width": 24, "fit": "pad",
                              "alpha": "black"})
        assert options == {"image_size": (16, 24), "data_dir": None,
                           "reading": ("pad", "black", False)}
        assert options_of(defaults())["image_size"] == (32, 32)

    def test_check_batch(self):
        digits = load("digits", image_size=8)
        check_batch(digits, 1797)
        sentence = "data set 'digits' has 1797 images, fewer than the batch of 1798: "
        with pytest.raises(DataError, match=sentence):
            check_batch(digits, 1798)


class TestNpz:
    def save(self, folder, **arrays):
        np.savez(folder / "x.npz", **arrays)
        return f"npz:{folder}/x.npz"

    def test_images_and_labels(self, tmp_path):
        data = load(self.save(tmp_path, images=IMAGES, labels=LABELS[:, None]), image_size=8)
        np.testing.assert_array_equal(data.images, IMAGES[..., None])
        np.testing.assert_array_equal(data.labels, LABELS)
        assert (data.labels.dtype, data.num_classes) == (np.int32, 3)

    def test_color_without_labels_compressed(self, tmp_path):
        images = np.stack([IMAGES] * 3, axis=-1)
        np.savez_compressed(tmp_path / "x.npz", images=images)
        data = load(f"npz:{tmp_path}/x.npz", image_size=8)
        np.testing.assert_array_equal(data.images, images)
        assert (data.labels, data.num_classes) == (None, 0)

    def test_names_of_keras(self, tmp_path):
        spec = self.save(tmp_path, x_train=IMAGES[:4], y_train=LABELS[:4], x_test=IMAGES[4:])
        train, test = (load(spec, image_size=8, split=split) for split in ("train", "test"))
        np.testing.assert_array_equal(train.labels, LABELS[:4])
        np.testing.assert_array_equal(test.images[..., 0], IMAGES[4:])
        assert test.labels is None

    @pytest.mark.parametrize(
        ("arrays", "split", "sentence"),
        [
            ({"image": IMAGES}, "train", r"has no array 'images'; its arrays are \['image'\]"),
            ({"images": IMAGES}, "test", "has no split 'test': 'images' is all 'train'"),
            ({"x_train": IMAGES}, "test", "has no split 'test': there are 'train'"),
            ({"images": IMAGES, "x_train": IMAGES}, "train", "has both 'images' and"),
            ({"images": IMAGES / 255}, "train", "are float64: images must be uint8"),
            ({"images": np.uint8(3)}, "train", r"have the shape \(\)"),
            ({"images": IMAGES, "labels": LABELS[:5]}, "train", "but there are 6 images"),
            ({"images": IMAGES, "labels": LABELS / 1}, "train", "are float64: class numbers"),
            ({"images": IMAGES, "labels": LABELS - 1.0}, "train", "class numbers"),
            ({"images": IMAGES, "labels": np.arange(-1, 5)}, "train", "hold the class -1"),
            ({"images": np.array([None, {}])}, "train", "a readable .npz file: .*pickled objects"),
            ({"images": IMAGES[:0], "labels": LABELS[:0]}, "train", "are empty"),
        ],
    )
    def test_unsuitable(self, tmp_path, arrays, split, sentence):
        with pytest.raises(DataError, match=sentence):
            load(self.save(tmp_path, **arrays), image_size=8, split=split)

    def test_no_file(self, tmp_path):
        with pytest.raises(DataError, match="no such file: give the path of an"):
            load(f"npz:{tmp_path}/x.npz", image_size=8)
        with pytest.raises(DataError, match="this is a folder: give the path of an"):
            load(f"npz:{tmp_path}", image_size=8)

    def test_single_array(self, tmp_path):
        np.save(tmp_path / "x.npy", IMAGES)
        data = load(f"npz:{tmp_path}/x.npy", image_size=8, split="train[1:]")
        np.testing.assert_array_equal(data.images[..., 0], IMAGES[1:])
        assert (data.labels, data.num_classes) == (None, 0)
        for name, split, sentence in (("x.npy#a", "train", "a single array without a name"),
                                      ("x.npy", "test", "no split 'test'")):
            with pytest.raises(DataError, match=sentence):
                load(f"npz:{tmp_path}/{name}", image_size=8, split=split)
        whole = (tmp_path / "x.npy").read_bytes()
        for content in (b"", whole[:-1], whole + b"x", whole[:20]):
            (tmp_path / "x.npy").write_bytes(content)
            with pytest.raises(DataError, match=r"not a readable \.npy file: "):
                load(f"npz:{tmp_path}/x.npy", image_size=8)

    def test_images_beside_statistics_as_savez_names_them(self, tmp_path):
        spec = self.save(tmp_path, arr_0=IMAGES, arr_1=LABELS, mu=np.zeros(3), sigma=np.eye(3))
        data = load(spec, image_size=8)
        np.testing.assert_array_equal(data.images[..., 0], IMAGES)
        np.testing.assert_array_equal(data.labels, LABELS)

    @pytest.mark.parametrize(("keys", "labels"), [
        ("pics,classes", LABELS), ("pics", LABELS[::-1]), ("pics,", None)])
    def test_keys_of_ones_own(self, tmp_path, keys, labels):
        spec = self.save(tmp_path, pics=IMAGES, classes=LABELS, labels=LABELS[::-1], images=IMAGES)
        data = load(f"{spec}#{keys}", image_size=8)
        np.testing.assert_array_equal(data.images[..., 0], IMAGES)
        assert (labels is None and data.labels is None) or (data.labels == labels).all()

    @pytest.mark.parametrize(("keys", "sentence"), [
        ("pictures", r"no array pictures; its arrays are \['pics'\]"), (",pics", "no array ''"),
        ("pics,classes", "has no array classes")])
    def test_keys_that_are_not_there(self, tmp_path, keys, sentence):
        with pytest.raises(DataError, match=sentence):
            load(f"{self.save(tmp_path, pics=IMAGES)}#{keys}", image_size=8)

    def test_a_name_with_the_sign_of_a_key(self, tmp_path):
        np.savez(tmp_path / "a#b.npz", images=IMAGES)
        assert len(load(f"npz:{tmp_path}/a#b.npz", image_size=8)) == 6
        assert len(load(f"npz:{tmp_path}/a#b.npz#images", image_size=8)) == 6

    def test_hints_for_labels(self, tmp_path):
        for labels, sentence in ((np.eye(6)[LABELS], r"one-hot, so save labels\.argmax\(1\)"),
                                 (LABELS.astype(float), r"save labels\.astype\(np\.int32\)"),
                                 (LABELS + 0.5, "must be integers$")):
            with pytest.raises(DataError, match=sentence):
                load(self.save(tmp_path, images=IMAGES, labels=labels), image_size=8)

    def test_classes_without_an_image_are_said(self, tmp_path):
        data = load(self.save(tmp_path, images=IMAGES, labels=LABELS * 3), image_size=8)
        assert data.num_classes == 7
        (caution,) = data.cautions
        assert "4 of the 7 classes have no image (1, 2, 4, 5)" in caution
        assert load(self.save(tmp_path, images=IMAGES, labels=LABELS), image_size=8).cautions == ()

    def test_other_member(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("images", "text")
        with pytest.raises(DataError, match=r"'images' is not a NumPy array"):
            load(f"npz:{tmp_path}/x.npz", image_size=8)

    def test_damaged(self, tmp_path):
        spec = self.save(tmp_path, images=IMAGES, labels=LABELS)
        file = tmp_path / "x.npz"
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[300] ^= 255
        for content in (b"", b"nothing", whole[:-40], whole[: len(whole) // 2], bytes(flipped)):
            file.write_bytes(content)
            with pytest.raises(DataError, match=r"is not a readable \.npz file: .+"):
                load(spec, image_size=8)


class TestIdx:
    def save(self, folder, name, content):
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    @pytest.mark.parametrize("ending", ["", ".gz"])
    @pytest.mark.parametrize("mark", "-.")
    @pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
    def test_images_and_labels(self, tmp_path, split, prefix, mark, ending):
        self.save(tmp_path, f"{prefix}-images{mark}idx3-ubyte{ending}", idx(IMAGES))
        self.save(tmp_path, f"{prefix}-labels{mark}idx1-ubyte{ending}", idx(LABELS))
        data = load(f"idx:{tmp_path}", image_size=8, split=split)
        np.testing.assert_array_equal(data.images[..., 0], IMAGES)
        np.testing.assert_array_equal(data.labels, LABELS)
        assert data.num_classes == 3

    def test_folder_of_another_kind(self, tmp_path):
        with pytest.raises(DataError, match=r"has no train-images.*: give the folder that holds"):
            load(f"idx:{tmp_path}", image_size=8)

    def test_without_labels_and_not_square(self, tmp_path):
        self.save(tmp_path, "train-images-idx3-ubyte", idx(IMAGES[:, :, 1:7]))
        data = load(f"idx:{tmp_path}", image_size=6)
        np.testing.assert_array_equal(data.images[..., 0], IMAGES[:, 1:7, 1:7])
        assert data.labels is None

    @pytest.mark.parametrize("ending", ["", ".gz"])
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"", "is not an IDX file of 3-dimensional uint8 data: it begins with ''"),
            (idx(IMAGES)[:9], "is not an IDX file"),
            (idx(LABELS), "begins with '00 00 08 01' instead of '00 00 08 03'"),
            (bytes([0, 0, 13, 3]) + idx(IMAGES)[4:], "begins with '00 00 0d 03'"),
            (idx(IMAGES)[:-1], r"ends too early: its header promises \(6, 8, 8\) bytes"),
            (idx(IMAGES) + b"x", "is too long"),
            (bytes([0, 0, 8, 3]) + b"\xff" * 12, "ends too early"),  # 2**96 bytes
            (idx(IMAGES[:0]), "are empty"),
        ],
    )
    def test_damaged(self, tmp_path, content, sentence, ending):
        self.save(tmp_path, f"train-images-idx3-ubyte{ending}", content)
        with pytest.raises(DataError, match=sentence):
            load(f"idx:{tmp_path}", image_size=8)

    @pytest.mark.parametrize("cut", [5, 30, -1])
    def test_damaged_gzip(self, tmp_path, cut):
        content = gzip.compress(idx(IMAGES))[:cut]
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be read: "):
            load(f"idx:{tmp_path}", image_size=8)

    def test_not_gzip(self, tmp_path):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx(IMAGES))
        with pytest.raises(DataError, match="cannot be read: Not a gzipped file"):
            load(f"idx:{tmp_path}", image_size=8)

    def test_counts_differ(self, tmp_path):
        self.save(tmp_path, "train-images-idx3-ubyte", idx(IMAGES))
        self.save(tmp_path, "train-labels-idx1-ubyte", idx(LABELS[:5]))
        with pytest.raises(DataError, match=r"have the shape \(5,\), but there are 6 images"):
            load(f"idx:{tmp_path}", image_size=8)

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="has no train-images-idx3-ubyte or"):
            load(f"idx:{tmp_path}", image_size=8)
        with pytest.raises(DataError, match="no such folder: give the folder of the four files"):
            load(f"idx:{tmp_path}/nothing", image_size=8)
        with pytest.raises(DataError, match="no split 'val': there are 'train' and 'test'"):
            load(f"idx:{tmp_path}", image_size=8, split="val")

    @pytest.mark.slow
    @pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="needs Debian's dataset-fashion-mnist")
    def test_fashion_mnist(self):
        data = load(f"idx:{FASHION_MNIST}", image_size=28, split="test")
        assert data.images.shape == (10000, 28, 28, 1)
        assert np.bincount(data.labels).tolist() == [1000] * 10
