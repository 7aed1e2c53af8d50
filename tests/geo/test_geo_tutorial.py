"""The tutorial runs, from a drawn scene to a map, and the map is right where it should be."""

import re
import shlex
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from command_line import rs_otl_here, settings, undrawn

from rs_otl.datasets.landscape import LANDSCAPE, draw_landscape
from rs_otl.geo import drawing

PAGES = Path(__file__).resolve().parents[2] / "docs"


def commands(name):
    blocks = re.findall(r"^```console\n(.*?)^```", (PAGES / name).read_text(), re.M | re.S)
    lines = [shlex.split(line) for line in "".join(blocks).splitlines()]
    return [words for program, *words in lines if program == "rs-otl"]


def test_the_commands_of_the_tutorials_run_in_order(tmp_path, monkeypatch):
    # A quarter of the scene that the reader draws.
    monkeypatch.setattr(drawing, "SIDE", 512)
    monkeypatch.setattr(drawing, "_APART", 40)
    walk, more = commands("tutorial-map.md"), commands("explore.md")
    assert (len(walk), len(more)) == (7, 9)
    told = []
    for words in (*walk[:-1], *more, walk[-1]):
        if words[0] == "pretrain":
            words += settings("epochs=1", "image_size=64", "batch_size=64")
            (tmp_path / "demo" / "later.tif").unlink()  # one scene is quicker
        words = [{"16": "32"}.get(word, word) for word in words]
        with undrawn():
            told.append(rs_otl_here(*words, cwd=tmp_path).stdout)
    for name in ("embedding.tif", "hits.geojson", "page.html", "shown.html"):
        assert (tmp_path / name).stat().st_size
    with rasterio.open(tmp_path / "map.tif") as file:
        mapped = file.read(1)
    _, cover = draw_landscape(512)
    cells = cover[: 32 * len(mapped), : 32 * mapped.shape[1]].reshape(len(mapped), 32, -1, 32)
    counts = np.stack([(cells == kind).mean((1, 3)) for kind in range(len(LANDSCAPE))])
    pure = counts.max(0) == 1  # classes are numbered from 1, in the order of their names
    assert (mapped == 1 + counts.argmax(0))[pure].mean() > 0.9
    # A sixteenth has changed, and a rim of half a tile around it.
    (change,) = (line for text in told for line in text.splitlines() if line.startswith("changed"))
    assert 5 < float(change.split(" %")[0].rsplit(" ", 1)[1]) < 16
    places = geopandas.read_file(tmp_path / "places.geojson").to_crs("EPSG:32632").geometry
    shown = cover[(5_400_000 - places.y).astype(int), (places.x - 600_000).astype(int)]
    assert len(set(shown)) == len(set(cover.ravel()))  # a place in every land cover
    with rasterio.open(tmp_path / "clusters.tif") as file:
        clusters = file.read(1)
    most = counts.argmax(0)
    right = sum(np.bincount(most[clusters == each]).max() for each in np.unique(clusters))
    assert right / clusters.size > 0.7
    water = geopandas.read_file(tmp_path / "water.geojson").to_crs("EPSG:32632").geometry.centroid
    assert len(water)
    assert water.x.max() < 600_400.1


def test_the_commands_of_the_tutorial_of_an_archive_run_in_order(tmp_path):
    walk = commands("tutorial-archive.md")
    assert len(walk) == 10
    for words in walk:
        # Coarser cells, and in this process.
        words = [{"16": "32", "2": "1"}.get(word, word) for word in words]
        rs_otl_here(*words, cwd=tmp_path)
    assert (tmp_path / "page.html").stat().st_size
    hits = geopandas.read_file(tmp_path / "houses.geojson")
    assert set(hits["scene"][:2]) == {"east-2024"}  # the houses that were built

    def read(path):
        with rasterio.open(path) as file:
            return file.read(1)

    def cells(name, columns):
        drawn = read(tmp_path / "places" / "truth" / name)[:, columns]
        parts = drawn.reshape(24, 32, 12, 32).swapaxes(1, 2).reshape(24, 12, -1)
        return parts[..., 0], (parts == parts[..., :1]).all(-1)

    west, east = slice(0, 384), slice(384, 768)
    for place, columns in (("west", west), ("east", east)):
        cover, pure = cells("cover-2024.tif", columns)
        mapped = read(tmp_path / "maps" / f"{place}-2024.tif")
        assert (mapped == cover)[pure].mean() > 0.85
    changed, whole = cells("changed.tif", east)
    found = read(tmp_path / "change-mask.tif") == 2
    assert found[whole & (changed == 1)].mean() > 0.8
    assert found[whole & (changed == 0)].mean() < 0.05
