"""Products open as one scene, with the values that rasterio and their metadata give."""

import json

import numpy as np
import pytest
import rasterio
from drawn_products import landsat, planetscope, save, sentinel_1, sentinel_2, texture, zipped

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.sensors import described, match
from rs_otl.spec import RGB, EncoderConfig, ImageSpec, Quantity, Values


def stored(path):
    with rasterio.open(path) as file:
        return file.read(1)


def values(scene):
    return scene.read(0, 0, scene.width, scene.height)


@pytest.mark.parametrize(
    ("level", "added", "pack"),
    [("2A", 1000, False), ("1C", 1000, False), ("1C", 0, True), ("2A", 1000, True)],
)
def test_sentinel_2_is_one_scene_at_10_m_of_reflectance(level, added, pack, tmp_path):
    safe = sentinel_2(tmp_path, level, added=added)
    with Scene(zipped(safe) if pack else safe) as scene:
        pixels, valid = values(scene)
        assert (scene.width, scene.height, scene.crs.to_epsg()) == (120, 120, 32632)
        assert scene.transform.a == 10
        assert scene.quantity is (Quantity.SURFACE if level == "2A" else Quantity.TOA)
        assert scene.bands[:3] == ("b01", "b02", "b03")
        assert scene.known[3].common_name == "red"
        assert not valid[:2, :2].any()
        for name, repeat in (("B04", 1), ("B05", 2), ("B8A", 2), ("B09", 6)):
            (path,) = list(safe.rglob(f"*_{name}_{10 * repeat}m.jp2")) or list(
                safe.rglob(f"*_{name}.jp2")
            )
            expected = stored(path).repeat(repeat, 0).repeat(repeat, 1).astype(float) - added
            np.testing.assert_array_equal(pixels[scene.bands.index(name.lower())], expected)
        part, _ = scene.read(31, 7, 20, 10, [scene.bands.index("b05")])
        np.testing.assert_array_equal(part[0], pixels[scene.bands.index("b05"), 7:17, 31:51])


def test_a_sentinel_2_product_has_several_names(tmp_path):
    safe = sentinel_2(tmp_path)
    (images,) = safe.rglob("IMG_DATA")
    for source in (
        safe,
        safe / "MTD_MSIL2A.xml",
        images,
        images / "T32TQM_20230701T101609_B*.jp2",
    ):
        with Scene(source) as scene:
            assert (len(scene.bands), scene.quantity) == (12, Quantity.SURFACE), source


@pytest.mark.parametrize(
    ("level", "mtl", "scale", "offset"),
    [
        ("L2SP", True, 2.75e-5, -0.2),
        ("L2SP", False, 2.75e-5, -0.2),
        ("L1TP", True, 2e-5 / 0.5, -0.1 / 0.5),
    ],
)
def test_landsat_is_one_scene_of_reflectance(level, mtl, scale, offset, tmp_path):
    folder = landsat(tmp_path, level, mtl=mtl)
    with Scene(folder) as scene:
        assert scene.bands == ("b1", "b2", "b3", "b4", "b5", "b6", "b7")
        assert [band.common_name for band in scene.known][3:5] == ["red", "nir08"]
        assert scene.quantity is (Quantity.SURFACE if level == "L2SP" else Quantity.TOA)
        assert (scene.width, scene.transform.a) == (100, 30)
        pixels, _ = values(scene)
    (path,) = folder.glob("*B4.TIF")
    expected = 10_000 * (stored(path) * scale + offset)
    np.testing.assert_allclose(pixels[3], expected, rtol=1e-5, atol=0.01)


def test_landsat_without_factors_says_no_units(tmp_path):
    with Scene(landsat(tmp_path, "L1TP", mtl=False)) as scene:
        assert (scene.quantity, scene.units) == (None, "16-bit counts")


def test_sentinel_1_has_two_bands(tmp_path):
    folder = sentinel_1(tmp_path)
    with Scene(folder) as scene:
        assert scene.bands == ("vv", "vh")
        pixels, _ = values(scene)
    np.testing.assert_array_equal(pixels[0], stored(next(folder.glob("*_VV.tif"))))


@pytest.mark.parametrize("bands", [4, 8])
@pytest.mark.parametrize(
    ("how", "quantity"),
    [
        ({}, Quantity.SURFACE),
        ({"surface": False}, Quantity.TOA),
        ({"surface": False, "coefficients": False}, Quantity.RADIANCE),
    ],
)
def test_planetscope_names_its_bands_and_units(bands, how, quantity, tmp_path):
    path = planetscope(tmp_path, bands, **how)
    factor = {Quantity.SURFACE: 1, Quantity.TOA: 10_000 * 2.5e-5, Quantity.RADIANCE: 0.01}[quantity]
    with Scene(path) as scene:
        assert scene.quantity is quantity
        assert {"red", "green", "blue", "nir"} <= set(scene.bands)
        pixels, valid = values(scene)
        assert not valid[:3].any()
        assert valid[3:].all()
        with rasterio.open(path) as file:
            np.testing.assert_allclose(pixels[1], file.read(2) * factor, rtol=1e-5)


BAND = {"name": "B04", "common_name": "red"}


@pytest.mark.parametrize(
    "said",
    [
        {"eo:bands": [BAND, {"name": "B08"}],
         "raster:bands": [{"scale": 1e-4, "offset": -0.1}] * 2},
        {"bands": [BAND | {"raster:scale": 1e-4, "raster:offset": -0.1},
                   {"name": "B08", "raster:scale": 1e-4, "raster:offset": -0.1}]},
    ],
)  # fmt: skip
def test_a_stac_item_beside_says_names_and_scale(said, tmp_path):
    pixels = np.stack([texture(40, 40, n, 1200, 5000) for n in range(2)]).astype(np.uint16)
    path = save(tmp_path / "scene.tif", pixels, 10)
    item = {"stac_version": "1.0.0", "assets": {"data": {"href": "./scene.tif"} | said}}
    (tmp_path / "scene.json").write_text(json.dumps(item))
    with Scene(path, values=Values(quantity=Quantity.TOA)) as scene:
        assert scene.bands == ("b04", "b08")
        np.testing.assert_allclose(values(scene)[0], pixels.astype(float) - 1000, atol=0.01)
    (tmp_path / "scene.json").write_text(json.dumps(item).replace("0.0001", '"x"'))
    with pytest.raises(InputError, match=r"scene\.json: its description of the bands"):
        Scene(path)
    (tmp_path / "scene.json").write_text("{}")
    with Scene(path) as scene:
        assert not scene.named


def test_an_aerial_image_has_red_green_and_blue_by_its_colours(tmp_path, capsys):
    pixels = np.stack([texture(60, 60, n, 0, 255) for n in range(4)]).astype(np.uint8)
    path = save(tmp_path / "a.tif", pixels, 1, photometric="RGB")
    spec = ImageSpec(
        bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=(0,) * 3, std=(1,) * 3
    )
    config = EncoderConfig(encoder="resnet18", image_size=32, spec=spec, dataset="x", epochs=1)
    with Scene(path) as scene:
        assert len(scene.bands) == 4
        assert scene.match_bands(config, "enc") == [0, 1, 2]
    assert "red = band-1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "empty", "no file for each band in it"),
        (lambda folder: (landsat(folder), landsat(folder, "L1TP")) and folder, "holds 2 products"),
        (lambda folder: folder / "not.zip", "no whole zip"),
        (
            lambda folder: folder / "nothing_B*.tif",
            "no file for each band in it|no such file",
        ),
    ],
)
def test_what_is_no_product_is_refused_in_a_line(make, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "not.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=message) as caught:
        Scene(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_damaged_products_are_refused_in_a_line(tmp_path):
    safe = sentinel_2(tmp_path, "1C", side=60)
    (path,) = safe.rglob("*_B8A.jp2")
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match="band B8A cannot be opened"):
        Scene(safe)
    path.unlink()
    save(path, np.ones((1, 30, 30), np.uint16), 20, crs=32633)
    with pytest.raises(InputError, match=r"band B8A is in EPSG:32633, .*-t_srs EPSG:32632"):
        Scene(safe)
    path.unlink()
    (safe / "MTD_MSIL1C.xml").write_text("<QUANTIFICATION_VALUE>1.2.3</QUANTIFICATION_VALUE>")
    with pytest.raises(InputError, match=r"MTD_MSIL1C\.xml, are damaged"):
        Scene(safe)


@pytest.mark.parametrize("name", ["a_B*.tif", ""])
def test_a_file_of_several_bands_is_no_band_of_a_product(name, tmp_path):
    for band, count in (("B02", 1), ("B03", 3)):
        save(tmp_path / f"a_{band}.tif", np.ones((count, 20, 20), np.uint16), 10)
    with pytest.raises(InputError, match="file of band B03 holds 3 bands, expected 1"):
        Scene(tmp_path / name)


def test_bands_of_landsat_are_not_those_of_sentinel_2_by_number(tmp_path):
    known = described(("B02", "B03", "B04", "B08"))
    with Scene(landsat(tmp_path)) as scene:
        found = match(known, scene.known)
        assert [scene.bands[at] for at in found.positions] == ["b2", "b3", "b4", "b5"]
        assert "B08 = b5 by wavelength" in found.words
        assert match(described(("B05",)), scene.known).positions == [None]
