"""Grids pixel by pixel, and pictures of curves."""

import numpy as np
import pytest
from PIL import Image

from experiments.reports.audit import save_spectra
from sngan_jax.run.figures import MOVING, by_class, image_grid, save_curves, save_grid, save_walks


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_places_row_by_row(channels):
    images = np.ones((5, 3, 4, channels), np.uint8) * np.arange(5).reshape(5, 1, 1, 1).astype("u1")
    grid = image_grid(images, columns=2, gap=1)
    assert grid.shape == (3 * 4 + 1, 2 * 5 + 1, channels) and grid.dtype == np.uint8
    for i in range(5):
        top, left = i // 2 * 4 + 1, i % 2 * 5 + 1
        assert (grid[top:top + 3, left:left + 4] == i).all()
    assert (grid[0] == 255).all() and (grid[9:, 6:] == 255).all()  # frame, and the empty place


def test_image_grid_is_nearly_square_by_default():
    assert image_grid(np.zeros((10, 4, 4, 1), np.uint8), gap=0).shape == (12, 16, 1)


@pytest.mark.parametrize(("classes", "count", "columns"), [
    (2, 100, 10), (3, 100, 9), (10, 100, 10), (7, 9, 3), (37, 100, 10), (100, 100, 10),
    (1000, 100, 10)])
def test_classes_keep_their_places_in_a_near_square(classes, count, columns):
    labels = np.arange(count) % classes
    images = np.broadcast_to(labels[:, None, None, None], (count, 2, 2, 1)).astype(np.uint16)
    images, found = by_class(images, classes)
    assert found == columns
    shown = images[:, 0, 0, 0]
    np.testing.assert_array_equal(shown[shown != 255], labels)  # no other class is called 255 here
    if classes < count:
        period = -(-classes // columns) * columns if classes > columns else columns
        for start in range(period, len(shown) - period, period):
            np.testing.assert_array_equal(shown[start:start + period], shown[:period])


@pytest.mark.parametrize("kind", MOVING)
def test_walks_go_forth_and_back(kind, tmp_path):
    walks = np.random.default_rng(0).integers(0, 256, (2, 4, 48, 48, 3), np.uint8)
    save_walks(tmp_path / f"walk.{kind}", walks, kind)
    with Image.open(tmp_path / f"walk.{kind}") as picture:
        assert (picture.format, picture.n_frames, picture.info["loop"]) == (kind.upper(), 6, 0)
        if kind == "webp":  # without loss
            for frame, step in enumerate((0, 1, 2, 3, 2, 1)):
                picture.seek(frame)
                pixels = np.asarray(picture.convert("RGB"))
                np.testing.assert_array_equal(pixels[2:50, 2:50], walks[0, step])
                np.testing.assert_array_equal(pixels[2:50, 52:100], walks[1, step])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_save_grid_enlarges_small_images_without_blur(channels, mode, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels), np.uint8)
    save_grid(tmp_path / "grid.png", images)
    picture = Image.open(tmp_path / "grid.png")
    assert picture.mode == mode and picture.size == (102, 102)
    first = np.asarray(picture).reshape(102, 102, channels)[2:50, 2:50]
    np.testing.assert_array_equal(first[::6, ::6], images[0])
    assert list(tmp_path.iterdir()) == [tmp_path / "grid.png"]


def test_save_curves_takes_missing_values(tmp_path):
    save_curves(tmp_path / "c.png", [1, 2, 3], {f"layer{i}": [i, float("nan"), i + 1]
                                                for i in range(20)}, "σ")
    pixels = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))
    assert pixels.shape[0] > 400 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 7
    # The frame ends at 0.78 of the width, and the legend of many curves stands beside it.
    edge = int(0.78 * pixels.shape[1])
    assert (pixels[:, edge - 1:edge + 2].min((1, 2)) < 100).sum() > 400


@pytest.mark.parametrize("layers", [1, 4, 9])
def test_save_spectra_draws_a_panel_for_each_layer(layers, tmp_path):
    """Curves are drawn for a single value, zeros, and a layer that is zero too."""
    spectra = {f"block{i}/conv": values for i, values in zip(
        range(layers), ([3.0, 2.0, 0.0], [5.0], [0.0, 0.0], *[[2.0, 1.0]] * 9), strict=False)}
    save_spectra(tmp_path / "s.png", spectra)
    height, width, _ = np.asarray(Image.open(tmp_path / "s.png").convert("RGB")).shape
    rows = -(-layers // 4)
    assert width == 1080 and abs(height - 120 * (1 + 1.7 * rows)) <= 1
