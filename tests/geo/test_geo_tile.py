import numpy as np
import pytest
import rasterio
from geo_scenes import PLACES, draw, write
from test_geo_full_disk import limited

from rs_otl.datasets.scene import quiet_georeference
from rs_otl.errors import InputError
from rs_otl.geo import tile, tiling


@pytest.mark.parametrize("place", PLACES)
def test_chips_are_whole_and_lie_where_they_were_cut(place, tmp_path):
    pixels = draw(70, 100, bands=2).astype(np.uint16)
    path = write(tmp_path / "scene.tif", pixels, place, names=("vv", "vh"))
    (done,) = tile(path, tmp_path / "chips", size=32)
    assert done.chips == 3 * 4
    covered = np.zeros((70, 100), bool)
    for chip in (tmp_path / "chips").iterdir():
        row, column = (int(part[1:]) for part in chip.stem.split("_")[1:])
        covered[row : row + 32, column : column + 32] = True
        with quiet_georeference(), rasterio.open(chip) as file, rasterio.open(path) as scene:
            np.testing.assert_array_equal(
                file.read(), pixels[:, row : row + 32, column : column + 32]
            )
            assert file.crs == scene.crs
            x, y = scene.transform @ (column + 3, row + 5)
            # Without georeference as a GIS shows such an image: y counts down from 0.
            expected = (x, -y) if place == "no CRS" else (x, y)
            np.testing.assert_allclose(file.transform @ (3, 5), expected)
            assert file.descriptions == ("vv", "vh")
    assert covered.all()


def test_chips_of_mostly_nodata_are_left_out(tmp_path):
    pixels = np.maximum(draw(64, 96), 1).astype(np.uint8)
    pixels[:, :, :40] = 0
    path = write(tmp_path / "scene.tif", pixels, nodata=0)
    (done,) = tile(path, tmp_path / "chips", size=32)
    assert (done.chips, done.nodata) == (4, 2)
    empty = write(tmp_path / "empty.tif", np.zeros_like(pixels), nodata=0)
    with pytest.raises(InputError, match="all is nodata"):
        tile(empty, tmp_path / "none", size=32)
    with pytest.raises(InputError, match="exists already"):
        tile(path, tmp_path / "chips")
    with pytest.raises(InputError, match="two scenes are called scene"):
        tile([path, path], tmp_path / "twice", size=32)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["chips", "empty.tif", "scene.tif"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("whole", [0, 2])
@pytest.mark.parametrize("size", [100, 1000, 3000, 3300])
def test_a_full_disk_leaves_no_chips(size, whole, masked, tmp_path, monkeypatch, capfd):
    """GDAL ends without an error when it cannot write the last bytes of a file."""
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, :9] = 0
    random = np.random.default_rng(0)
    pixels = random.integers(1, 255, (3, 64, 64), dtype=np.uint8)
    path = write(tmp_path / "s.tif", pixels, mask=mask if masked else None)
    before = sorted(tmp_path.iterdir())
    real, chips = tiling._write_chip, []

    def writing(*given):
        chips.append(given)
        return (real if len(chips) <= whole else limited(real, size))(*given)

    monkeypatch.setattr(tiling, "_write_chip", writing)
    capfd.readouterr()
    with pytest.raises(
        InputError, match=r"/chips/s_r\d+_c\d+\.tif: cannot be written \(.*disk full"
    ):
        tile(path, tmp_path / "chips", size=32)
    assert sorted(tmp_path.iterdir()) == before
    assert not capfd.readouterr().err
