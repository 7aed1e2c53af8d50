"""Products of each sensor by the command line: pretrained on, embedded, mapped and searched.

What the encoder sees, and what comes out, is compared with what rasterio reads of their files.
"""

import json
import shlex
import shutil

import numpy as np
import pytest
import rasterio
import torch
from command_line import rs_otl_here, settings
from drawn_catalog import draw_item, draw_scene
from drawn_products import (
    landsat,
    planetscope,
    save,
    sentinel_1,
    sentinel_2,
    texture,
    zipped,
)

from rs_otl.datasets import load_dataset
from rs_otl.models import load_encoder
from rs_otl.runs.records import own_recipe
from rs_otl.spec import load_size
from rs_otl.trainers import History

SIDE = 96
QUICK = settings("image_size=16", "views=2", "epochs=1", "augment=simple", "encoder=test_resnet")
TILE = load_size(16)
FOUR = {"B02": 10, "B03": 10, "B04": 10, "B08": 10}
TOA, SURFACE = (f"{kind} reflectance x 10,000" for kind in ("top-of-atmosphere", "surface"))
ADDED = ["--units", "surface", "--offset", "-1000"]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Of a run's history, which take as long as all else."""
    monkeypatch.setattr(History, "_draw", lambda *_: None)


def stored(path, band=1):
    with rasterio.open(path) as file:
        return file.read(band).astype(float)


def safe(folder, level="2A", pack=False):
    made = sentinel_2(folder, level, side=SIDE)
    values = {}
    for path in made.rglob("*_B*.jp2"):
        pixels = stored(path) - 1000
        repeat = SIDE // len(pixels)
        name = path.stem.split("_")[2].lower()
        if name not in values or repeat == 1 or "R20m" not in str(path):
            values[name] = pixels.repeat(repeat, 0).repeat(repeat, 1)
    if not pack:
        return made, values
    archive = zipped(made)
    shutil.rmtree(made)
    return archive, values


def loose(folder):
    """Bands of Sentinel-2 without the metadata, which would say what was added."""
    made = sentinel_2(folder / "safe", side=SIDE, bands=FOUR | {"B11": 20})
    (folder / "files").mkdir()
    values = {}
    for path in made.rglob("IMG_DATA/*/*_B*.jp2"):
        name = path.stem.split("_")[2]
        repeat = 2 if name == "B11" else 1
        if f"_{10 * repeat}m" not in path.stem:
            continue
        values[name.lower()] = (stored(path) - 1000).repeat(repeat, 0).repeat(repeat, 1)
        path.rename(folder / "files" / path.name)
    return folder / "files", values


def scene_file(folder, bands, low, high, dtype, names=None, **profile):
    pixels = np.stack([texture(SIDE, SIDE, n, low, high) for n in range(bands)]).astype(dtype)
    return save(folder / "scene.tif", pixels, 10, names, **profile)


def stack(folder):
    path = scene_file(folder, 4, 1200, 7000, np.uint16, ("B4", "B3", "B2", "B8"))
    return path, {f"b{band}": stored(path, n) - 1000 for n, band in enumerate((4, 3, 2, 8), 1)}


def said(folder):
    """A stack that says itself what its values stand for."""
    path = scene_file(folder, 2, 1200, 7000, np.uint16, ("B04", "B08"))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4,) * 2, (-0.1,) * 2
    return path, {f"b0{band}": stored(path, n) - 1000 for n, band in enumerate((4, 8), 1)}


def aerial(folder):
    path = scene_file(folder, 4, 0, 255, np.uint8, photometric="RGB")
    names = ("band-1", "band-2", "band-3", "band-4")
    return path, {name: stored(path, n) for n, name in enumerate(names, 1)}


def collection_2(folder, level="L2SP"):
    made = landsat(folder, level, side=SIDE)
    # TOA is divided by the sine of the sun's elevation of 30 degrees.
    scale, offset = (2.75e-5, -0.2) if level == "L2SP" else (2e-5 / 0.5, -0.1 / 0.5)
    paths = {f"b{n}": next(made.glob(f"*_B{n}.TIF")) for n in range(1, 8)}
    return made, {name: 1e4 * (stored(path) * scale + offset) for name, path in paths.items()}


def radar(folder):
    made = sentinel_1(folder, side=SIDE)
    return made, {name.lower(): stored(next(made.glob(f"*_{name}.tif"))) for name in ("VV", "VH")}


PLANET = {
    4: ("blue", "green", "red", "nir"),
    8: ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
}


def planet(folder, bands, surface):
    path = planetscope(folder, bands, SIDE, surface)
    factors = [1 if surface else 1e4 * (n + 0.5) * 1e-5 for n in range(1, bands + 1)]
    return path, {
        name: factor * stored(path, n)
        for n, (name, factor) in enumerate(zip(PLANET[bands], factors, strict=True), 1)
    }


def item(folder):
    drawn = draw_item(folder, 0, side=SIDE).to_dict(transform_hrefs=False)
    (folder / "item.json").write_text(json.dumps(drawn))
    pixels = draw_scene(0, SIDE).astype(float) - 1000
    return folder / "item.json", dict(zip(("b02", "b03", "b04", "b08"), pixels, strict=True))


PRODUCTS = {
    "Sentinel-2 L2A": (safe, SURFACE, []),
    "Sentinel-2 L1C in a zip": (lambda folder: safe(folder, "1C", True), TOA, []),
    "Sentinel-2, a file a band": (loose, SURFACE, ADDED),
    "a stack": (stack, SURFACE, ADDED),
    "a stack that says its factors": (said, TOA, ["--units", "toa"]),
    "Landsat L2SP": (collection_2, SURFACE, []),
    "Landsat L1TP": (lambda folder: collection_2(folder, "L1TP"), TOA, []),
    "Sentinel-1": (radar, "backscatter in dB", ["--units", "db"]),
    "PlanetScope, 4 bands": (lambda folder: planet(folder, 4, True), SURFACE, []),
    "PlanetScope, 8 bands": (lambda folder: planet(folder, 8, False), TOA, []),
    "aerial": (aerial, "8-bit counts", []),
    "a STAC item": (item, SURFACE, []),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_from_pretraining_to_a_search(name, tmp_path):
    make, units, options = PRODUCTS[name]
    source, values = make(tmp_path / "products")
    # A folder of products, or the scene or item itself.
    named = source if source.name in ("scene.tif", "item.json") else source.parent
    done = rs_otl_here(
        *("pretrain", named, "--recipe", "otl", "--out", "run", *options, *QUICK), cwd=tmp_path
    )
    encoder = load_encoder(tmp_path / "run")
    spec = encoder.config.spec
    assert (spec.units, set(spec.bands)) == (units, set(values))
    raw = np.stack([values[band] for band in spec.bands])
    scaled = np.clip((raw - spec.offset) / spec.scale, 0, 1).astype(np.float32)

    recipe = own_recipe(tmp_path / "run")
    images = load_dataset(recipe.dataset, TILE, values=recipe.values, bands=recipe.bands)
    for number in range(0, len(images), 7):
        row, column = (int(part[1:]) for part in images.paths[number].split(":")[-2:])
        if row < 3:  # pixels without data
            continue
        window = scaled[:, row : row + TILE, column : column + TILE]
        step = 1 / (255 if units == "8-bit counts" else 65535)
        np.testing.assert_allclose(images[number]["image"], window, atol=step)

    # The command that pretrain has printed, with the values' options.
    how = ["--stride", TILE, "--precision", "float32"]
    printed = shlex.split(done.stdout.splitlines()[-1])
    assert printed[:3] == ["next", "rs-otl", "embed"]
    done = rs_otl_here(*printed[2:], *how, cwd=tmp_path)
    assert "0.0 % nodata" in done.stdout
    out = tmp_path / "run" / "embeddings"
    out = next(out.glob("*.tif")) if out.is_dir() else out.with_suffix(".tif")
    with rasterio.open(out) as file:
        embedded, place = file.read().transpose(1, 2, 0), file.transform
    rows, columns = (length // TILE for length in raw.shape[1:])
    chips = np.stack(
        [
            scaled[:, TILE * row : TILE * (row + 1), TILE * column : TILE * (column + 1)]
            for row in range(1, rows)
            for column in range(columns)
        ]
    )
    expected = encoder.embed(torch.from_numpy(chips)).numpy().reshape(rows - 1, columns, -1)
    np.testing.assert_allclose(embedded[1:rows, :columns], expected, atol=2e-4)

    scene = [source, "--encoder", "run", *how, *options]
    x, y = place * (2.5, 1.5)
    query = f"{x},{y}"
    search = ("--query", query, "-n", 3, "-o")
    rs_otl_here("search", *scene, *search, "hits.geojson", cwd=tmp_path)
    unit = embedded / np.linalg.norm(embedded, axis=2, keepdims=True)
    hits = json.loads((tmp_path / "hits.geojson").read_text())["features"]
    np.testing.assert_allclose(
        [hit["properties"]["score"] for hit in hits],
        np.sort((unit @ unit[1, 2]).ravel())[::-1][1:4],
        atol=1e-4,
    )

    places = [place * (column + 0.5, row + 0.5) for column, row in ((1, 1), (3, 3))]
    rows_of_text = (f"{x},{y},{kind}" for kind, (x, y) in zip("ab", places, strict=True))
    (tmp_path / "labels.csv").write_text("\n".join(("x,y,class", *rows_of_text)))
    labels = ("--labels", "labels.csv", "-o")
    rs_otl_here("map", *scene, *labels, "map.tif", cwd=tmp_path)
    rs_otl_here("map", out, *labels, "of-e.tif", cwd=tmp_path)
    mapped = [stored(tmp_path / file) for file in ("map.tif", "of-e.tif")]
    np.testing.assert_array_equal(*mapped)
    assert (mapped[0][1, 1], mapped[0][3, 3]) == (1, 2)
