"""Sheets of samples: the place of each run, and the points between the ends of a walk."""

from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from experiments.reports import sheets
from experiments.reports.parts import Missing
from experiments.reports.runs import collect
from experiments.sweeps.tables import Request
from sngan_jax.base.errors import UserError
from tests.experiments.reports.disk import write_sweep

CLASSES = 10


class Painter:
    """Stands for a restored run: each image is as bright as its latent or its class weights say."""

    def __init__(self, conditional, asked):
        self.config = ConfigDict({"latent_size": 3})
        self.num_classes, self.iteration = CLASSES * conditional, 60
        self.asked = asked

    def latents(self, n, seed=0):
        return np.linspace(-1, 1, 3 * n).reshape(n, 3).astype(np.float32)

    def sample(self, labels, seed=0):
        self.asked.append(("sample", np.asarray(labels)))
        return self._images(self.latents(len(labels)), labels if self.num_classes else None)

    def images_of(self, z, y=None):
        assert z.shape[1] == 3 and (y is None) == (not self.num_classes)
        self.asked.append((np.asarray(z), y))
        return self._images(z, y)

    def _images(self, z, y):
        level = np.asarray(z)[:, 0] * 40 + 128
        if y is not None:
            weights = np.eye(CLASSES)[y] if np.ndim(y) == 1 else np.asarray(y)
            level = level + weights @ np.linspace(-80, 80, CLASSES)
        ramp = np.linspace(0.6, 1, 8)
        images = level[:, None, None, None] * ramp[:, None, None] * ramp[:, None]
        return np.clip(images, 0, 255).astype(np.uint8)


@pytest.fixture
def asked(monkeypatch):
    """Records the requests to runs; runs named wgan_gp cannot be read."""
    calls = []

    def restore(folder):
        if folder.name.startswith("wgan_gp"):
            raise UserError(f"{folder} is damaged")
        return Painter("projection" in folder.name or "concat" in folder.name, calls)

    monkeypatch.setattr(sheets, "newest", restore)
    return calls


def width_of(figure):
    with Image.open(figure.file) as picture:
        return picture.width


def test_every_method_has_a_panel_of_the_same_latents(tmp_path, asked):
    write_sweep(tmp_path / "t", Request("2", "digits", "tiny", settings=("C", "A"), seeds=2,
                                        methods=("sn", "wgan_gp", "weight_norm")))
    figure = sheets.figure6(collect([tmp_path / "t"]), tmp_path)
    assert 900 <= width_of(figure) <= 1200
    assert len(figure.provenance) == 2 and all("seed 0" in line for line in figure.provenance)
    assert "setting C" in figure.caption and "wgan_gp,C,seed=0 is damaged" in figure.caption
    assert [len(labels) for _, labels in asked] == [25, 25]


def conditional(folder):
    request = Request("conditional", "digits", "tiny", seeds=2)
    cells = write_sweep(folder, request)
    for cell in cells:  # what `disk` does not write
        file = folder / cell.run.name / "config.json"
        how = cell.variant.split(",")[1]
        file.write_text(file.read_text()[:-1] + f', "conditional": true, "conditioning": "{how}"}}')
    return collect([folder])


def test_a_row_of_the_class_sheet_is_a_class_and_a_column_a_latent(tmp_path, asked, monkeypatch):
    found = conditional(tmp_path / "c")
    restore = sheets.newest
    monkeypatch.setattr(sheets, "newest", lambda f: (_ for _ in ()).throw(UserError("gone"))
                        if "auxiliary" in f.name else restore(f))
    figure = sheets.figure7(found, tmp_path)
    assert 900 <= width_of(figure) <= 1200 and "Left out: gone" in figure.caption
    assert [line.split(": ")[1].split(",")[1] for line in figure.provenance] == [
        "projection", "concat"]
    for z, y in asked:
        rows = z.reshape(CLASSES, 8, 3)
        np.testing.assert_array_equal(rows, np.broadcast_to(rows[:1], rows.shape))
        assert y.reshape(CLASSES, 8)[:, 3].tolist() == list(range(CLASSES))


def test_walks_go_from_latent_to_latent_and_from_class_to_class(tmp_path, asked):
    figure = sheets.figure12(conditional(tmp_path / "c"), tmp_path)
    assert 900 <= width_of(figure) <= 1200 and len(figure.provenance) == 1
    (z, y), (same, weights) = asked
    rows = z.reshape(CLASSES, 8, 3)
    np.testing.assert_allclose(np.diff(rows, axis=1), np.diff(rows[:, :2], axis=1).repeat(7, 1),
                               atol=1e-6)
    assert y.reshape(CLASSES, 8)[4].tolist() == [4] * 8
    same, weights = same.reshape(CLASSES, 8, 3), weights.reshape(CLASSES, 8, CLASSES)
    np.testing.assert_array_equal(same, rows[:, :1].repeat(8, 1))
    assert (weights[:, 0].argmax(1) == np.arange(CLASSES)).all()
    assert weights[9, 7, 0] == 1 and weights[3, 2, 3:5].tolist() == pytest.approx([5 / 7, 2 / 7])


def test_without_labels_there_is_no_morphing_and_it_says_so(tmp_path, asked):
    write_sweep(tmp_path / "t", Request("2", "digits", "tiny", settings=("C",), methods=("sn",)))
    found = collect([tmp_path / "t"])
    figure = sheets.figure12(found, tmp_path)
    assert "sngan sweep --table=conditional --dataset=digits" in figure.caption
    assert asked[0][1] is None and len(asked) == 1
    absent = sheets.figure7(found, tmp_path)
    assert isinstance(absent, Missing) and "--table=conditional" in absent.reason


def test_classes_have_their_names_where_they_are_known():
    names = sheets._names(SimpleNamespace(dataset="fashion_mnist"), 10)
    assert names[0] == "T-shirt" and names[9] == "boot"
    assert sheets._names(SimpleNamespace(dataset="digits"), 2) == ["class 0", "class 1"]
