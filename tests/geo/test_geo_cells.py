"""Embeddings stand for the scene that they were made of."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from geo_scenes import PLACES, make_encoder, write
from hypothesis import given, settings
from hypothesis import strategies as st
from test_geo_map import THREE, labels, stripes

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo import embed, search
from rs_otl.geo import map as map_scene
from rs_otl.geo.cells import FileCells, SceneCells, open_file
from rs_otl.geo.grid import TileGrid
from rs_otl.models import load_encoder

GRID = {"tile": 32, "stride": 16}


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("place", PLACES)
def test_a_map_from_embeddings_is_the_map_from_the_scene(place, tmp_path, encoder):
    pixels = stripes()
    pixels[:, 90:, 130:] = 0
    scene = write(tmp_path / "scene.tif", pixels, place, nodata=0)
    points = labels(tmp_path / "points.gpkg", scene, THREE)
    embed(scene, encoder, tmp_path / "out.tif", **GRID)
    one = map_scene(scene, points, tmp_path / "one.tif", encoder=encoder, **GRID)
    other = map_scene(tmp_path / "out.tif", points, tmp_path / "other.tif")
    assert (one.classes, one.cells, one.labels) == (other.classes, other.cells, other.labels)
    assert (one.accuracy, one.accuracies) == (other.accuracy, other.accuracies)
    assert (one.hectares is None) == (PLACES[place][0] is None)
    assert one.hectares == pytest.approx(other.hectares)
    for kind, tolerance in (("path", 0), ("confidence", 1)):
        first, second = (getattr(done.maps[0], kind) for done in (one, other))
        with rasterio.open(first) as a, rasterio.open(second) as b:
            np.testing.assert_allclose(a.read(1).astype(int), b.read(1), atol=tolerance)
            assert (a.crs, a.tags(), a.descriptions) == (b.crs, b.tags(), b.descriptions)
            np.testing.assert_allclose(a.transform, b.transform)


@pytest.mark.parametrize("query", ["400200,4999500", "400100,4999000,400900,4999700"])
def test_a_search_of_embeddings_has_the_hits_of_the_scene(query, tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    embed(scene, encoder, tmp_path / "out.tif", **GRID)
    one = search(scene, query, tmp_path / "one.geojson", encoder=encoder, count=6, **GRID)
    other = search(tmp_path / "out.tif", query, tmp_path / "other.geojson", count=6)
    assert [(hit.scene, hit.row, hit.column) for hit in one] == [
        (hit.scene, hit.row, hit.column) for hit in other
    ]
    np.testing.assert_allclose(
        [(hit.score, hit.x, hit.y) for hit in one], [(hit.score, hit.x, hit.y) for hit in other],
        atol=1e-5,
    )  # fmt: skip


def test_some_cells_are_those_of_all_rows(tmp_path, encoder):
    pixels = stripes()
    pixels[:, :50, :70] = 0
    path = write(tmp_path / "scene.tif", pixels, nodata=0)
    embed(path, encoder, tmp_path / "out.tif", **GRID)
    with Scene(path) as scene, open_file(tmp_path / "out.tif") as file:
        computed, stored = SceneCells.over(scene, encoder, **GRID), FileCells.of(file)
        rows = np.stack(list(computed.rows()))
        np.testing.assert_array_equal(np.stack(list(stored.rows())), rows)
        cells = np.argwhere(np.ones(rows.shape[:2], bool))[::3]
        expected = rows[cells[:, 0], cells[:, 1]]
        assert np.isnan(expected).any()
        np.testing.assert_array_equal(stored.at(cells), expected)
        np.testing.assert_allclose(computed.at(cells), expected, atol=1e-5)
        assert computed.grid == stored.grid
        assert computed.provenance == stored.provenance


@settings(max_examples=60)
@given(st.data())
def test_a_position_lies_in_its_cell_and_the_tile_around_it(data):
    tile = data.draw(st.integers(1, 40))
    grid = TileGrid(
        data.draw(st.integers(tile, 200)),
        data.draw(st.integers(tile, 200)),
        tile,
        data.draw(st.integers(1, tile)),
    )
    column = data.draw(st.floats(0, grid.width, exclude_max=True))
    row = data.draw(st.floats(0, grid.height, exclude_max=True))
    cells = grid.cells_at(np.array([column]), np.array([row]))
    assert (cells[0] * grid.stride <= [row, column]).all()
    assert ((cells[0] + 1) * grid.stride > [row, column]).all()
    top, left = grid.corners(cells)[0]
    assert top <= row < top + tile
    assert left <= column < left + tile


def test_principal_components_make_a_map_and_answer_places(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    points = labels(tmp_path / "points.gpkg", scene, THREE)
    embed(scene, encoder, tmp_path / "out.tif", pca=8, **GRID)
    done = map_scene(tmp_path / "out.tif", points, tmp_path / "map.tif")
    assert done.accuracy.correct == done.accuracy.tested == 4
    hits = search(tmp_path / "out.tif", "400200,4999500", tmp_path / "hits.geojson", count=3)
    assert len(hits) == 3
    with pytest.raises(InputError, match="holds principal components"):
        search(tmp_path / "out.tif", scene, tmp_path / "no.geojson", encoder=encoder)
    with pytest.raises(InputError, match="an image needs the encoder"):
        search(tmp_path / "out.tif", scene, tmp_path / "no.geojson")


def test_embeddings_made_in_another_way_are_refused_naming_both(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    points = labels(tmp_path / "points.gpkg", scene, THREE)
    made, out = tmp_path / "out.tif", tmp_path / "map.tif"
    embed(scene, encoder, made, **GRID)
    other = make_encoder(tmp_path / "other", scale=200.0)
    for changes, message in (
        ({"encoder": other}, r"made with the encoder .*encoder .*not with .*other"),
        ({"tile": 64}, "made with --tile 32, not with 64: leave --tile out"),
        ({"stride": 8}, "made with --stride 16, not with 8"),
        ({"bands": ["blue", "green", "red"]}, "bands red, green, blue; .* of blue, green, red"),
        ({"bands": ["1", "2", "3"]}, "bands red, green, blue; .* names instead of 1, 2, 3"),
        ({"image_size": 64}, r"out\.tif: made with --image-size 32, not with 64: leave"),
        ({"pool": "cls"}, r"out\.tif: made without --pool, not with cls: leave --pool out"),
    ):
        with pytest.raises(InputError, match=message):
            map_scene(made, points, out, **changes)
        assert not out.exists()
    same = {"bands": ["red", "green", "blue"], "image_size": 32}
    map_scene(made, points, out, **same, **GRID)
    map_scene(made, points, tmp_path / "more.tif", encoder=encoder, **same, **GRID)


def test_embeddings_that_were_cut_or_damaged_are_refused(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    points = labels(tmp_path / "points.gpkg", scene, THREE)
    embed(scene, encoder, tmp_path / "out.tif", **GRID)
    with rasterio.open(tmp_path / "out.tif") as file:
        profile, tags, values = file.profile, file.tags(), file.read()

    def changed(name, pixels=values, **more):
        plain = {"driver": "GTiff", "height": pixels.shape[1], "width": pixels.shape[2]}
        plain |= {key: profile[key] for key in ("count", "dtype", "crs", "transform", "nodata")}
        with rasterio.open(tmp_path / name, "w", **plain) as file:
            file.update_tags(**(tags | more))
            file.write(pixels)
        return tmp_path / name

    size = json.dumps([10**9, 10**9])
    for path, message in (
        (changed("cut.tif", values[:, :4]), r"4 x 12 cells, its tags say 8 x 12"),
        (changed("huge.tif", RS_OTL_SCENE_SIZE=size), "its tags say"),
        (changed("tile.tif", RS_OTL_TILE="-3"), "tag RS_OTL_TILE: input should be greater"),
        (changed("text.tif", RS_OTL_STRIDE="sixteen"), "tag RS_OTL_STRIDE"),
        (changed("deep.tif", RS_OTL_SCALE="[" * 100_000), "tag RS_OTL_SCALE"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            map_scene(path, points, tmp_path / "map.tif")
        assert "\n" not in str(caught.value)


def test_the_default_tile_is_what_the_encoder_loads(tmp_path):
    """A tile of load_size pixels is cropped, not resampled."""
    encoder = load_encoder(make_encoder(tmp_path / "encoder"))
    scene = write(tmp_path / "scene.tif", stripes())
    (done,) = embed(scene, encoder, tmp_path / "out.tif")
    with rasterio.open(done.path) as file:
        assert (file.tags()["RS_OTL_TILE"], file.tags()["RS_OTL_STRIDE"]) == ("37", "18")


def test_embedding_a_scene_imports_nothing_of_training(tmp_path):
    write(tmp_path / "scene.tif", stripes())
    make_encoder(tmp_path / "encoder")
    code = """
import sys
import rs_otl.geo.archive
print("torch" in sys.modules)  # a process that gives out blocks does without
from rs_otl import geo
geo.embed("scene.tif", "encoder", "out.tif", tile=32)
unwanted = ["lightning", "pytorch_lightning", "kornia", "pystac", "torchmetrics", "matplotlib",
    "sklearn", "geopandas", "torchgeo", "rs_otl.runs", "rs_otl.trainers", "rs_otl.evaluation",
    "rs_otl.export"]
print([name for name in unwanted if name in sys.modules])
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "[]"]
