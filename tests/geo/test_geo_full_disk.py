"""A GeoTIFF or GeoParquet is whole or absent, wherever the disk is full."""

import resource

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.crs import CRS

from rs_otl.errors import InputError
from rs_otl.geo import drawing, formats

BANDS, SIDE = 4, 300


@pytest.fixture(scope="module")
def pixels():
    """Bits that do not compress, so that the copy is as large as the plain file."""
    bits = np.random.default_rng(0).integers(0, 2**32, (SIDE, BANDS, SIDE), dtype=np.uint32)
    return bits.view(np.float32)


def write(out, pixels):
    shape = (BANDS, SIDE, SIDE)
    place = (CRS.from_epsg(32633), Affine(10, 0, 5e5, 0, -10, 5e6))
    names = [f"feature {band}" for band in range(BANDS)]
    formats.write_cog(out, iter(pixels), shape, "float32", np.nan, *place, names, {})


def limited(function, size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def call(*arguments, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            return function(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return call


def test_a_geotiff_is_read_back_as_it_was_written(tmp_path, pixels):
    write(tmp_path / "e.tif", pixels)
    with rasterio.open(tmp_path / "e.tif") as file:
        assert np.array_equal(file.read().transpose(1, 0, 2), pixels, equal_nan=True)


@pytest.mark.parametrize("missing", [1, 10, 1000, 20_000, 300_000, 1_000_000])
def test_a_copy_that_lacks_its_last_bytes_is_refused(tmp_path, pixels, monkeypatch, capfd, missing):
    """GDAL's copy ends without an error when the last writes fail."""
    write(tmp_path / "whole.tif", pixels)
    size = (tmp_path / "whole.tif").stat().st_size
    (tmp_path / "whole.tif").unlink()
    monkeypatch.setattr(formats, "translate", limited(formats.translate, size - missing))
    with pytest.raises(InputError, match=r"e\.tif: cannot be written .*is the disk full\?"):
        write(tmp_path / "e.tif", pixels)
    assert list(tmp_path.iterdir()) == []
    assert not capfd.readouterr().err


@pytest.mark.parametrize("room", [-1_000_000, -500, -1, 0, 20, 100, 300, 600, 1000, 3000])
def test_a_file_is_whole_or_absent_whatever_the_room_for_the_plain_one(
    tmp_path, pixels, capfd, room
):
    """The plain file holds the pixels, and a header that is written at its end."""
    out = tmp_path / "e.tif"
    try:
        limited(write, pixels.nbytes + room)(out, pixels)
    except InputError as error:
        assert "cannot be written" in str(error)  # noqa: PT017 - either is right
        assert list(tmp_path.iterdir()) == []
    else:
        with rasterio.open(out) as file:
            assert np.array_equal(file.read().transpose(1, 0, 2), pixels, equal_nan=True)
    assert not capfd.readouterr().err


def test_no_file_of_another_process_is_replaced(tmp_path, pixels):
    def rows():
        yield from pixels
        (tmp_path / "e.tif").write_text("another's")

    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "e.tif", rows())
    assert [path.name for path in tmp_path.iterdir()] == ["e.tif"]
    assert (tmp_path / "e.tif").read_text() == "another's"


def test_a_drawn_scene_is_there_with_its_labels_or_not_at_all(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(drawing, "SIDE", 512)
    with pytest.raises(InputError, match=r"/d/scene\.tif: cannot be written"):
        limited(drawing.demo, 100_000)(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
    capfd.readouterr()  # libtiff's own words
