"""Folders of pictures of every kind, and their descriptions."""

import io
import os
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan_jax.data.image_set import Reading
from sngan_jax.data.sources import DataError, load
from sngan_jax.data.streaming import open_stream

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
COLOR = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1)


def save(image, *places, **options):
    path, *more = places
    for name in more:
        path = path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def loaded(folder, **options):
    return load(f"folder:{folder}", **{"image_size": 8, **options})


def test_what_this_user_may_not_read_is_said(tmp_path, monkeypatch):
    save(COLOR, tmp_path, "a.png")
    save(COLOR, tmp_path, "b.png")
    plain = Path.open

    def refusing(path, *arguments, **options):
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing)
        with pytest.raises(DataError, match=r"b\.png.*Permission denied"):
            loaded(tmp_path)

    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    save(COLOR, tmp_path, "classes", "cats", "a.png")
    scandir = os.scandir  # of os.walk
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda at: (
            closed if Path(at).name == "cats" else scandir)(at))
        with pytest.raises(DataError, match=r"cats cannot be read \(Permission denied\): give"):
            loaded(tmp_path / "classes")
    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\): give this user"):
        loaded(tmp_path)


class TestLayout:
    def test_flat_is_unlabelled_and_sorted(self, tmp_path):
        for i, name in enumerate(["b.png", "a.PNG", "c.Png"]):
            save(np.full((8, 8, 3), i, np.uint8), tmp_path, name, format="PNG")
        (tmp_path / "notes.txt").write_text("no image")
        (tmp_path / "._a.png").write_text("a resource fork")
        (tmp_path / "empty").mkdir()
        data = loaded(tmp_path)
        assert data.images[:, 0, 0, 0].tolist() == [1, 0, 2]
        assert (data.labels, data.num_classes) == (None, 0)

    def test_folders_are_classes(self, tmp_path):
        save(COLOR, tmp_path, "zebra", "a.jpg", quality=100, subsampling=0)
        save(COLOR, tmp_path, "cat", "2.png")
        save(COLOR, tmp_path, "cat", "deeper", "1.JPEG", format="JPEG")
        save(COLOR, tmp_path, ".hidden", "1.png")
        save(COLOR, tmp_path, "cat", ".hidden", "1.png")
        data = loaded(tmp_path)
        assert data.images.shape == (3, 8, 8, 3)
        assert (data.labels.tolist(), data.num_classes) == ([0, 0, 1], 2)
        assert data.labels.dtype == np.int32
        np.testing.assert_array_equal(data.images[0], COLOR)
        assert np.abs(data.images[2].astype(int) - COLOR).max() < 12

    def test_mixed_sizes_are_cropped_and_resized(self, tmp_path):
        wide = np.zeros((10, 30, 3), np.uint8)
        wide[:, 10:20] = 200
        save(wide, tmp_path, "a.png")
        save(COLOR.repeat(2, 0).repeat(2, 1), tmp_path, "b.png")
        data = loaded(tmp_path, image_size=10)
        assert (data.images[0] == 200).all()
        assert data.images.shape == (2, 10, 10, 3)

    @pytest.mark.parametrize(
        ("files", "sentence"),
        [
            ([], "holds no images, nor do its sub-folders: give a folder of pictures$"),
            (["notes.txt", "deep/er/notes.txt"], "holds no images, nor .*, but 2 .txt: give a"),
            (["a.png", "cat/b.png"], r"images \(such as a.png\) beside folders .*cat\)"),
            (["cat/a.png", "dog/b.txt"], "a class folder dog without images"),
            (["train/a.png", "test/b.png"],
             "holds test, train, which look like splits.*: use folder:.*/train$"),
        ],
    )
    def test_unsuitable(self, tmp_path, files, sentence):
        for name in files:
            if name.endswith(".txt"):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text("no image")
            else:
                save(COLOR, tmp_path, name)
        with pytest.raises(DataError, match=sentence):
            loaded(tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="no such folder: give a folder of pictures"):
            loaded(tmp_path / "nothing")
        with pytest.raises(DataError, match="has no split 'test': all of a folder is 'train'"):
            loaded(tmp_path, split="test")


    def test_a_link_that_makes_images_twice_is_refused(self, tmp_path):
        for name in ("cats", "dogs"):
            save(COLOR, tmp_path, name, "1.png")
        link = tmp_path / "loop"
        for target in (tmp_path, tmp_path / "cats"):
            link.symlink_to(target)
            with pytest.raises(DataError, match="would appear twice; remove the link"):
                loaded(tmp_path)
            link.unlink()
        save(COLOR, tmp_path.parent, "elsewhere", "1.png")
        link.symlink_to(tmp_path.parent / "elsewhere")
        assert loaded(tmp_path).num_classes == 3
        (tmp_path / "cats" / "more").symlink_to(tmp_path.parent / "elsewhere")
        assert "left out: 1 linked" in loaded(tmp_path).about


class TestKinds:
    def one(self, folder, **options):
        return loaded(folder, **options).images[0]

    def test_channels_none_keeps_grey_only_if_all_are_grey(self, tmp_path):
        save(RAMP, tmp_path, "a.png")
        assert loaded(tmp_path).images.shape == (1, 8, 8, 1)
        save(COLOR, tmp_path, "b.png")
        data = loaded(tmp_path)
        np.testing.assert_array_equal(data.images, [np.stack([RAMP] * 3, -1), COLOR])
        grey = np.asarray(Image.fromarray(COLOR).convert("L"))[..., None]
        np.testing.assert_array_equal(loaded(tmp_path, channels=1).images[1], grey)

    def test_palette(self, tmp_path):
        image = Image.fromarray(COLOR).quantize(64)
        save(image, tmp_path, "a.png")
        np.testing.assert_array_equal(self.one(tmp_path), np.asarray(image.convert("RGB")))

    def test_palette_with_transparency(self, tmp_path):
        image = Image.fromarray((RAMP > 100).astype(np.uint8), "L").convert("P")
        image.putpalette([255, 0, 0, 0, 0, 255])
        save(image, tmp_path, "a.png", transparency=b"\x00\xff")
        result = self.one(tmp_path)
        assert (result[RAMP <= 100] == 255).all()
        assert (result[RAMP > 100] == [0, 0, 255]).all()

    def test_sixteen_bits(self, tmp_path):
        save(Image.fromarray(RAMP.astype(np.uint16) * 257), tmp_path, "a.png")
        np.testing.assert_array_equal(self.one(tmp_path)[..., 0], RAMP)

    def test_one_bit(self, tmp_path):
        save(Image.fromarray(RAMP > 100), tmp_path, "a.png")
        np.testing.assert_array_equal(self.one(tmp_path)[..., 0], (RAMP > 100) * 255)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_transparency_is_white(self, tmp_path, channels):
        alpha = np.where(RAMP > 100, 255, 0).astype(np.uint8)
        save(np.dstack([RAMP, alpha]), tmp_path, "a.png")
        save(np.dstack([RAMP, RAMP, RAMP, alpha]), tmp_path, "b.png")
        expected = np.where(alpha > 0, RAMP, 255)
        for image in loaded(tmp_path, channels=channels).images:
            for channel in range(channels):
                np.testing.assert_array_equal(image[..., channel], expected)

    def test_cmyk(self, tmp_path):
        red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        save(red, tmp_path, "a.jpg", quality=100)
        assert np.abs(self.one(tmp_path).astype(int) - [255, 0, 0]).max() < 5

    def test_exif_orientation(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        save(COLOR, tmp_path, "a.png", exif=exif)
        np.testing.assert_array_equal(self.one(tmp_path), np.rot90(COLOR, -1))


class TestSaid:
    """The description of a folder, in memory and streamed."""

    def told(self, folder, **options):
        spec, options = f"folder:{folder}", {"image_size": 8, **options}
        both = load(spec, **options), open_stream(spec, **options)
        assert both[0].cautions == both[1].cautions and both[0].about == both[1].about
        np.testing.assert_array_equal(load(spec, **{**options, "channels": 3}).images,
                                      both[1].read(np.arange(len(both[1])))[0])
        return both[0].about, both[0].cautions

    def test_kinds_by_content_and_what_is_left_out(self, tmp_path):
        save(COLOR, tmp_path, "cat", "a.jpg", format="WEBP", lossless=True)
        save(COLOR, tmp_path, "cat", "b.png")
        save(COLOR, tmp_path, "dog", "no ending", format="GIF")
        save(COLOR, tmp_path, "dog", ".hidden.png")
        (tmp_path / "dog" / "a.svg").write_text("<svg></svg>")
        (tmp_path / "dog" / "notes.txt").write_text("BMW and P6 are no pictures")
        (tmp_path / "dog" / "p6.txt").write_text("P6 is a computer")
        about, cautions = self.told(tmp_path)
        assert about == ("3 pictures (1 WEBP, 1 PNG, 1 GIF) in 2 classes; left out: 2 .txt, "
                         "1 hidden, 1 .svg; the crop to 8 x 8 keeps 100% of a picture's area on "
                         "average")
        assert cautions == ()

    @pytest.mark.parametrize(("fit", "said"), [
        ("crop", "the crop to 8 x 4 keeps 62% of"), ("pad", "8 x 4 with bars, which fill 38% of"),
        ("squeeze", "squeezed to 8 x 4, by 4 times at most")])
    def test_what_the_proportions_cost(self, tmp_path, fit, said):
        save(np.zeros((8, 16, 3), np.uint8), tmp_path, "a.png")  # a quarter is kept of this
        save(np.zeros((6, 3, 3), np.uint8), tmp_path, "b.png")  # and all of that
        about, _ = self.told(tmp_path, image_size=(8, 4), reading=Reading(fit))
        assert said in about and about.endswith("1 is enlarged")

    def test_extremes_have_a_sentence_with_the_name(self, tmp_path):
        for name, shape in (("a", (8, 8)), ("one", (1, 1)), ("line", (1, 9)),
                            ("panorama", (40, 60_000)), ("strip", (2000, 9))):
            save(np.zeros((*shape, 3), np.uint8), tmp_path, f"{name}.png")
        row, long = self.told(tmp_path)[1]
        assert re.search(r"line\.png is 1 x 9 pixels \(height x width\), and 1 others are like it: "
                         "one row of pixels is not a picture", row)
        assert re.search(r"panorama\.png is 40 x 60,000 pixels .*--config\.fit=crop leaves little",
                         long)

    def test_a_part_of_a_folder_says_which_classes_it_lacks(self, tmp_path):
        for name in ("a", "b", "c"):
            save(COLOR, tmp_path, name, "1.png")
        (caution,) = self.told(tmp_path, split="train[1:]")[1]
        assert "1 of the 3 classes have no image (0)" in caution


class TestReading:
    @pytest.mark.parametrize(("alpha", "behind"), [("white", 255), ("black", 0), ("drop", None)])
    def test_alpha(self, tmp_path, alpha, behind):
        opaque = np.where(RAMP > 100, 255, 0).astype(np.uint8)
        save(np.dstack([COLOR, opaque]), tmp_path, "a.png")
        image = loaded(tmp_path, reading=Reading(alpha=alpha)).images[0]
        np.testing.assert_array_equal(image[opaque > 0], COLOR[opaque > 0])
        expected = COLOR[opaque == 0] if behind is None else behind
        assert (image[opaque == 0] == expected).all()

    def test_the_fingerprint_of_a_stream_knows_how_it_is_read(self, tmp_path):
        save(COLOR, tmp_path, "a.png")
        readings = (Reading(), Reading("pad"), Reading(alpha="black"), Reading(plain=True))
        prints = {open_stream(f"folder:{tmp_path}", image_size=8, reading=reading).fingerprint()
                  for reading in readings}
        assert len(prints) == 4

    @pytest.mark.parametrize(("reading", "sentence"), [
        (Reading(fit="stretch"), "fit is 'stretch': it must be one of crop, pad, squeeze"),
        (Reading(alpha="grey"), "alpha is 'grey': it must be one of white, black, drop")])
    def test_unknown(self, tmp_path, reading, sentence):
        for opened in (load, open_stream):
            with pytest.raises(DataError, match=sentence):
                opened(f"folder:{tmp_path}", image_size=8, reading=reading)


class TestDamage:
    @pytest.mark.parametrize("format", ["PNG", "JPEG"])
    @pytest.mark.parametrize("keep", [0, 10, 0.6])
    def test_cut_off(self, tmp_path, format, keep):
        save(COLOR, tmp_path, "good.png")
        file = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, format)
        content = file.getvalue()
        content = content[: keep if keep in (0, 10) else int(keep * len(content))]
        (tmp_path / f"bad.{format.lower()}").write_bytes(content)
        sentence = rf"cannot read the image .*bad\.{format.lower()}: "
        for channels in (None, 3):
            with pytest.raises(DataError, match=sentence):
                loaded(tmp_path, channels=channels)

    def test_a_picture_by_name_alone_stops(self, tmp_path):
        save(COLOR, tmp_path, "a.png", format="PCX")
        save(COLOR, tmp_path, "b.png")
        with pytest.raises(DataError, match=r"cannot read the image .*a\.png: by its content"):
            loaded(tmp_path)
        with pytest.raises(DataError, match=r"cannot read the image .*a\.png: by its content"):
            open_stream(f"folder:{tmp_path}", image_size=8).scan()

    @pytest.mark.parametrize("side", [12_000, 60_000])  # Pillow warns, Pillow refuses
    def test_decompression_bomb(self, tmp_path, side):
        def chunk(kind, content):
            crc = zlib.crc32(kind + content)
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        data = chunk(b"IDAT", zlib.compress(bytes(1000)))
        png = b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(png)
        with pytest.raises(DataError, match=r"cannot read the image .*bomb\.png: .*pixels"):
            loaded(tmp_path, channels=1)

    def test_random_damage_is_a_sentence(self, tmp_path):
        file = io.BytesIO()
        Image.fromarray(COLOR).save(file, "PNG")
        random = np.random.default_rng(0)
        outcomes = set()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(150):
                content = bytearray(file.getvalue())
                content[random.integers(len(content))] = random.integers(256)
                (tmp_path / "a.png").write_bytes(content[: random.integers(60, 400)])
                try:
                    outcomes.add(loaded(tmp_path).images.dtype.name)
                except DataError as error:
                    assert "\n" not in str(error)
                    outcomes.add("DataError")
        assert outcomes == {"uint8", "DataError"}
