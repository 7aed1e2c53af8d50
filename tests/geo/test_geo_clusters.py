"""What is done with embeddings without labels: clusters, and places to label."""

import geopandas
import numpy as np
import pytest
import rasterio
from command_line import rs_otl_here
from geo_scenes import write
from PIL import Image
from rio_cogeo.cogeo import cog_validate
from test_geo_map import labels, stripes

from rs_otl.errors import InputError
from rs_otl.geo import cluster, embed, suggest

GRID = {"tile": 32, "stride": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    root = tmp_path_factory.mktemp("clusters")
    pixels = stripes(288)
    pixels[:, :32, :32] = 0
    write(root / "scene.tif", pixels, nodata=0)
    embed(root / "scene.tif", encoder, root / "embedding.tif", **GRID)
    return root


def test_what_looks_alike_is_one_cluster(folder, tmp_path):
    told = rs_otl_here(
        "cluster", "embedding.tif", "-k", 3, "-o", tmp_path / "map.tif", "--scene", "scene.tif",
        cwd=folder,
    )  # fmt: skip
    assert "cluster 1     34.3 % of the cells, 122.95 ha" in told.stdout
    with rasterio.open(tmp_path / "map.tif") as file:
        chart = file.read(1)
        colours = file.colormap(1)
    assert cog_validate(tmp_path / "map.tif")[0]
    assert chart[0, 0] == 0  # nodata
    thirds = [set(chart[:, first : first + 3].ravel()) - {0} for first in (0, 3, 6)]
    assert sorted(thirds, key=min) == [{1}, {2}, {3}]
    assert "cluster 3" in (tmp_path / "map.qml").read_text()
    # Each row of the sheet begins with the cluster's colour, and shows its tiles.
    sheet = np.asarray(Image.open(tmp_path / "map-tiles.png"))
    shades = {1: (200,) * 3, 2: (60, 140, 50), 3: (20, 40, 90)}
    for number in (1, 2, 3):
        row = sheet[(number - 1) * 118 + 6 :][:112]
        assert tuple(row[50, 10]) == colours[number][:3]
        third = next(place for place, found in enumerate(thirds) if found == {number})
        shown = row[:, 150:262].mean((0, 1))
        assert np.abs(shown - shades[3 - third]).max() < 8


def test_balanced_clusters_are_equally_large(folder, tmp_path):
    done = cluster(folder / "embedding.tif", tmp_path / "map.tif", clusters=5, balanced=True)
    assert sorted(done.cells.values()) == [7, 7, 7, 7, 7]
    assert done.sheet is None


def test_what_cannot_be_clustered_is_refused(folder, tmp_path, scene):
    out = tmp_path / "map.tif"
    for source, more, message in (
        (
            "embedding.tif",
            {"clusters": 36},
            "only 35 distinct cells for 36 clusters: .* -k 35",
        ),
        ("embedding.tif", {"clusters": 1}, "1 clusters: expected 2 to 254"),
        ("embedding.tif", {"scene": scene}, r"made of scene\.tif, not of"),
        ("scene.tif", {}, "expected a GeoTIFF that `rs-otl embed`"),
    ):
        with pytest.raises(InputError, match=message):
            cluster(folder / source, out, **more)
    assert not list(tmp_path.glob("map*"))
    (tmp_path / "map-tiles.png").touch()
    with pytest.raises(InputError, match="exists already"):
        cluster(folder / "embedding.tif", out, scene=folder / "scene.tif")


def test_suggested_places_are_labelled_and_mapped(folder, tmp_path):
    told = rs_otl_here(
        "suggest", "embedding.tif", "-n", 6, "-o", tmp_path / "places.geojson", cwd=folder
    )
    assert "of the scene\nwritten" in told.stdout
    places = geopandas.read_file(tmp_path / "places.geojson")
    assert places["class"].isna().all()
    assert list(places["rank"]) == [1, 2, 3, 4, 5, 6]
    # No class is filled in yet.
    refused = rs_otl_here(
        "map", "embedding.tif", "--labels", tmp_path / "places.geojson",
        "-o", tmp_path / "map.tif", check=2, cwd=folder,
    )  # fmt: skip
    assert "has no class" in refused.stderr
    # The user looks at the scene, and leaves one place empty.
    thirds = ((places.to_crs("EPSG:32633").geometry.x - 400_000) // 960).astype(int)
    assert set(thirds) == {0, 1, 2}
    places["class"] = [("water", "wood", "roof")[third] for third in thirds]
    places.loc[5, "class"] = None
    places.to_file(tmp_path / "labelled.geojson")
    told = rs_otl_here(
        "map", "embedding.tif", "--labels", tmp_path / "labelled.geojson",
        "-o", tmp_path / "map.tif", cwd=folder,
    )  # fmt: skip
    assert "skipped label 6 (no class): has no class" in told.stderr
    with rasterio.open(tmp_path / "map.tif") as file:
        expected = np.repeat([[2, 2, 2, 3, 3, 3, 1, 1, 1]], 4, axis=0)
        expected[0, 0] = 0
        np.testing.assert_array_equal(file.read(1), expected)
    # The next ones keep away from these, and the least certain come first.
    more = suggest(
        folder / "embedding.tif",
        tmp_path / "more.gpkg",
        count=6,
        labels=tmp_path / "labelled.geojson",
    )
    certain = [place.confidence for place in more]
    assert certain == sorted(certain)
    old = places.to_crs("EPSG:32633").geometry[:5]
    assert (
        min(
            old.distance(where).min()
            for where in geopandas.points_from_xy(
                [place.x for place in more], [place.y for place in more]
            )
        )
        > 319
    )


def test_uncertain_places_are_suggested_before_certain_ones(folder, tmp_path):
    # Nothing but two thirds is labelled: the third one looks like neither.
    given = labels(
        tmp_path / "two.gpkg", folder / "scene.tif", [("water", 40, 40), ("wood", 144, 40)]
    )
    places = suggest(folder / "embedding.tif", tmp_path / "p.geojson", count=3, labels=given)
    assert places[0].x > 400_000 + 1920
    assert places[0].confidence < 0.9 < places[-1].confidence


def test_a_scene_without_room_for_another_place_is_refused(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes(96, 64))
    embed(scene, encoder, tmp_path / "e.tif", **GRID)
    places = [("a" if x < 32 else "b", x, y) for x in (16, 48, 80) for y in (16, 48)]
    given = labels(tmp_path / "all.gpkg", scene, places)
    out = tmp_path / "p.geojson"
    with pytest.raises(InputError, match=r"e\.tif: no place is left, .* overlap tiles of labels"):
        suggest(tmp_path / "e.tif", out, count=2, labels=given)
    assert not out.exists()
    given = labels(tmp_path / "five.gpkg", scene, places[:-1])
    assert len(suggest(tmp_path / "e.tif", out, count=6, labels=given)) == 1
    with pytest.raises(InputError, match="--field and --layer need --labels"):
        suggest(tmp_path / "e.tif", tmp_path / "q.geojson", field="class")


def test_places_on_a_scene_without_crs_come_back_as_labels(tmp_path, encoder):
    write(tmp_path / "scene.tif", stripes(), "no CRS")
    embed(tmp_path / "scene.tif", encoder, tmp_path / "e.tif", **GRID)
    suggest(tmp_path / "e.tif", tmp_path / "p.geojson", count=3)
    places = geopandas.read_file(tmp_path / "p.geojson")
    assert (places.geometry.y < 0).all()  # as a GIS shows it
    places["class"] = [str(int(x // 64)) for x in places.geometry.x]
    places.to_file(tmp_path / "l.geojson")
    told = rs_otl_here("map", "e.tif", "--labels", "l.geojson", "-o", "map.tif", cwd=tmp_path)
    assert "3 labels" not in told.stderr
    with pytest.raises(InputError, match="expected at least 2"):
        suggest(tmp_path / "e.tif", tmp_path / "q.geojson", count=1)
