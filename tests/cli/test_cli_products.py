"""Satellite products through the command line, from pretraining to a search."""

import json

import pytest
import rasterio
from command_line import rs_otl_here, settings
from drawn_products import CORNER, landsat, planetscope, sentinel_1, sentinel_2, zipped

QUICK = settings("image_size=16", "views=2", "epochs=1", "augment=simple", "encoder=test_resnet")


PRODUCTS = {
    "Sentinel-2 L2A": (sentinel_2, [], "surface reflectance x 10,000", 12),
    "Landsat": (landsat, [], "surface reflectance x 10,000", 7),
    "Sentinel-1": (sentinel_1, ["--units", "db"], "backscatter in dB", 2),
    "PlanetScope": (planetscope, [], "surface reflectance x 10,000", 8),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_from_pretraining_to_a_search(name, tmp_path):
    make, options, units, bands = PRODUCTS[name]
    product = make(tmp_path / "products", side=96)
    rs_otl_here("pretrain", "products", "--out", "run", *options, *QUICK, cwd=tmp_path)
    config = json.loads((tmp_path / "run" / "encoder" / "config.json").read_text())["rs_otl"]
    assert (config["spec"]["units"], len(config["spec"]["bands"])) == (units, bands)
    scene = [product, "--encoder", "run"]
    small = ["--tile", 18, "--stride", 18]
    done = rs_otl_here("embed", *scene, *small, "-o", "e.tif", cwd=tmp_path)
    assert "0.0 % nodata" in done.stdout
    with rasterio.open(tmp_path / "e.tif") as file:
        (left, top), cell = CORNER, file.transform.a
    places = [(left + cell * (x + 0.5), top - cell * (y + 0.5)) for x, y in ((1, 1), (4, 3))]
    (tmp_path / "labels.csv").write_text(
        "x,y,class\n" + "".join(f"{x},{y},{n}\n" for n, (x, y) in zip("ab", places, strict=True))
    )
    rs_otl_here("map", *scene, *small, "--labels", "labels.csv", "-o", "map.tif", cwd=tmp_path)
    query = ",".join(map(str, places[0]))
    found = rs_otl_here(
        "search", *scene, *small, "--query", query, "-n", 2, "-o", "hits.geojson", cwd=tmp_path
    )
    assert "written  hits.geojson" in found.stdout


def test_a_zip_and_its_folder_have_the_same_embeddings(tmp_path):
    safe = sentinel_2(tmp_path, side=60)
    rs_otl_here("pretrain", safe, "--out", "run", *QUICK, cwd=tmp_path)
    for source, out in ((safe, "a.tif"), (zipped(safe), "b.tif")):
        rs_otl_here("embed", source, "--encoder", "run", "-o", out, cwd=tmp_path)
    with rasterio.open(tmp_path / "a.tif") as a, rasterio.open(tmp_path / "b.tif") as b:
        assert (a.read() == b.read()).all()
