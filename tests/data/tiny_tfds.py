"""TFDS builders for the tests: TFDS wants them in a module of a package."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def tiny_images(n: int, height: int, width: int, channels: int, seed: int) -> np.ndarray:
    """Random uint8 images (n, height, width, channels), the same for the same seed."""
    shape = (n, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(image: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


class _Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES: dict

    def _info(self):
        features = type(self).FEATURES
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label") if "label" in features else None,
        )


class TinyPng(_Tiny):
    """PNG bytes of 9 x 12 RGB, with two class labels, and a split whose labels are all -1."""

    FEATURES = {  # noqa: RUF012
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(9, 12, 3)),
        "coarse": tfds.features.ClassLabel(num_classes=2),
        "label": tfds.features.ClassLabel(num_classes=5),
    }

    def _split_generators(self, dl_manager):
        return {"train": self._examples_of(30, 0), "unlabelled": self._examples_of(7, 1)}

    def _examples_of(self, n, seed):
        for i, image in enumerate(tiny_images(n, 9, 12, 3, seed)):
            coarse, label = (-1, -1) if seed else (0, i % 5)
            yield i, {"id": str(i), "image": png(image), "coarse": coarse, "label": label}

    def _generate_examples(self):
        raise AssertionError("the splits have their generators already")


class TinyTensor(_Tiny):
    """Plain grey 8 x 8 tensors without labels."""

    FEATURES = {"x": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8)}  # noqa: RUF012

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, image in enumerate(tiny_images(12, 8, 8, 1, 2)):
            yield i, {"x": image}


class TinyModes(_Tiny):
    """PNGs in grey, grey with alpha, RGB, RGBA and a palette, undeclared to TFDS."""

    FEATURES = {"image": tfds.features.Image(shape=(None, None, 3))}  # noqa: RUF012

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rgba = Image.fromarray(tiny_images(1, 9, 12, 4, 3)[0])
        pictures = [rgba.convert(mode) for mode in ("L", "LA", "RGB", "RGBA")]
        for i, picture in enumerate([*pictures, rgba.convert("RGB").quantize(8)]):
            file = io.BytesIO()
            picture.save(file, "PNG")
            file.seek(0)
            yield i, {"image": file}
