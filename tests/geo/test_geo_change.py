"""Two dates of one place."""

import warnings

import numpy as np
import pytest
import rasterio
from command_line import rs_otl_here
from geo_scenes import PLACES, draw, make_encoder, write
from rasterio import Affine
from test_geo_full_disk import limited

from rs_otl.errors import InputError
from rs_otl.geo import change, embed
from rs_otl.models import load_encoder

GRID = {"tile": 32, "stride": 16}


def second_date(height=192, width=256):
    """The same place in other light and with other noise; 64 pixels of it are built over."""
    random = np.random.default_rng(5)
    pixels = draw(height, width)
    pixels = 0.95 * pixels + random.normal(0, 3, pixels.shape)
    pixels[:, 64:128, 128:192] = draw(64, 64, seed=7)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def shifted(pixels, path, columns, rows):
    """Write the part of a second date that begins so many pixels to the lower right."""
    crs, transform = PLACES["utm"]
    moved = transform @ Affine.translation(columns, rows)
    part = pixels[:, rows:, columns:]
    with rasterio.open(
        path, "w", "GTiff", part.shape[2], part.shape[1], 3, crs, moved, dtype="uint8"
    ) as file:
        file.write(part)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Features enough that a season is told from a change, whatever the weights."""
    root = tmp_path_factory.mktemp("encoder")
    return load_encoder(make_encoder(root / "encoder", architecture="resnet18"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    root = tmp_path_factory.mktemp("dates")
    write(root / "a.tif", draw(192, 256).astype(np.uint8))
    write(root / "b.tif", second_date())
    shifted(second_date(), root / "c.tif", 48, 32)
    for name in "abc":
        embed(root / f"{name}.tif", encoder, root / f"{name}-embedding.tif", **GRID)
    return root


def read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.transform


def test_a_part_that_was_built_over_has_changed(folder, tmp_path):
    told = rs_otl_here(
        "change", "a-embedding.tif", "b-embedding.tif", "-o", tmp_path / "change.tif", cwd=folder
    )
    distances, transform = read(tmp_path / "change.tif")
    mask, _ = read(tmp_path / "change-mask.tif")
    assert transform == PLACES["utm"][1] @ Affine.scale(16)
    rows, columns = np.mgrid[:12, :16]
    # Whole tiles within the part, and tiles that do not reach it.
    inside = (rows >= 5) & (rows < 7) & (columns >= 9) & (columns < 11)
    outside = (rows < 3) | (rows > 8) | (columns < 7) | (columns > 12)
    assert (mask[inside] == 2).all()
    assert (mask[outside] == 1).mean() > 0.95
    assert distances[inside].min() > 2 * distances[outside].mean()
    hectares = (mask == 2).sum() * 160**2 / 1e4
    assert f"changed  {(mask == 2).sum()} of 192 cells" in told.stdout
    told_hectares = float(told.stdout.split(" ha")[0].rsplit(" ", 1)[1])
    assert told_hectares == pytest.approx(hectares, rel=2e-3)  # UTM is not of equal area


def test_what_is_written_is_sound_unless_it_is_cut(folder, tmp_path):
    change(folder / "a-embedding.tif", folder / "b-embedding.tif", tmp_path / "change.tif")
    for name in ("change.tif", "change-mask.tif"):
        told = rs_otl_here("doctor", tmp_path / name)
        assert told.stdout.endswith("no problems\n")
    assert "a.tif" in rs_otl_here("doctor", tmp_path / "change.tif").stdout
    whole = (tmp_path / "change.tif").read_bytes()
    (tmp_path / "change.tif").write_bytes(whole[:-200])
    told = rs_otl_here("doctor", tmp_path / "change.tif", check=2)
    assert "change.tif: truncated or damaged" in told.stdout + told.stderr


def test_grids_are_registered_by_their_transforms(folder, tmp_path):
    whole = change(folder / "a-embedding.tif", folder / "b-embedding.tif", tmp_path / "w.tif")
    part = change(folder / "a-embedding.tif", folder / "c-embedding.tif", tmp_path / "p.tif")
    assert (whole.shared, part.shared) == (192, 10 * 13)
    expected, found = read(tmp_path / "w.tif")[0], read(tmp_path / "p.tif")[0]
    assert np.isnan(found[:2]).all()
    assert np.isnan(found[:, :3]).all()
    # Away from the edge of the part, where tiles are moved in, these are the same tiles; the means
    # that are taken away are of the cells that both have, so distances are not quite the same.
    assert np.corrcoef(found[3:, 4:].ravel(), expected[3:, 4:].ravel())[0, 1] > 0.99
    other = change(folder / "c-embedding.tif", folder / "a-embedding.tif", tmp_path / "o.tif")
    assert other.shared == part.shared
    np.testing.assert_allclose(read(tmp_path / "o.tif")[0], found[2:, 3:], atol=1e-5)


def test_what_changes_everywhere_is_no_change(folder, encoder, tmp_path):
    # Another season: every band in its own way.
    season = np.array([1.25, 0.8, 1.0])[:, None, None]
    write(tmp_path / "d.tif", np.clip(second_date() * season, 0, 255).astype(np.uint8))
    embed(tmp_path / "d.tif", encoder, tmp_path / "d-embedding.tif", **GRID)
    change(folder / "a-embedding.tif", tmp_path / "d-embedding.tif", tmp_path / "change.tif")
    mask, _ = read(tmp_path / "change-mask.tif")
    rows, columns = np.mgrid[:12, :16]
    assert (mask[5:7, 9:11] == 2).all()
    assert (mask[(rows < 3) | (rows > 8) | (columns < 7) | (columns > 12)] == 1).mean() > 0.95


def test_equal_dates_have_not_changed(folder, tmp_path):
    done = change(folder / "a-embedding.tif", folder / "a-embedding.tif", tmp_path / "c.tif")
    assert (done.changed, done.shared, done.median) == (0, 192, 0)


def test_what_cannot_be_compared_is_refused_in_one_line(folder, tmp_path, encoder):
    pixels = draw(96, 96).astype(np.uint8)
    write(tmp_path / "degrees.tif", pixels, "degrees")
    write(tmp_path / "pixels.tif", pixels, "no CRS")
    write(tmp_path / "here.tif", pixels)
    crs, transform = PLACES["utm"]
    far = {"driver": "GTiff", "width": 96, "height": 96, "count": 3, "dtype": "uint8", "crs": crs}
    with rasterio.open(
        tmp_path / "far.tif", "w", transform=transform @ Affine.translation(900, 0), **far
    ) as file:
        file.write(pixels)
    other = make_encoder(tmp_path / "other", scale=200.0)
    for name, model, grid, message in (
        ("degrees", encoder, GRID, "is in EPSG:32633, .* in EPSG:4326: expected one CRS"),
        ("pixels", encoder, GRID, "in no CRS: expected one CRS"),
        ("far", encoder, GRID, "no cell with data where .* has some"),
        ("here", other, GRID, "expected one encoder"),
        ("here", encoder, {"tile": 48}, "measure 320 on the ground, those of .* 480 "),
    ):
        theirs = tmp_path / f"{name}-embedding.tif"
        theirs.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            embed(tmp_path / f"{name}.tif", model, theirs, **grid)
        with pytest.raises(InputError, match=message):
            change(folder / "a-embedding.tif", theirs, tmp_path / "change.tif")
    assert not list(tmp_path.glob("*change*"))


def test_a_full_disk_is_said_of_the_file_that_was_wanted(folder, tmp_path):
    dates = [folder / f"{name}-embedding.tif" for name in "ab"]
    with pytest.raises(InputError, match="cannot be written") as raised:
        limited(change, 600)(*dates, tmp_path / "change.tif")
    assert str(raised.value).startswith(f"{tmp_path / 'change'}")
    assert list(tmp_path.iterdir()) == []
