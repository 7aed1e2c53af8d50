import functools
import json
import shutil
import subprocess

import duckdb
import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import torch
from command_line import rs_otl_here
from geo_scenes import PLACES, draw, make_encoder, write
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from rs_otl.datasets.scene import quiet_georeference
from rs_otl.errors import InputError
from rs_otl.geo import embed, embedding
from rs_otl.models import Encoder, load_encoder


def read(path):
    with quiet_georeference(), rasterio.open(path) as file:
        return file.read(), file.profile, file.tags(), file.descriptions


loaded = functools.cache(load_encoder)


def reference(encoder_folder, pixels, top, left, tile=32):
    """Embed one tile as a user would embed an image."""
    images = torch.from_numpy(pixels[None, :, top : top + tile, left : left + tile] / 255)
    return loaded(encoder_folder).embed(images)[0].numpy()


@pytest.mark.parametrize("place", PLACES)
def test_the_value_at_a_coordinate_is_the_embedding_of_the_tile_around_it(
    place, tmp_path, encoder, encoder_folder, capsys
):
    pixels = draw(101, 150).astype(np.uint8)
    path = write(tmp_path / "scene.tif", pixels, place)
    embed(path, encoder, tmp_path / "out.tif", tile=32, stride=16)
    # In the middle, left of and right of a cell's border, and in each corner.
    places = ((40, 72), (40, 79), (40, 80), (0, 0), (100, 0), (0, 149), (100, 149))
    with (
        quiet_georeference(),
        rasterio.open(path) as scene,
        rasterio.open(tmp_path / "out.tif") as out,
    ):
        assert out.crs == scene.crs
        for row, column in places:
            x, y = scene.transform @ (column + 0.5, row + 0.5)
            # Without georeference as a GIS shows such an image: y counts down from 0.
            y = -y if place == "no CRS" else y
            (value,) = out.sample([(x, y)])
            top = min(max(row // 16 * 16 - 8, 0), 101 - 32)
            left = min(max(column // 16 * 16 - 8, 0), 150 - 32)
            expected = reference(encoder_folder, pixels, top, left)
            np.testing.assert_allclose(value, expected, atol=2e-4)
            # The next tile is another: the test could tell a shift of a pixel.
            other = reference(encoder_folder, pixels, top, left + (1 if left < 100 else -1))
            assert np.abs(other - expected).max() > 2e-3
    assert ("no CRS" in capsys.readouterr().err) == (place == "no CRS")


def test_a_pixel_of_the_output_is_a_cell_and_the_last_ones_reach_over_the_edge(
    scene, tmp_path, encoder
):
    (done,) = embed(scene, encoder, tmp_path / "out.tif", tile=32, stride=16)
    values, profile, tags, names = read(tmp_path / "out.tif")
    assert values.shape == (96, 7, 10)
    assert done.cells == (7, 10)
    assert done.nodata == 0
    # The last two rows and columns of cells have the same last tile within the scene.
    assert done.tiles == 6 * 9
    assert profile["transform"].a == 160
    assert profile["dtype"] == "float32"
    assert np.isnan(profile["nodata"])
    assert names[0] == "feature 1"
    assert tags["RS_OTL_ENCODER"] == encoder.source
    assert tags["RS_OTL_WEIGHTS"] == encoder.fingerprint()
    assert (tags["RS_OTL_TILE"], tags["RS_OTL_STRIDE"]) == ("32", "16")


def test_cells_whose_tile_is_moved_in_share_it(scene, tmp_path, encoder):
    (done,) = embed(scene, encoder, tmp_path / "out.tif", tile=32, stride=4)
    values, *_ = read(tmp_path / "out.tif")
    np.testing.assert_array_equal(values[:, 0], values[:, 3])
    assert np.abs(values[:, 3] - values[:, 5]).max() > 1e-3
    assert done.tiles < values[0].size


def test_the_output_is_a_valid_cog_with_overviews(tmp_path, encoder):
    path = write(tmp_path / "scene.tif", draw(64, 600).astype(np.uint8))
    embed(path, encoder, tmp_path / "out.tif", tile=32, stride=32, pca=3)
    embed(path, encoder, tmp_path / "fine.tif", tile=32, stride=4)
    for name in ("out.tif", "fine.tif"):
        valid, errors, warned = cog_validate(tmp_path / name)
        assert valid, (errors, warned)
        with rasterio.open(tmp_path / name) as file:
            assert file.profile["tiled"]
            assert file.compression.name == "zstd"
    with rasterio.open(tmp_path / "fine.tif") as file:
        assert file.overviews(1)
    if shutil.which("gdalinfo"):
        told = subprocess.run(
            ["gdalinfo", "-json", tmp_path / "out.tif"], capture_output=True, text=True, check=True
        )
        assert json.loads(told.stdout)["size"] == [19, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_principal_components_are_those_of_the_whole_embedding(count, scene, tmp_path, encoder):
    embed(scene, encoder, tmp_path / "all.tif", tile=32, stride=16)
    (done,) = embed(scene, encoder, tmp_path / "few.tif", tile=32, stride=16, pca=count)
    every, *_ = read(tmp_path / "all.tif")
    few, _, _, names = read(tmp_path / "few.tif")
    with rasterio.open(tmp_path / "few.tif") as file:
        assert "alpha" not in [kind.name for kind in file.colorinterp]
    rows = every.reshape(96, -1).T.astype(float)
    rows -= rows.mean(0)
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(few.reshape(count, -1).T), np.abs(rows @ directions[:count].T), atol=2e-3
    )
    assert done.explained == pytest.approx((sizes[:count] ** 2).sum() / (sizes**2).sum(), abs=1e-4)
    assert names[0].startswith("principal component 1 (")


def test_parquet_holds_a_row_a_tile_for_geopandas_and_duckdb(tmp_path, encoder, encoder_folder):
    pixels = draw(101, 150).astype(np.uint8)
    path = write(tmp_path / "scene.tif", pixels, "rotated")
    out = tmp_path / "out.parquet"
    embed(path, encoder, out, tile=32, stride=16)
    frame = geopandas.read_parquet(out)
    assert len(frame) == 54
    assert frame.crs == "EPSG:32633"
    assert set(frame["scene"]) == {"scene.tif"}
    with rasterio.open(path) as scene:
        one = frame[(frame["row"] == 24) & (frame["column"] == 40)].iloc[0]
        corners = [scene.transform @ (40 + dx, 24 + dy) for dx in (0, 32) for dy in (0, 32)]
    assert {tuple(np.round(xy, 6)) for xy in one.geometry.exterior.coords} == {
        tuple(np.round(xy, 6)) for xy in corners
    }
    np.testing.assert_allclose(
        one["embedding"], reference(encoder_folder, pixels, 24, 40), atol=2e-4
    )
    query = f"select count(*), min(len(embedding)), max(len(embedding)) from '{out}'"
    rows = duckdb.connect().execute(query).fetchone()
    assert rows == (54, 96, 96)
    kind = pq.read_schema(out).field("embedding").type
    assert kind.list_size == 96


def test_what_is_mostly_nodata_is_nodata_and_the_rest_is_not(tmp_path, encoder):
    pixels = draw(128, 128).astype(np.uint8) + np.uint8(1) * 0
    pixels = np.maximum(pixels, 1)
    pixels[:, :, :60] = 0
    border = write(tmp_path / "border.tif", pixels, nodata=0)
    (done,) = embed(border, encoder, tmp_path / "border-out.tif", tile=32, stride=16)
    values, *_ = read(tmp_path / "border-out.tif")
    held = np.isfinite(values).all(0)
    # Cells 0 to 2 hold none; a quarter of cell 3 does; cell 4 is whole, half of its tile more.
    assert not held[:, :4].any()
    assert held[:, 4:].all()
    assert done.nodata == 0.5
    frame_path = tmp_path / "border.parquet"
    embed(border, encoder, frame_path, tile=32, stride=16)
    assert geopandas.read_parquet(frame_path)["column"].min() == 56
    # The same by a mask, by alpha, and by values that are no numbers.
    mask = np.where(pixels.any(0), 255, 0).astype(np.uint8)
    write(tmp_path / "mask.tif", pixels, mask=mask)
    alpha = np.concatenate([pixels, mask[None]])
    write(tmp_path / "alpha.tif", alpha, photometric="rgb", alpha="yes")
    for name in ("mask", "alpha"):
        embed(tmp_path / f"{name}.tif", encoder, tmp_path / f"{name}-out.tif", tile=32, stride=16)
        other, *_ = read(tmp_path / f"{name}-out.tif")
        np.testing.assert_array_equal(np.isfinite(other).all(0), held)


def test_pixels_without_data_in_a_tile_count_as_the_mean(tmp_path, encoder, encoder_folder):
    pixels = np.maximum(draw(64, 64), 1).astype(np.uint8)
    pixels[:, :, :10] = 0
    path = write(tmp_path / "scene.tif", pixels, nodata=0)
    embed(path, encoder, tmp_path / "out.tif", tile=32, stride=32)
    values, *_ = read(tmp_path / "out.tif")
    mean = 255 * np.array([0.3, 0.35, 0.4])[:, None, None]
    filled = np.where(pixels.any(0), pixels, mean)
    np.testing.assert_allclose(values[:, 0, 0], reference(encoder_folder, filled, 0, 0), atol=2e-4)


def test_a_tile_of_another_size_is_resized(tmp_path, encoder, encoder_folder):
    pixels = draw(64, 64).astype(np.uint8)
    embed(write(tmp_path / "a.tif", pixels), encoder, tmp_path / "out.tif", tile=64, stride=64)
    values, *_ = read(tmp_path / "out.tif")
    np.testing.assert_allclose(
        values[:, 0, 0], reference(encoder_folder, pixels, 0, 0, tile=64), atol=2e-4
    )


def test_the_size_of_slabs_changes_nothing(scene, tmp_path, encoder, monkeypatch):
    embed(scene, encoder, tmp_path / "one.tif", tile=32, stride=8)
    monkeypatch.setattr("rs_otl.geo.embed_windows._SLAB_ROWS", 40)
    monkeypatch.setattr("rs_otl.geo.embed_windows._SLAB_VALUES", 3 * 40 * 50)
    embed(scene, encoder, tmp_path / "many.tif", tile=32, stride=8)
    one, many = read(tmp_path / "one.tif")[0], read(tmp_path / "many.tif")[0]
    np.testing.assert_allclose(many, one, atol=1e-4)


def test_memory_does_not_grow_with_the_scene(tmp_path, encoder, monkeypatch):
    """No window read is larger than a slab, though the scene is."""
    monkeypatch.setattr("rs_otl.geo.embed_windows._SLAB_ROWS", 64)
    monkeypatch.setattr("rs_otl.geo.embed_windows._SLAB_VALUES", 3 * 64 * 64)
    path = write(tmp_path / "scene.tif", draw(500, 400).astype(np.uint8))
    seen = []
    from rs_otl.datasets.scene import Scene

    whole = Scene.read
    monkeypatch.setattr(
        Scene, "read", lambda self, *where: seen.append(where[2] * where[3]) or whole(self, *where)
    )
    embed(path, encoder, tmp_path / "out.tif", tile=32, stride=32, pca=1)
    assert max(seen) <= 64 * 64
    assert sum(seen) < 2 * 500 * 400


def test_a_stopped_pass_goes_on_where_it_was(scene, tmp_path, encoder, monkeypatch):
    out = tmp_path / "out.tif"
    embed(scene, encoder, tmp_path / "whole.tif", tile=32, stride=16)
    calls = []
    real = Encoder.embed

    def stopping(self, tiles, valid=None):
        calls.append(len(tiles))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, tiles, valid)

    monkeypatch.setattr("rs_otl.geo.embed_windows._SLAB_ROWS", 40)
    monkeypatch.setattr(Encoder, "embed", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed(scene, encoder, out, tile=32, stride=16)
    assert not out.exists()
    with pytest.raises(InputError, match="unfinished embedding: --resume"):
        embed(scene, encoder, out, tile=32, stride=16)
    with pytest.raises(InputError, match="begun with grids"):
        embed(scene, encoder, out, tile=32, stride=8, resume=True)
    (done,) = embed(scene, encoder, out, tile=32, stride=16, resume=True)
    assert 0 < done.tiles < 54
    np.testing.assert_allclose(read(out)[0], read(tmp_path / "whole.tif")[0], atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "scene.tif", "whole.tif"]


def test_a_stop_while_the_files_of_a_folder_are_written_loses_nothing(
    tmp_path, encoder, monkeypatch
):
    paths = [
        write(tmp_path / f"{name}.tif", draw(64, 96, seed=seed).astype(np.uint8))
        for seed, name in enumerate("ab")
    ]
    real = embedding.write_tiff

    def stopping(out, *given):
        if out.name == "b.tif":
            (out.parent / ".rs-otl-left").mkdir()  # as a kill leaves it
            raise KeyboardInterrupt
        real(out, *given)

    grid = {"tile": 32, "stride": 32}
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_tiff", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed(paths, encoder, tmp_path / "out", **grid)
    done = embed(paths, encoder, tmp_path / "out", resume=True, **grid)
    assert [each.tiles for each in done] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]
    assert leftovers(tmp_path) == ["a.tif", "b.tif", "out"]


def test_an_output_that_another_process_writes_loses_nothing(scene, tmp_path, encoder, monkeypatch):
    out, real, grid = tmp_path / "out.tif", embedding.write_tiff, {"tile": 32, "stride": 16}
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "write_tiff", lambda *given: out.touch() or real(*given))
        with pytest.raises(InputError, match=r"out\.tif exists already"):
            embed(scene, encoder, out, **grid)
    out.unlink()
    (done,) = embed(scene, encoder, out, resume=True, **grid)
    assert done.tiles == 0


def test_a_scene_that_was_replaced_is_not_resumed(tmp_path, encoder, monkeypatch):
    path, out = tmp_path / "scene.tif", tmp_path / "out.tif"
    write(path, draw(101, 150).astype(np.uint8))
    real, calls = Encoder.embed, []

    def stopping(self, tiles, valid=None):
        calls.append(len(tiles))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, tiles, valid)

    with monkeypatch.context() as patch:
        patch.setattr("rs_otl.geo.embed_windows._SLAB_ROWS", 40)
        patch.setattr(Encoder, "embed", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed(path, encoder, out, tile=32, stride=16)
    path.unlink()
    write(path, draw(101, 150, seed=1).astype(np.uint8))
    with pytest.raises(InputError, match="begun with scene fingerprints"):
        embed(path, encoder, out, tile=32, stride=16, resume=True)
    assert not out.exists()
    assert (tmp_path / "out.tif.part").is_dir()


def test_a_disk_that_takes_no_more_is_named_and_the_pass_goes_on_later(scene, tmp_path, encoder):
    resource = pytest.importorskip("resource", reason="no limits on files here")
    out = tmp_path / "out.tif"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match=r"out\.tif\.part.*cannot be written .*--resume"):
            embed(scene, encoder, out, tile=32, stride=16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not out.exists()
    embed(scene, encoder, out, tile=32, stride=16, resume=True)
    embed(scene, encoder, tmp_path / "whole.tif", tile=32, stride=16)
    np.testing.assert_allclose(read(out)[0], read(tmp_path / "whole.tif")[0], atol=1e-4)


def test_scenes_of_several_places_go_to_a_folder_with_one_projection(tmp_path, encoder):
    paths = [
        write(tmp_path / f"{name}.tif", draw(64, 96, seed=seed).astype(np.uint8), place)
        for seed, (name, place) in enumerate({"a": "utm", "b": "degrees"}.items())
    ]
    done = embed(paths, encoder, tmp_path / "out", tile=32, stride=32, pca=2)
    assert [each.path.name for each in done] == ["a.tif", "b.tif"]
    assert read(tmp_path / "out" / "b.tif")[1]["crs"] == "EPSG:4326"
    with pytest.raises(InputError, match=r"a\.tif is in EPSG:32633, .*b\.tif in EPSG:4326"):
        embed(paths, encoder, tmp_path / "out.parquet")
    same = write(tmp_path / "c.tif", draw(64, 64, seed=5).astype(np.uint8))
    embed([paths[0], same], encoder, tmp_path / "both.parquet", tile=32, stride=32)
    frame = geopandas.read_parquet(tmp_path / "both.parquet")
    assert frame["scene"].value_counts().to_dict() == {"a.tif": 6, "c.tif": 4}


def test_rasterio_datasets_and_xarray_objects_are_scenes(scene, tmp_path, encoder):
    rioxarray = pytest.importorskip("rioxarray")
    embed(scene, encoder, tmp_path / "path.tif", tile=32, stride=16)
    with rasterio.open(scene) as dataset:
        embed(dataset, encoder, tmp_path / "dataset.tif", tile=32, stride=16)
        assert not dataset.closed
    with rioxarray.open_rasterio(scene) as array:
        embed(array, encoder, tmp_path / "array.tif", tile=32, stride=16)
    expected, profile, *_ = read(tmp_path / "path.tif")
    for name in ("dataset", "array"):
        values, other, *_ = read(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(values, expected)
        assert (other["crs"], other["transform"]) == (profile["crs"], profile["transform"])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_deeper_scenes_are_scaled_as_the_encoder_says(dtype, tmp_path):
    units = "floating-point values" if dtype == "float32" else "16-bit counts"
    folder = make_encoder(tmp_path / "deep", units=units, scale=3000.0)
    encoder = load_encoder(folder)
    pixels = draw(64, 64, high=3000).astype(dtype)
    embed(write(tmp_path / "a.tif", pixels), encoder, tmp_path / "out.tif", tile=32, stride=32)
    values, *_ = read(tmp_path / "out.tif")
    scaled = 255 * pixels.astype("f4") / 3000
    np.testing.assert_allclose(values[:, 1, 0], reference(folder, scaled, 32, 0), atol=2e-4)


def test_bands_are_found_by_name_and_by_request(tmp_path, encoder, encoder_folder):
    pixels = draw(64, 64, bands=5).astype(np.uint8)
    names = ("coastal", "blue", "green", "red", "nir")
    path = write(tmp_path / "named.tif", pixels, names=names)
    embed(path, encoder, tmp_path / "named-out.tif", tile=32, stride=32)
    expected = reference(encoder_folder, pixels[[3, 2, 1]], 0, 32)
    np.testing.assert_allclose(read(tmp_path / "named-out.tif")[0][:, 0, 1], expected, atol=2e-4)
    bare = write(tmp_path / "bare.tif", pixels)
    with pytest.raises(InputError, match=r"red, green, blue.*band-1, band-2, band-3"):
        embed(bare, encoder, tmp_path / "bare-out.tif")
    embed(bare, encoder, tmp_path / "bare-out.tif", tile=32, stride=32, bands=["4", "3", "2"])
    np.testing.assert_allclose(read(tmp_path / "bare-out.tif")[0][:, 0, 1], expected, atol=2e-4)
    with pytest.raises(InputError, match="no such band"):
        embed(bare, encoder, tmp_path / "other.tif", bands=["4", "3", "9"])


def test_a_fourth_band_that_gdal_takes_for_alpha_is_a_band(tmp_path):
    folder = make_encoder(tmp_path / "four", bands=("red", "green", "blue", "nir"))
    pixels = draw(64, 64, bands=4).astype(np.uint8)
    path = write(tmp_path / "four.tif", pixels, names=("red", "green", "blue", "nir"))
    with rasterio.open(path) as file:
        assert file.colorinterp[3].name == "alpha"
    (done,) = embed(path, load_encoder(folder), tmp_path / "out.tif", tile=32, stride=32)
    assert done.nodata == 0


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_bad_scenes_are_named_and_nothing_is_left(tmp_path, encoder):
    good = write(tmp_path / "good.tif", draw(300, 300).astype(np.uint8))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not an image")
    write(tmp_path / "nodata.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    write(tmp_path / "small.tif", draw(20, 64).astype(np.uint8))
    write(tmp_path / "deep.tif", draw(64, 64).astype(np.uint16))
    before = leftovers(tmp_path)
    for name, message in {
        "cut": "truncated or damaged",
        "empty": r"empty \(0 bytes\)",
        "text": "not an image",
        "nodata": "all is nodata",
        "small": "64 x 20 pixels, smaller than a tile of 32; --tile 20",
        "deep": "trained on 8-bit counts, .* is in 16-bit counts",
        "gone": "no such file",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            embed(tmp_path / f"{name}.tif", encoder, tmp_path / "out.tif", tile=32)
        assert f"{name}.tif" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert leftovers(tmp_path) == before
    for out, message in {
        "good.tif": "exists already",
        "none/out.tif": "no such folder",
        "out.png": "expected a .tif",
    }.items():
        with pytest.raises(InputError, match=message):
            embed(good, encoder, tmp_path / out)
    with pytest.raises(InputError, match="expected a stride of 1 to 32"):
        embed(good, encoder, tmp_path / "out.tif", tile=32, stride=33)
    with pytest.raises(InputError, match="--pca 600: expected 1 to"):
        embed(good, encoder, tmp_path / "out.tif", tile=32, pca=600)
    assert leftovers(tmp_path) == before


def test_only_the_window_asked_for_is_read(scene):
    from rs_otl.datasets.scene import Scene

    with rasterio.open(scene) as file:
        expected = file.read(window=Window(17, 5, 20, 10))
    with Scene(scene) as opened:
        pixels, valid = opened.read(17, 5, 20, 10)
    np.testing.assert_array_equal(pixels, expected)
    assert valid.all()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path, encoder_folder):
    scene = write(tmp_path / "scene.tif", draw(101, 150).astype(np.uint8))
    words = ["embed", scene, "--encoder", encoder_folder, "-o", tmp_path / "out.tif"]
    words += ["--tile", 32, "--stride", 16]
    planned = json.loads(rs_otl_here(*words, "--dry-run", "--json").stdout)
    shown = rs_otl_here(*words, "--dry-run").stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]
    assert f"reads    {planned['tiles']:,} tiles of {scene}" in shown
    assert "takes    about" in shown
    (done,) = json.loads(rs_otl_here(*words, "--json").stdout)
    assert (planned["tiles"], planned["features"]) == (done["tiles"], done["features"])
    assert planned["cells"] == done["cells"][0] * done["cells"][1]
    assert "already" in rs_otl_here(*words, "--dry-run", check=2).stderr


def test_a_dry_run_counts_the_store_of_all_features_whatever_is_written(tmp_path, encoder_folder):
    scene = write(tmp_path / "scene.tif", draw(320, 320).astype(np.uint8))
    for words, size in (((), 4 * 96), (("--dtype", "int8"), 96), (("--pca", 8), 4 * 8)):
        words = ("embed", scene, "--encoder", encoder_folder, "--tile", 32, "--stride", 16, *words)
        words = (*words, "-o", tmp_path / "out.tif", "--dry-run")
        planned = json.loads(rs_otl_here(*words, "--json").stdout)
        assert planned["bytes"] == 400 * size
        assert planned["temporary_bytes"] == 400 * (4 * 96 + size)
        said = f" and {planned['temporary_bytes'] / 1e6:,.1f} MB of temporary space while writing"
        assert said in rs_otl_here(*words).stdout
