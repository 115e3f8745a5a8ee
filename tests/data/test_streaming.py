"""Streaming gives the images of the set in memory, in its order, to any share of the processes."""

import os
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sngan_jax.data.image_set import Reading
from sngan_jax.data.pipeline import batch_indices
from sngan_jax.data.sources import DataError, load
from sngan_jax.data.streaming import batches, open_stream
from tests.data.tiny_tfds import TinyPng, TinyTensor, tiny_images

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (TinyPng, TinyTensor):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    images = folder / "images"
    for i, image in enumerate(tiny_images(9, 10, 12, 3, 0)):
        file = images / f"class{i % 2}" / f"{i}.{'png' if i % 3 else 'jpg'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def both(root, spec, **arguments):
    arguments = {"image_size": 8, "data_dir": str(root), **arguments}
    return load(spec, **arguments), open_stream(spec, **arguments)


def take(stream, first, iterations, start=0, count=4):
    reader = batches(stream, KEY, first_iteration=first, n_dis=2, batch_size=4, start=start,
                     count=count)
    out = [next(reader) for _ in range(iterations)]
    reader.close()
    return out


@pytest.mark.parametrize(("spec", "split"), [
    ("tfds:tiny_png", "train"), ("tfds:tiny_png", "unlabelled"), ("tfds:tiny_tensor", "train"),
    ("tfds:tiny_png", "train[:50%]"), ("folder", "train")])
def test_pixels_labels_and_order_are_those_of_the_set_in_memory(root, spec, split):
    spec = f"folder:{root / 'images'}" if spec == "folder" else spec
    memory, stream = both(root, spec, split=split)
    assert (len(stream), stream.num_classes, stream.channels) == (
        len(memory), memory.num_classes, memory.channels)
    for it, (images, labels, _) in enumerate(take(stream, 0, 4)):
        rows = np.concatenate([batch_indices(KEY, it * 2 + i, batch_size=4, n=len(memory))
                               for i in range(2)])
        np.testing.assert_array_equal(images.reshape(8, *images.shape[2:]), memory.images[rows])
        if memory.labels is None:
            assert labels is None
        else:
            np.testing.assert_array_equal(labels.ravel(), memory.labels[rows])


def test_shares_of_two_processes_are_the_whole_batch(root):
    stream = both(root, "tfds:tiny_png")[1]
    whole, low, high = (take(stream, 0, 3, *share) for share in ((0, 4), (0, 2), (2, 2)))
    for a, b, c in zip(whole, low, high, strict=True):
        np.testing.assert_array_equal(a[0], np.concatenate([b[0], c[0]], axis=1))
        np.testing.assert_array_equal(a[1], np.concatenate([b[1], c[1]], axis=1))


def test_a_resumed_stream_goes_on_where_the_other_was(root):
    stream = both(root, "tfds:tiny_png")[1]
    straight, resumed = take(stream, 0, 6), take(stream, 4, 2)
    for a, b in zip(straight[4:], resumed, strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_closing_ends_the_threads(root):
    before = threading.active_count()
    take(both(root, "tfds:tiny_png")[1], 0, 2)
    assert threading.active_count() == before


def test_fingerprints_tell_sets_apart(root):
    prints = {open_stream("tfds:tiny_png", image_size=8, split=split, data_dir=str(root)
                          ).fingerprint() for split in ("train", "train[:50%]", "unlabelled")}
    prints |= {both(root, "tfds:tiny_tensor")[1].fingerprint(),
               both(root, "tfds:tiny_png", image_size=9)[1].fingerprint(),
               both(root, f"folder:{root / 'images'}")[1].fingerprint()}
    assert len(prints) == 6
    assert both(root, "tfds:tiny_png")[1].fingerprint() in prints


def test_names_that_are_no_utf_8_and_grey_folders(tmp_path):
    for i, name in enumerate((b"caf\xe9.png", b"b.png")):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))), "PNG")
    spec = f"folder:{tmp_path}"
    memory, stream = both(tmp_path, spec)
    assert (memory.channels, stream.channels) == (1, 3)
    assert stream.fingerprint() == both(tmp_path, spec)[1].fingerprint()
    exact = open_stream(spec, image_size=8, exact=True)
    assert exact.channels == 1
    assert open_stream(spec, image_size=8, exact=True, reading=Reading(plain=True)).channels == 3
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    assert stream.fingerprint() != both(tmp_path, spec)[1].fingerprint()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "colour.png")
    assert open_stream(spec, image_size=8, exact=True).channels == 3


def test_sentences(root, tmp_path):
    with pytest.raises(DataError, match="only tfds:<name> and folder:<folder> are streamed"):
        open_stream("digits", image_size=8)
    with pytest.raises(DataError, match="no such split; the splits are train, unlabelled"):
        open_stream("tfds:tiny_png", image_size=8, split="test", data_dir=str(root))
    with pytest.raises(DataError, match=r"image .* has no class"):
        take(open_stream("tfds:tiny_png", image_size=8, split="train+unlabelled",
                         data_dir=str(root)), 0, 10)
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cannot read the image .*\.jpg"):
        take(open_stream(f"folder:{tmp_path}", image_size=8), 0, 1)


@pytest.fixture
def damaged_folder(tmp_path):
    """Eight pictures in two classes; the headers of two and the pixels of another are damaged."""
    rng = np.random.default_rng(0)
    for i in range(8):
        file = tmp_path / "ab"[i // 4] / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    for i in (1, 7):
        (tmp_path / "ab"[i // 4] / f"{i}.png").write_bytes(b"no image")
    file = tmp_path / "a" / "2.png"
    file.write_bytes(file.read_bytes()[:-60])
    return f"folder:{tmp_path}"


def test_the_scan_names_all_bad_headers(damaged_folder, capsys):
    stream = open_stream(damaged_folder, image_size=8)
    with pytest.raises(DataError, match=r"2 images of .*1\.png.*7\.png.*on_bad_image=skip"):
        stream.scan()
    assert "headers of 8 of the 8 images" in capsys.readouterr().err
    stream.scan(seconds=0)  # no time, and it says so
    assert "headers of 0 of the 8 images" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"3 images of .*1\.png.*2\.png.*7\.png"):
        load(damaged_folder, image_size=8)


def test_the_next_image_stands_for_a_damaged_one(damaged_folder, capsys):
    stream = open_stream(damaged_folder, image_size=8, skip_bad=True)
    stream.scan()
    assert sorted(stream.bad) == [1, 7]
    images, labels, replaced = stream.read_counting(np.arange(8))
    assert replaced == 3 and sorted(stream.bad) == [1, 2, 7]
    np.testing.assert_array_equal(images[[1, 2, 7]], images[[3, 3, 0]])
    np.testing.assert_array_equal(labels, [0, 0, 0, 0, 1, 1, 1, 0])
    whole = load(damaged_folder, image_size=8, skip_bad=True)
    np.testing.assert_array_equal(whole.images, images)
    np.testing.assert_array_equal(whole.labels, labels)
    assert "another image takes its place" in capsys.readouterr().err
    counts = [batch[2] for batch in take(stream, 0, 2)]  # of all the images once, each
    assert {*map(type, counts)} == {int}
    assert counts == [3, 3]


@pytest.mark.parametrize("exact", [False, True])
def test_links_to_nothing_and_pipes_are_damaged_images(tmp_path, exact):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "c.png")
    options = {"image_size": 8, "exact": exact}
    with pytest.raises(DataError, match=r"2 images of .*b\.png: it is not a regular file.*c\.png"):
        open_stream(f"folder:{tmp_path}", **options).scan()
    stream = open_stream(f"folder:{tmp_path}", **options, skip_bad=True)
    assert stream.read_counting(np.arange(3))[2] == 2
    # Another picture would stand for the second one.
    (tmp_path / "a.png").rename(tmp_path / "d.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "gone")
    after = open_stream(f"folder:{tmp_path}", **options, skip_bad=True)
    assert after.fingerprint() != stream.fingerprint()


def test_a_set_of_nothing_but_damaged_images(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 1 images"):
        open_stream(f"folder:{tmp_path}", image_size=8, skip_bad=True).scan()
    with pytest.raises(DataError, match="none of the 1 images"):
        load(f"folder:{tmp_path}", image_size=None, skip_bad=True)
    with pytest.raises(DataError, match="is read whole"):
        load("digits", image_size=8, skip_bad=True)
