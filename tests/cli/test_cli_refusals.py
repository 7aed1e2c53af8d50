"""Wrong or missing units, bands, scales, CRS and sizes by the command line.

Each is refused in one line that names the file or value, what was expected and what mends it;
nothing is written; and what the line advises works.
"""

import json
import shlex
import shutil
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
from command_line import draw_folder, rs_otl_here, settings
from drawn_catalog import draw_item
from drawn_products import CORNER, landsat, planetscope, save, sentinel_2, texture
from geo_scenes import make_encoder, write
from rasterio import Affine

from rs_otl.spec import RGB, UNITS, Quantity
from rs_otl.trainers import History

BANDS = ("B02", "B03", "B04", "B08")
QUICK = shlex.join(
    settings("image_size=32", "views=2", "epochs=1", "augment=simple", "clusters=2", "batch_size=4")
)
ENCODERS = {
    "toa": (BANDS, UNITS[Quantity.TOA], 10_000, Quantity.TOA),
    "surface": (BANDS, UNITS[Quantity.SURFACE], 10_000, Quantity.SURFACE),
    "rgb": (RGB, "8-bit counts", 255.0, Quantity.COUNTS),
    "counts": (BANDS, "16-bit counts", 6000, Quantity.COUNTS),
    "radar": (("VV", "VH"), UNITS[Quantity.DECIBELS], 40, Quantity.DECIBELS),
    "glow": (BANDS, UNITS[Quantity.RADIANCE], 300, Quantity.RADIANCE),
    "rededge": (("B04", "B05"), UNITS[Quantity.SURFACE], 10_000, Quantity.SURFACE),
    "planet": (("blue", "green", "red", "nir"), UNITS[Quantity.TOA], 10_000, Quantity.TOA),
}
SIDE = 48


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Of a run's history, which take as long as all else."""
    monkeypatch.setattr(History, "_draw", lambda *_: None)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    for name, (bands, units, scale, quantity) in ENCODERS.items():
        make_encoder(folder / name, bands, units, scale, "test_resnet", quantity)
    make_encoder(folder / "patches", architecture="test_vit")
    scene("before.tif")(folder)
    scene("elsewhere.tif", crs=32633)(folder)
    for name, encoder, options in (
        ("e.tif", "toa", ()),
        ("e-elsewhere.tif", "toa", ()),
        ("e-surface.tif", "surface", ()),
        ("e-40.tif", "toa", ("--image-size", 40)),
        ("e-tile.tif", "toa", ("--tile", 24)),
        ("e.parquet", "toa", ()),
    ):
        source = "elsewhere.tif" if "elsewhere" in name else "before.tif"
        embed = ("embed", source, "--encoder", encoder, "-o", name, *options)
        rs_otl_here(*embed, cwd=folder)
    left, top = CORNER
    rows = (f"{left + x},{top - x},{name}" for x, name in ((150, "a"), (350, "b")))
    (folder / "l.csv").write_text("\n".join(("x,y,class", *rows)))
    (folder / "one.csv").write_text(f"x,y,class\n{left + 200},{top - 200},a")
    (folder / "degrees.csv").write_text("x,y,class\n7.729,45.143,a\n7.732,45.146,b")
    (folder / "lonlat.csv").write_text("lon,lat,class\n7.729,45.143,a\n7.732,45.146,b")
    (folder / "two.csv").write_text("x,y,kind,name\n1,1,a,b\n2,2,b,a")
    draw_folder(folder / "images", classes=2, images=8)
    return folder


def scene(name="s.tif", bands=4, low=100, high=5000, dtype="uint16", names=BANDS, side=SIDE,
          resolution=10, crs=32632, **profile):  # fmt: skip
    """Draw a stack."""

    def draw(folder):
        pixels = np.stack([texture(side, side, n, low, high) for n in range(bands)]).astype(dtype)
        return save(folder / name, pixels, resolution, names and names[:bands], crs, **profile)

    return draw


def changed(path, **properties):
    with rasterio.open(path, "r+") as file:
        for name, value in properties.items():
            setattr(file, name, value)


def several(*drawn):
    return lambda folder: [draw(folder) for draw in drawn]


def nothing(folder):
    """Draw nothing more than there is."""


def safe(folder, level="2A", **how):
    """Draw a product of Sentinel-2 under a short name."""
    bands = {"B02": 10, "B03": 10, "B04": 10, "B08": 20}
    return sentinel_2(folder, level, side=SIDE, bands=bands, **how).rename(folder / "x.SAFE")


def band_of(folder, band="B08"):
    return next(folder.rglob(f"*_{band}*.jp2"))


def redrawn(path, side=24, resolution=20, **how):
    """Draw a file of one band once more, otherwise."""
    path.unlink()
    pixels = texture(side, side, 0, 1200, 6000).astype(np.uint16)
    return save(path, pixels[None], resolution, **how)


def moved(path, transform):
    with rasterio.open(path, "r+") as file:
        file.transform = transform


def stac_item(folder, change):
    item = draw_item(folder, 0, side=SIDE).to_dict(transform_hrefs=False)
    change(item["assets"])
    (folder / "item.json").write_text(json.dumps(item))


def without_bands(assets):
    for asset in assets.values():
        asset.pop("bands", None)
    for number, name in enumerate(("blue", "green", "red", "nir")):
        assets[f"image-{number}"] = assets.pop(name)


def save_without_crs(path):
    pixels = np.stack([texture(SIDE, SIDE, n, 100, 5000) for n in range(4)]).astype(np.uint16)
    return write(path, pixels, "no CRS", names=BANDS)


def again(folder, before, *options):
    """Embed a scene once more, and compare it."""
    embed = ("embed", "before.tif", "--encoder", "toa", "-o", "again.tif", *options)
    rs_otl_here(*embed, cwd=folder)
    return ["change", before, "again.tif", "-o", "change.tif"]


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def zipped_and_cut(folder):
    made = safe(folder)
    with zipfile.ZipFile(folder / "S2A_x.zip", "w") as archive:
        for file in made.rglob("*"):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(made)
    cut(folder / "S2A_x.zip")


EMBED = "embed s.tif --encoder toa -o out.tif"


class Case(NamedTuple):
    """A command that is refused.

    Attributes:
        draw: What it is about, into a folder.
        command: Its words.
        says: Parts of the line.
        mended: What mends it: words to add (after ``+``), another command, or a function of
            the folder that mends a file.
    """

    draw: object
    command: str
    says: tuple[str, ...]
    mended: object = None


CASES = {
    # Units and scales of values
    "fractions that say nothing": Case(
        scene(dtype="float32", low=0, high=1), EMBED,
        ("s.tif is in floating-point values", "--units toa if 1 is full"), "+ --units toa",
    ),
    "thousands as floats": Case(
        scene(dtype="float32"), EMBED, ("s.tif", "--units toa", "--scale 0.0001 if 10,000"),
        "+ --units toa --scale 0.0001",
    ),
    "bytes for reflectance": Case(
        scene(dtype="uint8", low=0, high=255), EMBED, ("s.tif is in 8-bit counts", "--scale 0.004"),
        "+ --units toa --scale 0.004",
    ),
    "bytes said to be reflectance": Case(
        scene(dtype="uint8", low=0, high=255), f"{EMBED} --units toa", ("8 bits", "--scale 0.004"),
        "+ --scale 0.004",
    ),
    "the ground for the top of the atmosphere": Case(
        scene(), f"{EMBED} --units surface", ("is in surface", "trained on top", "--units toa"),
        f"{EMBED} --units toa",
    ),
    "the top of the atmosphere for the ground": Case(
        lambda folder: sentinel_2(folder, "1C", side=SIDE),
        "embed S2B_MSIL1C_20230701T101609_N0509_R065_T32TQM_20230701T124500.SAFE --encoder surface "
        "-o out.tif", ("is in top-of", "trained on surface", "--units surface"),
        "+ --units surface",
    ),
    "radiance for reflectance": Case(
        lambda folder: planetscope(folder, 4, SIDE, surface=False, coefficients=False).rename(
            folder / "p_3B_AnalyticMS.tif"),
        "embed p_3B_AnalyticMS.tif --encoder planet -o out.tif",
        ("is in radiance", "--units toa --scale F"), "+ --units toa --scale 0.00002",
    ),
    "counts for reflectance": Case(
        scene(), f"{EMBED} --units counts", ("is in 16-bit counts", "--units toa"),
        f"{EMBED} --units toa",
    ),
    "reflectance for counts": Case(
        scene(), "embed s.tif --encoder counts -o out.tif --units toa", ("--units counts",),
        "embed s.tif --encoder counts -o out.tif --units counts",
    ),
    "16 bits for a picture's encoder": Case(
        scene(bands=3, names=RGB), "embed s.tif --encoder rgb -o out.tif",
        ("is in 16-bit counts", "--units counts --scale F"), "+ --units counts --scale 0.05",
    ),
    "a picture for an encoder of 16 bits": Case(
        scene(dtype="uint8", low=0, high=255), "embed s.tif --encoder counts -o out.tif",
        ("is in 8-bit counts", "--units counts --scale F"), "+ --units counts --scale 20",
    ),
    "counts for radiance": Case(
        scene(), "embed s.tif --encoder glow -o out.tif",
        ("trained on radiance", "--units radiance", "--scale"), "+ --units radiance --scale 0.01",
    ),
    "backscatter for reflectance": Case(
        scene(dtype="float32", low=-20, high=-3), f"{EMBED} --units db",
        ("is in backscatter", "rs-otl encoders"),
    ),
    "reflectance for backscatter": Case(
        scene(bands=2, names=("VV", "VH")), "embed s.tif --encoder radar -o out.tif --units toa",
        ("trained on backscatter in dB", "rs-otl encoders"),
    ),
    "power for dB": Case(
        scene(bands=2, names=("VV", "VH"), dtype="float32", low=0.01, high=0.5),
        "embed s.tif --encoder radar -o out.tif", ("--units db", "10 log10 of the power"),
    ),
    "power said to be dB": Case(
        scene(bands=2, names=("VV", "VH"), dtype="float32", low=0.01, high=0.5),
        "embed s.tif --encoder radar -o out.tif --units db", ("10 log10",),
    ),
    "hundredths of dB": Case(
        scene(bands=2, names=("VV", "VH"), dtype="int16", low=-2500, high=-500),
        "embed s.tif --encoder radar -o out.tif --units db", ("-2", "--scale"),
        "+ --scale 0.01",
    ),
    "a scale of 0": Case(scene(), f"{EMBED} --scale 0", ("--scale", "greater than 0"), EMBED),
    "a scale below 0": Case(
        scene(), f"{EMBED} --units toa --scale -0.0001", ("--scale", "greater than 0"),
        f"{EMBED} --units toa --scale 0.0001",
    ),
    "a scale that is no number": Case(
        scene(), f"{EMBED} --scale nan", ("--scale", "finite"), EMBED,
    ),
    "an offset without end": Case(scene(), f"{EMBED} --offset inf", ("--offset", "finite"), EMBED),
    "a scale that is much too small": Case(
        scene(), f"{EMBED} --units toa --scale 1e-9", ("s.tif", "--scale"),
        f"{EMBED} --units toa --scale 0.0001",
    ),
    "an offset that is much too low": Case(
        scene(), f"{EMBED} --offset -9000", ("lie below 0", "--offset"), EMBED,
    ),
    "units of no kind": Case(
        scene(), f"{EMBED} --units reflectance", ("--units", "'toa', 'surface'"),
        f"{EMBED} --units toa",
    ),
    "a file whose scale is 0": Case(
        lambda folder: changed(scene()(folder), scales=(0.0,) * 4), EMBED,
        ("s.tif", "scaled by 0", "--scale"), "+ --units toa --scale 0.0001",
    ),
    "nodata that no pixel can have": Case(
        scene(), f"{EMBED} --nodata -9999", ("--nodata", "uint16"), f"{EMBED} --nodata 0",
    ),
    "values of embeddings": Case(
        nothing, "map e.tif --labels l.csv -o map.tif --offset -1000", ("e.tif", "--offset"),
    ),
    # Bands
    "a band too few": Case(
        scene(bands=3), EMBED,
        ("s.tif has b02, b03, b04, without B08", "rs-otl pretrain", "--init"),
    ),
    "band 5 of another sensor": Case(
        lambda folder: landsat(folder, side=SIDE).rename(folder / "x"),
        "embed x --encoder rededge -o out.tif", ("x has b1, b2", "without B05", "--bands 4,1"),
    ),
    "one band of radar": Case(
        scene(bands=1, names=("VV",), dtype="float32", low=-20, high=-5),
        "embed s.tif --encoder radar -o out.tif", ("s.tif has vv, without VH", "--init radar"),
    ),
    "bands without names": Case(
        scene(names=None), EMBED, ("band-1", "--bands"), "+ --bands B02,B03,B04,B08",
    ),
    "bands of one name": Case(
        scene(names=("B02", "B03", "B04", "B04")), EMBED, ("band-1", "--bands"),
        "+ --bands 1,2,3,4",
    ),
    "too few bands named": Case(
        scene(), f"{EMBED} --bands B02,B03", ("--bands B02,B03", "expected 4"),
        f"{EMBED} --bands B02,B03,B04,B08",
    ),
    "a band that is not there": Case(
        scene(), f"{EMBED} --bands B02,B03,B04,B99", ("--bands B99", "s.tif", "b08"),
        f"{EMBED} --bands B02,B03,B04,B08",
    ),
    "a band named twice": Case(
        scene(), f"{EMBED} --bands B02,B03,B04,B04", ("--bands", "B04", "once"),
        f"{EMBED} --bands B02,B03,B04,B08",
    ),
    # CRS and places
    "bands in two CRS": Case(
        lambda folder: redrawn(band_of(safe(folder)), crs=32633), "embed x.SAFE --encoder surface "
        "-o out.tif", ("x.SAFE", "B08", "EPSG:32633", "gdalwarp"),
    ),
    "bands that do not overlap": Case(
        lambda folder: moved(save(folder / "x" / "a_B08.tif", np.ones((1, 48, 48), np.uint16), 10)
                             and several(*(scene(f"x/a_{b}.tif", 1, names=None) for b in BANDS))(
                                 folder)[3], Affine(10, 0, 0, 0, -10, 0)),
        "embed x --encoder toa -o out.tif", ("x", "B08", "do not overlap"),
    ),
    "a band that is rotated": Case(
        lambda folder: moved(several(*(scene(f"x/a_{b}.tif", 1, names=None) for b in BANDS))(
            folder)[3], Affine(10, 1, CORNER[0], 1, -10, CORNER[1])),
        "embed x --encoder toa -o out.tif", ("x", "B08", "rotated", "gdalwarp"),
    ),
    "two scenes in a folder, of two CRS": Case(
        several(scene("x/a.tif"), scene("x/b.tif", crs=32633)),
        "embed x --encoder toa -o out.tif", ("x/a.tif", "x/b.tif", "CRS", "name the files"),
        "embed x/a.tif x/b.tif --encoder toa -o out",
    ),
    "two resolutions side by side": Case(
        several(scene("x/a.tif"), scene("x/b.tif", resolution=20)),
        "embed x --encoder toa -o out.tif", ("a.tif", "b.tif", "pixel sizes"),
        "embed x/a.tif x/b.tif --encoder toa -o out",
    ),
    "scenes one above the other": Case(
        several(scene("x/a.tif"), scene("x/b.tif")),
        "embed x --encoder toa -o out.tif", ("a.tif, b.tif overlap", "name the files"),
        "embed x/a.tif x/b.tif --encoder toa -o out",
    ),
    "labels in degrees that say metres": Case(
        nothing, "map before.tif --encoder toa --labels degrees.csv -o map.tif",
        ("degrees.csv", "lon and lat"),
        "map before.tif --encoder toa --labels lonlat.csv -o map.tif",
    ),
    "a query in degrees": Case(
        nothing, "search before.tif --encoder toa --query 7.73,45.145 -o hits.geojson",
        ("outside before.tif", "--query-crs"), "+ --query-crs EPSG:4326",
    ),
    "a query in no CRS": Case(
        nothing, "search before.tif --encoder toa --query 7.73,45.145 --query-crs EPSG:999999 "
        "-o hits.geojson", ("--query-crs EPSG:999999", "EPSG:4326"),
        "search before.tif --encoder toa --query 7.73,45.145 --query-crs EPSG:4326 -o hits.geojson",
    ),
    "a query in a CRS, of a scene without": Case(
        lambda folder: save_without_crs(folder / "s.tif"),
        "search s.tif --encoder toa --query 7.73,45.145 --query-crs EPSG:4326 -o hits.geojson",
        ("--query-crs", "s.tif", "no CRS", "gdal_edit"),
        lambda folder: changed(folder / "s.tif", crs="EPSG:32632",
                               transform=Affine(10, 0, CORNER[0], 0, -10, CORNER[1])),
    ),
    "two dates in two CRS": Case(
        nothing, "change e.tif e-elsewhere.tif -o change.tif",
        ("e.tif is in EPSG:32632", "EPSG:32633", "warp"),
    ),
    "one CRS for a GeoParquet": Case(
        nothing, "embed before.tif elsewhere.tif --encoder toa -o out.parquet",
        ("EPSG:32632", "EPSG:32633", "one file for each"),
        "embed before.tif elsewhere.tif --encoder toa -o out",
    ),
    # Sizes
    "a scene smaller than a tile": Case(
        scene(side=20), EMBED, ("s.tif: 20 x 20", "--tile 20"), "+ --tile 20",
    ),
    "no tile in a folder of scenes": Case(
        lambda folder: safe(folder), "pretrain x.SAFE --out run --set image_size=64",
        ("73 pixels", "48 x 48", "--set image_size=28"),
        f"pretrain x.SAFE --out run {QUICK} --set image_size=28",
    ),
    "a size that is no multiple of the patch": Case(
        scene(bands=3, names=RGB, dtype="uint8", high=255),
        "embed s.tif --encoder patches -o out.tif --image-size 40", ("16 pixels", "--image-size 32 "
        "or 48"), "embed s.tif --encoder patches -o out.tif --image-size 32",
    ),
    "a size to export that is none": Case(
        nothing, "export patches --to out --image-size 40", ("16 pixels", "--image-size 32 or 48"),
        "export patches --to out --image-size 48",
    ),
    "a size to train at that is none": Case(
        nothing, "pretrain images --set encoder=test_vit --set image_size=40 --out run",
        ("16 pixels", "--set image_size=32"),
        f"pretrain images {QUICK} --set encoder=test_vit --set image_size=48 --out run",
    ),
    "a size to evaluate at that is none": Case(
        nothing, "evaluate patches --on images --image-size 40",
        ("16 pixels", "--image-size 32 or 48"), "evaluate patches --on images --image-size 32",
    ),
    "a pool of a net without": Case(
        nothing, "export rgb --to out --pool cls", ("--pool", "test_resnet", "leave out --pool"),
        "export rgb --to out",
    ),
    "a pool of a net without, before it embeds": Case(
        nothing, "embed before.tif --encoder toa -o out.tif --pool mean --dry-run",
        ("--pool", "test_resnet", "leave out --pool"),
    ),
    "a stride beyond the tile": Case(
        scene(), f"{EMBED} --tile 20 --stride 30", ("--tile 20 --stride 30", "1 to 20"),
        f"{EMBED} --tile 20 --stride 20",
    ),
    "two dates at two sizes": Case(
        nothing, "change e.tif e-40.tif -o change.tif", ("32 pixels", "at 40", "--image-size 32"),
        lambda folder: again(folder, "e.tif", "--image-size", 32),
    ),
    "two dates of two tiles": Case(
        nothing, "change e.tif e-tile.tif -o change.tif", ("370", "240", "--tile"),
        lambda folder: again(folder, "e.tif", "--tile", 37),
    ),
    "more clusters than images": Case(
        nothing, f"pretrain images {QUICK} --set clusters=500 --out run",
        ("500 clusters", "--set clusters="), f"pretrain images {QUICK} --set clusters=2 --out run",
    ),
    "more clusters than cells": Case(
        nothing, "cluster e.tif -k 100 -o map.tif", ("e.tif: only 9 distinct cells", "-k"),
        "cluster e.tif -k 4 -o map.tif",
    ),
    # Embeddings and encoders
    "a scene to cluster": Case(
        nothing, "cluster before.tif -k 2 -o map.tif", ("before.tif", "rs-otl embed"),
        "cluster e.tif -k 2 -o map.tif",
    ),
    "a table to cluster": Case(
        nothing, "cluster e.parquet -k 2 -o map.tif", ("e.parquet", ".tif"),
        "cluster e.tif -k 2 -o map.tif",
    ),
    "two dates of two encoders": Case(
        nothing, "change e.tif e-surface.tif -o change.tif",
        ("toa", "surface", "one encoder", "--encoder toa"),
        lambda folder: again(folder, "e.tif"),
    ),
    "an encoder that embeddings were not made with": Case(
        nothing, "map e.tif --encoder surface --labels l.csv -o map.tif",
        ("e.tif", "encoder toa", "leave the encoder out"), "map e.tif --labels l.csv -o map.tif",
    ),
    "a tile that embeddings were not made with": Case(
        nothing, "search e.tif --query 400100,4999900 --tile 24 -o hits.geojson",
        ("e.tif", "--tile"), "search e.tif --query 400100,4999900 -o hits.geojson",
    ),
    "a scene without an encoder": Case(
        nothing, "map before.tif --labels l.csv -o map.tif", ("before.tif", "--encoder"),
        "+ --encoder toa",
    ),
    "labels of one class": Case(
        nothing, "map e.tif --labels one.csv -o map.tif",
        ("one.csv", "2 to 254 classes", "not 1 (a)"),
        "map e.tif --labels l.csv -o map.tif",
    ),
    "labels with two attributes": Case(
        nothing, "map e.tif --labels two.csv -o map.tif", ("two.csv", "--field", "kind, name"),
    ),
    # Products
    "a product without a band": Case(
        lambda folder: band_of(safe(folder)).unlink(), "embed x.SAFE --encoder surface -o out.tif",
        ("x.SAFE has b02, b03, b04, without B08", "--init"),
        f"pretrain x.SAFE --init surface --out run {QUICK} --set image_size=28",
    ),
    "a product with a band that is none": Case(
        lambda folder: band_of(safe(folder)).write_bytes(b"no image"),
        "embed x.SAFE --encoder surface -o out.tif", ("x.SAFE: band B08", "get it again"),
        lambda folder: redrawn(band_of(folder)) and None,
    ),
    "a product with damaged metadata": Case(
        lambda folder: cut(safe(folder) / "MTD_MSIL2A.xml"),
        "embed x.SAFE --encoder surface -o out.tif", ("x.SAFE", "MTD_MSIL2A.xml", "get it again"),
    ),
    "a zip that was cut": Case(
        zipped_and_cut, "embed S2A_x.zip --encoder surface -o out.tif",
        ("S2A_x.zip", "no whole zip", "get it again"),
    ),
    "a zip that was cut, to train on": Case(
        zipped_and_cut, f"pretrain S2A_x.zip --out run {QUICK}",
        ("S2A_x.zip", "no whole zip", "get it again"),
    ),
    "a folder with two products": Case(
        lambda folder: [landsat(folder / "x", level, SIDE) for level in ("L2SP", "L1TP")],
        "embed x --encoder toa -o out.tif", ("x: holds 2 products", "name one: x/LC09_L1TP"),
        lambda folder: shlex.split("embed x/LC09_L1TP_193028_20230701_20230703_02_T1 --encoder toa "
                                   "-o out.tif"),
    ),
    "Landsat without its factors": Case(
        lambda folder: landsat(folder, "L1TP", SIDE, mtl=False).rename(folder / "x"),
        "embed x --encoder toa -o out.tif", ("x", "_MTL.txt", "--units toa --scale 0.00002"),
        "+ --units toa --scale 0.00002 --offset -0.1",
    ),
    "Landsat whose factors are damaged": Case(
        lambda folder: cut(next(landsat(folder, "L1TP", SIDE).rename(folder / "x").glob("*MTL.txt"))
                           , 0.1),
        "embed x --encoder toa -o out.tif", ("x", "_MTL.txt", "--units toa --scale 0.00002"),
        "+ --units toa --scale 0.00002 --offset -0.1",
    ),
    "amplitudes of Sentinel-1": Case(
        lambda folder: save(folder / "x.SAFE" / "measurement" / "s1a-iw-grd-vv.tiff",
                            np.ones((1, SIDE, SIDE), np.uint16), 10),
        "embed x.SAFE --encoder radar -o out.tif", ("x.SAFE", "not calibrated", "SNAP"),
    ),
    "no file of the name with a star": Case(
        nothing, "embed x_B*.tif --encoder toa -o out.tif", ("x_B*.tif", "expected a product"),
    ),
    "an item whose assets say no bands": Case(
        lambda folder: stac_item(folder, without_bands),
        "embed item.json --encoder surface -o out.tif", ("item.json", "image-0", "--asset"),
        lambda _: shlex.split("embed item.json --encoder surface -o out.tif --bands 1,2,3,4 "
                              "--asset image-0,image-1,image-2,image-3 --offset -1000"),
    ),
    "an asset that is not there": Case(
        lambda folder: stac_item(folder, lambda _: None),
        "embed item.json --encoder surface -o out.tif --asset red,b99",
        ("item.json: --asset b99", "blue, green, red, nir"),
        "embed item.json --encoder surface -o out.tif --asset blue,green,red,nir",
    ),
    "an asset of what is no item": Case(
        scene(), f"{EMBED} --asset red", ("--asset red", "s.tif", "leave it out"), EMBED,
    ),
    "an item of which two bands have one name": Case(
        lambda folder: stac_item(folder, lambda assets: assets["nir"]["bands"][0].update(
            {"name": "B04"})),
        "embed item.json --encoder surface -o out.tif --asset blue,green,red,nir",
        ("item.json", "two bands are called b04", "--asset"),
    ),
    "an item that says a band is none": Case(
        lambda folder: stac_item(folder, lambda assets: assets["nir"]["bands"][0].update(
            {"raster:scale": "x"})),
        "embed item.json --encoder surface -o out.tif", ("item.json", "bands of nir"),
    ),
    "a scene that was cut": Case(
        lambda folder: cut(scene(side=200)(folder)), EMBED, ("s.tif", "get the file again"),
    ),
    # Training
    "backscatter that says nothing": Case(
        scene(side=96, dtype="float32", low=-20, high=-3, bands=2, names=("VV", "VH")),
        f"pretrain s.tif --out run {QUICK}", ("below 0", "--units db"), "+ --units db",
    ),
    "power trained on as dB": Case(
        scene(side=96, dtype="float32", low=0.01, high=0.5, bands=2, names=("VV", "VH")),
        f"pretrain s.tif --units db --out run {QUICK}", ("dB", "10 log10"),
    ),
    "bands to train on that are not there": Case(
        scene(side=96), f"pretrain s.tif --bands B02,B99 --out run {QUICK}", ("--bands B99", "b08"),
        f"pretrain s.tif --bands B02,B08 --out run {QUICK}",
    ),
    "weights of other units": Case(
        scene(side=96), f"pretrain s.tif --units surface --init toa --out run {QUICK}",
        ("toa was trained on top", "surface", "--units toa"),
        f"pretrain s.tif --units toa --init toa --out run {QUICK}",
    ),
    "weights of pictures": Case(
        safe, f"pretrain x.SAFE --init rgb --out run {QUICK} --set image_size=28",
        ("rgb was trained on 8-bit counts", "surface", "--units counts --scale F"),
        "+ --units counts --scale 0.05",
    ),
    "weights of other bands": Case(
        scene(side=96, names=("a", "b", "c", "d")),
        f"pretrain s.tif --init toa --units toa --out run {QUICK}",
        ("toa was trained on the bands B02", "--bands"),
    ),
    "weights of another architecture": Case(
        scene(side=96), f"pretrain s.tif --init toa --out run {QUICK} --set encoder=resnet18",
        ("toa is a test_resnet", "--set encoder=test_resnet"),
    ),
    "units of a data set of the catalogue": Case(
        nothing, "pretrain synthetic --units toa --out run", ("synthetic", "--units", "leave them"),
    ),
    "a scale to train with below 0": Case(
        scene(side=96), f"pretrain s.tif --scale -1 --out run {QUICK}", ("scale", "greater than 0"),
    ),
    # Evaluation
    "images of other units": Case(
        nothing, "evaluate toa --on images", ("8-bit counts", "--units toa --scale"),
    ),
    "images of other bands": Case(
        nothing, "evaluate counts --on images --units counts --scale 20",
        ("counts was trained on the bands B02", "red, green, blue", "--init counts"),
    ),
    "images without classes": Case(
        scene(side=96), "evaluate toa --on s.tif", ("s.tif", "labels", "sub-folder"),
    ),
    "bands of images that are not there": Case(
        nothing, "evaluate rgb --on images --bands red,green,nir", ("--bands nir", "blue"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_one_line_and_what_it_advises_works(name, tmp_path, encoders):
    case = CASES[name]
    case.draw(tmp_path)
    for there in encoders.iterdir():
        (tmp_path / there.name).symlink_to(there)
    before = sorted(tmp_path.rglob("*"))
    words = shlex.split(case.command)
    done = rs_otl_here("-q", *words, check=2, cwd=tmp_path)
    print(name, "|", done.stderr)
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("rs-otl: ")
    for part in case.says:
        assert part in line
    if words[0] == "pretrain":  # refused alike before any work
        assert rs_otl_here("-q", *words, "--dry-run", check=2, cwd=tmp_path).stderr == done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    if callable(case.mended):
        words = case.mended(tmp_path) or words
    elif case.mended:
        more = shlex.split(case.mended)
        words = [*words, *more[1:]] if more[0] == "+" else more
        new = {word for word in more if word.startswith("--") and word != "--out"} - {
            *shlex.split(case.command),
            "--set",
        }
        assert all(word in line for word in new)
    if case.mended:
        rs_otl_here("-q", *words, cwd=tmp_path)
