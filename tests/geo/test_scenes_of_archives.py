"""The scenes of an archive are used as one grid, whatever their blocks."""

import os

import numpy as np
import pytest
import rasterio
from command_line import rs_otl_here
from geo_scenes import PLACES, draw, write
from rasterio import Affine
from test_odd_scenes import ODD_CRS

from rs_otl.geo import archive as archives
from rs_otl.geo import embed, embed_archive, plan_archive, search
from rs_otl.geo.opening import open_embeddings

GRID = {"tile": 32, "stride": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder_folder):
    """Two scenes of one place in an archive of 2 x 3 blocks each, and the first one's embedding."""
    root = tmp_path_factory.mktemp("archive")
    later = draw(150, 230)
    later[:, 64:128, 128:192] = draw(64, 64, seed=7)
    for name, pixels in (("a.v1", draw(150, 230)), ("b.v1", later)):
        write(root / f"{name}.tif", pixels.astype(np.uint8))
    embed(root / "a.v1.tif", encoder_folder, root / "whole.tif", **GRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "BLOCK", 96)
        scenes = [root / "a.v1.tif", root / "b.v1.tif"]
        plan_archive(scenes, encoder_folder, root / "archive", **GRID)
    embed_archive(root / "archive")
    assert len(list((root / "archive").rglob("*.tif"))) == 12
    return root


def rows(path):
    with open_embeddings(path) as cells:
        return np.stack(list(cells.rows())), cells


def test_blocks_are_one_grid_again(folder):
    expected, whole = rows(folder / "whole.tif")
    found, cells = rows(folder / "archive" / "blocks" / "a.v1")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (cells.grid, cells.crs, cells.features) == (whole.grid, whole.crs, whole.features)
    assert cells.transform == whole.transform
    assert cells.provenance == whole.provenance.model_copy(
        update={"source": cells.provenance.source, "encoder": cells.provenance.encoder}
    )
    places = np.array([[9, 14], [0, 0], [4, 7], [5, 6], [9, 0]])
    np.testing.assert_array_equal(cells.at(places), found[tuple(places.T)])


def test_every_command_takes_an_archive_or_its_scenes(folder, tmp_path):
    archive = folder / "archive"
    scene, other = (archive / "blocks" / name for name in ("a.v1", "b.v1"))
    points = [(9, 9), (30, 120), (130, 60), (140, 210)]
    x, y = PLACES["utm"][1] * np.array(points, float).T[::-1]
    lines = [
        f"{a},{b},{'one' if n % 2 else 'two'}" for n, (a, b) in enumerate(zip(x, y, strict=True))
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["x,y,class", *lines]))
    place = f"{x[1]},{y[1]}"

    def told(*words, check=0):
        return rs_otl_here(*words, cwd=tmp_path, check=check)

    hits = told("search", archive, "--like", place, "-n", 3, "-o", "hits.geojson").stdout
    assert told("index", archive, "-o", "i").stdout.startswith("i: 252 tiles of 96 features, 12")
    indexed = told("search", "i", "--like", place, "-n", 3, "-o", "more.geojson").stdout
    # Scores but for the index's rounding to bytes: the same tiles, those over block borders too.
    places = [[line.split()[2:] for line in text.splitlines()[:3]] for text in (hits, indexed)]
    assert places[0] == places[1]
    told("map", archive, "--labels", "labels.csv", "-o", "maps")
    told("map", folder / "whole.tif", "--labels", "labels.csv", "-o", "map.tif")
    with (
        rasterio.open(tmp_path / "maps" / "a.v1.tif") as file,
        rasterio.open(tmp_path / "map.tif") as whole,
    ):
        np.testing.assert_array_equal(file.read(), whole.read())
        assert file.transform == whole.transform
    told("cluster", scene, "-k", 4, "--scene", folder / "a.v1.tif", "-o", "clusters.tif")
    told("suggest", scene, "-n", 3, "-o", "places.geojson")
    change = told("change", scene, other, "-o", "change.tif").stdout
    assert " of 126 cells" in change
    assert not change.startswith("changed  0 ")
    assert told("view", folder / "a.v1.tif", "--embeddings", scene).stdout == "a.v1.html\n"
    assert (tmp_path / "a.v1.html").stat().st_size


def test_what_takes_one_scene_names_those_of_an_archive(folder, tmp_path):
    told = rs_otl_here("cluster", "archive", "-o", tmp_path / "c.tif", cwd=folder, check=2)
    assert "archive: an archive of 2 scenes; expected one of them: archive/blocks/a.v1" in (
        told.stderr
    )
    labels = ("--labels", "labels.csv")
    told = rs_otl_here("map", "archive", *labels, "-o", tmp_path / "m.tif", cwd=folder, check=2)
    assert "m.tif: 2 scenes have a map each; expected a folder for them" in told.stderr
    told = rs_otl_here("view", "a.v1.tif", cwd=folder, check=2)
    assert "make them with `rs-otl embed a.v1.tif --encoder ENCODER" in told.stderr


def test_nothing_of_a_scene_stays_when_it_has_changed(
    tmp_path, encoder_folder, monkeypatch, capsys
):
    monkeypatch.setattr(archives, "BLOCK", 96)
    pole = ODD_CRS["rotated pole"], Affine(0.1, 0, -10, 0, -0.1, 10)
    monkeypatch.setitem(PLACES, "pole", pole)
    archive, scenes = tmp_path / "archive", [tmp_path / "a.tif", tmp_path / "b.tif"]
    blocks = archive / "blocks" / "a"
    pixels = np.maximum(draw(64, 190), 1).astype(np.uint8)
    write(scenes[0], pixels, "pole", nodata=0)
    write(scenes[1], pixels)
    plan_archive(scenes, encoder_folder, archive, **GRID)
    embed_archive(archive)
    assert len(list(blocks.glob("*.tif.aux.xml"))) == 2  # GeoTIFF has no place for such a CRS
    pixels[:, :, 96:] = 0
    for path in tmp_path.glob("a.tif*"):
        path.unlink()
    write(scenes[0], pixels, nodata=0)
    plan_archive(scenes, encoder_folder, archive, **GRID)
    # Planned and not yet embedded: it is left out, whatever files it had.
    capsys.readouterr()
    x, y = PLACES["utm"][1] @ (40, 40)
    hits = search(archive, (x, y), tmp_path / "hits.geojson")
    assert {hit.scene for hit in hits} == {"b.tif"}
    told = capsys.readouterr().err
    assert "1 of 2 scenes have no embeddings and are left out, a is one" in told
    embed_archive(archive)
    assert sorted(path.name for path in blocks.iterdir()) == [
        "a-r0-c0.json", "a-r0-c0.tif", "a-r0-c6.json",
    ]  # fmt: skip
    found, cells = rows(blocks)
    assert cells.crs == PLACES["utm"][0]
    assert np.isfinite(found[:, :6]).all()
    assert np.isnan(found[:, 6:]).all()


def test_a_process_with_nothing_to_do_leaves_others_their_files(
    tmp_path, encoder_folder, monkeypatch
):
    archive = tmp_path / "archive"
    write(tmp_path / "a.tif", draw(64, 64).astype(np.uint8))
    plan_archive([tmp_path / "a.tif"], encoder_folder, archive, **GRID)
    left, replace, others = archive / ".aside-of-a-killed-worker", os.replace, []
    left.mkdir()
    os.utime(left, (0, 0))

    def replacing(source, target):
        if target.name == "collection.json" and not others:
            others.append(target)
            assert embed_archive(archive).made == 0
        replace(source, target)

    monkeypatch.setattr(archives.os, "replace", replacing)
    assert embed_archive(archive).made == 1
    assert others
    assert not list(archive.glob(".*"))


def test_a_block_that_is_missing_or_of_another_plan_has_no_data(folder, tmp_path, capsys):
    blocks = folder / "archive" / "blocks" / "b.v1"
    before = rows(blocks)[0]
    item = blocks / "b.v1-r0-c5.json"
    assert item.is_file(), sorted(blocks.iterdir())
    kept = item.read_text()
    key = kept.split('"rs_otl:key": "')[1].split('"')[0]
    item.write_text(kept.replace(key, "0" * len(key)))
    try:
        found = rows(blocks)[0]
        assert "b.v1: 1 of 6 blocks are not embedded, and taken as without data" in (
            capsys.readouterr().err
        )
    finally:
        item.write_text(kept)
    assert np.isnan(found[:5, 5:10]).all()
    np.testing.assert_array_equal(found[5:], before[5:])
    np.testing.assert_array_equal(found[:5, :5], before[:5, :5])
