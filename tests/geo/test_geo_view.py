import io
import json
import re
import time
import warnings

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from browser import CHROMIUM, browser
from command_line import rs_otl_here
from geo_scenes import PLACES, draw, make_encoder, write
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from test_geo_map import THREE, labels, stripes

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo import embed, explore, pyramid, search, view, viewing
from rs_otl.geo import map as map_scene
from rs_otl.geo.cells import FileCells
from rs_otl.geo.fitting import fit
from rs_otl.geo.similar import unit


@pytest.fixture(scope="module")
def page(tmp_path_factory, encoder):
    """A page, beside the files that it was made of."""
    home = tmp_path_factory.mktemp("page")
    scene = write(home / "scene.tif", stripes())
    embed(scene, encoder, home / "out.tif", tile=32, stride=16)
    given = labels(home / "points.gpkg", scene, THREE)
    map_scene(scene, given, home / "map.tif", encoder=encoder, tile=32, stride=16)
    embeddings, class_map = home / "out.tif", home / "map.tif"
    return view(scene, home / "page.html", embeddings=embeddings, class_map=class_map)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as window:
        yield window


NO_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


class Window:
    """The page in a browser, as who uses it sees it: by pixels of the scene."""

    def __init__(self, browser, page, folder):
        self.browser, self.folder = browser, folder
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        browser.open(page.as_uri())

    def on_screen(self, column, row):
        return self.browser.evaluate(
            "(() => { map.renderSync();"
            f" const [x, y] = map.getPixelFromCoordinate([{column}, -{row}]);"
            " const box = document.getElementById('map').getBoundingClientRect();"
            " return [x + box.left, y + box.top]; })()"
        )

    def click(self, column, row, shift=False):
        self.browser.click(*self.on_screen(column, row), shift)

    def press(self, selector):
        """Click the middle of an element."""
        place = self.browser.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView();"
            " const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        self.browser.click(*place)

    def text(self, selector):
        return self.browser.evaluate(
            f"[...document.querySelectorAll({selector!r})].map(e => e.innerText)"
        )

    def shade(self, column, row):
        """What is seen at a pixel of the scene."""
        self.browser.evaluate(
            "new Promise(done => { map.once('rendercomplete', () => done()); map.render(); })"
        )
        self.browser.screenshot(self.folder / "seen.png")
        x, y = self.on_screen(column, row)
        return Image.open(self.folder / "seen.png").convert("RGB").getpixel((int(x), int(y)))

    def add_class(self, name):
        self.press("#new-class")
        self.browser.type(name)
        self.browser.key("Enter")

    def saved(self):
        self.browser.key("s")
        for _ in range(500):
            for file in self.folder.glob("scene-labels.*"):
                if file.suffix in (".geojson", ".csv") and file.stat().st_size:
                    return file
            time.sleep(0.02)
        raise AssertionError("nothing was saved")

    def check(self):
        """Nothing came from elsewhere, and nothing went wrong."""
        requests = [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert {address.split(":")[0] for address in requests} <= {"file", "data", "blob"}
        wrong = ("Runtime.exceptionThrown", "Log.entryAdded")
        assert not [event for event in self.browser.events if event.get("method") in wrong]


@pytest.fixture
def opened(chromium, tmp_path):
    """What opens a page."""
    windows = []

    def open_page(page):
        windows.append(Window(chromium, page, tmp_path))
        return windows[-1]

    yield open_page
    for window in windows:
        window.check()


def cells_of(path):
    """Embeddings of length 1, (rows, columns, D)."""
    with rasterio.open(path) as file:
        values = np.moveaxis(file.read(), 0, -1)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    library = (
        text.index("/*\nol.js and ol.css"),
        text.index("</script>", text.index("ol.js and ol.css")),
    )
    assert "BSD 2-Clause License" in text[slice(*library)]
    own = text[: library[0]] + text[library[1] :]
    own = own.replace('<a href="https://openlayers.org"', "")
    assert not re.findall(r"https?:|//[a-z]+\.|<link|<script src|@import", own)
    assert "default-src 'none'" in text


@NO_BROWSER
def test_the_scene_is_moved_and_zoomed_and_says_where_it_is(page, tmp_path, opened):
    window = opened(page)
    browser, (x, y) = window.browser, window.on_screen(88, 72)
    browser.drag((x, y), (x + 60, y + 40))
    browser.wait("!map.getView().getAnimating()")
    assert window.on_screen(88, 72) == pytest.approx([x + 60, y + 40], abs=8)
    before = browser.evaluate("map.getView().getResolution()")
    browser.wheel(x, y, -300)
    browser.wait(f"map.getView().getResolution() < {before} / 1.3 && !map.getView().getAnimating()")
    browser.call(
        "Input.dispatchMouseEvent",
        type="mouseMoved",
        **dict(zip("xy", window.on_screen(100.5, 40.5), strict=True)),
    )
    (said,) = window.text("#where")
    assert "column 100, row 40" in said
    with Scene(page.parent / "scene.tif") as scene:
        east, north = scene.coordinate(100.5, 40.5)
        place = shapely.Point(east, north)
        there = geopandas.GeoSeries([place], crs=scene.crs).to_crs("EPSG:4326")[0]
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", said.split("row 40")[1])]
    numbers = numbers[:2] + numbers[-2:]
    assert numbers[:2] == pytest.approx([east, north], abs=10)
    assert numbers[2:] == pytest.approx([there.x, there.y], abs=2e-4)
    assert re.fullmatch(r"\d+ k?m", window.text(".ol-scale-line")[0].strip())


@NO_BROWSER
def test_clicks_find_similar_places_and_shift_what_they_should_not_be_like(page, tmp_path, opened):
    window = opened(page)
    window.browser.key("f")
    # Cells of 16 pixels, in the middle third, of wood, and the last one.
    window.click(88, 72)
    vectors = cells_of(page.parent / "out.tif")

    def check(query, examples):
        true = vectors @ query / np.linalg.norm(query)
        found = [
            (float(score), int(column) // 16, int(row) // 16)
            for score, column, row in (
                re.findall(r"[\d.\u2212-]+", line) for line in window.text("#hits li")
            )
        ]
        assert len(found) == 10
        # They are the hits of the command.
        places = [PLACES["utm"][1] @ (16 * c + 8, 16 * r + 8) for r, c in examples]
        out = tmp_path / f"{len(places)}.geojson"
        hits = search(page.parent / "out.tif", places[:2], out, unlike=places[2:], count=10)
        expected = [hit.score for hit in hits]
        assert [score for score, _, _ in found] == pytest.approx(expected, abs=6e-4)
        assert [score for score, _, _ in found] == sorted((s for s, _, _ in found), reverse=True)
        for score, column, row in found:
            assert score == pytest.approx(true[row, column], abs=6e-4)
            far = [max(abs(row - r), abs(column - c)) for r, c in examples]
            assert min(far) >= 2

    check(vectors[4, 5], [(4, 5)])
    window.click(104, 24)
    window.click(168, 40, shift=True)
    assert window.text("#hint") == ["Like 2 places, unlike 1 place"]
    query = vectors[4, 5] + vectors[1, 6] - vectors[2, 10]
    check(query, [(4, 5), (1, 6), (2, 10)])
    assert (
        window.browser.evaluate("document.querySelector('[name=layer]:checked').value")
        == "similarity"
    )
    window.press("#forget")
    assert window.text("#hits li") == []


@NO_BROWSER
@pytest.mark.parametrize("place", ["utm", "rotated", "site grid", "degrees", "no CRS"])
def test_saved_labels_give_the_map_of_the_page_by_command_line(place, tmp_path, encoder, opened):
    # Neither side a multiple of the stride: cells of the edge reach out of the scene.
    scene = write(tmp_path / "scene.tif", stripes(198, 122), place if place in PLACES else "utm")
    if place == "site grid":
        with rasterio.open(scene, "r+") as file:
            file.crs = 'LOCAL_CS["site",UNIT["metre",1]]'
    embed(scene, encoder, tmp_path / "out.tif", tile=32, stride=16)
    window = opened(view(scene, tmp_path / "page.html", embeddings=tmp_path / "out.tif"))
    window.browser.key("l")
    places = [(20, 30, "water"), (40, 100, "water"), (100, 20, "wood"), (197, 121, "Roof 2")]
    for name in ("water", "wood", "Roof 2"):
        window.add_class(name)
    window.press("#map")  # which labels its middle
    window.browser.key("u")
    for column, row, name in places:
        window.browser.key(str(1 + ["water", "wood", "Roof 2"].index(name)))
        window.click(column, row)
        if name == "water":
            assert "each of two classes" in window.text("#state")[0]
    classes = window.browser.evaluate("[...mapped.classes]")
    sure = window.browser.evaluate("[...mapped.sure]")
    names = window.browser.evaluate("mapped.names")
    labels = window.saved()
    assert labels.suffix == (".csv" if place == "site grid" else ".geojson")
    assert labels.read_text().count("water") == 2
    rs_otl_here("map", "out.tif", "--labels", labels.name, "-o", "chart.tif", cwd=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "chart.tif") as file:
            chart = file.read(1)
            order = json.loads(file.tags()["RS_OTL_CLASSES"])
            shades = [file.colormap(1)[value] for value in (1, 2, 3)]
        with rasterio.open(tmp_path / "chart-confidence.tif") as file:
            confidence = file.read(1)
    assert order == ["Roof 2", "water", "wood"]
    assert len(np.unique(chart)) == 3
    by_page = np.array([order.index(name) + 1 for name in names])[np.array(classes) - 1]
    assert (by_page.reshape(chart.shape) == chart).all()
    assert np.abs(100 * np.reshape(sure, chart.shape) - confidence).max() < 0.51
    colours = window.browser.evaluate("Object.fromEntries(colours)")
    if place == "utm":  # it goes on another day
        again = {"embeddings": tmp_path / "out.tif", "labels": labels}
        window = opened(view(scene, tmp_path / "again.html", **again))
        assert window.browser.evaluate("[...mapped.classes]") == classes
        assert window.browser.evaluate("geojson()") == json.loads(labels.read_text())
    assert [colours[name] for name in order] == [
        "#{:02x}{:02x}{:02x}".format(*shade[:3]) for shade in shades
    ]


@NO_BROWSER
def test_labels_are_undone_changed_and_taken_away(page, opened):
    window = opened(page)
    window.press("#tools label:nth-child(3)")
    before = window.shade(150, 60)
    counts = lambda: window.browser.evaluate("labels.map(label => label.klass)")  # noqa: E731
    # Keys choose among the classes of the map that the page came with: roof, water, wood.
    for key, column in (("2", 24), ("1", 170), ("3", 150)):
        window.browser.key(key)
        window.click(column, 60)
    assert counts() == ["water", "roof", "wood"]
    assert window.text("#state")[0].startswith("Map from 3 labels, ")
    assert window.shade(150, 80) != before
    window.browser.key("1")
    window.click(150, 60)
    assert counts() == ["water", "roof", "roof"]
    window.click(150, 60)  # again: it is gone
    assert counts() == ["water", "roof"]
    window.browser.key("z", control=True)
    window.browser.key("z", control=True)
    assert counts() == ["water", "roof", "wood"]
    for _ in range(9):
        window.press("#undo")
    assert counts() == []
    assert window.browser.evaluate("mapped") is None
    # Enter labels the middle of the map.
    window.browser.evaluate("document.getElementById('map').focus()")
    window.browser.key("Enter")
    assert counts() == ["roof"]
    # Nothing is lost by a slip: the browser asks before it leaves.
    assert window.browser.evaluate(
        "!dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    )
    window.saved()
    assert window.browser.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")


@NO_BROWSER
def test_the_layer_is_hidden_made_transparent_and_swept_aside(page, opened):
    window = opened(page)
    near = lambda a, b: max(abs(x - y) for x, y in zip(a, b, strict=True)) < 4  # noqa: E731
    half = window.shade(20, 60), window.shade(170, 60)
    window.browser.key("0")
    bare = window.shade(20, 60), window.shade(170, 60)
    assert not near(half[0], bare[0])
    window.browser.key("0")
    assert near(window.shade(20, 60), half[0])
    window.press("#swiping")
    assert near(window.shade(20, 60), half[0])
    assert near(window.shade(170, 60), bare[1])
    window.browser.key("w")
    window.browser.evaluate(
        "(() => { const e = document.getElementById('opacity'); e.value = 0;"
        " e.dispatchEvent(new Event('input')); })()"
    )
    assert near(window.shade(20, 60), bare[0])


@NO_BROWSER
def test_what_belongs_to_a_large_scene_lies_beside_the_page(page, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(viewing, "_PIXELS_IN_PAGE", 1000)
    monkeypatch.setattr(viewing, "_MOST_BYTES", 40 * 96 * 4)
    monkeypatch.setattr(viewing, "_CHUNK", 999)
    monkeypatch.setattr(pyramid, "SIDE", 32)
    monkeypatch.setattr(viewing, "SIDE", 32)
    given = page.parent / "scene.tif", tmp_path / "a large #1.html"
    embeddings = page.parent / "out.tif"
    large = view(*given, embeddings=embeddings)
    assert large.stat().st_size < 1_400_000
    beside = tmp_path / "a large #1_files"
    tiles = sorted(path.relative_to(beside).as_posix() for path in beside.rglob("*.webp"))
    assert {tile.split("/")[0] for tile in tiles} == {"0", "1", "2", "3"}
    assert len(tiles) == 6 * 4 + 3 * 2 + 2 + 1
    window = opened(large)
    # Of two by two cells one is held, and a label lies in it.
    assert "one cell of each 2 x 2 shown" in window.text("#facts")[0]
    with rasterio.open(page.parent / "scene.tif") as file:
        true = file.read()[:, 56:72, 16:32].mean((1, 2))
    assert window.shade(24, 64) == pytest.approx(true, abs=25)
    window.browser.key("l")
    for name, column in (("water", 20), ("wood", 100)):
        window.add_class(name)
        window.click(column, 20)
    features = json.loads(window.saved().read_text())["features"]
    places = np.array([feature["geometry"]["coordinates"] for feature in features])
    points = geopandas.GeoSeries(shapely.points(places), crs="EPSG:4326").to_crs("EPSG:32633")
    columns, rows = (points.x - 400_000) / 10, (5_000_000 - points.y) / 10
    assert list(columns) == pytest.approx([24, 120], abs=0.01)
    assert list(rows) == pytest.approx([24, 24], abs=0.01)
    with pytest.raises(InputError, match=r"a large #1\.html exists already"):
        view(*given, embeddings=embeddings)
    large.unlink()
    with pytest.raises(InputError, match="a large #1_files exists already"):
        view(*given, embeddings=embeddings)


@NO_BROWSER
def test_a_notebook_shows_the_page_in_a_frame(page, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(viewing, "_PIXELS_IN_NOTEBOOK", 96 * 64)
    shown = explore(page.parent / "scene.tif", embeddings=page.parent / "out.tif")
    assert len(shown._repr_html_()) > len(shown.html)
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<body data-ready=yes>{shown._repr_html_()}</body>")
    window = opened(notebook)
    window.browser.wait(
        "document.querySelector('iframe')?.contentDocument.body?.dataset.ready === 'yes'"
    )
    levels = (
        "JSON.parse(document.querySelector('iframe').contentDocument.getElementById('data')"
        ".textContent).levels"
    )
    assert window.browser.evaluate(levels) == [2]


@pytest.mark.parametrize("count", [2, 3, 12])
@NO_BROWSER
def test_the_classifier_of_the_page_is_that_of_the_command(count, page, opened):
    random = np.random.default_rng(count)
    centres = random.normal(size=(count, 40))
    truth = np.concatenate([np.arange(count), random.integers(0, count, 30)])
    rows = unit((centres[truth] + random.normal(size=(len(truth), 40))).astype(np.float32))
    rows[-1] = rows[0]
    linear = fit(truth, [row[None] for row in rows])
    given = json.dumps([rows.tolist(), truth.tolist()])
    found = opened(page).browser.evaluate(
        f"(() => {{ const [rows, truth] = {given}; const found = fit(rows, truth, {count}, 300);"
        " return [found.weights.map(w => [...w]), [...found.biases]]; })()"
    )
    scores = [rows @ np.array(w).T + b for w, b in (found, (linear.weights, linear.biases))]
    chances = [np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in scores]
    assert np.abs(chances[0] - chances[1]).max() < 1e-4


def test_files_of_another_scene_are_refused(page, tmp_path, encoder):
    other = write(tmp_path / "other.tif", draw(96, 96).astype(np.uint8))
    scene, made = page.parent / "scene.tif", page.parent / "out.tif"
    out = tmp_path / "other.html"
    for embeddings, message in (
        (made, r"made of scene\.tif, not of .*other\.tif"),
        (other, "expected a GeoTIFF that `rs-otl embed`"),
        (tmp_path / "gone.tif", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            view(other, out, embeddings=embeddings)
        assert not out.exists()
    field = labels(tmp_path / "field.gpkg", scene, [("wood", shapely.box(80, 10, 120, 60))])
    with pytest.raises(InputError, match=r"field.gpkg: label 1 \(wood\) covers .* expected points"):
        view(scene, out, embeddings=made, labels=field)
    with pytest.raises(InputError, match="has no classes"):
        view(scene, out, embeddings=made, class_map=made)
    with pytest.raises(InputError, match="expected embeddings"):
        view(scene, out, embeddings=page.parent / "map.tif")
    with pytest.raises(InputError, match="exists already"):
        view(scene, page, embeddings=made)
    with pytest.raises(InputError, match=r"none\.tif: no such file"):
        view(tmp_path / "none.tif", tmp_path / "new.html")
    with pytest.raises(InputError, match="a scene needs its embeddings"):
        view(scene, out)
    assert not out.exists()


def test_a_map_by_another_encoder_is_refused_naming_both(page, tmp_path):
    other = make_encoder(tmp_path / "other", scale=200.0)
    scene, chart = page.parent / "scene.tif", tmp_path / "theirs.tif"
    given = page.parent / "points.gpkg"
    map_scene(scene, given, chart, encoder=other, tile=32, stride=16)
    with pytest.raises(InputError, match=r"theirs\.tif: made with the encoder .*other.*out\.tif"):
        view(scene, tmp_path / "no.html", embeddings=page.parent / "out.tif", class_map=chart)


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
    chart, given = tmp_path / "other.tif", page.parent / "points.gpkg"
    made = {"encoder": encoder_folder, "tile": 32, "stride": 16} | changes
    map_scene(page.parent / "scene.tif", given, chart, **made)
    with pytest.raises(InputError, match=rf"other\.tif: made with .*{message}"):
        view(
            page.parent / "scene.tif",
            tmp_path / "no.html",
            embeddings=page.parent / "out.tif",
            class_map=chart,
        )
    assert not (tmp_path / "no.html").exists()


def test_embeddings_are_viewed_alone(page, tmp_path):
    alone = view(
        page.parent / "out.tif", tmp_path / "alone.html", class_map=page.parent / "map.tif"
    )
    data = json.loads(re.findall(r'application/json">(.*?)</script>', alone.read_text())[0])
    assert "levels" not in data
    assert data["map"]["picture"].startswith("data:image/png")
    assert data["map"]["confidence"].startswith("data:image/png")


def test_a_scene_is_drawn_strip_by_strip_at_every_size(tmp_path, monkeypatch):
    monkeypatch.setattr(pyramid, "SIDE", 64)
    pixels = draw(101, 150).astype(np.uint8)
    pixels[:, :, :70] = 0
    path = write(tmp_path / "scene.tif", pixels, nodata=0)
    pictures = {}
    with Scene(path) as scene:
        levels, tiles = pyramid.draw_pyramid(
            scene, scene.bands, 0, lambda name, content: pictures.setdefault(name, content)
        )
    assert levels == [1, 2, 4]
    assert set(tiles) == {"0/1-0", "0/2-0", "0/1-1", "0/2-1", "1/0-0", "1/1-0", "2/0-0"}
    coarse = np.array(Image.open(io.BytesIO(pictures["2/0-0.webp"])))
    assert coarse.shape == (64, 64, 4)
    assert not coarse[:, :17, 3].any()
    assert (coarse[:26, 18:38, 3] == 255).all()
    # WebP halves what is colour without brightness.
    bright = pixels[:, :100, 80:148].mean(0).reshape(25, 4, 17, 4).mean((1, 3))
    assert np.corrcoef(coarse[:25, 20:37, :3].mean(-1).ravel(), bright.ravel())[0, 1] > 0.95


def test_degrees_are_known_between_the_points(tmp_path, encoder):
    places = {"utm": 0.01, "degrees": 1e-6, "web mercator": 0.01}
    for number, (place, most) in enumerate(places.items()):
        scene = write(tmp_path / f"{number}.tif", draw(101, 150).astype(np.uint8), place)
        embed(scene, encoder, tmp_path / f"e{number}.tif", tile=32, stride=32)
        with rasterio.open(tmp_path / f"e{number}.tif") as file:
            known = viewing._degrees(FileCells.of(file))
        side = known["side"]
        lon, lat = (np.reshape(known[key], (side, side)) for key in ("lon", "lat"))
        middle = np.add.outer(np.arange(side - 1), [0, 1])
        half = lon[middle].mean(1)[:, middle].mean(2), lat[middle].mean(1)[:, middle].mean(2)
        at = (np.arange(side - 1) + 0.5) / (side - 1)
        with Scene(scene) as opened:
            x, y = opened.coordinate(*np.meshgrid(at * 150, at * 101))
            points = geopandas.GeoSeries(
                shapely.points(half[0].ravel(), half[1].ravel()), crs="EPSG:4326"
            ).to_crs(opened.crs)
            pixel = abs(opened.transform.a)
        away = np.hypot(points.x - x.ravel(), points.y - y.ravel()) / pixel
        assert away.max() < most, place
