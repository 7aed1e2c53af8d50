"""Scenes placed by ground control points or RPCs, and transforms that place nothing."""

import numpy as np
import pytest
from geo_scenes import draw
from odd_scenes import create, palette, points, rpcs, with_points
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError

AFFINE = {
    "north up": (lambda c, r: (400_000 + 10 * c, 5_000_000 - 10 * r), "EPSG:32633"),
    "rotated": (lambda c, r: (400_000 + 8 * c + 3 * r, 5_000_000 + 3 * c - 8 * r), "EPSG:32633"),
    "degrees": (lambda c, r: (120 + 1e-3 * c + 1e-4 * r, -30 - 1e-3 * r), "EPSG:4326"),
    "antimeridian": (lambda c, r: ((359.95 + c / 1e3) % 360 - 180, -17 - r / 1e3), "EPSG:4326"),
    "site": (lambda c, r: (0.3 * c, 0.3 * r), None),
}
BENT = {
    "metres": (lambda c, r: (4e5 + 10 * c + c * r / 50, 5e6 - 10 * r + c * c / 50), "EPSG:32633"),
    "degrees": (lambda c, r: (15 + 1e-4 * c + 2e-7 * c * r, 50 - 7e-5 * r), "EPSG:4326"),
    "polar": (lambda c, r: (15 + 1e-3 * c + 2e-6 * c * r, -85 - 1e-4 * r), "EPSG:4326"),
    "site": (lambda c, r: (3 * c + 0.01 * c * r, 3 * r + 0.01 * c * c), None),
}  # fmt: skip


@pytest.mark.parametrize("kind", AFFINE)
@pytest.mark.parametrize("side", [2, 3])
def test_points_of_a_plane_place_a_scene_without_resampling(kind, side, tmp_path):
    place, crs = AFFINE[kind]
    pixels = draw(128, 160).astype(np.uint8)
    lattice = points(place, pixels, side=side)
    path = with_points(tmp_path / "a.tif", place, crs, pixels, lattice)
    with Scene(path) as scene:
        assert scene.crs == crs
        assert f"{side**2} ground control points" in scene.placement
        np.testing.assert_allclose(scene.coordinate(37, 90), place(37, 90), rtol=1e-9)
        values, valid = scene.read(0, 0, 160, 128)
    np.testing.assert_array_equal(values, pixels)
    assert valid.all()


@pytest.mark.parametrize("kind", BENT)
def test_points_of_no_plane_warp_a_scene(kind, tmp_path):
    place, crs = BENT[kind]
    pixels = np.full((3, 128, 160), 40, np.uint8)
    pixels[:, 80:90, 30:40] = 240
    path = with_points(tmp_path / "a.tif", place, crs, pixels)
    with Scene(path) as scene:
        assert "warped" in scene.placement
        values, valid = scene.read(0, 0, scene.width, scene.height)
        assert scene.bands == ("red", "green", "blue")
        assert 0.3 < valid.mean() < 1
        assert (values[:, valid] >= 40).all()
        rows, columns = np.nonzero(values[0] > 200)
        x, y = scene.coordinate(columns.mean() + 0.5, rows.mean() + 0.5)
        pixel = np.hypot(scene.transform.a, scene.transform.d)
        expected = place(35, 85)
        if crs == "EPSG:4326":
            assert scene.crs.is_projected
            ((x,), (y,)) = transform(scene.crs, crs, [x], [y])
            pixel /= 111_000 * np.cos(np.radians(expected[1]))
        else:
            assert scene.crs == crs
        np.testing.assert_allclose((x, y), expected, atol=1.5 * pixel)


def test_a_scene_with_nodata_or_alpha_or_a_palette_is_warped_with_it(tmp_path):
    place, crs = BENT["metres"]
    pixels = np.full((1, 128, 160), 40, np.uint8)
    pixels[:, :64] = 7
    with Scene(with_points(tmp_path / "n.tif", place, crs, pixels, nodata=7)) as scene:
        values, valid = scene.read(0, 0, scene.width, scene.height)
        assert set(np.unique(values[:, valid])) == {40}
        assert 0.2 < valid.mean() < 0.55
    rgba = np.full((4, 128, 160), 90, np.uint8)
    rgba[3] = np.where(np.arange(160) < 80, 0, 255)
    path = with_points(tmp_path / "a.tif", place, crs, rgba, photometric="RGB", alpha="YES")
    with Scene(path) as scene:
        values, valid = scene.read(0, 0, scene.width, scene.height)
        assert len(scene.bands) == 3
        assert 0.2 < valid.mean() < 0.55
    gcps = (points(place, rgba), CRS.from_user_input(crs))
    colours = palette(tmp_path / "p.tif", place=None, gcps=gcps)
    table = {tuple(value) for value in colours.reshape(3, -1).T.tolist()}
    with Scene(tmp_path / "p.tif") as scene:
        values, valid = scene.read(0, 0, scene.width, scene.height)
        assert "warped" in scene.placement
        assert {tuple(value) for value in values[:, valid].T.tolist()} <= table


PLANE = AFFINE["north up"][0]


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        (points(PLANE, None)[:2], "three or more"),
        (points(PLANE, None)[:3], "in no line"),
        (points(PLANE, None)[:1] * 4, "in no line"),
        (points(lambda c, r: (400_000 + c, 5_000_000 + c), None), "in no line"),
        (points(lambda c, r: (400_000, 5_000_000), None), "in no line"),
        (points(lambda c, r: (np.nan, 5_000_000 - r), None), "no numbers"),
        (points(lambda c, r: (400_000 + c, np.inf if r else 0), None), "no numbers"),
    ],
)
def test_points_that_give_no_place_are_refused(chosen, reason, tmp_path):
    path = with_points(tmp_path / "a.tif", None, chosen=chosen)
    with pytest.raises(InputError, match=rf"a\.tif: its {len(chosen)} ground.*{reason}.*unsetgcp"):
        Scene(path)


def test_points_that_contradict_each_other_are_refused(tmp_path):
    random = np.random.default_rng(0)
    chosen = points(lambda c, r: tuple(random.uniform(0, 1e7, 2)), None, side=4)
    path = with_points(tmp_path / "a.tif", None, chosen=chosen)
    with pytest.raises(InputError, match=r"16 ground control points.* contradict each other"):
        Scene(path)


@pytest.mark.parametrize(("latitude", "crs"), [(50, 32633), (-20, 32733), (88, 32661)])
def test_rpcs_warp_a_scene(latitude, crs, tmp_path):
    pixels = np.full((3, 128, 160), 40, np.uint8)
    pixels[:, 62:66, 78:82] = 240

    def say(file):
        file.rpcs = rpcs(lat_off=float(latitude))

    with Scene(create(tmp_path / "a.tif", pixels, None, say)) as scene:
        assert "placed by its RPCs, at a height of 100 m" in scene.placement
        assert scene.crs == f"EPSG:{crs}"
        values, _ = scene.read(0, 0, scene.width, scene.height)
        rows, columns = np.nonzero(values[0] > 150)
        places = scene.coordinate(columns.mean() + 0.5, rows.mean() + 0.5)
        longitude, north = transform(scene.crs, "EPSG:4326", *([number] for number in places))
        np.testing.assert_allclose((longitude[0], north[0]), (15, latitude), atol=1e-4)


def test_rpcs_of_what_is_no_number_are_refused(tmp_path):
    for number, changes in enumerate(({"lat_scale": 0.0}, {"line_num_coeff": [np.nan] * 20})):

        def say(file, changes=changes):
            file.rpcs = rpcs(**changes)

        path = create(tmp_path / f"{number}.tif", draw(128, 160).astype(np.uint8), None, say)
        with pytest.raises(InputError, match="its RPCs hold"):
            Scene(path)


@pytest.mark.parametrize(
    "useless",
    [
        Affine(0, 0, 5, 0, 0, 6),
        Affine(10, 0, 5, 0, 0, 6),
        Affine(1, 2, 0, 2, 4, 0),
        Affine(np.nan, 0, 0, 0, -1, 0),
        Affine(10, 0, np.inf, 0, -10, 0),
    ],
)
def test_transforms_that_place_nothing_are_refused(useless, tmp_path):
    pixels = draw(64, 64).astype(np.uint8)
    path = create(tmp_path / "a.tif", pixels, ("EPSG:32633", useless))
    with pytest.raises(InputError, match=r"a\.tif: its transform .* no place"):
        Scene(path)
