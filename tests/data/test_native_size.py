"""Images keep their own size if none is requested."""

import numpy as np
import pytest
from PIL import Image

from sngan_jax.data.sources import DataError, load
from sngan_jax.data.streaming import open_stream
from tests.data.tiny_tfds import TinyPng


def images_of(height, width, n=3, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), np.uint8)


def folder_of(folder, images, suffix="png"):
    folder.mkdir(exist_ok=True)
    for image in images:
        Image.fromarray(image.squeeze()).save(folder / f"{len(list(folder.iterdir()))}.{suffix}")
    return f"folder:{folder}"


def test_arrays_keep_their_shape(tmp_path):
    images = images_of(12, 20)
    np.savez(tmp_path / "a.npz", images=images)
    np.testing.assert_array_equal(load(f"npz:{tmp_path}/a.npz", image_size=None).images, images)
    grey = load(f"npz:{tmp_path}/a.npz", image_size=None, channels=1)
    assert grey.images.shape == (3, 12, 20, 1)
    assert load("digits", image_size=None).images.shape == (1797, 8, 8, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_keeps_its_shape_in_memory_and_streamed(tmp_path, channels):
    images = images_of(12, 20, channels=channels)
    spec = folder_of(tmp_path / "x", images)
    np.testing.assert_array_equal(load(spec, image_size=None).images, images)
    stream = open_stream(spec, image_size=None, channels=channels)
    np.testing.assert_array_equal(stream.read(np.arange(3))[0], images)
    assert stream.shape == (12, 20, channels)


def test_mixed_sizes_are_one_sentence(tmp_path):
    spec = folder_of(tmp_path / "x", images_of(8, 8))
    folder_of(tmp_path / "x", images_of(8, 9, n=1))
    for opened in (load, open_stream):
        with pytest.raises(DataError, match=r"mixed sizes: .*0.png is 8 x 8 .*3.png is 8 x 9.*an "
                                            "image_size"):
            opened(spec, image_size=None)
        assert len(opened(spec, image_size=8)) == 4


def test_a_turned_photograph_counts_as_it_is_seen(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    (tmp_path / "x").mkdir()
    Image.fromarray(images_of(8, 6, 1)[0]).save(tmp_path / "x" / "a.jpg", exif=turned)
    Image.fromarray(images_of(6, 8, 1)[0]).save(tmp_path / "x" / "b.jpg")
    assert load(f"folder:{tmp_path}/x", image_size=None).images.shape == (2, 6, 8, 3)


def test_tfds_keeps_its_shape_in_memory_and_streamed(tmp_path):
    TinyPng(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    options = {"image_size": None, "data_dir": str(tmp_path)}
    memory = load("tfds:tiny_png", **options)
    stream = open_stream("tfds:tiny_png", **options)
    assert stream.shape == memory.images.shape[1:]
    np.testing.assert_array_equal(stream.read(np.arange(len(memory)))[0], memory.images)


def test_the_exact_fingerprint_is_of_the_content(tmp_path):
    spec = folder_of(tmp_path / "x", images_of(8, 8, n=2), "jpg")
    before = [open_stream(spec, image_size=None, exact=exact).fingerprint() for exact in (0, 1)]
    file = tmp_path / "x" / "0.jpg"
    data = bytearray(file.read_bytes())
    data[-10] ^= 1  # of the same length
    file.write_bytes(data)
    after = [open_stream(spec, image_size=None, exact=exact).fingerprint() for exact in (0, 1)]
    assert before[0] == after[0] and before[1] != after[1]
