"""Embeddings as other programs read them: GeoTIFF, GeoParquet and Zarr, of 32, 16 and 8 bits."""

import json

import duckdb
import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rioxarray  # noqa: F401 - adds the accessor `rio`
import xarray
from command_line import rs_otl_here
from geo_scenes import draw, make_encoder, write
from rasterio import Affine
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

from rs_otl.geo.formats import write_geoparquet

WORDS = ("--encoder", "encoder", "--tile", 32, "--stride", 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("formats")
    pixels = draw(101, 150).astype(np.uint8)
    pixels[:, :60, :60] = 0
    write(root / "scene.tif", pixels, nodata=0)
    make_encoder(root / "encoder", architecture="test_resnet")
    rs_otl_here("embed", "scene.tif", *WORDS, "-o", "exact.tif", cwd=root)
    return root


def values_of(path):
    with rasterio.open(path) as file:
        values = file.read(masked=True) * np.reshape(file.scales, (-1, 1, 1))
        return values.filled(np.nan), file.transform


@pytest.fixture(scope="module")
def exact(folder):
    return values_of(folder / "exact.tif")


@pytest.mark.parametrize(
    ("dtype", "loss"), [("float32", 0), ("float16", 2**-11), ("int8", 1 / 254)]
)
def test_every_format_gives_the_same_numbers_in_the_same_places(folder, exact, dtype, loss):
    values, place = exact
    # Half a step of what a feature is stored in.
    step = np.nanmax(np.abs(values), (1, 2), keepdims=True) * loss * 1.001
    for suffix in ("tif", "zarr", "parquet"):
        out = f"{dtype}.{suffix}"
        rs_otl_here("embed", "scene.tif", *WORDS, "--dtype", dtype, "-o", out, cwd=folder)
    tiff, _ = values_of(folder / f"{dtype}.tif")
    np.testing.assert_array_equal(np.isnan(tiff), np.isnan(values))
    assert (np.abs(tiff - values) <= step)[~np.isnan(values)].all()
    assert cog_validate(folder / f"{dtype}.tif")[0]

    store = xarray.open_zarr(folder / f"{dtype}.zarr")
    assert store["embedding"].dims == ("band", "y", "x")
    assert store["embedding"].attrs["grid_mapping"] == "spatial_ref"
    x, y = place @ (2.5, 3.5)
    assert (store["x"][2], store["y"][3]) == (pytest.approx(x), pytest.approx(y))
    assert store.rio.crs == CRS.from_epsg(32633)
    assert store.rio.transform() == place
    kept = store["embedding"] * store["scale"] if dtype == "int8" else store["embedding"]
    np.testing.assert_allclose(kept.transpose("band", "y", "x"), tiff, rtol=1e-6)

    frame = geopandas.read_parquet(folder / f"{dtype}.parquet")
    stored = np.stack(frame["embedding"]).astype(np.float32)
    if dtype == "int8":
        stored *= np.array(
            json.loads(pq.read_metadata(folder / "int8.parquet").metadata[b"RS_OTL_SCALES"])
        )
    middle = frame[(frame["row"] == 40) & (frame["column"] == 104)].index[0]
    np.testing.assert_allclose(stored[middle], tiff[:, 3, 7], rtol=1e-6)


def test_a_query_finds_the_same_places_in_embeddings_of_8_bits(folder):
    if not (folder / "int8.tif").exists():
        rs_otl_here("embed", "scene.tif", *WORDS, "--dtype", "int8", "-o", "int8.tif", cwd=folder)
    found = []
    for name in ("exact", "int8"):
        hits = f"{name}.geojson"
        words = ("--query", "401200,4999200", "-n", 3, "-o", hits)
        rs_otl_here("search", f"{name}.tif", *words, cwd=folder)
        frame = geopandas.read_file(folder / hits)
        found.append(list(zip(frame["row"], frame["column"], strict=True)))
    assert found[0] == found[1]


def test_readers_skip_what_lies_outside_a_box(tmp_path):
    """The tiles of a scene, row by row as they are embedded."""
    side, random = 200, np.random.default_rng(0)
    corner = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)

    def tables():
        for row in range(side):
            corners = np.stack([np.arange(side), np.full(side, row)], 1)[:, None] + corner
            columns = {"row": np.full(side, row), "column": np.arange(side)}
            yield corners, columns, random.normal(size=(side, 4)).astype(np.float32)

    out = tmp_path / "tiles.parquet"
    write_geoparquet(out, tables(), 4, CRS.from_epsg(32633), {})
    box = (20, 30, 28, 40)
    frame = geopandas.read_parquet(out, bbox=box)
    assert set(zip(frame["column"], frame["row"], strict=True)) == {
        (x, y) for x in range(19, 29) for y in range(29, 41)
    }
    inside = "bbox.xmax >= 20 and bbox.xmin <= 28 and bbox.ymax >= 30 and bbox.ymin <= 40"
    query = f"select count(*) from '{out}' where {inside}"
    assert duckdb.connect().execute(query).fetchone() == (len(frame),)
    file = pq.ParquetFile(out)
    names = [file.metadata.row_group(0).column(at).path_in_schema for at in range(8)]
    reaches = [
        [
            getattr(
                file.metadata.row_group(group).column(names.index(f"bbox.{side}")).statistics, end
            )
            for side, end in (("xmin", "min"), ("ymin", "min"), ("xmax", "max"), ("ymax", "max"))
        ]
        for group in range(file.num_row_groups)
    ]
    meets = [x0 <= 28 and x1 >= 20 and y0 <= 40 and y1 >= 30 for x0, y0, x1, y1 in reaches]
    assert len(meets) == 10
    assert sum(meets) <= 3


def test_a_rotated_scene_and_one_without_place_are_zarr_too(tmp_path):
    make_encoder(tmp_path / "encoder", architecture="test_resnet")
    for place in ("rotated", "no CRS"):
        name = place.split()[0]
        write(tmp_path / f"{name}.tif", draw(64, 64).astype(np.uint8), place)
        rs_otl_here("embed", f"{name}.tif", *WORDS, "-o", f"{name}.zarr", cwd=tmp_path)
        store = xarray.open_zarr(tmp_path / f"{name}.zarr")
        assert store["embedding"].shape == (96, 4, 4)
        assert ("x" in store.coords) == (place == "no CRS")
    shown = Affine(*map(float, store.attrs["spatial:transform"]))
    assert shown == Affine(16, 0, 0, 0, -16, 0)  # as a GIS shows an image
