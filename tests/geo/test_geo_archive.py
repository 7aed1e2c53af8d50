"""Search by several places and counter-examples, within an area, and in an index."""

import json
import shutil

import numpy as np
import pytest
from command_line import rs_otl_here
from geo_scenes import draw, make_encoder, write
from PIL import Image
from test_geo_full_disk import limited
from test_geo_search import planted

from rs_otl.errors import InputError
from rs_otl.geo import embed, index, search

GRID = {"tile": 32, "stride": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    root = tmp_path_factory.mktemp("archive")
    write(root / "a.tif", planted([(56, 120), (120, 24)]))
    write(root / "b.tif", planted([(24, 72)], seed=3), "degrees")
    for name in "ab":
        embed(root / f"{name}.tif", encoder, root / f"{name}-embedding.tif", **GRID)
    index([root / "a-embedding.tif", root / "b-embedding.tif"], root / "archive")
    return root


def place(row, column):
    """Return the coordinates of the middle of a tile of scene a."""
    return (400_000 + 10 * (column + 16.5), 5_000_000 - 10 * (row + 16.5))


def test_an_index_gives_the_hits_of_its_files(folder, tmp_path):
    files = [folder / "a-embedding.tif", folder / "b-embedding.tif"]
    expected = search(files, place(56, 120), tmp_path / "exact.geojson", count=6)
    told = rs_otl_here(
        "index", "a-embedding.tif", "b-embedding.tif", "-o", tmp_path / "archive", cwd=folder
    )
    assert "tiles of 96 features, 2 files" in told.stdout
    x, y = place(56, 120)
    rs_otl_here("search", tmp_path / "archive", "--query", f"{x},{y}", "-n", 6, "-o",
                tmp_path / "hits.geojson", cwd=folder)  # fmt: skip
    hits = json.loads((tmp_path / "hits.geojson").read_text())["features"]
    found = [(hit["properties"]["scene"], hit["properties"]["row"]) for hit in hits]
    assert found[:2] == [(hit.scene, hit.row) for hit in expected[:2]]
    assert {("a.tif", 120), ("b.tif", 24)} == set(found[:2])
    scores = [hit["properties"]["score"] for hit in hits]
    assert scores == pytest.approx([hit.score for hit in expected], abs=0.01)
    again = search(tmp_path / "archive", [place(56, 120)], tmp_path / "n.geojson", count=2)
    assert [hit.scene for hit in again] == [hit.scene for hit in expected[:2]]


def test_hits_lie_within_an_area(folder, tmp_path):
    box = "-107,40,-105,41"
    for number, source in enumerate(("archive", "b-embedding.tif")):
        out = tmp_path / f"{number}.geojson"
        more = {"query_crs": "EPSG:4326", "within": box, "count": 5}
        hits = search(folder / source, (-105.95, 40.57), out, **more)
        assert {hit.scene for hit in hits} == {"b.tif"}
    half = (400_000, 4_998_000, 401_280, 5_000_000)
    hits = search(folder / "archive", place(56, 120), tmp_path / "half.geojson", within=half)
    assert {hit.scene for hit in hits} == {"a.tif"}
    assert max(hit.x for hit in hits) <= 401_280
    with pytest.raises(InputError, match=r"within .*: no tile of .*a-embedding\.tif"):
        search(folder / "archive", place(56, 120), tmp_path / "x.geojson", within="0,0,1,1")
    with pytest.raises(InputError, match="expected left,bottom,right,top"):
        search(folder / "archive", place(56, 120), tmp_path / "x.geojson", within="0,0,1")


def colours(path):
    """Write a scene of squares of 32 pixels: red ones smooth or rough, and blue ones."""
    random = np.random.default_rng(1)
    pixels = np.zeros((3, 192, 256))
    kinds = random.permuted(np.repeat([0, 1, 2], 16)).reshape(6, 8)
    for row, line in enumerate(kinds):
        for column, kind in enumerate(line):
            shade = np.array([(200, 60, 60), (200, 60, 60), (40, 60, 200)][kind])[:, None, None]
            noise = random.normal(0, (3, 60, 3)[kind], (3, 32, 32))
            pixels[:, 32 * row :, 32 * column :][:, :32, :32] = shade + noise
    write(path, np.clip(pixels, 0, 255).astype(np.uint8))
    return kinds


@pytest.mark.parametrize("examples", [1, 3])
def test_counter_examples_lead_away_from_what_is_not_wanted(examples, tmp_path, encoder):
    kinds = colours(tmp_path / "scene.tif")
    embed(tmp_path / "scene.tif", encoder, tmp_path / "e.tif", tile=32, stride=32)
    smooth, rough = (
        [",".join(map(str, place(32 * row, 32 * column))) for row, column in
         np.argwhere(kinds == kind)[:examples]]
        for kind in (0, 1)
    )  # fmt: skip
    words = [word for each in smooth for word in ("--like", each)]
    words += [word for each in rough for word in ("--unlike", each)]
    left = 16 - examples
    told = rs_otl_here(
        "search", "e.tif", *words, "-n", left, "-o", "hits.geojson", "--json", cwd=tmp_path
    )
    hits = json.loads(told.stdout)
    assert len(hits) == left
    found = [kinds[hit["row"] // 32, hit["column"] // 32] for hit in hits]
    assert np.mean(np.array(found) == 0) > 0.9


def test_images_are_queries_of_an_index(folder, tmp_path, encoder):
    chip = draw(32, 32, seed=99).astype(np.uint8)
    Image.fromarray(chip.transpose(1, 2, 0)).save(tmp_path / "chip.png")
    hits = search(
        folder / "archive", tmp_path / "chip.png", tmp_path / "h.geojson", count=3, encoder=encoder
    )
    assert {(hit.scene, hit.row) for hit in hits} == {("a.tif", 56), ("a.tif", 120), ("b.tif", 24)}


def test_an_image_is_seen_at_the_size_of_the_index(folder, tmp_path, encoder_folder):
    embed(folder / "a.tif", encoder_folder, tmp_path / "a-64.tif", image_size=64, **GRID)
    index(tmp_path / "a-64.tif", tmp_path / "archive")
    chip = draw(32, 32, seed=99).astype(np.uint8)
    Image.fromarray(chip.transpose(1, 2, 0)).save(tmp_path / "chip.png")
    for number, source in enumerate(("archive", "a-64.tif")):
        out, more = tmp_path / f"{number}.geojson", {"count": 2, "encoder": encoder_folder}
        hits = search(tmp_path / source, tmp_path / "chip.png", out, **more)
        assert {hit.row for hit in hits} == {56, 120}
        with pytest.raises(InputError, match=r"a-64\.tif: made with --image-size 64, not with 32"):
            search(tmp_path / source, place(56, 120), tmp_path / "no.geojson", image_size=32)


def test_indexes_that_cannot_be_used_are_refused(folder, tmp_path):
    out = tmp_path / "hits.geojson"
    shutil.copytree(folder, tmp_path / "moved")
    moved = tmp_path / "moved"
    # An index and its files move together.
    assert search(moved / "archive", place(56, 120), out, count=1)
    out.unlink()
    other = make_encoder(tmp_path / "other", scale=200.0)
    with pytest.raises(InputError, match=r"made with the encoder .* not with .*other"):
        search(moved / "archive", place(56, 120), out, encoder=other)
    (moved / "a-embedding.tif").write_bytes((moved / "b-embedding.tif").read_bytes())
    with pytest.raises(InputError, match="changed since it was indexed"):
        search(moved / "archive", place(56, 120), out)
    (moved / "a-embedding.tif").unlink()
    with pytest.raises(InputError, match=r"a-embedding\.tif: no such file"):
        search(moved / "archive", place(56, 120), out)
    for name, damage in (
        ("tiles.npy", b"x"),
        ("vectors.faiss", b"IwFl"),
        ("index.json", b"{}"),
    ):
        shutil.copytree(folder / "archive", tmp_path / name)
        (tmp_path / name / name).write_bytes(damage)
        with pytest.raises(InputError, match="damaged"):
            search(tmp_path / name, place(56, 120), out)
    assert not out.exists()
    embed(folder / "a.tif", other, tmp_path / "theirs.tif", **GRID)
    with pytest.raises(InputError, match="expected one encoder"):
        index([folder / "a-embedding.tif", tmp_path / "theirs.tif"], tmp_path / "mixed")
    with pytest.raises(InputError, match="exists already"):
        index(folder / "a-embedding.tif", moved / "archive")


def test_a_full_disk_leaves_no_index(folder, tmp_path):
    """FAISS raises errors of its own kind."""
    with pytest.raises(InputError, match=r"new: cannot be written \(.*too large"):
        limited(index, 4000)(folder / "a-embedding.tif", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
