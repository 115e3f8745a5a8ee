"""Grids pixel by pixel, and that curves become a picture."""

import numpy as np
import pytest
from PIL import Image

from experiments.reports.audit import save_spectra
from sngan_jax.run.figures import image_grid, save_curves, save_grid


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


@pytest.mark.parametrize("layers", [1, 4, 9])
def test_save_spectra_draws_a_panel_for_each_layer(layers, tmp_path):
    """Also for a single value, values of 0, and a layer that is zero."""
    spectra = {f"block{i}/conv": values for i, values in zip(
        range(layers), ([3.0, 2.0, 0.0], [5.0], [0.0, 0.0], *[[2.0, 1.0]] * 9), strict=False)}
    save_spectra(tmp_path / "s.png", spectra)
    height, width, _ = np.asarray(Image.open(tmp_path / "s.png").convert("RGB")).shape
    rows = -(-layers // 4)
    assert width == 1080 and abs(height - 120 * (1 + 1.7 * rows)) <= 1
