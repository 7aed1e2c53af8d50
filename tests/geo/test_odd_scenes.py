"""Commands on scenes with points, odd CRS, palettes, scales, collars and odd names."""

import json
import os

import numpy as np
import pyproj
import pytest
import rasterio
from command_line import rs_otl_here
from geo_scenes import draw, make_encoder
from odd_scenes import create, palette, rpcs, with_points
from rasterio import Affine
from rasterio.crs import CRS

from rs_otl.datasets.raster import quiet_georeference
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo import embed, search, tile
from rs_otl.geo import map as map_scene
from rs_otl.models import load_encoder

GRID = {"tile": 32, "stride": 32}


def scaled(file):
    file.scales, file.offsets = (1e-3,) * 3, (-0.01,) * 3


ODD = {
    "points": lambda path: with_points(path, lambda c, r: (4e5 + 8 * c + 3 * r, 5e6 - 8 * r)),
    "bent points": lambda path: with_points(
        path, lambda c, r: (15 + 1e-4 * c + 2e-7 * c * r, 50 - 7e-5 * r), "EPSG:4326"
    ),
    "rpcs": lambda path: create(
        path, draw(128, 160).astype(np.uint8), None, lambda file: setattr(file, "rpcs", rpcs())
    ),
    "palette": lambda path: palette(path),
    "scaled": lambda path: create(path, draw(128, 160).astype(np.int16), say=scaled),
    "no georeference": lambda path: create(path, draw(128, 160).astype(np.uint8), None),
    "longitudes to 360": lambda path: create(
        path, draw(128, 160).astype(np.uint8), ("EPSG:4326", Affine(0.1, 0, 190, 0, -0.1, 20))
    ),
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    floats = make_encoder(
        folder / "floats", units="floating-point values", scale=0.25, architecture="test_resnet"
    )
    return {
        "scaled": load_encoder(floats),
        "": load_encoder(make_encoder(folder / "counts", architecture="test_resnet")),
    }


@pytest.mark.parametrize("kind", ODD)
def test_a_scene_and_its_embedding_agree_and_lie_in_one_place(kind, tmp_path, encoders, capsys):
    path, out = tmp_path / "scene.tif", tmp_path / "out.tif"
    ODD[kind](path)
    encoder = encoders.get(kind, encoders[""])
    embed(path, encoder, out, **GRID)
    told = capsys.readouterr().err
    assert told.count("placed by its") == (kind in ("points", "bent points", "rpcs"))
    with Scene(path) as scene:
        x, y = scene.coordinate(70.5, 40.5)
        upper = scene.coordinate(50.5, 20.5)
        crs, transform = scene.crs, scene.transform
    with quiet_georeference(), rasterio.open(out) as file:
        assert file.crs == crs
        if kind == "no georeference":
            assert file.transform == Affine(32, 0, 0, 0, -32, 0)
        else:
            assert file.transform.almost_equals(transform * Affine.scale(32))
    places = {"scene": path, "out": out}
    found = [
        search(source, (x, y), tmp_path / f"{name}.geojson", count=3, encoder=encoder, **GRID)
        for name, source in places.items()
    ]
    assert [(hit.row, hit.column) for hit in found[0]] == [(h.row, h.column) for h in found[1]]
    points = tmp_path / "points.csv"
    points.write_text(f"x,y,class\n{x},{y},a\n{upper[0]},{upper[1]},b\n")
    for name, source in places.items():
        map_scene(source, points, tmp_path / f"{name}-map.tif", encoder=encoder, **GRID)
    with quiet_georeference():
        maps = [rasterio.open(tmp_path / f"{name}-map.tif") for name in places]
    np.testing.assert_array_equal(*[file.read() for file in maps])
    assert maps[0].transform == maps[1].transform
    assert not list(tmp_path.glob(".*"))


def test_a_query_may_be_a_turn_away(tmp_path, encoders):
    path = tmp_path / "scene.tif"
    ODD["longitudes to 360"](path)
    hits = []
    for number, longitude in enumerate((196.0, -164.0, 556.0)):
        out = tmp_path / f"{number}.geojson"
        hits.append(search(path, (longitude, 15.0), out, encoder=encoders[""], count=3, **GRID))
        xs = np.array(
            [
                place
                for feature in json.loads(out.read_text())["features"]
                for ring in feature["geometry"]["coordinates"]
                for place in ring
            ]
        )
        assert (np.abs(xs[..., 0]) <= 180).all()
    assert hits[0] == hits[1] == hits[2]
    with pytest.raises(InputError, match="lies outside"):
        search(path, (-150.0, 15.0), tmp_path / "no.geojson", encoder=encoders[""], **GRID)


ODD_CRS = {
    "rotated pole": "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6367470",
    "airy": "+proj=airy +R=6371000",
    "goode": "+proj=igh +datum=WGS84",
    "mars": "IAU_2015:49900",
    "mars plane": "+proj=eqc +R=3396190",
    "moon": 'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon_2000_IAU_IAG",1737400,0]],'
    'PRIMEM["Reference_Meridian",0],UNIT["Degree",0.0174532925199433]]',
    "engineering": 'ENGCRS["site",EDATUM["pit"],CS[Cartesian,2],AXIS["x",east],'
    'AXIS["y",north],LENGTHUNIT["metre",1]]',
    "local": 'LOCAL_CS["site grid",UNIT["metre",1]]',
    "geocentric": "EPSG:4978",
    "with heights": "EPSG:32633+5773",
    "geostationary": "+proj=geos +h=35785831 +lon_0=0",
}


@pytest.mark.parametrize("kind", ODD_CRS)
def test_an_odd_crs_is_kept_or_refused_in_one_line(kind, tmp_path, encoders, capsys):
    crs = CRS.from_user_input(ODD_CRS[kind])
    place = (crs, Affine(0.01, 0, 15, 0, -0.01, 50))
    path = create(tmp_path / "scene.tif", draw(64, 96).astype(np.uint8), place)
    with Scene(path) as scene:
        crs = scene.crs
    encoder = encoders[""]
    for name in ("out.tif", "out.parquet"):
        embed(path, encoder, tmp_path / name, **GRID)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs == crs or "cannot be kept" in capsys.readouterr().err
    for name in ("scene", "out"):
        source = tmp_path / f"{name}.tif"
        search(source, (15.5, 49.7), tmp_path / f"{name}.geojson", encoder=encoder, **GRID)
        points = tmp_path / "points.csv"
        points.write_text("x,y,class\n15.1,49.9,a\n15.8,49.5,b\n")
        made = tmp_path / f"{name}-map.tif"
        done = map_scene(source, points, made, encoder=encoder, **GRID)
        with rasterio.open(made) as file:
            assert file.crs == crs or "cannot be kept" in capsys.readouterr().err
            assert file.tags(1) is not None
        assert "<Category>a</Category>" in made.with_name(f"{made.name}.aux.xml").read_text()
        assert done.classes == ("a", "b")
    tile(path, tmp_path / "chips", size=32)
    assert not list(tmp_path.rglob(".*"))


def test_a_crs_that_is_lost_is_kept_beside(tmp_path, encoders):
    place = (ODD_CRS["rotated pole"], Affine(0.1, 0, -10, 0, -0.1, 10))
    path = create(tmp_path / "scene.tif", draw(64, 96).astype(np.uint8), place)
    embed(path, encoders[""], tmp_path / "out.tif", **GRID)
    assert (tmp_path / "out.tif.aux.xml").is_file()
    embed(path, encoders[""], tmp_path / "folder", **GRID)
    assert sorted(each.name for each in (tmp_path / "folder").iterdir()) == [
        "scene.tif",
        "scene.tif.aux.xml",
    ]
    with rasterio.open(tmp_path / "folder" / "scene.tif") as file:
        kept = pyproj.CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019"))
    assert kept.is_derived


def test_nodata_that_is_given_is_part_of_an_embedding(tmp_path, encoders):
    pixels = np.maximum(draw(128, 160), 1).astype(np.uint8)
    pixels[:, :, :64] = 0
    path = create(tmp_path / "scene.tif", pixels)
    done = rs_otl_here(
        "embed", path, "--encoder", encoders[""].path, "-o", tmp_path / "a.tif", "--tile", 32,
        "--stride", 32,
    )  # fmt: skip
    assert done.stderr.count("--nodata 0") == 1
    done = rs_otl_here(
        "embed", path, "--encoder", encoders[""].path, "-o", tmp_path / "b.tif", "--tile", 32,
        "--stride", 32, "--nodata", 0, "--precision", "float32",
    )  # fmt: skip
    assert "--nodata" not in done.stderr
    assert ", 40.0 % nodata" in done.stdout
    options = {"encoder": encoders[""], **GRID}
    hits = search(tmp_path / "b.tif", (400_700.0, 4_999_700.0), tmp_path / "b.geojson", **options)
    more = {**options, "nodata": 0}
    assert hits == search(path, (400_700.0, 4_999_700.0), tmp_path / "s.geojson", **more)
    assert min(hit.column for hit in hits) >= 64
    with pytest.raises(InputError, match="made without --nodata, not with 0"):
        search(tmp_path / "a.tif", (400_700.0, 4_999_700.0), tmp_path / "n.geojson", **more)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (-20 + draw(64, 64) / 30, "lie below 0.*decibels"),
        (draw(64, 64) * 40, "expected the same units"),
        (draw(64, 64) / 1e6, "expected the same units"),
    ],
)
def test_values_in_other_units_are_refused_before_work(pixels, message, tmp_path, encoders):
    path = create(tmp_path / "scene.tif", pixels.astype(np.float32))
    with pytest.raises(InputError, match=message):
        embed(path, encoders["scaled"], tmp_path / "out.tif", **GRID)
    known = create(tmp_path / "known.tif", (draw(64, 64) / 1000).astype(np.float32))
    with pytest.raises(InputError, match=message):
        search(known, path, tmp_path / "hits.geojson", encoder=encoders["scaled"], **GRID)
    assert {each.name for each in tmp_path.iterdir()} == {"scene.tif", "known.tif"}


@pytest.mark.parametrize("name", [b"for\xeat.tif", b"wald\n.tif", b"\xff\xfe.TIF"])
def test_names_that_are_not_text_are_embedded_searched_and_cut(name, tmp_path, encoders):
    create(tmp_path / "plain.tif", draw(64, 96).astype(np.uint8))
    path = tmp_path / os.fsdecode(name)
    (tmp_path / "plain.tif").rename(path)
    encoder = encoders[""].path
    words = ("--encoder", encoder, "--tile", 32, "--stride", 32)
    for out in ("out.tif", "out.parquet", "folder", os.fsdecode(b"\xe9.tif")):
        rs_otl_here("embed", path, *words, "-o", tmp_path / out)
    rs_otl_here("search", path, *words, "--query", "400300,4999700", "-o", tmp_path / "s.geojson")
    found = (tmp_path / "s.geojson").read_text()
    assert json.loads(found)["features"][0]["properties"]["scene"].isprintable()
    rs_otl_here("tile", path, "-o", tmp_path / "chips", "--tile", 32)
    assert len(list((tmp_path / "chips").iterdir())) == 6
