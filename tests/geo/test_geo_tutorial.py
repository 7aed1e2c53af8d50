"""The tutorial runs, from a drawn scene to a map, and the map is right where it should be."""

import re
import shlex
from pathlib import Path

import numpy as np
import rasterio
from command_line import rs_otl_here, settings

from rs_otl.datasets.landscape import LANDSCAPE, draw_landscape
from rs_otl.geo import drawing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial-map.md"


def test_the_commands_of_the_tutorial_run_in_order(tmp_path, monkeypatch):
    # A quarter of the scene that the reader draws.
    monkeypatch.setattr(drawing, "SIDE", 512)
    monkeypatch.setattr(drawing, "_APART", 40)
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    lines = "".join(blocks).splitlines()
    assert len(lines) == 7
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "rs-otl"
        if words[0] == "pretrain":
            words += settings("epochs=1")
        rs_otl_here(*[{"16": "32"}.get(word, word) for word in words], cwd=tmp_path)
    for name in ("embedding.tif", "hits.geojson", "page.html", "shown.html"):
        assert (tmp_path / name).stat().st_size
    with rasterio.open(tmp_path / "map.tif") as file:
        mapped = file.read(1)
    _, cover = draw_landscape(512)
    cells = cover[: 32 * len(mapped), : 32 * mapped.shape[1]].reshape(len(mapped), 32, -1, 32)
    counts = np.stack([(cells == kind).mean((1, 3)) for kind in range(len(LANDSCAPE))])
    pure = counts.max(0) == 1  # classes are numbered from 1, in the order of their names
    assert (mapped == 1 + counts.argmax(0))[pure].mean() > 0.9
