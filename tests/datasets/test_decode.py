from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rs_otl.datasets import _decode
from rs_otl.datasets._decode import (
    UnreadableError,
    decode,
    pixel_hash,
    quiet_reading,
    read_header,
    to_square,
)


@pytest.fixture(autouse=True)
def _quiet():
    with quiet_reading():
        yield


@pytest.mark.parametrize(
    ("name", "bands", "dtype"),
    [
        ("grey.png", 1, "uint8"),
        ("rgb.png", 3, "uint8"),
        ("rgb.bmp", 3, "uint8"),
        ("rgb.tif", 3, "uint8"),
        ("six.tif", 6, "uint8"),
        ("deep.tif", 4, "uint16"),
        ("deep-grey.png", 1, "uint16"),
        ("deep-rgb.png", 3, "uint16"),
        ("reflectance.tif", 2, "float32"),
    ],
)
def test_pixels_come_back_as_written(tmp_path, write_image, name, bands, dtype):
    written = write_image(tmp_path / name, bands=bands, dtype=dtype, high=250)
    np.testing.assert_array_equal(decode(tmp_path / name), written)
    assert decode(tmp_path / name).dtype == dtype
    header = read_header(tmp_path / name)
    assert (len(header.bands()), header.dtype) == (bands, dtype)
    assert header.is_16bit == (dtype != "uint8")


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats_are_read(tmp_path, write_image, suffix):
    write_image(tmp_path / f"a.{suffix}", side=20)
    assert decode(tmp_path / f"a.{suffix}").shape == (3, 20, 20)


def test_a_file_is_what_its_first_bytes_say(tmp_path, write_image):
    written = write_image(tmp_path / "a.tif", bands=3)
    (tmp_path / "a.tif").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg"), written)


def test_alpha_is_dropped(tmp_path, write_image):
    written = write_image(tmp_path / "a.png", bands=4)
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), written[:3])
    written = write_image(tmp_path / "a.tif", bands=4, photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(decode(tmp_path / "a.tif"), written[:3])
    np.testing.assert_array_equal(decode(tmp_path / "a.tif", keep_alpha=True), written)
    assert read_header(tmp_path / "a.png").bands() == ("red", "green", "blue")
    header = read_header(tmp_path / "a.tif")
    assert header.alpha == 3
    assert header.bands() == ("red", "green", "blue")
    assert header.bands(keep_alpha=True) == ("band-1", "band-2", "band-3", "band-4")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_palettes_are_resolved(tmp_path, suffix):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(decode(tmp_path / f"a.{suffix}")[:, 0, 0], [10, 200, 30])
    assert read_header(tmp_path / f"a.{suffix}").bands() == ("red", "green", "blue")


def test_no_data_becomes_zero(tmp_path, write_image):
    pixels = np.array([[[np.nan, -9999, 0.5]]], np.float32)
    write_image(tmp_path / "a.tif", pixels=pixels, nodata=-9999)
    np.testing.assert_array_equal(decode(tmp_path / "a.tif"), np.float32([[[0, 0, 0.5]]]))


def _truncated(path: Path, write_image) -> None:
    write_image(path, side=64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_truncated_files_say_so(tmp_path, write_image, suffix):
    _truncated(tmp_path / f"a.{suffix}", write_image)
    with pytest.raises(UnreadableError, match=r"a\.\w+: cannot be decoded \(.+\)") as caught:
        decode(tmp_path / f"a.{suffix}")
    assert "previous exception" not in caught.value.reason


def test_what_is_no_image_says_so(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "header.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    for name, reason in [
        ("empty.jpg", "empty"),
        ("text.jpg", "not an image"),
        ("header.jpg", "cannot be decoded"),
        ("absent.jpg", "no such file"),
    ]:
        with pytest.raises(UnreadableError, match=reason):
            decode(tmp_path / name)
        with pytest.raises(UnreadableError, match=reason):
            read_header(tmp_path / name)


def test_a_file_that_points_elsewhere_is_not_followed(tmp_path, write_image):
    write_image(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_text(
        '<VRTDataset rasterXSize="12" rasterYSize="12"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(UnreadableError, match="not an image"):
        decode(tmp_path / "b.tif")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_a_huge_image_is_read_at_a_coarser_step(tmp_path, write_image, monkeypatch, name):
    pixels = np.full((3, 400, 300), 100, np.uint8)
    write_image(tmp_path / name, pixels=pixels)
    monkeypatch.setattr(_decode, "LARGEST", 3 * 100 * 75)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    coarse = decode(tmp_path / name)
    assert coarse.shape == (3, 100, 75)
    np.testing.assert_allclose(coarse, 100, atol=1)
    assert read_header(tmp_path / name).bands() == ("red", "green", "blue")


def test_hash_tells_pixels_shape_and_type_apart():
    flat = np.zeros((1, 2, 8), np.uint8)
    others = [np.zeros((1, 4, 4), np.uint8), np.zeros((1, 2, 4), np.uint16), flat + 1]
    assert pixel_hash(flat) == pixel_hash(flat.copy())
    assert pixel_hash(flat) not in [pixel_hash(other) for other in others]


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_squares_have_the_size_asked_for(bands):
    pixels = np.full((bands, 19, 20), 200, np.uint8)
    square = to_square(pixels, 8, is_16bit=False, scale=1)
    assert square.dtype == np.uint8
    np.testing.assert_array_equal(square, np.full((bands, 8, 8), 200))


def test_an_image_of_the_right_size_is_kept_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    np.testing.assert_array_equal(to_square(pixels, 8, is_16bit=False, scale=1), pixels)


def test_depths_meet_at_full_range():
    deep = np.full((1, 4, 4), 3000, np.uint16)
    assert to_square(deep, 4, is_16bit=True, scale=3000)[0, 0, 0] == 65535
    assert to_square(deep, 4, is_16bit=True, scale=6000)[0, 0, 0] == 32768
    assert to_square(deep, 4, is_16bit=False, scale=1000)[0, 0, 0] == 255
    assert to_square(np.full((1, 4, 4), 255, np.uint8), 4, True, 3000)[0, 0, 0] == 65535
    assert to_square(np.full((1, 4, 4), -1, np.float32), 4, False, 1)[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"progressive": True}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_jpegs_are_decoded_as_pillow_decodes_them(tmp_path, mode, options):
    small = np.random.default_rng(0).integers(0, 255, (9, 13, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((37, 41)).convert(mode)
    image.save(tmp_path / "a.jpg", quality=80, **options)
    with Image.open(tmp_path / "a.jpg") as opened:
        expected = np.asarray(opened if mode == "L" else opened.convert("RGB"))
    pixels = decode(tmp_path / "a.jpg")
    expected = expected[None] if mode == "L" else expected.transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, expected)
