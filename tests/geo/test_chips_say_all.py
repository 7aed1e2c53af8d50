"""A chip says of its pixels what the scene says."""

import numpy as np
import pytest
import rasterio
from geo_scenes import draw
from odd_scenes import create, palette, points, rpcs, with_points
from rasterio.enums import ColorInterp

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo import tile

SHAPE = (128, 160)
LEFT = np.broadcast_to(np.arange(160) < 40, SHAPE)


def rgba(alpha, **profile):
    pixels = np.concatenate([draw(*SHAPE), alpha[None]]).astype(np.uint8)
    return lambda path: create(path, pixels, photometric="RGB", alpha="YES", **profile)


def told(say, bands=3, dtype="uint8", **profile):
    pixels = draw(*SHAPE, bands=bands).astype(dtype)
    return lambda path: create(path, pixels, say=say, **profile)


def colours(*names):
    def say(file):
        file.colorinterp = [ColorInterp[name] for name in names]

    return say


def described(*names):
    def say(file):
        for number, name in enumerate(names, start=1):
            if name:
                file.set_band_description(number, name)

    return say


def measured(file):
    file.scales, file.offsets, file.units = (1e-4, 2e-4), (-0.1, 0.0), ("1", "K")
    file.update_tags(ACQUIRED="2024-05-01")
    file.update_tags(2, wavelength="11 um", STATISTICS_MEAN="3")


def nodata_of_each(path):
    create(path, draw(*SHAPE, bands=2).astype(np.uint8))
    path.with_name(f"{path.name}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>5</NoDataValue></PAMRasterBand>'
        '<PAMRasterBand band="2"><NoDataValue>200</NoDataValue></PAMRasterBand></PAMDataset>'
    )


def near_infrared(file):
    file.set_band_description(4, "nir")


SCENES = {
    "plain": told(lambda file: None),
    "mask band": rgba(255 * ~LEFT),
    "soft alpha": rgba(np.broadcast_to(np.linspace(0, 255, 160), SHAPE)),
    "near infrared as alpha": rgba(draw(*SHAPE, bands=1, seed=3)[0]),
    "named near infrared as alpha": rgba(draw(*SHAPE, bands=1)[0], say=near_infrared),
    "named near infrared": told(described("red", "green", "blue", "nir"), 4),
    "four unnamed": told(colours("gray", *["undefined"] * 3), 4),
    "one named": told(described("b2", "", "b4"), 3, "uint16"),
    "blue, green, red": told(colours("blue", "green", "red")),
    "mask": lambda path: create(path, draw(*SHAPE).astype(np.uint8), mask=255 * ~LEFT),
    "nodata": told(lambda file: None, 2, "int16", nodata=-9999),
    "nodata of each band": nodata_of_each,
    "no number": lambda path: create(path, np.where(LEFT, np.nan, draw(*SHAPE)).astype(np.float32)),
    "palette": lambda path: palette(path, nodata=3),
    "scales": told(measured, 2, "int16"),
    "pixel is point": told(lambda file: file.update_tags(AREA_OR_POINT="Point")),
    "points": lambda path: with_points(path, lambda c, r: (4e5 + 8 * c + 3 * r, 5e6 - 8 * r)),
    "bent points": lambda path: with_points(path, lambda c, r: (4e5 + 9 * c + c * r / 50, -9 * r)),
    "rpcs": told(lambda file: setattr(file, "rpcs", rpcs()), place=None),
    "rotated pole": told(lambda file: None, place=(
        "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6367470",
        rasterio.Affine(0.1, 0, -10, 0, -0.1, 10),
    )),
    "int8": told(lambda file: None, 1, "int8"),
    "float64": told(lambda file: None, 1, "float64"),
}  # fmt: skip


def facts(file):
    return {
        "count": file.count,
        "dtypes": file.dtypes,
        "nodata": file.nodatavals,
        "masks": file.mask_flag_enums,
        "scales": file.scales,
        "offsets": file.offsets,
        "units": file.units,
        "descriptions": file.descriptions,
        "tags": [tag for tag in file.tags(file.count).items() if "STATISTICS" not in tag[0]],
    }  # fmt: skip


@pytest.mark.parametrize("kind", SCENES)
def test_chips_say_what_the_scene_says(kind, tmp_path):
    SCENES[kind](tmp_path / "scene.tif")
    (done,) = tile(tmp_path / "scene.tif", tmp_path / "chips", size=64)
    chips = sorted((tmp_path / "chips").glob("*.tif"))
    assert done.chips == len(chips) > 3
    assert not list(tmp_path.rglob(".*"))
    with Scene(tmp_path / "scene.tif") as scene:
        for chip in chips:
            top, left = (int(part[1:]) for part in chip.stem.split("_")[1:])
            with Scene(chip) as cut:
                said, expected = facts(cut.dataset), facts(scene.dataset)
                if "near infrared" in kind:  # which GDAL marks as alpha by itself
                    said["masks"] = expected["masks"] = None
                    assert cut.dataset.colorinterp[3] == ColorInterp.undefined
                else:
                    assert cut.dataset.colorinterp == scene.dataset.colorinterp
                assert said == expected
                assert cut.crs == scene.crs
                assert cut.placement is None
                assert (cut.bands, cut.named, cut.units) == (scene.bands, scene.named, scene.units)
                np.testing.assert_allclose(
                    cut.coordinate(7, 9), scene.coordinate(left + 7, top + 9), rtol=1e-9
                )
                values, valid = cut.read(0, 0, 64, 64)
                expected, with_data = scene.read(left, top, 64, 64)
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_array_equal(valid, with_data)


@pytest.mark.parametrize(
    "kind", ["plain", "mask band", "mask", "nodata", "palette", "scales", "four unnamed"]
)
def test_nodata_that_is_given_goes_to_the_chips(kind, tmp_path):
    path = tmp_path / "scene.tif"
    SCENES[kind](path)
    with rasterio.open(path, "r+") as file:
        pixels = file.read()
        pixels[: 3 if kind == "mask band" else None, :20] = 1
        file.write(pixels)
    tile(path, tmp_path / "chips", size=64, nodata=1)
    with Scene(path) as scene, Scene(path, nodata=1) as other:
        before, after = (each.read(96, 0, 64, 64)[1] for each in (scene, other))
    assert before[:20].sum() > after[:20].sum() == 0
    with Scene(tmp_path / "chips" / "scene_r0_c96.tif") as chip:
        np.testing.assert_array_equal(chip.read(0, 0, 64, 64)[1], after)


def test_a_collar_is_said_once_and_points_too(tmp_path, capsys):
    pixels = draw(128, 160).astype(np.uint8)
    pixels[:, LEFT] = 0
    path = with_points(tmp_path / "a.tif", lambda c, r: (4e5 + c, 5e6 - r), pixels=pixels)
    tile(path, tmp_path / "chips", size=32)
    said = capsys.readouterr().err
    assert said.count("ground control points (GCPs)") == said.count("--nodata 0") == 1
    (done,) = tile(path, tmp_path / "less", size=32, nodata=0)
    assert (done.chips, done.nodata) == (16, 4)
    with pytest.raises(InputError, match="no value of"):
        tile(path, tmp_path / "none", size=32, nodata=-5)


def test_points_without_crs_place_chips(tmp_path):
    chosen = points(lambda c, r: (c / 2, r), None)
    path = with_points(tmp_path / "a.tif", None, crs=None, chosen=chosen)
    tile(path, tmp_path / "chips", size=64)
    with Scene(tmp_path / "chips" / "a_r64_c96.tif") as chip:
        assert chip.crs is None
        np.testing.assert_allclose(chip.coordinate(2, 3), (49, 67))
