"""Small data sets with the names, splits and features of TFDS's own, for the tests."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tests.data.tiny_tfds import png

F = tfds.features


def picture(i: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth picture, so that JPEG keeps it, different for each i: uint8 (h, w, c)."""
    y, x = np.mgrid[:height, :width]
    planes = [np.sin((x + 3 * i) / 17 + c) + np.cos((y - i) / 13) for c in range(channels)]
    return (63 * np.stack(planes, -1) + 127).astype(np.uint8)


def jpeg(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    file.seek(0)
    return file


class _Stock(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES: dict
    SPLITS = ("train", "test")
    SUPERVISED = ("image", "label")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(type(self).FEATURES),
                                     supervised_keys=type(self).SUPERVISED)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in type(self).SPLITS}

    def _generate_examples(self, split):
        for i in range(12):
            yield i, self.example(i, split)


class Cifar100(_Stock, skip_registration=True):
    FEATURES = {  # noqa: RUF012
        "id": F.Text(), "image": F.Image(shape=(32, 32, 3)), "label": F.ClassLabel(num_classes=100),
        "coarse_label": F.ClassLabel(num_classes=20)}

    def example(self, i, split):
        return {"id": f"{split}_{i}", "image": png(picture(i, 32, 32)), "label": 8 * i,
                "coarse_label": i}


class Stl10(_Stock, skip_registration=True):
    FEATURES = {  # noqa: RUF012
        "image": F.Image(shape=(96, 96, 3)), "label": F.ClassLabel(num_classes=10)}
    SPLITS = ("train", "test", "unlabelled")

    def example(self, i, split):
        return {"image": png(picture(i, 96, 96)),
                "label": -1 if split == "unlabelled" else i % 10}


class CelebA(_Stock, skip_registration=True):
    FEATURES = {  # noqa: RUF012
        "image": F.Image(shape=(218, 178, 3), encoding_format="jpeg"),
        "landmarks": F.FeaturesDict({"nose_x": np.int64, "nose_y": np.int64}),
        "attributes": F.FeaturesDict({"Smiling": np.bool_, "Young": np.bool_})}
    SPLITS = ("train", "validation", "test")
    SUPERVISED = None

    def example(self, i, split):
        return {"image": jpeg(picture(i, 218, 178)), "landmarks": {"nose_x": i, "nose_y": 2 * i},
                "attributes": {"Smiling": i % 2 == 0, "Young": True}}


class Mnist(_Stock, skip_registration=True):
    FEATURES = {  # noqa: RUF012
        "image": F.Image(shape=(28, 28, 1)), "label": F.ClassLabel(num_classes=10)}

    def example(self, i, split):
        return {"image": png(picture(i, 28, 28, 1)[..., 0]), "label": i % 10}


class FashionMnist(Mnist, skip_registration=True):
    pass


class Imagenet2012(_Stock, skip_registration=True):
    FEATURES = {  # noqa: RUF012
        "image": F.Image(encoding_format="jpeg"), "label": F.ClassLabel(num_classes=1000),
        "file_name": F.Text()}
    SPLITS = ("train", "validation")

    def example(self, i, split):
        return {"image": jpeg(picture(i, 150 + 20 * i, 300 - 15 * i)), "label": 83 * i,
                "file_name": f"{i}.JPEG"}
