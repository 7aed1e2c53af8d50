import json
import shutil
import subprocess
from xml.etree import ElementTree

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import rasterio
import shapely
from command_line import rs_otl_here
from geo_scenes import PLACES, write
from rasterio import Affine
from rio_cogeo.cogeo import cog_validate
from scipy import stats

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo import map as map_scene


def stripes(width=192, height=128):
    """Dark, green and bright thirds, each of its own texture."""
    random = np.random.default_rng(0)
    pixels = np.zeros((3, height, width))
    third = width // 3
    for number, (colour, noise) in enumerate(
        (((20, 40, 90), 5), ((60, 140, 50), 30), ((200,) * 3, 15))
    ):
        part = np.array(colour)[:, None, None] + random.normal(0, noise, (3, height, third))
        pixels[:, :, number * third : (number + 1) * third] = part
    return np.clip(pixels, 1, 255).astype(np.uint8)


def labels(path, scene, places, crs=None, field="class"):
    """Write (class, column, row) or (class, geometry in pixels) as labels."""
    with Scene(scene) as opened:
        shapes = [
            shapely.transform(
                place[1] if len(place) == 2 else shapely.Point(*place[1:]),
                lambda xy: np.stack(opened.coordinate(xy[:, 0], xy[:, 1]), axis=1),
            )
            for place in places
        ]
        frame = geopandas.GeoDataFrame(
            {field: [place[0] for place in places]}, geometry=shapes, crs=opened.crs
        )
    if crs:
        frame = frame.to_crs(crs)
    frame.to_file(path)
    return path


THREE = [
    ("water", 20, 30),
    ("water", 40, 100),
    ("wood", 90, 20),
    ("wood", 100, 100),
    ("roof", 160, 64),
]


@pytest.mark.parametrize(
    ("place", "name", "crs"),
    [
        ("utm", "points.geojson", "EPSG:4326"),
        ("web mercator", "points.gpkg", "EPSG:32633"),
        ("degrees", "points.gpkg", None),
        ("rotated", "points.gpkg", "EPSG:3857"),
        ("no CRS", "points.gpkg", None),
    ],
)
@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_five_labels_make_a_map_in_any_crs(place, name, crs, tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes(), place)
    given = labels(tmp_path / name, scene, THREE, crs)
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32, stride=32)
    assert done.classes == ("roof", "water", "wood")
    assert done.labels == {"roof": 1, "water": 2, "wood": 2}
    assert not done.skipped
    with rasterio.open(tmp_path / "map.tif") as file:
        (chart,) = file.read()
        assert file.crs == PLACES[place][0]
        assert file.nodata == 0
        assert file.colormap(1)[1] != file.colormap(1)[2]
        assert file.descriptions == ("class",)
        # With a second band QGIS would take the map for a picture, unless it finds the style.
        assert [kind.name for kind in file.colorinterp] == ["palette"]
    with rasterio.open(done.maps[0].confidence) as file:
        (confidence,) = file.read()
        assert (file.crs, file.nodata) == (PLACES[place][0], 0)
        assert file.descriptions == ("confidence in per cent",)
    expected = np.repeat([[2, 2, 3, 3, 1, 1]], 4, axis=0)
    np.testing.assert_array_equal(chart, expected)
    assert confidence.min() > 100 / 3
    assert confidence.max() <= 100
    assert done.cells == {"roof": 8, "water": 8, "wood": 8}


def test_each_label_is_left_out_but_the_only_one_of_its_class(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    given = labels(tmp_path / "points.gpkg", scene, THREE)
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32)
    assert (done.accuracy.correct, done.accuracy.tested) == (4, 4)
    interval = stats.binomtest(4, 4).proportion_ci(method="wilson")
    assert (done.accuracy.low, done.accuracy.high) == pytest.approx((interval.low, interval.high))
    # A label that contradicts the scene is told wrong when it is left out.
    given = labels(tmp_path / "wrong.gpkg", scene, [*THREE, ("roof", 150, 20), ("water", 170, 90)])
    done = map_scene(scene, given, tmp_path / "other.tif", encoder=encoder, tile=32)
    assert done.accuracy.tested == 7
    assert done.accuracy.correct < 7


def test_the_legend_is_one_that_a_gis_shows(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    given = labels(tmp_path / "points.gpkg", scene, [("a & b", 20, 30), ("<c>", 160, 30)])
    map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32)
    valid, *told = cog_validate(tmp_path / "map.tif")
    assert valid, told
    names = ElementTree.parse(tmp_path / "map.tif.aux.xml").findall(".//Category")
    assert [name.text for name in names] == [None, "<c>", "a & b"]
    entries = ElementTree.parse(tmp_path / "map.qml").findall(".//paletteEntry")
    with rasterio.open(tmp_path / "map.tif") as file:
        colours = file.colormap(1)
    assert {entry.get("label"): entry.get("color") for entry in entries} == {
        name: "#{:02x}{:02x}{:02x}".format(*colours[value][:3])
        for value, name in ((1, "<c>"), (2, "a & b"))
    }
    if shutil.which("gdalinfo"):
        told = subprocess.run(
            ["gdalinfo", tmp_path / "map.tif"], capture_output=True, text=True, check=True
        ).stdout
        assert "1: <c>\n      2: a & b" in told


def test_polygons_stand_for_the_cells_within(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes(), "degrees")
    places = [
        (1, shapely.box(4, 4, 60, 120)),
        (10, shapely.MultiPolygon([shapely.box(70, 4, 124, 60), shapely.box(70, 70, 120, 120)])),
        (2, shapely.box(150, 60, 152, 62)),
    ]
    given = labels(tmp_path / "areas.gpkg", scene, places, field="landuse")
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32, stride=32)
    # Numbers are classes too, in the order of numbers.
    assert done.classes == ("1", "2", "10")
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), np.repeat([[1, 1, 3, 3, 2, 2]], 4, axis=0))
    assert done.accuracy.tested == 0
    assert done.accuracy.low is None


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("²", "m²", "10"), ("10", "m²", "²")),
        (("9" * 5000, "10", "٣"), ("10", "9" * 5000, "٣")),
        (("a\x1b[31mb", "x\ty\nz", "\x00"), ("\\x00", "a\\x1b[31mb", "x y z")),
        ((1, 2.5, 10), ("1.0", "2.5", "10.0")),
        ((10**15, 3, 20), ("3", "20", "1" + "0" * 15)),
        (("a\u00a0b", "\u202eevil", "a  b "), ("\\u202eevil", "a b")),
        ((True, False, None), ("False", "True")),
    ],
)
def test_classes_may_have_any_name(names, classes, tmp_path, encoder):
    """As one printable line of text, in the legend, in tags and on stdout."""
    scene = write(tmp_path / "scene.tif", stripes())
    places = [(20, 30), (90, 20), (160, 64)]
    x, y = zip(
        *((400_000 + 10 * column, 5_000_000 - 10 * row) for column, row in places), strict=True
    )
    frame = geopandas.GeoDataFrame(
        {"class": list(names)}, geometry=geopandas.points_from_xy(x, y), crs="EPSG:32633"
    )
    frame.to_parquet(tmp_path / "points.parquet")
    if 2.5 in names:
        classes = tuple(name.removesuffix(".0") for name in classes)
    told = rs_otl_here(
        "map", scene, "--encoder", encoder.source, "--tile", 32, "--labels",
        tmp_path / "points.parquet", "-o", tmp_path / "map.tif",
    )  # fmt: skip
    assert "".join(told.stdout.splitlines()).isprintable()
    assert max(map(len, told.stdout.splitlines())) < 400
    assert all(line.isprintable() for line in told.stderr.splitlines())
    with rasterio.open(tmp_path / "map.tif") as file:
        assert tuple(json.loads(file.tags()["RS_OTL_CLASSES"])) == classes
    entries = ElementTree.parse(tmp_path / "map.qml").findall(".//paletteEntry")
    assert tuple(entry.get("label") for entry in entries) == classes
    told = ElementTree.parse(tmp_path / "map.tif.aux.xml").findall(".//Category")
    assert tuple(name.text for name in told[1:]) == classes


def test_what_a_reader_warns_of_is_skipped_and_named(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes(), "no CRS")
    ring = [[70, 10], [120, 10], [120, 100], [70, 100]]
    shapes = [
        {"type": "Point", "coordinates": [20, 30]},
        {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        {"type": "Point", "coordinates": []},
        {"type": "Point", "coordinates": [20, None]},
        {"type": "Polygon", "coordinates": []},
        {"type": "GeometryCollection", "geometries": []},
        {"type": "Sphere"},
    ]
    features = [
        {"type": "Feature", "id": 1, "properties": {"class": klass}, "geometry": shape}
        for klass, shape in zip("abcdefg", shapes, strict=True)
    ]

    def run(name, given, check=0):
        collection = {"type": "FeatureCollection", "features": given}
        (tmp_path / name).write_text(json.dumps(collection))
        words = ["--tile", 32, "--labels", tmp_path / name, "-o", tmp_path / f"{name}.tif"]
        told = rs_otl_here("map", scene, "--encoder", encoder.source, *words, check=check)
        first, *lines = told.stderr.splitlines()
        assert first.endswith("no CRS; working in pixels")
        return lines

    assert [line.split(")")[0] for line in run("odd.geojson", features)] == [
        f"skipped label {number} ({klass}" for number, klass in enumerate("cdefg", start=3)
    ]
    features[1]["geometry"]["coordinates"] = [ring]  # which is not closed
    (line,) = run("open.geojson", features[:2], check=2)
    assert "open.geojson: cannot be read" in line


FAR = [1e308, -1e308, float("inf"), 1e20, 4e7, float("nan")]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", None])
@pytest.mark.parametrize("place", ["utm", "degrees", "no CRS"])
@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_labels_out_of_reach_are_skipped_without_a_warning(place, crs, tmp_path, encoder):
    """Beyond the projection, beyond numbers: points and polygons."""
    scene = write(tmp_path / "scene.tif", stripes(), place)
    good = geopandas.read_file(labels(tmp_path / "good.gpkg", scene, THREE[:3]))
    shapes = [shapely.Point(x, y) for x in FAR for y in (*FAR[:4], 95, 0)]
    shapes += [shapely.Point(x, y).buffer(1) for x, y in ((1e20, 1e20), (1790, 95), (1e12, 0))]
    shapes += [shapely.Polygon([(1e300, 1e300), (1e301, 1e300), (1e301, 1e301)])]
    bad = geopandas.GeoDataFrame({"class": ["bad"] * len(shapes)}, geometry=shapes, crs=crs)
    if crs and good.crs:
        bad = bad.to_crs(good.crs)
    both = geopandas.GeoDataFrame(
        {"class": [*good["class"], *bad["class"]]},
        geometry=[*good.geometry, *bad.geometry],
        crs=good.crs,
    )
    both.to_parquet(tmp_path / "both.parquet")
    done = map_scene(
        scene, tmp_path / "both.parquet", tmp_path / "map.tif", encoder=encoder, **CELL
    )
    assert done.labels == {"water": 2, "wood": 1}
    assert {label.reason for label in done.skipped} <= {"lies outside the scene", "has no geometry"}
    assert len(done.skipped) == len(shapes)
    bad.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"none of 40 labels can be used .*the scene reaches from"):
        map_scene(scene, tmp_path / "bad.parquet", tmp_path / "no.tif", encoder=encoder, **CELL)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32633", "EPSG:3857"])
def test_swapped_coordinates_are_named_as_such(crs, tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    frame = geopandas.read_file(labels(tmp_path / "a.gpkg", scene, THREE, crs))
    swapped = frame.set_geometry(
        shapely.transform(frame.geometry.to_numpy(), lambda xy: xy[:, ::-1]), crs=crs
    )
    swapped.to_file(tmp_path / "swapped.gpkg")
    message = "lies outside .*; the scene reaches from 400000,4998720 .* in EPSG:32633"
    # With the extent in the CRS that the labels are in.
    message += "" if crs == "EPSG:32633" else f", from .* to .* in {crs}"
    with pytest.raises(InputError, match=message + "; x and y are swapped, expected east before"):
        map_scene(scene, tmp_path / "swapped.gpkg", tmp_path / "no.tif", encoder=encoder, **CELL)
    # In a file that names another CRS besides.
    if crs == "EPSG:4326":
        swapped.set_crs("EPSG:32633", allow_override=True).to_file(tmp_path / "both.gpkg")
        with pytest.raises(InputError, match=r"swapped: EPSG:4326 .* would fit, expected"):
            map_scene(scene, tmp_path / "both.gpkg", tmp_path / "no.tif", encoder=encoder, **CELL)


def test_longitudes_of_whole_turns_are_one_place(tmp_path, encoder, monkeypatch):
    monkeypatch.setitem(PLACES, "turned", ("EPSG:4326", Affine(0.01, 0, 199, 0, -0.01, 10)))
    scene = write(tmp_path / "scene.tif", stripes(), "turned")
    rows = [f"{name},{199 - 360 + column / 100},{10 - row / 100}" for name, column, row in THREE]
    (tmp_path / "points.csv").write_text("\n".join(["class,lon,lat", *rows]))
    done = map_scene(scene, tmp_path / "points.csv", tmp_path / "map.tif", encoder=encoder, **CELL)
    assert done.labels == {"roof": 1, "water": 2, "wood": 2}


def test_labels_that_cannot_be_used_are_named(tmp_path, encoder):
    pixels = stripes()
    pixels[:, :40, :40] = 0
    scene = write(tmp_path / "scene.tif", pixels, nodata=0)
    line = shapely.LineString([(0, 0), (50, 50)])
    flat = shapely.Polygon([(50, 50), (90, 50), (50, 50)])
    places = [*THREE, ("water", 500, 10), ("wood", 5, 5), (None, 50, 50), ("line", line)]
    places += [("flat", flat), ("flats", shapely.MultiPolygon([flat, flat]))]
    given = labels(tmp_path / "points.gpkg", scene, places)
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32)
    assert {each.name: each.reason for each in done.skipped} == {
        "label 1 (water)": "lies on nodata",
        "label 6 (water)": "lies outside the scene",
        "label 7 (wood)": "lies on nodata",
        "label 8 (no class)": "has no class",
        "label 9 (line)": "is a LineString, not a point or polygon",
        "label 10 (flat)": "has no area",
        "label 11 (flats)": "has no area",
    }
    assert done.labels == {"roof": 1, "water": 1, "wood": 2}


CELL = {"tile": 32, "stride": 32}


def test_polygons_that_cross_themselves_are_repaired(tmp_path, encoder, capsys):
    """A bow-tie stands for both of its halves."""
    scene = write(tmp_path / "scene.tif", stripes())
    bow_tie = shapely.Polygon([(4, 4), (60, 120), (4, 120), (60, 4)])
    spike = shapely.Polygon([(80, 20), (120, 20), (120, 60), (80, 60), (80, 20), (80, 100)])
    given = labels(tmp_path / "areas.gpkg", scene, [("a", bow_tie), ("b", spike), ("c", 160, 64)])
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, **CELL)
    assert done.labels == {"a": 1, "b": 1, "c": 1}
    assert "2 polygons cross or touch themselves and were repaired" in capsys.readouterr().err
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), np.repeat([[1, 1, 2, 2, 3, 3]], 4, axis=0))


@pytest.mark.parametrize("crs", [None, "EPSG:4326"])
def test_parcels_that_only_touch_the_scene_lie_outside(crs, tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    touching = [
        ("left", shapely.box(-50, 10, 0, 60)),
        ("below", shapely.box(20, 128, 60, 150)),
        ("corner", shapely.box(192, 128, 200, 150)),
    ]
    given = labels(tmp_path / "areas.gpkg", scene, [*THREE, *touching], crs)
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, **CELL)
    assert done.classes == ("roof", "water", "wood")
    assert [(each.name, each.reason) for each in done.skipped] == [
        (f"label {number} ({name})", "lies outside the scene")
        for number, (name, _) in enumerate(touching, start=6)
    ]


def test_a_layer_is_chosen_by_name(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    frame = geopandas.read_file(labels(tmp_path / "points.gpkg", scene, THREE))
    both = tmp_path / "both.gpkg"
    frame.to_file(both, layer="north")
    pyogrio.write_dataframe(pandas.DataFrame({"style": ["red"]}), both, layer="layer_styles")
    map_scene(scene, both, tmp_path / "one.tif", encoder=encoder, **CELL)
    frame.iloc[:3].to_file(both, layer="south")
    with pytest.raises(InputError, match=r"both\.gpkg: several layers, north, south: .*--layer"):
        map_scene(scene, both, tmp_path / "map.tif", encoder=encoder, **CELL)
    with pytest.raises(InputError, match="no layer 'east', expected one of north"):
        map_scene(scene, both, tmp_path / "map.tif", encoder=encoder, layer="east", **CELL)
    done = map_scene(scene, both, tmp_path / "map.tif", encoder=encoder, layer="south", **CELL)
    assert done.labels == {"water": 2, "wood": 1}
    command = ["map", scene, "--labels", both, "-o", tmp_path / "cli.tif", "--tile", 32]
    told = rs_otl_here(*command, "--encoder", encoder.source, "--layer", "south")
    assert "water" in told.stdout
    assert "roof" not in told.stdout


@pytest.mark.parametrize("names", [("x", "y"), ("lon", "lat"), ("Longitude", "Latitude"), None])
def test_tables_of_points_and_geoparquet_are_labels(names, tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    degrees = names is None or names[0] != "x"
    source = labels(tmp_path / "points.gpkg", scene, THREE, "EPSG:4326" if degrees else None)
    frame = geopandas.read_file(source)
    if names is None:
        given = tmp_path / "points.parquet"
        frame.to_parquet(given)
    else:
        given = tmp_path / "points.csv"
        lines = [
            f"{klass},{point.x!r},{point.y!r}"
            for klass, point in zip(frame["class"], frame.geometry, strict=True)
        ]
        given.write_text("\n".join([f"kind,{','.join(names)}", *lines, "water,here,there"]))
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, **CELL)
    assert done.labels == {"roof": 1, "water": 2, "wood": 2}
    assert [each.reason for each in done.skipped] == ([] if names is None else ["has no geometry"])


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_clicks_of_qgis_on_an_image_without_georeference(tmp_path, encoder, capsys):
    scene = write(tmp_path / "scene.tif", stripes()[:, :, ::-1], "no CRS")
    clicks = [(name, 191 - column, -row) for name, column, row in THREE]
    given = labels(tmp_path / "clicks.gpkg", scene, clicks)
    done = map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, **CELL)
    assert (done.labels["water"], done.skipped) == (2, ())
    told = [line for line in capsys.readouterr().err.splitlines() if "QGIS" in line]
    assert len(told) == 1
    assert "clicks.gpkg: y counts down from 0" in told[0]


def test_labels_in_the_wrong_crs_are_told_what_would_fit(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    degrees = geopandas.read_file(labels(tmp_path / "a.gpkg", scene, THREE, "EPSG:4326"))
    degrees.set_crs("EPSG:32633", allow_override=True).to_file(tmp_path / "degrees.gpkg")
    metres = geopandas.read_file(labels(tmp_path / "b.gpkg", scene, THREE))
    metres.set_crs("EPSG:4326", allow_override=True).to_file(tmp_path / "metres.gpkg")
    extent = r"reaches from 400000,4998720 to 401920,5000000 in EPSG:32633"
    for name, fits in (
        ("degrees", r"EPSG:4326 \(longitude"),
        ("metres", "the scene's CRS, EPSG:32633,"),
    ):
        message = rf"none of 5 labels .*lies outside the scene.*{extent}.*; {fits}.* would fit"
        with pytest.raises(InputError, match=message) as caught:
            map_scene(
                scene, tmp_path / f"{name}.gpkg", tmp_path / "map.tif", encoder=encoder, **CELL
            )
        assert "\n" not in str(caught.value)


def test_labels_of_a_site_grid_are_those_in_its_own_coordinates(tmp_path, encoder, monkeypatch):
    local = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    monkeypatch.setitem(PLACES, "site", (local, Affine(2, 0, 50, 0, -2, 900)))
    scene = write(tmp_path / "scene.tif", stripes(), "site")
    rows = [f"{name},{50 + 2 * column},{900 - 2 * row}" for name, column, row in THREE]
    (tmp_path / "points.csv").write_text("\n".join(["class,x,y", *rows]))
    done = map_scene(scene, tmp_path / "points.csv", tmp_path / "map.tif", encoder=encoder, **CELL)
    assert done.labels == {"roof": 1, "water": 2, "wood": 2}
    frame = geopandas.GeoDataFrame(
        {"class": ["a"]}, geometry=[shapely.Point(15, 45)], crs="EPSG:4326"
    )
    frame.to_file(tmp_path / "degrees.geojson")
    message = r"degrees\.geojson: labels in WGS 84 cannot be transformed to the CRS of .*scene\.tif"
    with pytest.raises(InputError, match=message):
        map_scene(scene, tmp_path / "degrees.geojson", tmp_path / "no.tif", encoder=encoder, **CELL)


def test_labels_without_geometry_or_with_odd_classes_are_one_clear_line(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    table = pandas.DataFrame({"class": ["a", "b"]})
    pyogrio.write_dataframe(table, tmp_path / "table.gpkg")
    table.to_csv(tmp_path / "table.csv", index=False)
    table.to_parquet(tmp_path / "table.parquet")

    def features(name, klass, geometry):
        feature = {"type": "Feature", "properties": {"class": klass}, "geometry": geometry}
        (tmp_path / name).write_text(
            json.dumps({"type": "FeatureCollection", "features": [feature]})
        )

    point = {"type": "Point", "coordinates": [15, 45]}
    features("none.geojson", "a", None)
    features("list.geojson", ["a", "b"], point)
    features("record.geojson", {"name": "a"}, point)
    for name, message in (
        ("table.gpkg", "a table without geometries, expected points or polygons"),
        ("table.csv", "a table without geometries, .*columns x and y"),
        ("table.parquet", "cannot be read"),
        ("none.geojson", r"label 1 \(a\) has no geometry"),
        ("list.geojson", "class of label 1 is a list, expected one name or number"),
        ("record.geojson", "class of label 1 is a record, expected one name or number"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            map_scene(scene, tmp_path / name, tmp_path / "map.tif", encoder=encoder, **CELL)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nodata_stays_nodata(tmp_path, encoder):
    pixels = stripes()
    pixels[:, :, 128:] = 0
    scene = write(tmp_path / "scene.tif", pixels, nodata=0)
    given = labels(tmp_path / "points.gpkg", scene, THREE[:4])
    map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32, stride=32)
    chart, confidence = (
        rasterio.open(tmp_path / name).read(1) for name in ("map.tif", "map-confidence.tif")
    )
    assert (chart[:, :4] > 0).all()
    assert not chart[:, 4:].any()
    assert not confidence[:, 4:].any()


def test_bad_labels_are_one_clear_line_and_leave_nothing(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    labels(tmp_path / "far.gpkg", scene, [("a", 900, 900), ("b", -90, 3)])
    labels(tmp_path / "one.gpkg", scene, [("a", 20, 20), ("a", 90, 90)])
    labels(tmp_path / "named.gpkg", scene, THREE, field="landuse")
    frame = geopandas.read_file(tmp_path / "named.gpkg")
    frame["other"] = 1
    frame.to_file(tmp_path / "two.gpkg")
    (tmp_path / "text.geojson").write_text("not JSON")
    (tmp_path / "empty.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": []})
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    for name, field, message in (
        ("far.gpkg", None, r"none of 2 labels can be used .*label 1 \(a\) lies outside the scene"),
        ("one.gpkg", None, r"expected 2 to 254 classes on .*, not 1 \(a\)"),
        ("named.gpkg", "kind", "no attribute 'kind', expected one of landuse"),
        ("two.gpkg", None, "which attribute holds the class"),
        ("text.geojson", None, "cannot be read, expected GeoJSON"),
        ("empty.geojson", None, "no labels"),
        ("gone.geojson", None, "no such file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            map_scene(
                scene, tmp_path / name, tmp_path / "map.tif", encoder=encoder, field=field, tile=32
            )
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    with pytest.raises(InputError, match="exists already"):
        map_scene(scene, tmp_path / "named.gpkg", scene, encoder=encoder)
