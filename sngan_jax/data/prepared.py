"""Data sets that TensorFlow Datasets prepared on disk, read without TensorFlow if possible."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from sngan_jax.base.errors import one_line
from sngan_jax.data.crop import Size, check_images, check_size, fit_one
from sngan_jax.data.image_set import CROPPED, DataError, Reading, bad_image, checked_labels
from sngan_jax.data.pictures import check_bytes, decode_bytes

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder, DatasetInfo
    from tensorflow_datasets.core.features import FeatureConnector

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[^/:]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_READ_AT_ONCE = 256


def read_tfds(
    spec: str, split: str, image_size: Size, channels: int | None, data_dir: str | None,
    reading: Reading = CROPPED
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Reads one split of a prepared data set: ArrayRecord directly, TFRecord through TensorFlow.

    The folder is read as it is: no builder's code runs, and nothing is downloaded, prepared or
    looked up over the network.

    Args:
      spec: 'name', 'name/config', 'name:1.0.0' or 'name/config:1.0.0'; without a version the
        newest one on disk is used.
      split: any that TFDS understands: 'train', 'test[:50%]', 'train+test'.
      image_size: size of the result, a side in pixels or (height, width); None keeps the present
        size, which must then be the same for all.
      channels: 1, 3, or None for 1 if the set is declared grey and 3 otherwise.
      data_dir: the folder of prepared data sets; None for TFDS's own (TFDS_DATA_DIR, or
        ~/tensorflow_datasets).
      reading: how a picture becomes an image.

    Returns:
      images uint8 (n, height, width, channels), labels int32 (n,) or None (no class label
      feature, or -1 throughout, as in stl10's 'unlabelled'), num_classes.

    Raises:
      DataError: for a set that is not prepared (the message has the command), an ambiguous
        configuration, an unknown split, TFRecord without TensorFlow, no image feature, or damaged
        files.
    """
    folder = prepared_folder(spec, data_dir)
    _check_features(folder)
    import tensorflow_datasets as tfds  # slow to import, and needed only here

    where = f"tfds:{spec}, split '{split}', in {folder}"
    try:
        builder = tfds.builder_from_directory(folder)
        info = builder.info
        image_key, label_key, own_channels = _described(tfds, info, split, where)
        channels = channels or own_channels
        count = info.splits[split].num_examples
        images, labels = None, np.empty(count, np.int64)
        examples = _examples(tfds, builder, split, where, image_key, label_key)
        i = -1
        for i, example in enumerate(examples):
            try:
                image = _decoded(example[image_key])
            except Exception as error:
                raise bad_image(f"the image of example {i} of {where}", one_line(error)
                                ) from error
            image = fit_one(image, image_size, channels, reading)
            if images is None:
                check_images(count, image.shape, where)
                images = np.empty((count, *image.shape), np.uint8)
            check_size(image, images.shape[1:], f"example {i} of {where}")
            images[i] = image
            labels[i] = example[label_key] if label_key else -1
        if i + 1 != count or images is None:
            raise DataError(f"{where}: holds {i + 1} examples instead of {count}: prepare it again")
    except DataError:
        raise
    except Exception as error:  # damaged files raise almost anything in the readers below
        raise DataError(f"{where}: cannot be read: {one_line(error)}") from error
    if (labels == -1).all():
        return images, None, 0
    labels, _ = checked_labels(labels, count, f"the labels of {where}")
    return images, labels, info.features[label_key].num_classes


class NoRandomAccess(DataError):
    """A set that can only be read from beginning to end."""


class PreparedImages:
    """Random access to the images of one split, decoded only on request.

    Attributes:
      channels: 1 if the set is declared grey, else 3.
      num_classes: number of classes in its label, 0 without one.
      one_size: whether all its images are declared to have one size.
      identity: bytes that differ between data sets, versions and splits.
    """

    def __init__(self, spec: str, split: str, data_dir: str | None):
        folder = prepared_folder(spec, data_dir)
        _check_features(folder)
        import tensorflow_datasets as tfds

        self._where = f"tfds:{spec}, split '{split}', in {folder}"
        try:
            builder = tfds.builder_from_directory(folder)
            self._image, self._label, self.channels = _described(
                tfds, builder.info, split, self._where)
            features = builder.info.features
            self._source = builder.as_data_source(split, decoders=_undecoded(
                tfds, builder.info, self._image))
        except NotImplementedError as error:
            raise NoRandomAccess(
                f"{self._where}: it is stored as TFRecord, which has no random access: to stream "
                "it, prepare it with file_format='array_record'"
            ) from error
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{self._where}: cannot be read: {one_line(error)}") from error
        self.num_classes = features[self._label].num_classes if self._label else 0
        self.one_size = None not in features[self._image].shape[:2]
        files = (folder / name for name in ("dataset_info.json", "features.json"))
        self.identity = split.encode() + b"".join(file.read_bytes() for file in files)
        self._folder = Path(folder)

    def __len__(self) -> int:
        return len(self._source)

    def version(self) -> bytes:
        """Names, sizes and times of the set's files, which another preparation changes."""
        found = ((file.name, file.stat()) for file in sorted(self._folder.iterdir()))
        return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]).encode()

    def raw(self, row: int) -> dict:
        """An example whose image may be undecoded; not for use by several threads at once.

        Raises:
          DataError: if it cannot be read.
        """
        try:
            return self._source[row]
        except Exception as error:
            raise self._damaged(row, error) from error

    def check(self, raw: dict, row: int) -> None:
        """DataError if the header of an image, as in `raw`, is not a picture's."""
        image = raw[self._image]
        try:
            if isinstance(image, bytes):
                check_bytes(image)
        except Exception as error:  # as in `decode`
            raise self._damaged(row, error) from error

    def _damaged(self, row: int, error: Exception) -> DataError:
        return bad_image(f"the image of example {row} of {self._where}", one_line(error))

    def decode(self, raw: dict, row: int) -> tuple[np.ndarray, int]:
        """uint8 (height, width, channels) and the class, -1 without one.

        Raises:
          DataError: if its image is damaged.
        """
        try:
            image = _decoded(raw[self._image])
        except Exception as error:  # a damaged PNG or JPEG can raise almost any exception
            raise self._damaged(row, error) from error
        return image, int(raw[self._label]) if self._label else -1


def _undecoded(tfds: ModuleType, info: DatasetInfo, image_key: str) -> dict[str, object] | None:
    """Decoders that leave pictures as they are in the file: TFDS's own reads the numbers of a
    palette as grey."""
    is_file = isinstance(info.features[image_key], tfds.features.Image)
    return {image_key: tfds.decode.SkipDecoding()} if is_file else None


def _decoded(image: np.ndarray | bytes) -> np.ndarray:
    """uint8 (height, width, channels) from a picture's file or from an array; any Exception."""
    image = decode_bytes(image) if isinstance(image, bytes) else image
    return image[..., None] if image.ndim == 2 else image


def _described(tfds: ModuleType, info: DatasetInfo, split: str, where: str
               ) -> tuple[str, str | None, int]:
    """The keys of image and label, and the number of channels; DataError for a missing split."""
    image_key, label_key = _feature_keys(tfds, info, where)
    channels = 1 if info.features[image_key].shape[2:] in ((), (1,), (2,)) else 3
    if split.isidentifier() and split not in (*info.splits, "all"):
        raise DataError(f"{where}: there is no such split; the splits are "
                        f"{', '.join(sorted(info.splits))}")
    if info.splits[split].num_examples < 1:
        raise DataError(f"{where}: this split is empty")
    return image_key, label_key, channels


def prepared_folder(spec: str, data_dir: str | None) -> Path:
    """The folder <data_dir>/<name>[/<config>]/<version> of a prepared set.

    Raises:
      DataError: if it is not prepared, or several of its configurations are.
    """
    match = _NAME.fullmatch(spec)
    if match is None:
        raise DataError(f"tfds:{spec} does not name a data set: write tfds:name[/config][:1.0.0]")
    name, config, version = match["name"], match["config"], match["version"]
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    top = Path(data_dir or default).expanduser() / name

    if config is None and top.is_dir() and not _versions(top):
        configs = sorted(p.name for p in top.iterdir() if p.is_dir() and _versions(p))
        noted = _default_config(top)
        if noted in configs:
            config = noted
        elif len(configs) == 1:
            config = configs[0]
        elif configs:
            raise DataError(
                f"tfds:{spec} is prepared in several configurations: choose "
                f"{' or '.join(f'tfds:{name}/{c}' for c in configs)}"
            )
    parent = top / config if config else top
    versions = _versions(parent)
    if version in versions or (version is None and versions):
        return parent / (version or versions[-1])
    if versions:
        raise DataError(
            f"tfds:{spec} is not prepared in {parent}: there is only {', '.join(versions)}"
        )
    raise DataError(
        f"tfds:{spec} is not prepared (looked in {parent}), and nothing is downloaded silently: "
        f"prepare it once with: {_command(spec, data_dir)}"
    )


def _command(spec: str, data_dir: str | None) -> str:
    """The shell command that prepares a stock data set, and the files to place by hand before."""
    name = re.split("[/:]", spec)[0]
    if name in ("cifar10", "cifar100"):
        place = f" --data-dir={data_dir}" if data_dir else ""
        return (f"sngan prepare --dataset={name}{place}, from the archive that it "
                "asks for")
    place = f"data_dir='{data_dir}', " if data_dir else ""
    return (
        'pip install "sngan_jax[tf]" && python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{spec}', {place}file_format='array_record').download_and_prepare()\""
        + ("; ILSVRC2012_img_train.tar must be in TFDS's downloads/manual first (register at "
           "image-net.org)" if name == "imagenet2012" else "")
    )


def _versions(folder: Path) -> list[str]:
    """The prepared versions in a folder, newest last."""
    if not folder.is_dir():
        return []
    names = [p.parent.name for p in folder.glob("*/dataset_info.json")]
    names = [name for name in names if _VERSION.fullmatch(name)]
    return sorted(names, key=lambda name: tuple(map(int, name.split("."))))


def _default_config(top: Path) -> str | None:
    """The default configuration that TFDS noted when it prepared the set."""
    try:
        return json.loads((top / ".config" / "metadata.json").read_text())["default_config_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_features(folder: Path) -> None:
    """Refuses features.json files that name modules outside TFDS, which TFDS would import."""
    try:
        tree = json.loads((folder / "features.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/features.json cannot be read: {one_line(error)}") from error
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            name = node.get("pythonClassName", "tensorflow_datasets.")
            if not isinstance(name, str) or not name.startswith("tensorflow_datasets."):
                raise DataError(
                    f"{folder}/features.json asks for the class '{name}': only the features "
                    "of tensorflow_datasets itself are read"
                )
            todo += node.values()
        elif isinstance(node, list):
            todo += node


def _feature_keys(tfds: ModuleType, info: DatasetInfo, where: str) -> tuple[str, str | None]:
    """The key of the image feature and of the class label (None if there is none)."""
    if not isinstance(info.features, tfds.features.FeaturesDict):
        raise DataError(f"{where}: its features are not a dictionary with an image")
    images = [key for key, feature in info.features.items() if _is_image(tfds, feature)]
    labels = [
        key
        for key, feature in info.features.items()
        if isinstance(feature, tfds.features.ClassLabel)
    ]
    supervised = [key for key in info.supervised_keys or () if isinstance(key, str)]
    image_key = _choose(images, [*supervised, "image"], f"{where}: image features")
    if image_key is None:
        raise DataError(
            f"{where}: it has no uint8 image feature; its features are "
            f"{', '.join(sorted(info.features))}"
        )
    return image_key, _choose(labels, [*supervised, "label"], f"{where}: class labels")


def _is_image(tfds: ModuleType, feature: FeatureConnector) -> bool:
    """Whether a feature is an Image, or a uint8 Tensor with an image's shape."""
    if isinstance(feature, tfds.features.LabeledImage) or feature.np_dtype != np.uint8:
        return False
    if isinstance(feature, tfds.features.Image):
        return True
    shape = feature.shape
    return isinstance(feature, tfds.features.Tensor) and (
        len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 2, 3, 4))
    )


def _choose(keys: list[str], preferred: list[str], what: str) -> str | None:
    """The only key, or the first preferred one, or None if there is none."""
    if len(keys) < 2:
        return keys[0] if keys else None
    for key in preferred:
        if key in keys:
            return key
    raise DataError(f"{what}: there are several, {', '.join(keys)}, and none is the main one")


def _examples(
    tfds: ModuleType, builder: DatasetBuilder, split: str, where: str, image_key: str,
    label_key: str | None
) -> Iterator[dict[str, np.ndarray]]:
    """The examples in the order of the files."""
    try:
        source = builder.as_data_source(split=split, decoders=_undecoded(
            tfds, builder.info, image_key))
    except NotImplementedError:  # no random access: TFRecord
        yield from _tf_examples(tfds, builder, split, where, [image_key, label_key])
        return
    for start in range(0, len(source), _READ_AT_ONCE):
        yield from source.__getitems__(range(start, min(start + _READ_AT_ONCE, len(source))))


def _tf_examples(
    tfds: ModuleType, builder: DatasetBuilder, split: str, where: str, keys: list[str | None]
) -> Iterable[dict[str, np.ndarray]]:
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"{where}: it is stored as TFRecord, which only TensorFlow reads: "
            'pip install "sngan_jax[tf]", or prepare it with file_format=\'array_record\''
        )
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow is in use already
        tf.config.set_visible_devices([], "GPU")  # otherwise it takes all of JAX's memory
    dataset = builder.as_dataset(
        split=split,
        read_config=tfds.ReadConfig(interleave_cycle_length=1),  # the order of the files
        decoders=tfds.decode.PartialDecoding({key: True for key in keys if key}),
    )
    return tfds.as_numpy(dataset)

