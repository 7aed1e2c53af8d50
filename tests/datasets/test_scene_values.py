"""What stored values stand for: the same in an image and in a scene."""

import numpy as np
import pytest
import rasterio
from geo_scenes import draw
from odd_scenes import create, palette

from rs_otl.datasets._decode import decode, quiet_reading, read_header
from rs_otl.datasets.raster import UnreadableError
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.spec import EncoderConfig, ImageSpec


def read(path, **options):
    with Scene(path, **options) as scene:
        return scene.read(0, 0, scene.width, scene.height)


def scaled(scales, offsets):
    def say(file):
        file.scales, file.offsets = scales, offsets

    return say


@pytest.mark.parametrize(
    ("dtype", "scales", "offsets"),
    [
        ("int16", (1e-4, 1e-4), (-0.1, -0.1)),
        ("uint16", (2.75e-5, 1.0), (-0.2, 0.0)),
        ("uint8", (0.004, 0.004), (0.0, 0.0)),
        ("int16", (1.0, 1.0), (-1000.0, -1000.0)),
        ("float32", (100.0, 10.0), (0.0, 0.0)),
        ("int32", (0.5, 0.25), (1.0, 2.0)),
    ],
)
def test_scale_and_offset_are_applied_to_images_and_scenes(dtype, scales, offsets, tmp_path):
    pixels = draw(40, 50, bands=2, high=200).astype(dtype)
    path = create(tmp_path / "a.tif", pixels, say=scaled(scales, offsets))
    expected = pixels * np.array(scales)[:, None, None] + np.array(offsets)[:, None, None]
    values, valid = read(path)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    with Scene(path) as scene:
        assert (scene.dtype, scene.units) == (np.float32, "floating-point values")
        part, _ = scene.read(3, 4, 20, 10, [1])
        np.testing.assert_array_equal(part[0], values[1, 4:14, 3:23])
    with quiet_reading():
        np.testing.assert_array_equal(decode(path), values)
        assert read_header(path).dtype == np.float32
    assert valid.all()


def test_nodata_is_that_of_stored_values(tmp_path):
    pixels = np.full((1, 40, 50), 3000, np.int16)
    pixels[:, :10] = -9999
    path = create(tmp_path / "a.tif", pixels, say=scaled((1e-4,), (0.0,)), nodata=-9999)
    values, valid = read(path)
    np.testing.assert_array_equal(valid[:, 0], np.arange(40) >= 10)
    np.testing.assert_allclose(values[:, valid], 0.3, rtol=1e-5)
    with quiet_reading():
        np.testing.assert_array_equal(decode(path)[:, :10], 0)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale, tmp_path):
    say = scaled((scale,) * 3, (0.0,) * 3)
    path = create(tmp_path / "a.tif", draw(40, 50).astype(np.uint8), say=say)
    with pytest.raises(UnreadableError, match="values are scaled by"):
        Scene(path)
    with pytest.raises(UnreadableError, match="values are scaled by"), quiet_reading():
        decode(path)


@pytest.mark.parametrize("entries", [2, 10, 200])
def test_palettes_are_colours_in_images_and_scenes(entries, tmp_path):
    colours = palette(tmp_path / "a.tif", entries=entries)
    values, valid = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(values, colours)
    assert valid.all()
    with Scene(tmp_path / "a.tif") as scene:
        assert (scene.bands, scene.named, scene.units) == (
            ("red", "green", "blue"), True, "8-bit counts",
        )  # fmt: skip
        part, _ = scene.read(5, 6, 7, 8, [2, 0])
        np.testing.assert_array_equal(part, colours[[2, 0], 6:14, 5:12])
        small, _ = scene.thumbnail(32)
        known = {tuple(colour) for colour in colours.reshape(3, -1).T.tolist()}
        assert {tuple(colour) for colour in small.reshape(3, -1).T.tolist()} <= known
    with quiet_reading():
        np.testing.assert_array_equal(decode(tmp_path / "a.tif"), colours)


def test_palettes_of_16_bits_nodata_and_transparent_entries(tmp_path):
    indices = np.tile(np.arange(10, dtype=np.uint16), (1, 32, 4))
    colours = palette(tmp_path / "deep.tif", indices)
    np.testing.assert_array_equal(read(tmp_path / "deep.tif")[0], colours)
    palette(tmp_path / "nodata.tif", indices.astype(np.uint8), nodata=3)
    np.testing.assert_array_equal(read(tmp_path / "nodata.tif")[1], indices[0] != 3)


@pytest.mark.parametrize("dtype", ["complex_int16", "complex64", "complex128"])
def test_complex_numbers_are_refused_from_the_header(dtype, tmp_path):
    stored = np.zeros((1, 40, 50), np.complex64)
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=50, height=40, count=1, dtype=dtype, crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
    ) as file:  # fmt: skip
        if dtype != "complex_int16":
            file.write(stored.astype(dtype))
    for function in (Scene, decode, read_header):
        with pytest.raises(UnreadableError, match=r"a\.tif: holds complex numbers"):
            function(path)


def trained_on(scale):
    spec = ImageSpec(
        bands=("a", "b"),
        units="floating-point values",
        scale=scale,
        resolution=None,
        mean=(0.3, 0.3),
        std=(0.2, 0.2),
    )
    return EncoderConfig(encoder="resnet18", image_size=32, spec=spec, dataset="made", epochs=1)


@pytest.mark.parametrize(
    ("low", "high", "scale", "message"),
    [
        (0, 1, 3000, "values from .*trained on values from 0 to 3000"),
        (0, 1, 255, "expected the same units"),
        (0, 10_000, 0.4, "expected the same units"),
        (-30, -5, 1.0, "100% of the values lie below 0.*decibels"),
        (-25, 5, 0.3, "of the values lie below 0.*decibels"),
        (-2, 2, 1.0, "of the values lie below 0.*normalised"),
        (0, 1, 0.4, None),
        (0, 0.02, 0.4, None),
        (-0.01, 1.2, 1.0, None),
        (0, 3000, 10_000, None),
    ],
)
def test_values_of_other_units_than_the_encoders_are_refused(low, high, scale, message, tmp_path):
    pixels = (low + draw(80, 80, bands=2) / 255 * (high - low)).astype(np.float32)
    path = create(tmp_path / "a.tif", pixels)
    config = trained_on(scale)
    with Scene(path) as scene:
        if message is None:
            scene.refuse_other_values(config, "e", [0, 1])
            return
        with pytest.raises(InputError, match=message):
            scene.refuse_other_values(config, "e", [0, 1])


def collared(height, width, value, kind, bands=3, dtype=np.uint8):
    pixels = np.clip(draw(height, width, bands=bands), 1, 250).astype(dtype)
    rows, columns = np.mgrid[:height, :width]
    where = {
        "rotated": np.abs(rows / height - 0.5) + np.abs(columns / width - 0.5) > 0.55,
        "left": columns < width / 4,
        "frame": np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns]) < 8,
        "corner": rows + columns < height / 2,
        "lake": np.hypot(rows - height / 2, columns - width / 2) < height / 4,
        "none": np.zeros((height, width), bool),
    }[kind]
    pixels[:, where] = value
    return pixels, where


@pytest.mark.parametrize("size", [(90, 120), (700, 500)])
@pytest.mark.parametrize("kind", ["rotated", "left", "frame", "corner"])
@pytest.mark.parametrize(("value", "bands"), [(0, 3), (255, 4), (0, 1)])
def test_a_collar_of_one_value_is_said_with_its_remedy(size, kind, value, bands, tmp_path):
    pixels, where = collared(*size, value, kind, bands)
    path = create(tmp_path / "a.tif", pixels)
    with Scene(path) as scene:
        if kind == "frame" and size[0] > 500:
            assert scene.collar() is None or f"is {value}" in scene.collar()
            return
        assert f"is {value} and counts as data" in scene.collar()
        assert f"--nodata {value})" in scene.collar()
    with Scene(path, nodata=value) as scene:
        assert scene.collar() is None
        assert scene.may_lack_data
        np.testing.assert_array_equal(scene.read(0, 0, *size[::-1])[1], ~where)
        np.testing.assert_array_equal(scene.read(0, 0, *size[::-1], [0])[1], ~where)


@pytest.mark.parametrize("kind", ["lake", "none"])
def test_other_dark_places_are_no_collar(kind, tmp_path):
    pixels, _ = collared(200, 200, 0, kind)
    with Scene(create(tmp_path / "a.tif", pixels)) as scene:
        assert scene.collar() is None
    with Scene(create(tmp_path / "flat.tif", np.zeros_like(pixels))) as scene:
        assert scene.collar() is None
    with Scene(create(tmp_path / "said.tif", collared(200, 200, 0, "left")[0], nodata=0)) as scene:
        assert scene.collar() is None


@pytest.mark.parametrize(("nodata", "dtype"), [(-1, "uint8"), (256, "uint8"), (1e9, "int16")])
def test_nodata_that_cannot_occur_is_refused(nodata, dtype, tmp_path):
    path = create(tmp_path / "a.tif", draw(40, 50).astype(dtype))
    with pytest.raises(InputError, match=r"--nodata.*no value of .*which stores"):
        Scene(path, nodata=nodata)
