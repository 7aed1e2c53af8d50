"""Many scenes: planned once, worked off row by row; what fails is named."""

import json
import re
import shlex
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from command_line import rs_otl_here
from drawn_catalog import draw_catalog, items_of
from geo_scenes import draw, make_encoder, write
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate
from served import serving_apart
from valid_stac import refuse_no_stac

from rs_otl.datasets.sources import Source
from rs_otl.geo import archive as archives
from rs_otl.geo import embed, plan_archive

PAGE = Path(__file__).parents[2] / "docs" / "archive.md"
WORDS = ("--encoder", "encoder", "--tile", 32, "--stride", 32)
# The long scene is of three blocks, of the last of which the end is nodata.
ROWS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    for number in range(5):
        write(root / f"s{number}.tif", draw(70, 64, seed=number).astype(np.uint8))
    pixels = draw(64, 8300, seed=9).astype(np.uint8)
    pixels[:, :, -70:] = 0
    write(root / "long.tif", pixels, nodata=0)
    make_encoder(root / "encoder", architecture="test_resnet")
    return root


@pytest.fixture(scope="module")
def alone(folder):
    """The archive that one process makes."""
    told = plan(folder, "alone")
    assert told.stdout == f"alone: 6 scenes in {ROWS} blocks, 6 scenes new, 0 changed\n"
    told = rs_otl_here("embed", "alone", cwd=folder)
    assert f"alone: {ROWS} of {ROWS} blocks embedded, 0 already done" in told.stdout
    return folder / "alone"


SCENES = (*(f"s{number}.tif" for number in range(5)), "long.tif")


def plan(folder, out, *more, scenes=SCENES, check=0):
    return rs_otl_here(
        "embed", "--plan", *scenes, *more, *WORDS, "-o", out, cwd=folder, check=check
    )


def files(archive):
    return {
        path.relative_to(archive / "blocks"): path.read_bytes()
        for path in (archive / "blocks").rglob("*.tif")
    }


def test_blocks_are_the_scene_cut_in_pieces_and_embeddings_like_any(folder, alone):
    embed(folder / "long.tif", folder / "encoder", folder / "long-whole.tif", tile=32, stride=32)
    with rasterio.open(folder / "long-whole.tif") as file:
        whole, place = file.read(), file.transform
    columns = 0
    blocks = sorted((alone / "blocks" / "long").glob("*.tif"), key=lambda path: len(path.name))
    for path in sorted(blocks, key=lambda path: int(path.stem.rpartition("c")[2])):
        with rasterio.open(path) as file:
            assert file.transform.c == pytest.approx(place.c + columns * place.a)
            part = whole[:, :, columns : columns + file.width]
            np.testing.assert_allclose(file.read(), part, atol=1e-4, equal_nan=True)
            columns += file.width
    assert columns == whole.shape[2]
    assert np.isnan(whole[:, :, -1]).all()


def test_hits_in_an_archive_are_those_in_the_whole_scene_across_all_seams(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "BLOCK", 48)
    grid = ("--encoder", folder / "encoder", "--tile", 32, "--stride", 16)
    write(tmp_path / "s.tif", draw(150, 130, seed=5).astype(np.uint8))
    rs_otl_here("embed", "s.tif", *grid, "-o", "whole.tif", cwd=tmp_path)
    told = rs_otl_here("embed", "--plan", "s.tif", *grid, "-o", "archive", cwd=tmp_path)
    assert "1 scenes in 12 blocks" in told.stdout
    rs_otl_here("embed", "archive", cwd=tmp_path)
    with rasterio.open(tmp_path / "s.tif") as file:
        x, y = file.transform @ (50, 49)
    hits = []
    for source in ("whole.tif", "archive"):
        out = tmp_path / f"{source}.geojson"
        rs_otl_here("search", source, "--query", f"{x},{y}", "-o", out, cwd=tmp_path)
        hits.append(geopandas.read_file(out))
    assert len(hits[0]) > 8
    for name in ("scene", "row", "column"):
        assert hits[0][name].equals(hits[1][name])
    assert hits[0].geometry.geom_equals_exact(hits[1].geometry, 1e-7).all()


def test_items_are_stac_say_what_is_in_their_files_and_lead_to_scene_and_encoder(alone, folder):
    collection = pystac.Collection.from_file(str(alone / "collection.json"))
    items = list(collection.get_items())
    assert len(items) == ROWS
    refuse_no_stac(collection, *items)
    said = collection.extra_fields
    for item in items:
        here, layout = item.properties, item.properties["emb:chip_layout"]
        assert (here["emb:type"], layout["layout_type"]) == ("chip", "regular_grid")
        assert [here[f"emb:{key}"] for key in ("type", "dimensions", "chip_layout")] == [
            said[f"emb:{key}"] for key in ("type", "dimensions", "chip_layout")
        ]
        assert here["emb:runtime_parameters"]["image_size"] == 32
        path = item.get_self_href().replace(".json", ".tif")
        assert cog_validate(path)[0]
        with rasterio.open(path) as file:
            assert (file.count, file.dtypes[0]) == (here["emb:dimensions"], said["data_type"])
            assert [file.res[0], file.res[1]] == [10 * side for side in layout["stride"]]
            assert file.crs == here["proj:code"]
            assert file.tags()["RS_OTL_TILE"] == str(layout["chip_size"][0])
    item = collection.get_item("s3-r0-c0")
    assert item.get_single_link("emb:source-data").href == (folder / "s3.tif").as_uri()
    encoder = item.get_single_link("emb:model").href
    assert encoder == (folder / "encoder" / "item.json").as_uri()
    with rasterio.open(folder / "s3.tif") as scene:
        west, south, east, north = transform_bounds(scene.crs, "EPSG:4326", *scene.bounds)
    assert item.bbox == pytest.approx([west, south, east, north], abs=1e-4)


def test_what_stays_bad_is_named_and_all_else_is_done(folder, monkeypatch):
    monkeypatch.setattr(archives, "_PAUSES", (0, 0))
    (folder / "bad.tif").write_bytes(b"II*\0 and no more")
    whole = (folder / "s0.tif").read_bytes()
    scenes = ("s0.tif", "s1.tif", "bad.tif", "none.tif")
    told = plan(folder, "bad", scenes=scenes, check=3)
    assert "bad: 4 scenes in 2 blocks" in told.stdout
    assert "bad.tif: cannot be opened" in told.stderr
    assert "none.tif: no such file" in told.stderr
    (folder / "s0.tif").write_bytes(whole[:6000])
    told = rs_otl_here("embed", "bad", cwd=folder, check=3)
    assert "bad: 1 of 2 blocks embedded" in told.stdout
    assert "rs-otl: 3 failed, see bad/failed.parquet" in told.stderr
    failed = {
        row["block"]: row["reason"]
        for row in pq.read_table(folder / "bad" / "failed.parquet").to_pylist()
    }
    assert set(failed) == {"bad", "none", "s0-r0-c0"}
    assert "has changed since it was planned" in failed["s0-r0-c0"]
    # The scenes come back: planned again they are embedded, and nothing else is.
    (folder / "s0.tif").write_bytes(whole)
    for name in ("bad.tif", "none.tif"):
        (folder / name).write_bytes(whole)
    told = plan(folder, "bad", scenes=scenes)
    assert "bad: 4 scenes in 4 blocks, 0 scenes new, 3 changed" in told.stdout
    told = rs_otl_here("embed", "bad", cwd=folder)
    assert "bad: 3 of 4 blocks embedded, 1 already done" in told.stdout
    assert not (folder / "bad" / "failed.parquet").exists()
    other = plan(folder, "bad", "--image-size", 64, check=2)
    assert "bad: planned with image_size 32, now 64" in other.stderr


def test_a_plan_of_nothing_that_can_be_embedded_is_refused(folder):
    told = plan(folder, "typo", scenes=("typo.tif",), check=2)
    assert "typo.tif: no such file" in told.stderr.splitlines()[-1]
    told = plan(folder, "typo", scenes=("typo.tif", "other.tif"), check=2)
    assert "none of 2 scenes can be embedded; the first: " in told.stderr.splitlines()[-1]
    assert not (folder / "typo").exists()


def test_an_address_with_a_secret_is_kept_nowhere(folder, tmp_path):
    address = "http://127.0.0.1:1/scene.tif"
    source = Source(address, path=f"/vsicurl/{address}?sig=SECRET", remote=True)
    given = [source, folder / "s0.tif"]
    planned = plan_archive(given, folder / "encoder", tmp_path / "archive")
    assert "holds a password or a signature" in planned.failed[address]
    written = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert written
    assert all(b"SECRET" not in path.read_bytes() for path in written)


def test_errors_of_reading_are_tried_three_times(folder, alone, monkeypatch, tmp_path):
    from rs_otl.datasets.scene import Scene

    monkeypatch.setattr(archives, "_PAUSES", (0, 0))
    read, tries = Scene.read, []

    def failing(self, *window):
        tries.append(window)
        if len(tries) % 3:
            try:
                raise OSError("the line is busy")
            except OSError as error:
                raise archives.InputError(f"{self.name}: cannot be read") from error
        return read(self, *window)

    monkeypatch.setattr(Scene, "read", failing)
    archives.plan_archive(
        [folder / "s1.tif"], folder / "encoder", tmp_path / "a", tile=32, stride=32
    )
    done = archives.embed_archive(tmp_path / "a")
    assert (done.made, done.failed, len(tries)) == (1, {}, 3)
    assert files(tmp_path / "a").items() <= files(alone).items()


def test_a_full_disk_stops_all_with_one_line(folder, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    plan(folder, tmp_path / "a")
    monkeypatch.setattr(archives.os, "replace", full)
    told = rs_otl_here("embed", "a", cwd=tmp_path, check=2)
    assert "blocks/s0/s0-r0-c0.tif: cannot be written (No space left on device)" in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert not list((tmp_path / "a" / "blocks").rglob("*.*"))


def test_words_that_do_not_go_together_are_refused(folder, alone):
    for words, said in (
        (("embed", "alone", "--tile", 64), "--tile: alone is planned already"),
        (
            ("embed", "alone", "--shard", "2/2"),
            "shard 2/2 (--shard): expected a number from 0 to 1",
        ),
        (("embed", "alone", "--shard", "a"), "--shard a: expected I/N"),
        (("embed", "s0.tif", "--shard", "0/2"), "--shard: an archive is planned first"),
        (("embed", "s0.tif", "-o", "x.tif"), "embed needs --encoder"),
        (("embed", "--plan", "s0.tif", *WORDS, "-o", "encoder"), "is no archive"),
    ):
        assert said in rs_otl_here(*words, cwd=folder, check=2).stderr


def test_the_commands_of_the_page_run_in_order_and_print_what_it_says(folder, tmp_path):
    for name in ("s0", "s1", "long"):
        (tmp_path / "scenes").mkdir(exist_ok=True)
        shutil.copy2(folder / f"{name}.tif", tmp_path / "scenes")
    shutil.copytree(folder / "encoder", tmp_path / "my_encoder")
    for month, (file, item) in enumerate(items_of(draw_catalog(tmp_path / "served", side=64)), 4):
        item["properties"]["datetime"] = f"2024-{month:02}-01T10:00:00Z"
        file.write_text(json.dumps(item))
    page = PAGE.read_text()
    told = ""
    with serving_apart(tmp_path / "served") as address:
        for line in re.findall("^rs-otl (.*)", page, re.M):
            words = shlex.split(line.replace("https://example.org", address), comments=True)
            if "--dask" in words:  # as of scenes on servers
                continue
            at = next((at for at, word in enumerate(words) if "*" in word), None)
            if at is not None:
                words[at : at + 1] = sorted(map(str, tmp_path.glob(words[at])))
            told += rs_otl_here(*words, cwd=tmp_path).stdout
    for line in re.findall("^    ((?:archive|summer): .*)", page, re.M):
        assert line.partition(" in 3.1 s")[0].partition(" in 0.4 s")[0] in told
    for name in ("hits", "again"):
        found = json.loads((tmp_path / f"{name}.geojson").read_text())["features"]
        scenes = {hit["properties"]["scene"] for hit in found}
        assert scenes <= {f"S2A_33TVM_2023070{day}_0_L2A" for day in (3, 4)}
