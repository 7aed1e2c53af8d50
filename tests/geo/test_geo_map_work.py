"""Mapping as work: one classifier for many scenes, wrong labels, areas, polygons, colours."""

import csv
import json
import sqlite3
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from command_line import rs_otl_here
from geo_scenes import PLACES, make_encoder, write
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from test_geo_map import THREE, labels, stripes

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo import embed, view
from rs_otl.geo import map as map_scene
from rs_otl.geo.areas import row_areas
from rs_otl.geo.fitting import predict_left_out, predict_other_blocks
from rs_otl.geo.legend import colours_of, natural, read_colours
from rs_otl.geo.opening import open_cells

GRID = {"tile": 32, "stride": 32}
EXPECTED = np.repeat([[2, 2, 3, 3, 1, 1]], 4, axis=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    """Two scenes, their embeddings, and labels on the first."""
    root = tmp_path_factory.mktemp("work")
    write(root / "a.tif", stripes())
    write(root / "b.tif", stripes()[:, :, ::-1], "degrees")
    for name in "ab":
        embed(root / f"{name}.tif", encoder, root / f"{name}-embedding.tif", **GRID)
    labels(root / "points.gpkg", root / "a.tif", [*THREE, ("roof", 170, 20), ("roof", 20, 100)])
    labels(root / "right.gpkg", root / "a.tif", THREE)
    make_encoder(root / "encoder")
    return root


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_a_classifier_maps_other_scenes_through_the_command_line(folder, tmp_path):
    told = rs_otl_here(
        "map", "a.tif", "--encoder", "encoder", "--tile", 32, "--stride", 32,
        "--labels", "right.gpkg", "--save-classifier", tmp_path / "c.json",
        "-o", tmp_path / "a.tif", "--areas", tmp_path / "a.csv", "--polygons",
        "--tested-labels", tmp_path / "tested.geojson", cwd=folder,
    )  # fmt: skip
    assert "2 labels, 2 of 2 right (34 to 100 %)" in told.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.tif", "a.tif.aux.xml", "a.qml", "a-confidence.tif", "a-confidence.tif.aux.xml",
        "a.gpkg", "a.csv", "tested.geojson", "c.json",
    }  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), EXPECTED)
    for name in ("a.tif", "a-confidence.tif"):
        assert rs_otl_here("doctor", tmp_path / name).stdout.endswith("no problems\n")
    # Neither labels, encoder nor tile need to be named again.
    told = rs_otl_here(
        "map", "b.tif", "--classifier", tmp_path / "c.json", "-o", tmp_path / "b.tif", cwd=folder
    )
    assert "labels" not in told.stdout
    np.testing.assert_array_equal(read(tmp_path / "b.tif"), EXPECTED[:, ::-1])
    rs_otl_here(
        "map", "a-embedding.tif", "b-embedding.tif", "--classifier", tmp_path / "c.json",
        "-o", tmp_path / "maps", cwd=folder,
    )  # fmt: skip
    for name in "ab":
        np.testing.assert_array_equal(
            read(tmp_path / "maps" / f"{name}-embedding.tif"), read(tmp_path / f"{name}.tif")
        )


def test_labels_may_lie_on_any_of_several_scenes(folder, tmp_path):
    """Water is labelled on one scene alone, roofs on the other."""
    both = [folder / "a-embedding.tif", folder / "b-embedding.tif"]
    on_a = geopandas.read_file(labels(tmp_path / "a.gpkg", folder / "a.tif", THREE[:4]))
    on_b = geopandas.read_file(labels(tmp_path / "b.gpkg", folder / "b.tif", [("roof", 30, 64)]))
    given = tmp_path / "both.geojson"
    frames = [on_a.to_crs("EPSG:4326"), on_b.to_crs("EPSG:4326")]
    geopandas.pd.concat(frames).to_file(given)
    done = map_scene(both, given, tmp_path / "maps")
    assert done.labels == {"roof": 1, "water": 2, "wood": 2}
    np.testing.assert_array_equal(read(done.maps[0].path), EXPECTED)
    np.testing.assert_array_equal(read(done.maps[1].path), EXPECTED[:, ::-1])
    with pytest.raises(InputError, match=r"both\.tif: 2 scenes have a map each; expected a folder"):
        map_scene(both, given, tmp_path / "both.tif")
    with pytest.raises(InputError, match=r"two scenes would both become a-embedding\.tif"):
        map_scene([both[0], both[0]], given, tmp_path / "twice")


def test_of_overlapping_scenes_the_first_with_data_counts(tmp_path, encoder):
    pixels = stripes()
    pixels[:, :, :64] = 0
    one = write(tmp_path / "one.tif", pixels, nodata=0)
    other = write(tmp_path / "other.tif", stripes())
    given = labels(tmp_path / "points.gpkg", other, THREE)
    done = map_scene([one, other], given, tmp_path / "maps", encoder=encoder, **GRID)
    assert done.labels == {"roof": 1, "water": 2, "wood": 2}
    assert not done.skipped


def test_a_classifier_is_refused_where_it_does_not_fit(folder, tmp_path, encoder):
    source, kept = folder / "a-embedding.tif", tmp_path / "c.json"
    map_scene(source, folder / "right.gpkg", tmp_path / "a.tif", save_classifier=kept)
    out = tmp_path / "map.tif"
    other = make_encoder(tmp_path / "other", scale=200.0)
    embed(folder / "a.tif", other, tmp_path / "other.tif", **GRID)
    embed(folder / "a.tif", encoder, tmp_path / "pca.tif", pca=8, **GRID)
    for path, more, message in (
        (tmp_path / "other.tif", {}, r"c\.json: made with the encoder .* \(weights .*expected the"),
        (tmp_path / "pca.tif", {}, r"8 features, .*expects 96: embed without --pca"),
        (source, {"save_classifier": "d.json"}, "a classifier is already made"),
        (source, {"labels": folder / "right.gpkg"}, "either labels or a classifier"),
    ):
        arguments = {"labels": None, "classifier": kept, **more}
        with pytest.raises(InputError, match=message):
            map_scene(path, out=out, **arguments)
        assert not out.exists()
    with pytest.raises(InputError, match="principal components of different files"):
        map_scene(
            tmp_path / "pca.tif", folder / "right.gpkg", out, save_classifier=tmp_path / "p.json"
        )
    with pytest.raises(InputError, match="either labels or a classifier"):
        map_scene(source, None, out)


def test_a_classifier_finds_its_encoder_and_its_tile(folder, tmp_path, encoder, capsys):
    source, kept = folder / "a-embedding.tif", tmp_path / "c.json"
    map_scene(source, folder / "right.gpkg", tmp_path / "a.tif", save_classifier=kept)
    # Embeddings have a tile of their own, which is said if it is another.
    embed(folder / "b.tif", encoder, tmp_path / "b-embedding.tif", tile=48, stride=24)
    map_scene(tmp_path / "b-embedding.tif", None, tmp_path / "b.tif", classifier=kept)
    told = capsys.readouterr().err
    assert "c.json: made of tiles of 32 pixels, those of" in told
    assert "b-embedding.tif have 48" in told
    # So has a user's tile the stride that goes with it.
    both = [folder / "a.tif", source]
    map_scene(both[0], None, tmp_path / "c.tif", classifier=kept, tile=16)
    assert read(tmp_path / "c.tif").shape == (16, 24)
    map_scene(both, None, tmp_path / "both", classifier=kept)
    np.testing.assert_array_equal(
        read(tmp_path / "both" / "a.tif"), read(tmp_path / "both" / "a-embedding.tif")
    )
    moved = tmp_path / "moved.json"
    moved.write_text(kept.read_text().replace(encoder.source, "gone"))
    with pytest.raises(
        InputError, match=r"moved\.json: its encoder is not where .*--encoder .*gone"
    ):
        map_scene(both[0], None, tmp_path / "d.tif", classifier=moved)
    map_scene(both[0], None, tmp_path / "d.tif", classifier=moved, encoder=encoder)


def test_damaged_classifiers_are_one_clear_line(folder, tmp_path):
    source, kept = folder / "a-embedding.tif", tmp_path / "c.json"
    map_scene(source, folder / "right.gpkg", tmp_path / "a.tif", save_classifier=kept)
    whole = json.loads(kept.read_text())

    def changed(**values):
        return json.dumps({**whole, **values})

    nan = json.dumps(whole).replace(str(whole["biases"][0]), "NaN", 1)
    for number, text in enumerate(
        (
            "", "[]", "null", kept.read_text()[:-40], "{" * 5000, "\x00\xff", nan,
            changed(classes=["a"]), changed(classes=["a", "a", "b"]), changed(weights=[]),
            changed(weights=[[1.0], [2.0], [3.0, 4.0]]), changed(colours=["red"] * 3),
            changed(biases=[1e999] * 3), changed(format="other"), changed(tile=-1),
            changed(image_size=1e9), changed(more=1),
        )
    ):  # fmt: skip
        damaged = tmp_path / f"{number}.json"
        damaged.write_text(text, encoding="latin-1")
        with pytest.raises(InputError, match=rf"{number}\.json: .*--save-classifier") as caught:
            map_scene(source, None, tmp_path / "map.tif", classifier=damaged)
        assert "\n" not in str(caught.value)


def test_wrong_labels_are_named_and_written(folder, tmp_path):
    """The last label, roof in the middle of water, contradicts the scene."""
    out = tmp_path / "tested.gpkg"
    done = map_scene(
        folder / "a-embedding.tif", folder / "points.gpkg", tmp_path / "map.tif", tested_labels=out
    )
    wrong = [label for label in done.tested if label.predicted != label.given]
    assert "label 7 (roof)" in [label.name for label in wrong]
    assert wrong[-1].predicted == "water"
    assert done.accuracies["roof"].tested == 3
    assert sum(each.correct for each in done.accuracies.values()) == done.accuracy.correct
    frame = geopandas.read_file(out)
    assert frame.crs == PLACES["utm"][0]
    last = frame.iloc[6]
    assert (last["class"], last["predicted"], last["correct"]) == ("roof", "water", "false")
    assert 0 < last["probability"] <= 1
    told = rs_otl_here(
        "map", "a-embedding.tif", "--labels", "points.gpkg", "-o", tmp_path / "cli.tif", cwd=folder
    )
    assert "label 7 (roof) looks like water to the others" in told.stdout


def test_labels_that_were_not_tested_say_why(folder, tmp_path):
    places = [*THREE, ("far", 900, 9)]
    given = labels(tmp_path / "points.geojson", folder / "a.tif", places, "EPSG:4326")
    out = tmp_path / "tested.geojson"
    map_scene(folder / "a-embedding.tif", given, tmp_path / "map.tif", tested_labels=out)
    notes = geopandas.read_file(out)["note"].tolist()
    assert notes == ["", "", "", "", "the only one of its class", "lies outside the scene"]
    # Of more than 100 labels, those of one part of the scene are left out together.
    random = np.random.default_rng(0)
    places = [
        (name, *random.uniform((x, 0), (x + 60, 128)))
        for name, x, count in (("water", 2, 60), ("wood", 66, 50))
        for _ in range(count)
    ]
    given = labels(
        tmp_path / "many.gpkg", folder / "a.tif", [*places, ("roof", 140, 20), ("roof", 150, 40)]
    )
    out = tmp_path / "many.geojson"
    map_scene(folder / "a-embedding.tif", given, tmp_path / "many.tif", tested_labels=out)
    notes = geopandas.read_file(out)["note"].tolist()
    assert notes == [*[""] * 110, *["not tested: left out with all others of a class"] * 2]


@pytest.mark.parametrize(("number", "classes"), [(500, 40), (2000, 7), (130, 65), (30, 20)])
def test_many_labels_are_tested_in_a_few_folds(number, classes, monkeypatch):
    import rs_otl.geo.fitting as module

    random = np.random.default_rng(0)
    truth = np.append(np.arange(number - 1) % classes, classes)  # and one label of its own class
    centres = random.normal(size=(classes + 1, 48))
    features = [
        (centres[klass] + random.normal(0, 0.3, (1 + n % 2, 48))).astype(np.float32)
        for n, klass in enumerate(truth)
    ]
    blocks = random.integers(0, 60, number)
    fits = []
    fit = module.fit
    monkeypatch.setattr(module, "fit", lambda *given: fits.append(given) or fit(*given))
    predicted, chances = predict_left_out(truth, features, blocks)
    assert 2 <= len(fits) <= (10 if number > 100 else number)
    assert predicted[-1] == -1
    tested = predicted >= 0
    assert tested[:-1].mean() > 0.5
    assert (predicted == truth)[tested].mean() > 0.9
    assert ((chances[tested] > 0) & (chances[tested] <= 1)).all()


def test_labels_of_one_block_are_left_out_together():
    """Each block has colours of its own: from its own labels it would be predicted rightly."""
    random = np.random.default_rng(0)
    blocks = np.repeat(np.arange(30), 8)
    truth = np.tile([0, 1], 120)
    own = random.normal(size=(30, 2, 256))
    features = [own[place][None].astype(np.float32) for place in zip(blocks, truth, strict=True)]
    predicted, _ = predict_left_out(truth, features, blocks)
    assert (predicted == truth).mean() < 0.8
    alone, _ = predict_left_out(truth, features, np.arange(240))
    assert (alone == truth).mean() > 0.95


@pytest.mark.parametrize("place", [name for name, (crs, _) in PLACES.items() if crs])
def test_areas_are_those_of_the_ellipsoid(place, tmp_path, encoder):
    """A scene of 101 x 150 pixels: the last row and column of cells reach over its edge."""
    path = write(tmp_path / "scene.tif", stripes(150, 101), place)
    geodesic = pyproj.Geod(ellps="WGS84")
    with open_cells(path, encoder, **GRID) as cells, Scene(path) as scene:
        areas = np.stack([row_areas(cells)(row) for row in range(cells.grid.rows)])
        to_degrees = pyproj.Transformer.from_crs(scene.crs.to_wkt(), "EPSG:4326", always_xy=True)
        # Many points along the sides, which are straight in the scene's CRS.
        outline = shapely.box(0, 0, 150, 101).segmentize(1)
        lonlat = shapely.transform(
            outline,
            lambda xy: np.stack(to_degrees.transform(*scene.coordinate(*xy.T)), axis=1),
        )
    expected = abs(geodesic.geometry_area_perimeter(lonlat)[0]) / 10_000
    assert areas.sum() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("west", [179.3, -180.7, 359.3])
def test_areas_across_the_antimeridian(west, tmp_path, encoder, monkeypatch):
    monkeypatch.setitem(PLACES, "here", ("EPSG:4326", Affine(0.01, 0, west, 0, -0.01, 1)))
    path = write(tmp_path / "scene.tif", stripes(), "here")
    with open_cells(path, encoder, **GRID) as cells:
        areas = row_areas(cells)(0)
    assert areas == pytest.approx(np.full(6, 32 * 32 * 1.113 * 1.106 * 100), rel=0.01)


def test_areas_and_polygons_agree_with_the_map(folder, tmp_path):
    done = map_scene(
        folder / "b-embedding.tif",
        labels(tmp_path / "points.gpkg", folder / "b.tif", [("x", 30, 60), ("y", 90, 60)]),
        tmp_path / "map.tif",
        areas=tmp_path / "areas.csv",
        polygons=True,
    )
    with (tmp_path / "areas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["x", "y"]
    for row in rows:
        assert int(row["cells"]) == done.cells[row["class"]]
        assert float(row["hectares"]) == pytest.approx(done.hectares[row["class"]], abs=1e-3)
    patches = geopandas.read_file(tmp_path / "map.gpkg")
    by_class = patches.groupby("class")["hectares"].sum()
    assert by_class.to_dict() == pytest.approx(done.hectares, abs=1e-2)
    # The last row and column of cells do not reach beyond the scene.
    with rasterio.open(folder / "b.tif") as scene:
        assert shapely.box(*scene.bounds).buffer(1e-9).contains(patches.union_all())
        assert patches.union_all().area == pytest.approx(shapely.box(*scene.bounds).area)
    with rasterio.open(tmp_path / "map.tif") as chart:
        for _, patch in patches.iterrows():
            x, y = patch.geometry.representative_point().coords[0]
            assert next(chart.sample([(x, y)]))[0] == patch["value"]


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_scene_without_a_place_has_cells_but_no_hectares(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes(), "no CRS")
    given = labels(tmp_path / "points.gpkg", scene, THREE)
    done = map_scene(
        scene, given, tmp_path / "map.tif", encoder=encoder, polygons=True,
        areas=tmp_path / "areas.csv", **GRID,
    )  # fmt: skip
    assert done.hectares is None
    assert (tmp_path / "areas.csv").read_text().splitlines()[1] == "scene.tif,roof,1,8,33.3333,"
    assert "hectares" not in geopandas.read_file(tmp_path / "map.gpkg")


def test_the_map_carries_an_attribute_table_and_statistics(folder, tmp_path):
    done = map_scene(folder / "a-embedding.tif", folder / "right.gpkg", tmp_path / "map.tif")
    with (
        rasterio.open(tmp_path / "map.tif") as file,
        rasterio.open(done.maps[0].confidence) as sure,
    ):
        assert file.tags(1)["STATISTICS_MAXIMUM"] == "3"
        assert float(sure.tags(1)["STATISTICS_MEAN"]) == pytest.approx(
            sure.read(1).mean(), rel=1e-4
        )
    table = ElementTree.parse(tmp_path / "map.tif.aux.xml").find(".//GDALRasterAttributeTable")
    names = [field.findtext("Name") for field in table.findall("FieldDefn")]
    rows = [[cell.text for cell in row.findall("F")] for row in table.findall("Row")]
    found = [dict(zip(names, row, strict=True)) for row in rows]
    assert [row["Class"] for row in found] == ["roof", "water", "wood"]
    assert [int(row["Cells"]) for row in found] == [8, 8, 8]
    assert float(found[1]["Hectares"]) == pytest.approx(done.hectares["water"], abs=1e-3)


def test_nothing_beside_a_map_is_overwritten(folder, tmp_path):
    for name in ("map.qml", "map-confidence.tif", "map.gpkg", "areas.csv"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=rf"{name} exists already"):
            map_scene(
                folder / "a-embedding.tif", folder / "right.gpkg", tmp_path / "map.tif",
                polygons=True, areas=tmp_path / "areas.csv",
            )  # fmt: skip
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


def test_the_confidence_is_not_taken_for_a_map(folder, tmp_path):
    done = map_scene(folder / "a-embedding.tif", folder / "right.gpkg", tmp_path / "map.tif")
    source = folder / "a-embedding.tif"
    with pytest.raises(InputError, match="has no classes"):
        view(source, tmp_path / "page.html", class_map=done.maps[0].confidence)
    with pytest.raises(InputError, match="expected embeddings"):
        map_scene(done.maps[0].confidence, folder / "right.gpkg", tmp_path / "no.tif")


RASTER_STYLE = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis><pipe><rasterrenderer type="paletted"><colorPalette>
<paletteEntry value="1" color="#AA0000" label="wood" alpha="255"/>
<paletteEntry value="2" color="#00bb00ff" label="water"/></colorPalette></rasterrenderer></pipe>
</qgis>"""
FEATURE_STYLE = """<qgis><renderer-v2 type="categorizedSymbol"><categories>
<category value="wood" symbol="0" label="Woodland"/><category value="water" symbol="1"/>
<category value="" symbol="1"/></categories><symbols>
<symbol name="0"><layer class="SimpleMarker"><Option type="Map">
<Option name="color" type="QString" value="170,0,0,255,rgb:0.6,0,0,1"/></Option></layer></symbol>
<symbol name="1"><layer class="SimpleMarker"><prop k="color" v="0,187,0,255"/></layer></symbol>
</symbols></renderer-v2></qgis>"""


def test_colours_and_their_order_are_the_users(folder, tmp_path):
    chosen = {"wood": "#aa0000", "water": "#00bb00"}
    (tmp_path / "colours.json").write_text(json.dumps(chosen))
    (tmp_path / "raster.qml").write_text(RASTER_STYLE)
    (tmp_path / "features.qml").write_text(FEATURE_STYLE)
    with sqlite3.connect(tmp_path / "labels.gpkg") as tables:
        tables.execute("CREATE TABLE layer_styles (styleQML TEXT, useAsDefault BOOLEAN)")
        tables.execute("INSERT INTO layer_styles VALUES (?, 1)", (FEATURE_STYLE,))
    tables.close()
    for name in ("colours.json", "raster.qml", "features.qml", "labels.gpkg"):
        found = read_colours(tmp_path / name)
        assert (found, list(found)) == (chosen, list(chosen)), name
    told = rs_otl_here(
        "map", "a-embedding.tif", "--labels", "right.gpkg", "-o", tmp_path / "map.tif",
        "--colors", tmp_path / "raster.qml", "--save-classifier", tmp_path / "c.json", cwd=folder,
    )  # fmt: skip
    assert "no colour for roof; chosen for you" in told.stderr
    with rasterio.open(tmp_path / "map.tif") as file:
        assert json.loads(file.tags()["RS_OTL_CLASSES"]) == ["wood", "water", "roof"]
        assert file.colormap(1)[1] == (170, 0, 0, 255)
        assert file.colormap(1)[2] == (0, 187, 0, 255)
    # A map's own style is a file of colours, and a classifier keeps them.
    done = map_scene(
        folder / "b-embedding.tif", None, tmp_path / "b.tif", classifier=tmp_path / "c.json"
    )
    assert dict(zip(done.classes, done.colours, strict=True)) == read_colours(tmp_path / "map.qml")


def test_files_that_hold_no_colours_are_one_clear_line(tmp_path):
    for name, text in (
        ("a.json", "[]"), ("b.json", "{}"), ("c.json", '{"a": "red"}'), ("d.json", '{"a": 3}'),
        ("e.json", "[" * 9999), ("f.json", "\udcff"), ("a.qml", "<qgis>"), ("b.qml", "<qgis/>"),
        ("c.qml", RASTER_STYLE.replace("#AA0000", "")), ("a.gpkg", "no database"),
        ("gone.json", None),
    ):  # fmt: skip
        path = tmp_path / name
        if text is not None:
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=name) as caught:
            read_colours(path)
        assert str(caught.value).isprintable()


def test_what_has_an_expected_colour_gets_it():
    classes = ["Wood", "snow 2", "lake", "river", "road", "zebra"]
    colours = dict(zip(classes, colours_of(classes, {}), strict=True))
    assert len(set(colours.values())) == len(classes)
    assert colours["lake"] == "#0072b2"
    assert colours["Wood"] == "#009e73"
    assert colours["snow 2"] == "#56b4e9"
    assert colours["road"] == "#999999"
    # The last word says what it is, and one word is plainer than two.
    classes = ["bare wood", "conifers", "forest road", "snow"]
    assert colours_of(classes, {}) == ["#e69f00", "#009e73", "#999999", "#56b4e9"]
    many = colours_of([str(number) for number in range(254)], {})
    assert len(set(many)) > 200


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.text("0123456789²٣a", max_size=8))))
def test_any_names_can_be_sorted(names):
    ordered = sorted(names, key=natural)
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural) == ordered


def test_numbers_in_names_are_sorted_as_numbers():
    ordered = ["2", "007", "10", "9" * 4000, "9" * 5000, "plot 2 b", "plot 10 a", "²"]
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural) == ordered


def test_labels_are_tested_from_other_parts_of_the_scene_too(folder, tmp_path):
    # What sets classes apart is the part of the scene: a neighbour of the same class is at hand.
    random = np.random.default_rng(0)
    parts = np.repeat([0, 1, 2, 3], 10)
    truth = np.tile([0, 1], 20)
    centres = random.normal(size=(4, 2, 8)).astype(np.float32)
    features = [
        centres[part, kind] + random.normal(0, 0.01, (1, 8)).astype(np.float32)
        for part, kind in zip(parts, truth, strict=True)
    ]
    alone, _ = predict_left_out(truth, features, parts)
    elsewhere = predict_other_blocks(truth, features, parts)
    assert (alone == truth).all()
    assert 0 <= (elsewhere == truth).mean() < 0.9
    assert (predict_other_blocks(truth, features, np.zeros(40, int)) == -1).all()
    told = rs_otl_here(
        "map", "a-embedding.tif", "--labels", "points.gpkg", "-o", tmp_path / "m.tif", cwd=folder
    )
    assert "from other parts of the scene: " in told.stdout
    done = map_scene(folder / "a-embedding.tif", folder / "right.gpkg", tmp_path / "n.tif")
    assert (done.blocked.correct, done.blocked.tested) == (4, 4)
