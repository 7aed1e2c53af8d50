import json
import re

import numpy as np
import pytest
import rasterio
from browser import CHROMIUM, browser
from geo_scenes import draw, make_encoder, write
from test_geo_map import THREE, labels, stripes

from rs_otl.errors import InputError
from rs_otl.geo import embed, view
from rs_otl.geo import map as map_scene


@pytest.fixture
def page(tmp_path, encoder):
    scene = write(tmp_path / "scene.tif", stripes())
    embed(scene, encoder, tmp_path / "out.tif", tile=32, stride=16)
    given = labels(tmp_path / "points.gpkg", scene, THREE)
    map_scene(scene, given, tmp_path / "map.tif", encoder=encoder, tile=32, stride=16)
    embeddings, class_map = tmp_path / "out.tif", tmp_path / "map.tif"
    return view(scene, tmp_path / "page.html", embeddings=embeddings, class_map=class_map)


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.findall(r"https?:|//[a-z]+\.|<link|<script src|@import", text)
    assert "default-src 'none'" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_a_click_in_a_browser_shows_the_most_similar_places(page, tmp_path, encoder):
    with browser(tmp_path / "profile") as window:
        window.open(page.as_uri())
        names = window.evaluate(
            "[...document.querySelectorAll('#legend div')].map(e => e.innerText)"
        )
        assert names == ["roof", "water", "wood"]
        box = window.evaluate(
            "(() => { const b = document.getElementById('canvas').getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        # A cell of 16 pixels of 192, in the middle of the third of wood.
        scale = box[2] / 192
        window.click(box[0] + 88 * scale, box[1] + 72 * scale)
        window.wait("document.querySelectorAll('#hits li').length > 0")
        lines = window.evaluate("[...document.querySelectorAll('#hits li')].map(e => e.innerText)")
        places = [
            tuple(map(int, re.findall(r"column (\d+), row (\d+)", line)[0])) for line in lines
        ]
        scores = [float(line.split()[0]) for line in lines]
        assert scores == sorted(scores, reverse=True)
        with rasterio.open(tmp_path / "out.tif") as file:
            vectors = file.read() / np.linalg.norm(file.read(), axis=0)
        true = np.einsum("drc,d->rc", vectors, vectors[:, 4, 5])
        apart = [max(abs(column - 5), abs(row - 4)) for column, row in places]
        assert min(apart) >= 2
        rows, columns = np.indices(true.shape)
        best = true[np.maximum(abs(rows - 4), abs(columns - 5)) >= 2].max()
        assert true[places[0][::-1]] > best - 0.05
        for (column, row), score in zip(places, scores, strict=True):
            assert score == pytest.approx(true[row, column], abs=0.1)
        assert window.evaluate("document.querySelector('input:checked').value") == "similarity"
        # What the picture shows is there: neither white nor one colour.
        shades = window.evaluate(
            "new Set(document.getElementById('canvas').getContext('2d')"
            ".getImageData(0, 0, 192, 128).data).size"
        )
        assert shades > 50
        requests = [
            event["params"]["request"]["url"]
            for event in window.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert {address.split(":")[0] for address in requests} <= {"file", "data"}
        assert not [
            event
            for event in window.events
            if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]


def test_similarities_of_the_page_are_near_the_true_ones():
    from rs_otl.geo.viewing import _quantised

    random = np.random.default_rng(0)
    values = np.maximum(random.normal(size=(20, 20, 8)) @ random.normal(size=(8, 512)), 0)
    held = np.ones((20, 20), bool)
    held[3, 4] = False
    packed = _quantised(values.astype(np.float32), held)
    assert packed.shape == (20, 20, 32)
    assert not packed[3, 4].any()

    def cosines(rows):
        rows = rows[held].astype(float)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ rows.T

    assert np.abs(cosines(packed) - cosines(values)).max() < 0.1


def test_files_of_another_scene_are_refused(page, tmp_path, encoder):
    other = write(tmp_path / "other.tif", draw(96, 96).astype(np.uint8))
    scene, made = tmp_path / "scene.tif", tmp_path / "out.tif"
    out = tmp_path / "other.html"
    for embeddings, message in (
        (made, r"made of scene\.tif, not of .*other\.tif"),
        (other, "expected a GeoTIFF that `rs-otl embed`"),
        (tmp_path / "gone.tif", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            view(other, out, embeddings=embeddings)
        assert not out.exists()
    with pytest.raises(InputError, match="has no classes"):
        view(scene, out, embeddings=made, class_map=made)
    with pytest.raises(InputError, match="expected embeddings"):
        view(scene, out, embeddings=tmp_path / "map.tif")
    with pytest.raises(InputError, match="exists already"):
        view(scene, page, embeddings=made)
    with pytest.raises(InputError, match="a scene needs its embeddings"):
        view(scene, out)
    assert not out.exists()


def test_a_map_by_another_encoder_is_refused_naming_both(page, tmp_path):
    other = make_encoder(tmp_path / "other", scale=200.0)
    scene, chart = tmp_path / "scene.tif", tmp_path / "theirs.tif"
    given = tmp_path / "points.gpkg"
    map_scene(scene, given, chart, encoder=other, tile=32, stride=16)
    with pytest.raises(InputError, match=r"theirs\.tif: made with the encoder .*other.*out\.tif"):
        view(scene, tmp_path / "no.html", embeddings=tmp_path / "out.tif", class_map=chart)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 48}, "tile 48; .*out.tif with .* tile 32"),
        ({"stride": 32}, "stride 32; .*out.tif with .* stride 16"),
        ({"bands": ["3", "2", "1"]}, "bands blue, green, red; .*out.tif with .* red, green, blue"),
        ({"image_size": 64}, "out.tif"),
    ],
)
def test_a_map_made_in_another_way_is_refused(changes, message, page, tmp_path, encoder_folder):
    chart, given = tmp_path / "other.tif", tmp_path / "points.gpkg"
    made = {"encoder": encoder_folder, "tile": 32, "stride": 16} | changes
    map_scene(tmp_path / "scene.tif", given, chart, **made)
    with pytest.raises(InputError, match=rf"other\.tif: made with .*{message}"):
        view(
            tmp_path / "scene.tif",
            tmp_path / "no.html",
            embeddings=tmp_path / "out.tif",
            class_map=chart,
        )
    assert not (tmp_path / "no.html").exists()


def test_embeddings_are_viewed_alone(page, tmp_path):
    alone = view(tmp_path / "out.tif", tmp_path / "alone.html", class_map=tmp_path / "map.tif")
    data = json.loads(re.findall(r'application/json">(.*?)</script>', alone.read_text())[0])
    assert "scene" not in data
    assert data["map"].startswith("data:image/png")
