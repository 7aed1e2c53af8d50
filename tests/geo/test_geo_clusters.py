"""What is done with embeddings without labels: clusters, and places to label."""

import numpy as np
import pytest
import rasterio
from command_line import rs_otl_here
from geo_scenes import write
from PIL import Image
from rio_cogeo.cogeo import cog_validate
from test_geo_map import stripes

from rs_otl.errors import InputError
from rs_otl.geo import cluster, embed

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
        ("embedding.tif", {"clusters": 36}, "35 cells that differ for 36 clusters: ask for fewer"),
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
