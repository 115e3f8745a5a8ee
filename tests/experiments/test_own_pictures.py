"""A folder of a user's own pictures, from files of several kinds to samples and scores."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.programs import program

TRAIN = ("experiments.train", "--config=experiments/configs/folder.py:32,conditional")
SMALL = {"image_size": 8, "image_width": 16, "fit": "pad", "alpha": "black", "generator_width": 2,
         "discriminator_width": 2, "batch_size": 4, "generator_batch_size": 4, "n_dis": 1,
         "latent_size": 4, "num_samples": 4, "sample_every": 2, "checkpoint_every": 2}


def flags(**changes):
    return [f"--config.{k}={v}" for k, v in {**SMALL, **changes}.items()]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve pictures of two classes, a text file, and a picture with another suffix."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i, kind in enumerate(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"] * 2):
        file = folder / ("cats" if i % 2 else "dogs") / (f"{i}" if kind == "GIF" else f"{i}.jpg")
        file.parent.mkdir(exist_ok=True)
        size = (9 + i, 20 - i, 4 if kind in ("PNG", "WEBP") else 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(file, kind)
    (folder / "cats" / "notes.txt").write_text("BM")
    return folder


@pytest.mark.slow
def test_from_files_to_scores(pictures, tmp_path):
    first, second = (program(
        *TRAIN, *flags(iterations=n, dataset=f"folder:{pictures}", stream=str(n > 2).lower()),
        f"--workdir={tmp_path / str(n)}", timeout=500) for n in (2, 4))
    for done in (first, second):
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        for kind in ("2 PNG", "2 JPEG", "2 WEBP", "2 GIF", "2 BMP", "2 TIFF"):
            assert kind in lines[0]
        assert "12 pictures" in lines[0]
        assert "in 2 classes; left out: 1 .txt; to 8 x 16 with bars" in lines[0]
        assert "12 images of 8x16x3" in lines[1]
    with Image.open(tmp_path / "4" / "samples" / "0000004.png") as grid:
        assert grid.width > 1.5 * grid.height
    done = program("experiments.sample", f"--workdir={tmp_path / '4'}", "--num=3",
                   f"--out={tmp_path / 'fakes'}")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "fakes.npz") as fakes:
        assert fakes["images"].shape == (3, 8, 16, 3)
    done = program("tests.experiments.quick_evaluate", f"--workdir={tmp_path / '4'}",
                   "--num-fake=12", "--extractor=classifier", "--kid-subset-size=7", timeout=500,
                   SNGAN_JAX_CACHE=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "4" / "scores.jsonl").read_text().splitlines()[-1])
    assert list(record["scores"])[:2] == ["kcd", "kcd_std"] and "fcd_halves" in record["scores"]
    assert record["kid_subset_size"] == 7 and record["real"]["alpha"] == "black"
    assert (record["real"]["fit"], record["real"]["size"]) == ("pad", [8, 16])
    done = program("experiments.audit", f"--workdir={tmp_path / '4'}", "--num=4",
                   "--ascent-steps=1", timeout=500)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"dataset": "folder:nothing/here"}, "folder:nothing/here: there is no such folder"),
    ({"dataset": "nothing/here"}, "there is no folder or file 'nothing/here'"),
    ({"dataset": "docs"}, "'docs' is a folder: write folder:docs"),
    ({"dataset": "folder:README.md"}, "folder:README.md: that is a file"),
    ({"image_width": 20}, "config.image_width is 20, .* multiple of 8: use 16 or 24"),
    ({"fit": "stretch"}, "config.fit is 'stretch', expected one of crop, pad, squeeze"),
    ({"alpha": "grey"}, "config.alpha is 'grey', expected one of white, black, drop")])
def test_bad_input_is_one_sentence(tmp_path, changes, sentence):
    done = program(*TRAIN, *flags(**changes), f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    (line,) = done.stderr.splitlines()
    assert re.search(sentence, line), line


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("damaged.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "cannot read the image .*damaged.png"),
    ("empty.jpg", b"", "cannot read the image .*empty.jpg: it is empty"),
    ("huge.ppm", b"P5 60000 60000 255\n", "cannot read the image .*huge.ppm: .*pixels")],
    ids=["damaged", "empty", "huge"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, name, content, sentence):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / f"{i}.png")
    (folder / name).write_bytes(content)
    done = program(*TRAIN[:1], "--config=experiments/configs/folder.py:32",
                   *flags(dataset=f"folder:{folder}"), f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    (line,) = done.stderr.splitlines()
    assert re.search(sentence, line), line
