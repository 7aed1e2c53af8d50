"""The tutorial runs, from a folder of GeoTIFFs to a map."""

import re
import shlex
from pathlib import Path

import numpy as np
import rasterio
from command_line import rs_otl_here, settings
from geo_scenes import draw, write
from rasterio import Affine
from test_geo_map import labels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial-map.md"
# Where the page's scene lies.
AERIAL = Affine(0.5971640348434448, 0, 14321853.1157, 0, -0.5971640348434448, 4533021.5254)


def test_the_commands_of_the_tutorial_run_in_order(tmp_path):
    (tmp_path / "scenes").mkdir()
    pixels = draw(256, 384).astype(np.uint8)
    pixels[:, :128] //= 2
    aerial = tmp_path / "scenes" / "aerial.tif"
    with rasterio.open(
        aerial, "w", "GTiff", 384, 256, 3, "EPSG:3857", AERIAL, dtype="uint8"
    ) as file:
        file.write(pixels)
    write(tmp_path / "scenes" / "mountains.tif", draw(256, 256, seed=1).astype(np.uint8), "degrees")
    places = [("snow", 50, 40), ("snow", 300, 60), ("road", 60, 200), ("road", 310, 210)]
    labels(tmp_path / "labels.geojson", aerial, places, "EPSG:4326")

    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    lines = "".join(blocks).splitlines()
    assert 5 <= len(lines) <= 10
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "rs-otl"
        short = settings("epochs=1") if words[0] == "pretrain" else ()
        rs_otl_here(*words, *short, cwd=tmp_path)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert set(np.unique(file.read(1))) == {1, 2}
    for name in ("embedding.tif", "hits.geojson", "page.html"):
        assert (tmp_path / name).stat().st_size
