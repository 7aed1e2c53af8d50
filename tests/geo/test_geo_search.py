import json
import sys
import warnings
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import rasterio
import shapely.geometry
from geo_scenes import PLACES, draw, make_encoder, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyproj import Transformer
from rasterio import Affine

from rs_otl.errors import InputError
from rs_otl.geo import embed, search
from rs_otl.geo.similar import most_similar
from rs_otl.models import load_encoder


def planted(copies, seed=0):
    """A scene with the same 32-pixel picture at several places (row, column)."""
    pixels = draw(192, 256, seed=seed)
    picture = draw(32, 32, seed=99)
    for row, column in copies:
        pixels[:, row : row + 32, column : column + 32] = picture
    return pixels.astype(np.uint8)


COPIES = [(0, 0), (64, 128), (128, 32), (144, 208)]


@pytest.mark.parametrize("place", PLACES)
def test_copies_of_the_place_asked_for_come_first(place, tmp_path, encoder):
    path = write(tmp_path / "scene.tif", planted([(0, 0), (56, 120), (120, 24)]), place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as scene:
            x, y = scene.transform @ (120 + 16.5, 56 + 16.5)
            crs = scene.crs
    hits = search(
        path, (x, y), tmp_path / "hits.geojson", encoder=encoder, count=8, tile=32, stride=16
    )
    # The tiles of cells of 16 pixels begin 8 pixels off a multiple of 16, but in the corner.
    assert {(hit.row, hit.column) for hit in hits[:2]} == {(0, 0), (120, 24)}
    assert [hit.score for hit in hits[:2]] == pytest.approx([1, 1], abs=1e-4)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    found = json.loads((tmp_path / "hits.geojson").read_text())["features"]
    assert [feature["properties"]["rank"] for feature in found] == list(range(1, 9))
    top, left = (found[0]["properties"][name] for name in ("row", "column"))
    ring = shapely.geometry.shape(found[0]["geometry"])
    # RFC 7946, section 3.1.6: counter-clockwise.
    assert ring.exterior.is_ccw
    corners = [(top + row, left + column) for row, column in ((0, 0), (0, 32), (32, 32), (32, 0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as scene:
            outline = np.array([scene.transform @ (column, row) for row, column in corners])
    if place == "no CRS":  # y counts down from 0, as a GIS shows such an image
        outline *= [1, -1]
    if crs:
        to_degrees = Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)
        outline = np.stack(to_degrees.transform(*outline.T), axis=1)
    assert shapely.Polygon(outline).symmetric_difference(ring).area < 1e-6 * ring.area
    assert len(geopandas.read_file(tmp_path / "hits.geojson")) == 8


def test_no_two_hits_overlap_nor_any_the_place_asked_for(tmp_path, encoder):
    path = write(tmp_path / "scene.tif", planted(COPIES), "no CRS")
    hits = search(path, "144,80", tmp_path / "hits.geojson", encoder=encoder, tile=32, stride=8)
    places = np.array([(hit.row, hit.column) for hit in hits] + [(68, 132)])
    apart = np.abs(places[:, None] - places[None]).max(-1)
    assert (apart[~np.eye(len(places), dtype=bool)] >= 32).all()


def test_hits_are_those_of_a_search_through_all_embeddings(tmp_path, encoder):
    """Greedy suppression over every tile, written down once more, plainly."""
    path = write(tmp_path / "scene.tif", draw(160, 160).astype(np.uint8), "no CRS")
    embed(path, encoder, tmp_path / "all.parquet", tile=32, stride=8)
    frame = geopandas.read_parquet(tmp_path / "all.parquet")
    rows = np.stack(frame["embedding"]).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked = (frame["row"] == 4) & (frame["column"] == 4)
    scores = rows @ rows[asked.to_numpy()][0]
    taken, expected = [(4, 4)], []
    for number in np.argsort(-scores):
        place = (int(frame["row"][number]), int(frame["column"][number]))
        if all(max(abs(place[0] - r), abs(place[1] - c)) >= 32 for r, c in taken):
            taken.append(place)
            expected.append(scores[number])
    hits = search(
        path, (20, 20), tmp_path / "hits.geojson", encoder=encoder, count=6, tile=32, stride=8
    )
    np.testing.assert_allclose([hit.score for hit in hits], expected[:6], atol=1e-4)


def test_a_box_is_the_mean_of_its_tiles_and_an_image_is_a_tile(tmp_path, encoder):
    pixels = planted(COPIES)
    path = write(tmp_path / "scene.tif", pixels, "utm")
    with rasterio.open(path) as scene:
        left, top = scene.transform @ (100, 40)
        right, bottom = scene.transform @ (170, 110)
    box = (left, bottom, right, top)
    hits = search(path, box, tmp_path / "box.geojson", encoder=encoder, count=3, tile=32, stride=16)
    assert all(hit.score < 1 for hit in hits)
    assert all(abs(hit.row - 64) >= 32 or abs(hit.column - 128) >= 32 for hit in hits)
    Image.fromarray(draw(32, 32, seed=99).astype(np.uint8).transpose(1, 2, 0)).save(
        tmp_path / "picture.png"
    )
    picture = tmp_path / "picture.png"
    hits = search(
        path, picture, tmp_path / "image.geojson", encoder=encoder, count=3, tile=32, stride=32
    )
    assert {(hit.row, hit.column) for hit in hits} >= {(0, 0), (64, 128), (128, 32)}


FOUR = ("blue", "green", "red", "nir")


@pytest.mark.parametrize("high", [9000, 700])
def test_a_chip_is_seen_as_the_place_that_it_was_cut_from(high, tmp_path, capsys):
    """With the encoder's scale, not its own greatest value, and bands by name."""
    pixels = draw(192, 256, bands=4, high=high).astype(np.uint16)
    scene = write(tmp_path / "scene.tif", pixels, names=FOUR)
    bands = ("red", "green", "blue", "nir")
    folder = make_encoder(
        tmp_path / "encoder", bands, "16-bit counts", 10000.0, architecture="test_resnet"
    )
    encoder = load_encoder(folder)
    embed(scene, encoder, tmp_path / "out.tif", tile=32, stride=32)
    for number, order in enumerate((FOUR, ("nir", "red", "blue", "green"), None)):
        # Without names a chip has the encoder's order, which is said.
        chosen = [FOUR.index(name) for name in (order or bands)]
        cut = pixels[chosen, 64:96, 128:160]
        chip = write(tmp_path / f"{number}.tif", cut, "no CRS", names=order)
        for source, grid in ((scene, {"tile": 32, "stride": 32}), (tmp_path / "out.tif", {})):
            out = tmp_path / "hits.geojson"
            hits = search(source, chip, out, encoder=encoder, count=2, **grid)
            out.unlink()
            assert (hits[0].row, hits[0].column) == (64, 128)
            assert hits[0].score == pytest.approx(1, abs=1e-5)
            said = f"{number}.tif: names no bands; taken as red, green, blue, nir, in this order"
            assert (said in capsys.readouterr().err) == (order is None)


def test_chips_of_another_kind_are_one_clear_line(tmp_path, encoder):
    pixels = planted(COPIES)
    path = write(tmp_path / "scene.tif", pixels)
    more = {"encoder": encoder, "tile": 32}
    for chip, message in (
        (write(tmp_path / "counts.tif", pixels[:, :32, :32].astype(np.uint16)), "16-bit counts"),
        (write(tmp_path / "other.tif", pixels[:, :32, :32], names=("a", "b", "c")), "has a, b, c"),
        (write(tmp_path / "two.tif", pixels[:2, :32, :32]), "has band-1, band-2"),
        (write(tmp_path / "no.tif", 0 * pixels[:, :32, :32], nodata=0), "all is nodata"),
        (write(tmp_path / "pixel.tif", np.zeros((1, 1, 1), np.uint8)), "has band-1"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            search(path, chip, tmp_path / "hits.geojson", **more)
        assert chip.name in str(caught.value)
    wide = {"crs": "EPSG:32633", "transform": PLACES["utm"][1], "sparse_ok": True}
    rasterio.open(
        tmp_path / "wide.tif", "w", "GTiff", 2**14, 2**13, 3, dtype="uint8", **wide
    ).close()
    with pytest.raises(InputError, match="expected an image of a place, not a scene"):
        search(path, tmp_path / "wide.tif", tmp_path / "hits.geojson", **more)
    # Where the user says that the scene's names are wrong, so are those of a chip of it.
    turned = write(tmp_path / "turned.tif", pixels[::-1].copy())
    chip = write(tmp_path / "chip.tif", pixels[::-1, 64:96, 128:160].copy(), "no CRS")
    (hit,) = search(
        turned, chip, tmp_path / "hits.geojson", bands=["3", "2", "1"], count=1, stride=32, **more
    )
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_a_query_beside_the_scene_is_told_what_would_fit(tmp_path, encoder):
    path = write(tmp_path / "scene.tif", planted(COPIES))
    to_degrees = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(401_000, 4_999_000)
    extent = "the scene reaches from 400000,4998080 to 402560,5000000 in EPSG:32633"
    for query, crs, message in (
        (f"{longitude},{latitude}", None, rf"{extent}; EPSG:4326 .* would fit.*--query-crs"),
        (
            f"{latitude},{longitude}",
            "EPSG:4326",
            rf"{extent}, from 13\..* in EPSG:4326; .*swapped,",
        ),
        ("401000,4999000", "EPSG:4326", "the scene's CRS, EPSG:32633, would fit"),
        ("4999000,401000", None, "x and y are swapped, expected east before north"),
        (f"{latitude},{longitude}", None, "swapped: EPSG:4326 .* would fit"),
        ("1e300,-1e300", None, rf"{extent}.*--query-crs"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            search(path, query, tmp_path / "no.geojson", query_crs=crs, encoder=encoder, tile=32)
        assert str(caught.value).isprintable()


def test_hits_have_an_outline_in_qgis(tmp_path, encoder):
    path = write(tmp_path / "scene.tif", planted(COPIES))
    settings = {"encoder": encoder, "count": 2, "tile": 32}
    search(path, "401000,4999000", tmp_path / "hits.geojson", **settings)
    line = ElementTree.parse(tmp_path / "hits.qml").find(".//symbol[@type='fill']/layer")
    assert line.get("class") == "SimpleLine"
    # A style of the user's own stays.
    (tmp_path / "other.qml").write_text("mine")
    search(path, "401000,4999000", tmp_path / "other.geojson", **settings)
    assert (tmp_path / "other.qml").read_text() == "mine"


def test_scenes_in_several_crs_are_searched_together(tmp_path, encoder):
    one = write(tmp_path / "one.tif", planted(COPIES[:1], seed=1), "utm")
    other = write(tmp_path / "other.tif", planted(COPIES[1:3], seed=2), "degrees")
    with rasterio.open(other) as scene:
        x, y = scene.transform @ (32 + 16.5, 128 + 16.5)
    out, query = tmp_path / "hits.geojson", f"{x},{y}"
    hits = search(
        [one, other],
        query,
        out,
        encoder=encoder,
        count=5,
        query_crs="EPSG:4326",
        tile=32,
        stride=32,
    )
    assert {(hit.scene, hit.row, hit.column) for hit in hits[:2]} == {
        ("one.tif", 0, 0),
        ("other.tif", 64, 128),
    }


SITE_GRID = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'


@pytest.mark.parametrize(
    ("crs", "transform", "words"),
    [
        (None, Affine.identity(), "pixels of the scene (y counts down from 0)"),
        (None, Affine(2, 0, 50, 0, -2, 900), "the coordinates of the scene's transform"),
        (SITE_GRID, Affine(2, 0, 50, 0, -2, 900), "the scene's local CRS (site grid)"),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
def test_hits_without_a_place_on_earth_say_so(
    crs, transform, words, embedded, tmp_path, encoder, capsys, monkeypatch
):
    monkeypatch.setitem(PLACES, "here", (crs, transform))
    path = write(tmp_path / "scene.tif", planted(COPIES), "here")
    x, y = transform @ (144, 80)
    out, more = tmp_path / "hits.geojson", {"encoder": encoder, "tile": 32, "stride": 16}
    source = path
    if embedded:
        source = tmp_path / "out.tif"
        embed(path, out=source, **more)
    (hit, *_) = search(source, (x, y), out, count=3, **more)
    found = json.loads(out.read_text())
    assert found["coordinate_system"] == {"scene.tif": words}
    told = capsys.readouterr().err.splitlines()
    expected = f"scene.tif: hits are in {words}, not in longitude and latitude"
    assert told.count(expected) == 1
    if transform == Affine.identity():
        transform = Affine.scale(1, -1)  # as a GIS shows such an image
        (same, *_) = search(source, (x, -y), tmp_path / "same.geojson", count=3, **more)
        assert same == hit
        assert (hit.x, hit.y) == (hit.column + 16, -hit.row - 16)
    corners = [transform @ (hit.column + dx, hit.row + dy) for dx in (0, 32) for dy in (0, 32)]
    ring = shapely.geometry.shape(found["features"][0]["geometry"])
    assert ring.equals(shapely.MultiPoint(corners).convex_hull)
    if crs:
        with pytest.raises(InputError, match=r"--query-crs EPSG:4326: cannot be transformed to"):
            search(source, (x, y), tmp_path / "no.geojson", query_crs="EPSG:4326", **more)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32660", Affine(10, 0, 832_000, 0, -10, 500_000)),
        ("EPSG:4326", Affine(0.01, 0, 178.8, 0, -0.01, 10)),
        ("EPSG:4326", Affine(0.01, 0, -181.2, 0, -0.01, 10)),
        ("EPSG:4326", Affine(1.3, 0, 20, 0, -0.5, 40)),
    ],
)
def test_hits_across_the_antimeridian_are_cut(crs, transform, tmp_path, encoder, monkeypatch):
    monkeypatch.setitem(PLACES, "here", (crs, transform))
    path = write(tmp_path / "scene.tif", draw(96, 256).astype(np.uint8), "here")
    out = tmp_path / "hits.geojson"
    hits = search(path, transform @ (5, 5), out, encoder=encoder, count=99, tile=32, stride=32)
    features = json.loads(out.read_text())["features"]
    assert len(hits) == len(features) == 23
    kinds = set()
    to_scene = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    for hit, feature in zip(hits, features, strict=True):
        shape = shapely.geometry.shape(feature["geometry"])
        kinds.add(shape.geom_type)
        west, _, east, _ = shape.bounds
        assert -180 <= west < east <= 180
        parts = getattr(shape, "geoms", [shape])
        assert all(part.exterior.is_ccw for part in parts)
        assert sum(part.bounds[2] - part.bounds[0] for part in parts) < 45
        if len(parts) == 2:
            assert {part.bounds[0] for part in parts} >= {-180}
            assert {part.bounds[2] for part in parts} >= {180}
        # The parts are the tile: they cover its area and lie in it.
        x, y = to_scene.transform(*np.concatenate([part.exterior.coords for part in parts]).T)
        if crs == "EPSG:4326":
            centre = (transform @ (hit.column + 16, hit.row + 16))[0]
            x += 360 * np.round((centre - x) / 360)
            area = abs(32 * transform.a * 32 * transform.e)
            assert sum(part.area for part in parts) == pytest.approx(area)
        columns, rows = ~transform @ (x, y)
        assert columns == pytest.approx(np.clip(columns, hit.column, hit.column + 32), abs=0.1)
        assert rows == pytest.approx(np.clip(rows, hit.row, hit.row + 32), abs=0.1)
    assert kinds == {"Polygon", "MultiPolygon"}


def test_tiles_off_the_earth_are_left_out_and_counted(tmp_path, encoder, monkeypatch, capsys):
    crs = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +datum=WGS84"
    place = (crs, Affine(45_000, 0, -45_000 * 128, 0, -45_000, 45_000 * 128))
    monkeypatch.setitem(PLACES, "disk", place)
    path = write(tmp_path / "disk.tif", draw(256, 256).astype(np.uint8), "disk")
    out = tmp_path / "hits.geojson"
    hits = search(path, "0,0", out, encoder=encoder, count=99, tile=32, stride=32)
    left_out = [line for line in capsys.readouterr().err.splitlines() if "off the Earth" in line]
    assert len(left_out) == 1
    number = int(left_out[0].split(": ")[1].split()[0])
    assert number >= 12
    # All other tiles but that of the query.
    assert len(hits) == 64 - number - 1
    for feature in json.loads(out.read_text())["features"]:
        assert np.isfinite(
            shapely.get_coordinates(shapely.geometry.shape(feature["geometry"]))
        ).all()


def test_bad_queries_are_one_clear_line(tmp_path, encoder):
    pixels = planted(COPIES)
    pixels[:, 100:, 100:] = 0
    path = write(tmp_path / "scene.tif", pixels, "no CRS", nodata=0)
    Image.fromarray(pixels[0]).save(tmp_path / "grey.png")
    out = tmp_path / "hits.geojson"
    for query, more, message in (
        ("900,900", {}, "lies outside"),
        ("180,160", {}, "lies on nodata"),
        ("1,2,3", {}, "expected x,y or left,bottom,right,top"),
        ("picture.png", {}, "expected x,y"),
        (
            str(tmp_path / "grey.png"),
            {},
            "trained on the bands red, green, blue, .*grey.png has band-1",
        ),
        (
            "20,20",
            {"query_crs": "EPSG:4326"},
            "no CRS, so --query-crs EPSG:4326 cannot",
        ),
        (
            "20,20",
            {"query_crs": "EPSG:4326", "within": "1,1,2,2"},
            "has no CRS, so --query-crs EPSG:4326 cannot be used",
        ),
        ("20,20", {"count": 0}, "expected at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            search(path, query, out, encoder=encoder, tile=32, **more)
        assert not out.exists()
    with pytest.raises(InputError, match=r"hits\.geojson"):
        search(path, "20,20", tmp_path / "hits.shp")
    picture = pixels[:, :32, :32].transpose(1, 2, 0)
    Image.fromarray(picture).save(tmp_path / "rgb.png")
    empty = write(tmp_path / "empty.tif", 0 * pixels, nodata=0)
    for scenes in (empty, [empty, empty]):
        with pytest.raises(InputError, match=r"^[^:]*empty\.tif: no tile holds data"):
            search(scenes, tmp_path / "rgb.png", out, encoder=encoder, tile=32)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_most_similar_rows_are_those_of_a_full_sort(n, count, width, seed):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, width)).astype(np.float32)
    query = random.normal(size=width).astype(np.float32)
    scores, positions = most_similar(rows, query, count)
    cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    assert len(scores) == min(n, count)
    np.testing.assert_allclose(scores, np.sort(cosines)[::-1][:count], atol=1e-5)
    np.testing.assert_allclose(cosines[positions], scores, atol=1e-5)


def test_faiss_and_pytorch_agree(monkeypatch):
    pytest.importorskip("faiss")
    random = np.random.default_rng(0)
    rows = random.normal(size=(5000, 64)).astype(np.float32)
    by_faiss = most_similar(rows, rows[7], 20)
    monkeypatch.setattr("rs_otl.geo.similar.importlib.util.find_spec", lambda name: None)
    by_torch = most_similar(rows, rows[7], 20)
    np.testing.assert_allclose(by_faiss[0], by_torch[0], atol=1e-5)
    np.testing.assert_array_equal(by_faiss[1], by_torch[1])
    assert "faiss" in sys.modules
