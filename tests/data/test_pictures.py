"""Picture files: their kind by content, pixels equal to Pillow's, and refusals."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, features

from sngan_jax.data.crop import convert_channels
from sngan_jax.data.image_set import DataError
from sngan_jax.data.pictures import (
    KINDS,
    SUFFIXES,
    decode_bytes,
    decode_file,
    is_grey,
    kind_of,
    size_of,
)

COLOR = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
EXACT = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True},
         "JPEG2000": {"irreversible": False}}


def encoded(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", EXACT)
def test_lossless_kinds_come_back_whatever_the_name(tmp_path, kind):
    (tmp_path / "a.jpg").write_bytes(encoded(COLOR, kind, **EXACT[kind]))
    assert kind_of(tmp_path / "a.jpg") == kind
    np.testing.assert_array_equal(decode_file(tmp_path / "a.jpg"), COLOR)
    assert size_of(tmp_path / "a.jpg") == (8, 12) and not is_grey(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_lossy_kinds_are_near(tmp_path, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    smooth = np.indices((32, 32)).sum(0).astype(np.uint8)[..., None].repeat(3, 2) * 4
    (tmp_path / "a").write_bytes(encoded(smooth, kind, quality=95))
    assert kind_of(tmp_path / "a") == kind
    assert np.abs(decode_file(tmp_path / "a").astype(int) - smooth).max() < 12


def test_every_kind_has_a_test():
    assert {*EXACT, "JPEG", "AVIF", "GIF"} == set(KINDS)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_a_film(tmp_path, kind):
    frames = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (10, 200, 90)]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:],
                   **({"lossless": True} if kind == "WEBP" else {}))
    assert (convert_channels(decode_file(tmp_path / "a"), 3) == 10).all()


def test_transparent_gif_and_palette(tmp_path):
    image = Image.fromarray((COLOR[..., 0] > 100).astype(np.uint8), "L").convert("P")
    image.putpalette([1, 2, 3, 0, 0, 255])
    image.save(tmp_path / "a", "GIF", transparency=0)
    got = decode_file(tmp_path / "a")
    seen = COLOR[..., 0] > 100
    assert (got[seen] == [0, 0, 255, 255]).all() and (got[~seen, 3] == 0).all()
    assert (convert_channels(got, 3, "drop")[~seen] == [1, 2, 3]).all()
    assert (convert_channels(got, 3, "black")[~seen] == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_turned_pictures(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOR).save(tmp_path / "a", kind, exif=exif)
    for plain in (False, True):
        assert decode_file(tmp_path / "a", plain=plain).shape[:2] == size_of(
            tmp_path / "a", plain=plain)
    assert decode_file(tmp_path / "a").shape == (12, 8, 3)
    if kind == "PNG":
        np.testing.assert_array_equal(decode_file(tmp_path / "a"), np.rot90(COLOR, -1))
        np.testing.assert_array_equal(decode_file(tmp_path / "a", plain=True), COLOR)
        np.testing.assert_array_equal(decode_bytes((tmp_path / "a").read_bytes()), COLOR)


@pytest.mark.parametrize("value", [b"\x03\0\x01\0\0\0\0\0\0\0", b"\x03\0\x01\0\0\0\x09\0\0\0",
                                   b"\x02\0\x02\0\0\x006\0\0\0"], ids=["0", "9", "text"])
def test_orientations_that_do_not_exist(tmp_path, value):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01" + value + bytes(4)
    Image.fromarray(COLOR).save(tmp_path / "a", "JPEG", exif=exif)
    assert decode_file(tmp_path / "a").shape[:2] == size_of(tmp_path / "a") == COLOR.shape[:2]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "I;16"])
def test_plain_is_what_other_programs_see(tmp_path, mode):
    """`convert("RGB")`, without the warning that Pillow has for a palette with transparency."""
    first = {"I;16": "L", "LA": "L", "P": "RGB"}.get(mode, mode)
    image = Image.fromarray(np.dstack([COLOR, COLOR[..., 0]])).convert(first)
    image = image.quantize(16) if mode == "P" else image
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    if mode == "LA":
        image.putalpha(Image.fromarray(COLOR[..., 1]))
    options = {"transparency": bytes(range(0, 160, 10))} if mode == "P" else {}
    image.save(tmp_path / "a", "PNG", **options)
    with Image.open(tmp_path / "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(decode_file(tmp_path / "a", plain=True), expected)


@pytest.mark.parametrize(("array", "kind", "sentence"), [
    (np.full((4, 4), 0.5, np.float32), "TIFF", "or 32-bit numbers, whose range is unknown"),
    (np.full((4, 4), 200, np.int32), "TIFF", "or 32-bit numbers, whose range is unknown")])
def test_numbers_of_unknown_range(tmp_path, array, kind, sentence):
    Image.fromarray(array).save(tmp_path / "a.tif", kind)
    with pytest.raises(DataError, match=rf"cannot read the image .*a\.tif: .*{sentence}"):
        decode_file(tmp_path / "a.tif")


def test_signed_numbers_of_sixteen_bits(tmp_path):
    Image.fromarray(np.full((4, 4), 5, np.uint16)).save(
        tmp_path / "a.tif", tiffinfo={339: 2})  # SampleFormat: signed
    content = (tmp_path / "a.tif").read_bytes()
    assert (decode_file(tmp_path / "a.tif") == 0).all()
    (tmp_path / "a.tif").write_bytes(content.replace(
        np.full(16, 5, np.uint16).tobytes(), np.full(16, -5, np.int16).tobytes()))
    with pytest.raises(DataError, match="range from -5 to -5, but a picture has 8 or 16 bits"):
        decode_file(tmp_path / "a.tif")


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "it is empty"), (b"<svg></svg>", "by its content it is not one of PNG, JPEG"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not one of"), (b"BM" + bytes(100), ".+"),
    (encoded(COLOR, "WEBP")[:40], ".+"), (encoded(COLOR, "GIF")[:60], ".+"),
    (encoded(COLOR, "TIFF")[:100], ".+"), (encoded(COLOR, "JPEG2000")[:90], ".+")],
    ids=["empty", "svg", "eps", "bmp", "webp", "gif", "tiff", "jp2"])
def test_damage_is_a_sentence_with_the_name(tmp_path, content, sentence):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"cannot read the image .*bad\.png: .*({sentence})"):
        decode_file(tmp_path / "bad.png")


@pytest.mark.parametrize(("head", "kind"), [
    (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", None), (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif", "AVIF"),
    (b"RIFF\x24\0\0\0WAVEfmt ", None), (b"P7\nWIDTH", None), (b"P5\n3 3\n255\n", "PPM"),
    (b"", None), (b"GIF88a", None), (b"BM", "BMP"), (b"\xff\xd8\xff\xe0", "JPEG")])
def test_beginnings(tmp_path, head, kind):
    (tmp_path / "a").write_bytes(head)
    assert kind_of(tmp_path / "a") == kind


def test_what_is_no_file(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "nothing")
    assert kind_of(tmp_path / "link.png") is None and kind_of(tmp_path) is None
    with pytest.raises(DataError, match=r"link\.png: it is not a regular file"):
        decode_file(tmp_path / "link.png")
    assert ".png" in SUFFIXES and ".svg" not in SUFFIXES
