"""Scenes through the true command line."""

import json
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import rasterio
from command_line import ENVIRONMENT, rs_otl, rs_otl_here
from embed import measure_embed
from geo_scenes import make_encoder, write
from test_geo_map import THREE, labels, stripes

from rs_otl.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write(root / "scene.tif", stripes())
    labels(root / "points.geojson", root / "scene.tif", [*THREE, ("far", 900, 9)], "EPSG:4326")
    make_encoder(root / "encoder")
    return root


def test_embed_map_search_view_and_tile(folder):
    encoder = ("--encoder", "encoder", "--tile", 32, "--stride", 32)
    told = rs_otl("embed", "scene.tif", *encoder, "-o", "out.tif", "--pca", 3, cwd=folder)
    assert "4 x 6 cells of 3 features" in told.stdout
    with mock.patch.dict(ENVIRONMENT, PROJ_DATA="/proc/none"):
        told = rs_otl(
            "map", "scene.tif", *encoder, "--labels", "points.geojson", "-o", "map.tif", cwd=folder
        )
    assert "PROJ_DATA=/proc/none holds no proj.db: left out" in told.stderr
    assert "ERROR" not in told.stderr
    assert "skipped label 6 (far): lies outside the scene" in told.stderr
    assert "4 of 4 labels predicted correctly, 100 %, 95 % interval 51 to 100 %" in told.stdout
    told = rs_otl(
        "search", "scene.tif", *encoder, "--query", "400200,4999500", "-n", 3, "-o", "hits.geojson",
        "--json", cwd=folder,
    )  # fmt: skip
    assert len(json.loads(told.stdout)) == 3
    told = rs_otl_here(
        "view", "scene.tif", "--embeddings", "out.tif", "--map", "map.tif", cwd=folder
    )
    assert told.stdout.strip() == "out.html"
    # The scene is embedded once: what follows needs neither it nor the encoder.
    told = rs_otl_here(
        "map", "out.tif", "--labels", "points.geojson", "-o", "again.tif", cwd=folder
    )
    assert "4 of 4 labels predicted correctly" in told.stdout
    rs_otl_here("search", "out.tif", "--query", "400200,4999500", "-o", "again.geojson", cwd=folder)
    told = rs_otl_here("view", "out.tif", "--map", "again.tif", "-o", "again.html", cwd=folder)
    assert told.stdout.strip() == "again.html"
    refused = rs_otl_here(
        "map", "scene.tif", "--labels", "points.geojson", "-o", "third.tif", check=2, cwd=folder
    )
    assert "a scene needs an encoder to be embedded" in refused.stderr
    told = rs_otl_here("tile", "scene.tif", "-o", "chips", "--tile", 64, cwd=folder)
    assert "scene.tif: 6 chips, 0 left out as nodata" in told.stdout
    again = rs_otl_here("embed", "scene.tif", *encoder, "-o", "out.tif", check=2, cwd=folder)
    assert again.stderr == "rs-otl: out.tif exists already: name another, or delete it\n"


def test_bench_embed_measures_both_ways(folder, monkeypatch, capsys):
    words = ["--encoder", "encoder", "--image-size", "32", "--pixels", "192"]
    words += ["--plain-pixels", "128", "--precision", "float32", "--json"]
    script = Path(__file__).parents[2] / "benchmarks" / "embed.py"
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(script, run_name="__main__")
    told = capsys.readouterr()
    assert not left.value.code, told.err
    found = json.loads(told.out)
    assert found["tiles"] > 100
    assert found["plain_rate"] > 0
    assert found["beside_rate"] > 0
    # The same tiles, to the pixel, through both.
    assert found["similarity"] > 0.9999


@pytest.mark.parametrize("side", [37, 60])
def test_bench_embed_refuses_a_part_without_a_centred_tile(folder, side):
    small = {"pixels": 64, "plain_pixels": side, "image_size": 32, "precision": "float32"}
    message = f"plain_pixels = {side}: .* a tile of 37 pixels .* expected 91 or more, or 0"
    with pytest.raises(InputError, match=message):
        measure_embed(folder / "encoder", **small)


def test_all_real_scenes_go_through_embed_map_and_search(real_data, tmp_path):
    """In three CRS, with nodata, and six bands of which three are chosen."""
    import geopandas
    from rio_cogeo.cogeo import cog_validate

    from rs_otl.geo import embed, search
    from rs_otl.geo import map as map_scene
    from rs_otl.models import load_encoder

    encoder = load_encoder(make_encoder(tmp_path / "encoder"))
    for name, bands, share in (
        ("cogeo", None, 0.0),
        ("RGB.byte", None, 0.3),
        ("L7_ETMs", ["3", "2", "1"], 0.0),
        ("rmnp-rgb", None, 0.05),
    ):
        path = real_data / "scenes" / f"{name}.tif"
        settings = {"tile": 32, "stride": 32, "bands": bands}
        (done,) = embed(path, encoder, tmp_path / f"{name}.tif", pca=3, **settings)
        assert done.nodata == pytest.approx(share, abs=0.06)
        embed(path, encoder, tmp_path / f"{name}.parquet", **settings)
        frame = geopandas.read_parquet(tmp_path / f"{name}.parquet")
        with rasterio.open(path) as scene:
            assert frame.crs == scene.crs
            area = frame.geometry.iloc[0].area / abs(scene.transform.a * scene.transform.e)
            assert area == pytest.approx(32 * 32)
            middle = (scene.height // 2, scene.width // 2)
            x, y = scene.xy(*middle)
            places = [("a", middle[1], middle[0]), ("b", middle[1] + 60, middle[0] - 40)]
        given = labels(tmp_path / f"{name}.gpkg", path, places)
        map_scene(path, given, tmp_path / f"{name}-map.tif", encoder=encoder, **settings)
        hits = search(
            path, (x, y), tmp_path / f"{name}.geojson", encoder=encoder, count=5, **settings
        )
        assert len(hits) == 5
        assert len(geopandas.read_file(tmp_path / f"{name}.geojson")) == 5
        for made in (f"{name}.tif", f"{name}-map.tif"):
            valid, errors, _ = cog_validate(tmp_path / made)
            assert valid, errors
            with rasterio.open(tmp_path / made) as file, rasterio.open(path) as scene:
                assert file.crs == scene.crs
                assert (file.transform.c, file.transform.f) == pytest.approx(
                    (scene.transform.c, scene.transform.f), abs=1e-9
                )
                assert np.isfinite(file.read()).any()
