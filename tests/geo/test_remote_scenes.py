"""Commands take scenes from servers and catalogs."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command_line import rs_otl_here, settings
from drawn_catalog import draw_catalog
from geo_scenes import make_encoder
from served import serving

from rs_otl import geo
from rs_otl.datasets.scene import Scene
from rs_otl.datasets.sources import scenes_of
from rs_otl.spec import Quantity

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scenes.md"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Four scenes in a catalog, and an encoder of their bands."""
    folder = tmp_path_factory.mktemp("archive")
    draw_catalog(folder / "served")
    make_encoder(
        folder / "encoder", bands=("B02", "B03", "B04", "B08"), quantity=Quantity.SURFACE,
        units="surface reflectance x 10,000", scale=8000,
    )  # fmt: skip
    return folder


def test_a_catalog_behind_http_is_embedded_as_its_files_are(archive, tmp_path):
    local = geo.embed(str(archive / "served" / "catalog.json"), archive / "encoder", tmp_path / "a",
                      tile=32)  # fmt: skip
    with serving(archive / "served") as server:
        server.drop_every = 10
        address = f"{server.address}/catalog.json?sig=SECRET"
        done = rs_otl_here("embed", address, "--encoder", archive / "encoder", "--tile", 32,
                           "-o", tmp_path / "b")  # fmt: skip
        assert "SECRET" not in done.stdout + done.stderr
        for result in local:
            with (
                rasterio.open(result.path) as one,
                rasterio.open(tmp_path / "b" / result.path.name) as two,
            ):
                np.testing.assert_array_equal(one.read(), two.read())
                assert two.tags()["RS_OTL_SCENE"] == result.path.stem
                place = f"{server.address}/scenes/{result.path.stem}/{result.path.stem}.json"
                assert two.tags()["RS_OTL_SOURCE"] == place
        assert [result.path.stem for result in local] == [
            f"S2A_33TVM_{20230701 + number}_0_L2A" for number in range(4)
        ]


def test_search_map_tile_and_view_take_items(archive, tmp_path):
    with serving(archive / "served") as server:
        name = "S2A_33TVM_20230701_0_L2A"
        item = f"{server.address}/scenes/{name}/{name}.json"
        given = ("--encoder", archive / "encoder", "--tile", 32)
        rs_otl_here("search", item, *given, "--query", "400500,4999500", "-n", 3,
                    "-o", tmp_path / "hits.geojson")  # fmt: skip
        hits = json.loads((tmp_path / "hits.geojson").read_text())["features"]
        assert {hit["properties"]["scene"] for hit in hits} == {name}
        (tmp_path / "l.csv").write_text("x,y,class\n400200,4999800,a\n400900,4999100,b\n")
        rs_otl_here("map", item, *given, "--labels", tmp_path / "l.csv", "-o", tmp_path / "maps")
        assert (tmp_path / "maps" / f"{name}.tif").is_file()
        rs_otl_here("tile", item, "--asset", "visual", "--tile", 60, "-o", tmp_path / "chips")
        visual = archive / "served" / "scenes" / name / "visual.tif"
        chip = tmp_path / "chips" / f"{name}_r0_c60.tif"
        with rasterio.open(chip) as one, rasterio.open(visual) as two:
            np.testing.assert_array_equal(one.read(), two.read()[:, :60, 60:])
        rs_otl_here("embed", item, *given, "-o", tmp_path / "e.tif")
        rs_otl_here("view", item, "--embeddings", tmp_path / "e.tif", "-o", tmp_path / "v.html")
        assert name in (tmp_path / "v.html").read_text()
        bad = rs_otl_here("embed", f"{item}?sig=SECRET", *given, "--asset", "none",
                          "-o", tmp_path / "no.tif", check=2)  # fmt: skip
        assert bad.stderr.strip().startswith(f"rs-otl: {item}: --asset none: no raster asset")
        assert len(bad.stderr.strip().splitlines()) == 1


def test_the_fingerprint_of_a_scene_on_a_server_is_that_of_its_pixels(archive):
    (source, *_) = scenes_of(str(archive / "served" / "catalog.json"))
    with serving(archive / "served") as server:
        (remote, *_) = scenes_of(f"{server.address}/catalog.json")
        with Scene(remote) as scene, Scene(remote) as again:
            before = scene.fingerprint()
            assert before == again.fingerprint()
        path = source.files[0]
        kept = path.read_bytes()
        with rasterio.open(path, "r+") as file:
            file.write(file.read(1) + 1, 1)
        try:
            (remote, *_) = scenes_of(
                f"{server.address.replace('127.0.0.1', 'localhost')}/catalog.json"
            )
            with Scene(remote) as scene:
                assert scene.fingerprint() != before
        finally:
            path.write_bytes(kept)


def test_pretraining_takes_the_scenes_of_a_catalog(archive, tmp_path):
    quick = settings(
        "epochs=1", "views=2", "image_size=16", "augment=simple", "encoder=test_resnet"
    )
    with serving(archive / "served") as server:
        catalog = f"{server.address}/catalog.json"
        done = rs_otl_here("pretrain", catalog, "--asset", "red,green,blue", *quick,
                           "--out", "run", cwd=tmp_path)  # fmt: skip
        assert f"{catalog}#asset=red,green,blue: georeferenced scenes" in done.stderr
        assert "from 4 of them" in done.stderr
    config = json.loads((tmp_path / "run" / "encoder" / "config.json").read_text())
    text = json.dumps(config)
    assert all(f'"{band}"' in text for band in ("b02", "b03", "b04"))
    assert '"b08"' not in text
    refused = rs_otl_here("pretrain", f"{catalog}?sig=SECRET", cwd=tmp_path, check=2)
    assert "no password or signature" in refused.stderr
    assert "SECRET" not in refused.stderr


def test_the_commands_of_the_page_run_and_print_what_it_says(archive, tmp_path):
    text = PAGE.read_text().partition("## From a server or a catalog")[2].partition("\n## ")[0]
    served = tmp_path / "served"
    served.mkdir()
    item = json.loads(min(archive.rglob("S2A*.json")).read_text())
    scenes = served / "scenes" / "a"
    shutil.copytree(min(archive.rglob("S2A*.json")).parent, scenes)
    item |= {"id": "a", "links": [], "collection": "sentinel-2-l2a"}
    (scenes / "a.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": "./scenes/a/a.json"}]
    catalog = {"type": "Catalog", "id": "c", "description": "", "stac_version": "1.1.0"}
    (served / "catalog.json").write_text(json.dumps(catalog | {"links": links}))
    shutil.copytree(archive / "encoder", tmp_path / "my_encoder")
    (tmp_path / "points.csv").write_text("x,y,class\n400200,4999800,a\n400900,4999100,b\n")
    with serving(served) as server:
        own = [{"rel": "self", "href": f"{server.address}/scenes/a/a.json"}]
        found = {"type": "FeatureCollection", "features": [item | {"links": own}]}
        server.answer["/search?collections=scenes&bbox=13,45,14,46"] = json.dumps(found)
        (block,) = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
        for line in block.replace("https://example.org", server.address).splitlines():
            words = shlex.split(line)[1:]
            quick = ("epochs=1", "views=2", "image_size=16", "augment=simple")
            rs_otl_here(*words, *(settings(*quick) if words[0] == "pretrain" else ()), cwd=tmp_path)
        lacking = ["embed", f"{server.address}/scenes/a/a.json", "--asset", "swir", "-o", "no.tif"]
        refused = rs_otl_here(*lacking, "--encoder", "my_encoder", cwd=tmp_path, check=2)
        (shown,) = re.findall(r"^ {6}(http.*)$", text, re.M)
        assert shown.replace("https://example.org", server.address) in refused.stderr
    for name in ("embeddings/a.tif", "found/a.tif", "map.tif", "pretrained/encoder/config.json"):
        assert (tmp_path / name).is_file()
