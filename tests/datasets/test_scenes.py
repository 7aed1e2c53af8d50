"""Folders of georeferenced scenes."""

import numpy as np
import pytest
import torch
from geo_scenes import draw, write

from rs_otl.datasets import divide, load_dataset
from rs_otl.datasets.scenes import are_scenes
from rs_otl.errors import InputError

SIZE = 37


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
    imagery = load_dataset(str(root), SIZE)
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
