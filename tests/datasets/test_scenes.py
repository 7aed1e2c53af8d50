"""Folders of georeferenced scenes."""

import numpy as np
import pytest
import torch
from geo_scenes import draw, write

from rs_otl.datasets import divide, load_dataset
from rs_otl.datasets.scenes import are_scenes
from rs_otl.errors import InputError

SIZE, WIDE = 37, 64  # wide tiles are fewer, where it is not the tiles that are looked at


def folder(tmp_path, **scenes):
    (tmp_path / "scenes").mkdir()
    for name, (pixels, place, more) in scenes.items():
        write(tmp_path / "scenes" / f"{name}.tif", pixels, place, **more)
    return tmp_path / "scenes"


def position(name):
    path, row, column = name.rsplit(":", 2)
    return path, int(row[1:]), int(column[1:])


def test_tiles_are_windows_of_scenes_in_several_crs_and_resolutions(tmp_path):
    pixels = {name: draw(260, 300, seed=seed).astype(np.uint8) for seed, name in enumerate("ab")}
    root = folder(tmp_path, a=(pixels["a"], "utm", {}), b=(pixels["b"], "degrees", {}))
    imagery = load_dataset(str(root), SIZE)
    assert imagery.spec.bands == ("red", "green", "blue")
    assert imagery.spec.resolution == "10"
    assert imagery.classes is None
    assert {position(name)[0] for name in imagery.paths} == {"a.tif", "b.tif"}
    for number in (0, len(imagery) // 2, len(imagery) - 1):
        path, row, column = position(imagery.paths[number])
        expected = pixels[path[0]][:, row : row + SIZE, column : column + SIZE] / 255
        np.testing.assert_allclose(imagery.images([number])[0], expected, atol=1e-6)
    again = load_dataset(str(root), SIZE)
    assert again.paths == imagery.paths
    # Spread over the whole scene, half a tile apart: each place is on some four tiles.
    covered = np.zeros((260, 300), int)
    for path, row, column in map(position, imagery.paths):
        if path == "a.tif":
            covered[row : row + SIZE, column : column + SIZE] += 1
    assert (covered > 0).mean() > 0.95
    division = divide(imagery)
    assert len(division.train) + len(division.test) == len(imagery)


def test_nodata_is_avoided(tmp_path):
    pixels = np.maximum(draw(260, 300), 1).astype(np.uint8)
    pixels[:, :, :150] = 0
    root = folder(tmp_path, a=(pixels, "utm", {"nodata": 0}))
    imagery = load_dataset(str(root), SIZE)
    assert all(position(name)[2] >= 146 for name in imagery.paths)
    assert imagery.images(range(len(imagery))).min() > 0


def test_a_border_without_data_that_is_not_said_is_noted_once(tmp_path, capsys):
    pixels = np.maximum(draw(260, 300), 1).astype(np.uint8)
    collared = pixels.copy()
    collared[:, :, :90] = 0
    root = folder(
        tmp_path,
        a=(pixels, "utm", {}),
        b=(collared, "utm", {}),
        c=(collared, "utm", {"nodata": 0}),
        d=(collared, "degrees", {}),
    )
    load_dataset(str(root), WIDE)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "one value" in line]
    assert "2 of 4 scenes, b.tif first" in line


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_deeper_scenes_of_any_number_of_bands_have_robust_statistics(dtype, tmp_path):
    pixels = draw(260, 260, bands=5, high=3000).astype(dtype)
    pixels[:, 100, 100] = 30_000
    if dtype == "float32":
        pixels[:, 200:, 200:] = np.nan
    root = folder(tmp_path, a=(pixels, "utm", {"names": ("B1", "B2", "B3", "B4", "B5")}))
    imagery = load_dataset(str(root), SIZE)
    spec = imagery.spec
    assert spec.bands == ("b1", "b2", "b3", "b4", "b5")
    assert spec.units == ("floating-point values" if dtype == "float32" else "16-bit counts")
    assert 2500 < spec.scale < 4000
    held = pixels[:, :190, :190].astype(float) / spec.scale
    np.testing.assert_allclose(spec.mean, held.mean((1, 2)), atol=0.06)
    np.testing.assert_allclose(spec.std, held.std((1, 2)), atol=0.06)
    images = imagery.images(range(len(imagery)))
    assert torch.isfinite(images).all()
    assert images.shape[1] == 5


def test_scenes_of_other_bands_or_damaged_are_named_and_left_out(tmp_path):
    good = draw(260, 260).astype(np.uint8)
    root = folder(
        tmp_path,
        a=(good, "utm", {}),
        b=(draw(260, 260, seed=1).astype(np.uint8), "degrees", {}),
        six=(draw(260, 260, bands=6).astype(np.uint8), "utm", {}),
        void=(np.zeros_like(good), "utm", {"nodata": 0}),
    )
    (root / "broken.tif").write_bytes(b"II*\0 and no more")
    imagery = load_dataset(str(root), WIDE)
    reasons = {left.path: left.reason for left in imagery.left_out}
    assert set(reasons) == {"broken.tif", "six.tif", "void.tif"}
    assert "band-6, most scenes red, green, blue" in reasons["six.tif"]
    assert "holds data" in reasons["void.tif"]


def test_a_folder_of_chips_is_not_one_of_scenes(tmp_path, write_image):
    small = draw(64, 64).astype(np.uint8)
    chips = folder(tmp_path, a=(small, "utm", {}), b=(small, "utm", {}))
    assert not are_scenes(chips, ["a.tif", "b.tif"])
    bare = tmp_path / "bare"
    write_image(bare / "a.tif", side=300)
    assert not are_scenes(bare, ["a.tif"])
    write(bare / "b.tif", draw(300, 300).astype(np.uint8))
    assert not are_scenes(bare, ["a.tif", "b.tif"])
    assert are_scenes(bare, ["b.tif"])
    # Georeferenced images in sub-folders for classes stay labelled images.
    for name in ("x", "y"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        write(tmp_path / "classes" / name / "a.tif", draw(300, 300).astype(np.uint8))
    assert load_dataset(str(tmp_path / "classes"), SIZE).classes == ("x", "y")


@pytest.mark.parametrize("names", [("2019", "2020"), ("32TQM", "32TQN"), ("train", "test")])
def test_scenes_by_year_tile_or_split_are_scenes(tmp_path, capsys, names):
    for name in names:
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.tif", draw(260, 260, seed=len(name)).astype(np.uint8))
    imagery = load_dataset(str(tmp_path), WIDE)
    assert imagery.classes is None
    assert {position(path)[0] for path in imagery.paths} == {f"{name}/a.tif" for name in names}
    assert "no labels" in capsys.readouterr().err


def test_large_scenes_in_folders_of_any_name_are_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr("rs_otl.datasets.scenes._LARGE", 300)
    for name in ("berlin", "rome"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.tif", draw(310, 310).astype(np.uint8))
    assert load_dataset(str(tmp_path), WIDE).classes is None


@pytest.mark.parametrize(("dtype", "high"), [("float32", 0.4), ("float32", 1.2), ("float64", 0.01)])
def test_scenes_of_counts_and_of_reflectance_are_refused(tmp_path, dtype, high):
    counts = draw(260, 260, high=9_000).astype(np.uint16)
    fractions = draw(260, 260, seed=1, high=high).astype(dtype)
    root = folder(tmp_path, dn=(counts, "utm", {}), reflectance=(fractions, "utm", {}))
    write(root / "third.tif", counts)
    with pytest.raises(InputError, match=r"reflectance\.tif have .* up to .*, dn\.tif.*one unit"):
        load_dataset(str(root), SIZE)


BANDS = [
    "LC08_L2SP_023032_20210622_20210629_02_T1_{}.TIF SR_B2 SR_B3 SR_B4 ST_B10 "
    "| QA_PIXEL ST_QA ST_CDIST",
    "LT05_L1TP_023032_19900622_20200101_02_T1_{}.TIF B1 B2 B3 | QA_RADSAT VAA",
    "T32TQM_20200101T101031_{}.jp2.tif B02 B03 B04 B8A | TCI",
    "R10m/T32TQM_20200101T101031_{}_10m.tif B02 B03 B04 B08 | AOT WVP",
    "HLS.S30.T17SLU.2020117T160901.v2.0.{}.tif B02 B03 B8A | Fmask",
    "{}.tif B02 B03 B04 | SCL",
    "a/{}.tif B02 B03 B04 | SCL visual",
    "one_{}.tif b1 b2 |",
]


@pytest.mark.parametrize("product", BANDS)
@pytest.mark.parametrize(("side", "size"), [(260, WIDE), (40, SIZE)])
def test_a_product_of_a_file_per_band_is_one_scene(tmp_path, product, side, size):
    name, *parts = product.split()
    bands, others = parts[: parts.index("|")], parts[parts.index("|") + 1 :]
    for seed, band in enumerate(bands + others):
        path = tmp_path / name.format(band)
        path.parent.mkdir(exist_ok=True)
        write(path, draw(side, side, bands=1, seed=seed, high=9_000).astype(np.uint16))
    images = load_dataset(str(tmp_path), size)
    reflected = [band.lower().removeprefix("sr_") for band in bands if "ST_" not in band]
    assert list(images.spec.bands) == reflected
    assert images.classes is None


@pytest.mark.parametrize("bands", [3, 4])
def test_names_that_look_like_bands_are_no_matter_where_files_have_several(tmp_path, bands):
    for number in (1, 2, 3):
        pixels = draw(260, 260, bands=bands, seed=number, high=9_000).astype(np.uint16)
        write(tmp_path / f"site_B{number}.tif", pixels)
    assert len(load_dataset(str(tmp_path), WIDE).spec.bands) == bands


def test_a_folder_without_a_usable_tile_is_one_clear_line(tmp_path):
    void = np.zeros((3, 260, 260), np.uint8)
    root = folder(tmp_path, a=(void, "utm", {"nodata": 0}))
    with pytest.raises(InputError, match="no tile of 37 pixels in its scenes; a"):
        load_dataset(str(root), SIZE)
    low = tmp_path / "low"
    low.mkdir()
    write(low / "a.tif", -draw(260, 260).astype(np.float32) - 1)
    with pytest.raises(InputError, match="low: 100% of the values lie below 0"):
        load_dataset(str(low), SIZE)
