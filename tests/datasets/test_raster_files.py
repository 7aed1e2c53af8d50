"""Files of other formats, under odd names, and headers that promise too much."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import rasterio
from geo_scenes import draw
from odd_scenes import UTM, create
from PIL import Image
from rasterio.shutil import copy as translate

from rs_otl.datasets import _decode
from rs_otl.datasets._decode import decode, quiet_reading, read_header
from rs_otl.datasets.raster import UnreadableError
from rs_otl.datasets.scene import Scene


@pytest.fixture(autouse=True)
def _quiet():
    with quiet_reading():
        yield


def same(path, pixels):
    with Scene(path) as scene:
        values, _ = scene.read(0, 0, scene.width, scene.height)
    np.testing.assert_array_equal(values, pixels)
    np.testing.assert_array_equal(decode(path), pixels)


@pytest.mark.parametrize(
    ("driver", "suffix", "bands"),
    [
        ("netCDF", ".nc", 1),
        ("AAIGrid", ".asc", 1),
        ("ENVI", ".dat", 4),
        ("HFA", ".img", 3),
        ("NITF", ".ntf", 1),
        ("SAGA", ".sdat", 1),
        ("PCIDSK", ".pix", 3),
    ],
)
def test_what_rasterio_opens_is_a_scene_and_an_image(driver, suffix, bands, tmp_path):
    pixels = draw(40, 50, bands).astype(np.uint8)
    source = create(tmp_path / "source.tif", pixels)
    made = tmp_path / f"made{suffix}"
    translate(source, made, driver=driver)
    with rasterio.open(made) as file:
        expected = file.read()
    with Scene(made) as scene:
        assert scene.georeferenced
        values, _ = scene.read(0, 0, 50, 40)
    np.testing.assert_array_equal(values, expected)
    assert decode(made).shape == (bands, 40, 50)


def vrt(path, *sources, relative=1, more=""):
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}">{more}<SimpleSource><SourceFilename '
        f'relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for number, source in enumerate(sources, start=1)
    )
    path.write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>EPSG:32633</SRS><GeoTransform>400000, '
        f"10, 0, 5000000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def test_a_vrt_of_local_rasters_is_read(tmp_path):
    pixels = draw(40, 50).astype(np.uint8)
    for number, name in enumerate("abc"):
        create(tmp_path / f"{name}.tif", pixels[number : number + 1])
    same(vrt(tmp_path / "m.vrt", "a.tif", "b.tif", "c.tif"), pixels)
    same(vrt(tmp_path / "n.vrt", *[tmp_path / f"{name}.tif" for name in "abc"], relative=0), pixels)
    same(vrt(tmp_path / "nested.vrt", "n.vrt"), pixels[:1])


@pytest.mark.parametrize(
    "source",
    [
        "/vsicurl/http://127.0.0.1:9/a.tif",
        "http://127.0.0.1:9/a.tif",
        "gone.tif",
        "text.txt",
        "me.vrt",
        "WMS:http://127.0.0.1:9/",
        "service.xml",
    ],
)
def test_a_vrt_that_refers_elsewhere_is_refused(source, tmp_path):
    (tmp_path / "text.txt").write_text("not a raster at all")
    (tmp_path / "service.xml").write_text('<GDAL_WMS><Service name="TMS"/></GDAL_WMS>')
    with pytest.raises(UnreadableError, match=r"me\.vrt: |me\.vrt"):
        Scene(vrt(tmp_path / "me.vrt", source))
    with pytest.raises(UnreadableError):
        decode(tmp_path / "me.vrt")


def test_a_file_of_several_rasters_names_them(tmp_path):
    netcdf = pytest.importorskip("scipy.io").netcdf_file
    with netcdf(tmp_path / "a.nc", "w") as file:
        file.createDimension("y", 40)
        file.createDimension("x", 50)
        for name in ("red", "nir"):
            file.createVariable(name, "f4", ("y", "x"))[:] = draw(40, 50, 1)[0]
    with pytest.raises(UnreadableError, match=r"a\.nc: holds several rasters \(red, nir\)"):
        Scene(tmp_path / "a.nc")
    # As gdalbuildvrt -separate writes it.
    path = vrt(
        tmp_path / "m.vrt",
        *[f"NETCDF:&quot;{tmp_path}/a.nc&quot;:{name}" for name in ("red", "nir")],
        relative=0,
    )
    with Scene(path) as scene:
        assert scene.read(0, 0, 50, 40)[0].shape == (2, 40, 50)


@pytest.mark.parametrize(
    "name", ["http:x.tif", "s3:b.tif", "GTIFF_DIR:1:c.tif", "zip+d!e.tif", "f?g=1#h.tif", "%20.tif"]
)
@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_a_name_is_nothing_but_a_name(name, kind, tmp_path, monkeypatch):
    pixels = draw(40, 50).astype(np.uint8)
    create(tmp_path / "plain.tif", pixels)
    (tmp_path / "plain.tif").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    same(type(tmp_path)(name) if kind == "relative" else tmp_path / name, pixels)


@pytest.mark.parametrize("where", ["file", "folder"])
def test_names_that_are_not_utf8_are_read_with_what_lies_beside(where, tmp_path):
    odd = os.fsdecode(b"for\xeat")
    folder = tmp_path / (odd if where == "folder" else "plain")
    folder.mkdir()
    path = folder / (f"{odd}.tif" if where == "file" else "plain.tif")
    pixels = draw(40, 50).astype(np.uint8)
    create(tmp_path / "made.tif", pixels)
    (tmp_path / "made.tif").rename(path)
    path.with_name(f"{path.name}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        '<PAMRasterBand band="2"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        '<PAMRasterBand band="3"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    same(path, pixels)
    with Scene(path) as scene:
        assert scene.may_lack_data
        assert scene.crs == UTM[0]


def claiming(jpeg, width, height):
    """A JPEG whose header says that it is as large as that."""
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


@pytest.mark.parametrize("side", [30_000, 65_000])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_claims_more_than_its_bytes_hold_is_refused(side, mode, tmp_path):
    buffer = io.BytesIO()
    Image.new(mode, (64, 64)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(claiming(buffer.getvalue(), side, side))
    for function in (decode, read_header):
        with pytest.raises(UnreadableError, match=r"a\.jpg: claims .* pixels, more than its bytes"):
            function(tmp_path / "a.jpg")


def test_a_truncated_jpeg_is_refused_by_every_decoder(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=90)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableError):
        decode(tmp_path / "a.jpg")
    monkeypatch.setattr(_decode, "LARGEST", 1000)  # so that rasterio reads it
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        decode(tmp_path / "a.jpg")
    with Scene(tmp_path / "a.jpg") as scene, pytest.raises(Exception, match="truncated or damaged"):
        scene.read(0, 0, 256, 256)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_larger_than_an_image_can_be_is_refused_from_the_header(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=60_000, height=60_000, count=3,
        dtype="uint8", sparse_ok=True, tiled=True, crs="EPSG:32633", transform=UTM[1],
    ):  # fmt: skip
        pass
    size = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + rest)
    for name in ("a.tif", "a.png"):
        for function in (decode, read_header):
            with pytest.raises(UnreadableError, match="too large for an image; cut it with"):
                function(tmp_path / name)
    with Scene(tmp_path / "a.tif") as scene:  # of a scene only windows are read
        assert scene.collar() is None
        assert scene.read(100, 100, 64, 64)[0].shape == (3, 64, 64)


@pytest.mark.parametrize("block", [b"\xcb\x25garbage", b"II*\0\xff\xff\xff\x7f", b"MM\0*", b""])
def test_a_damaged_exif_block_leaves_the_pixels_readable(tmp_path, block):
    path = tmp_path / "photo.jpg"
    Image.fromarray(draw(16, 16).astype(np.uint8).transpose(1, 2, 0).copy()).save(
        path, exif=b"Exif\0\0" + block
    )
    Image.fromarray(draw(16, 16).astype(np.uint8).transpose(1, 2, 0).copy()).save(
        tmp_path / "sound.jpg"
    )
    with Scene(tmp_path / "sound.jpg") as scene:
        pixels, _ = scene.read(0, 0, 16, 16)
    with Scene(path) as scene:
        values, _ = scene.read(0, 0, 16, 16)
    np.testing.assert_array_equal(values, pixels)
