"""Tiny satellite products in the layouts that agencies deliver."""

import zipfile

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.crs import CRS

CORNER = (399_960.0, 5_000_040.0)
SENTINEL_BANDS = {
    "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B05": 20, "B06": 20, "B07": 20, "B8A": 20,
    "B11": 20, "B12": 20, "B01": 60, "B09": 60,
}  # fmt: skip


def texture(height, width, seed, low=0, high=1):
    """Blobs with noise, (height, width)."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 1, (-(-height // 8), -(-width // 8)))
    shapes = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    return low + (high - low) * np.clip(shapes + random.normal(0, 0.05, shapes.shape), 0, 1)


def save(path, pixels, resolution, names=None, crs=32632, **profile):
    """Write (bands, h, w) with its corner at ``CORNER``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jp2 = path.suffix == ".jp2"
    options = {"QUALITY": 100, "REVERSIBLE": "YES"} if jp2 else {}
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG" if jp2 else "GTiff", width=pixels.shape[2],
        height=pixels.shape[1], count=len(pixels), dtype=pixels.dtype, crs=CRS.from_epsg(crs),
        transform=Affine(resolution, 0, CORNER[0], 0, -resolution, CORNER[1]), **options, **profile,
    ) as file:  # fmt: skip
        file.write(pixels)
        if names:
            file.descriptions = names
    return path


def sentinel_2(folder, level="2A", side=120, added=1000, bands=SENTINEL_BANDS):
    """Write a SAFE folder; ``side`` is that of a 10 m band in pixels."""
    name = f"S2B_MSIL{level}_20230701T101609_N0509_R065_T32TQM_20230701T124500"
    safe = folder / f"{name}.SAFE"
    granule = safe / "GRANULE" / f"L{level}_T32TQM_A033001_20230701T101606" / "IMG_DATA"
    for number, (band, resolution) in enumerate(bands.items()):
        size = side * 10 // resolution
        pixels = texture(size, size, number, 200, 6000).astype(np.uint16) + added
        pixels[:2, :2] = 0
        stem = f"T32TQM_20230701T101609_{band}"
        if level == "1C":
            save(granule / f"{stem}.jp2", pixels[None], resolution)
            continue
        save(granule / f"R{resolution}m" / f"{stem}_{resolution}m.jp2", pixels[None], resolution)
        if resolution == 10:  # the coarser folders have the finer bands too
            coarse = pixels.reshape(size // 2, 2, size // 2, 2).mean((1, 3)).astype(np.uint16)
            save(granule / "R20m" / f"{stem}_20m.jp2", coarse[None], 20)
    if level == "2A":
        save(granule / "R20m" / "T32TQM_20230701T101609_SCL_20m.jp2",
             np.ones((1, side // 2, side // 2), np.uint8), 20)  # fmt: skip
        values, offset = "BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET"
    else:
        values, offset = "QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET"
    offsets = "".join(
        f'<{offset} band_id="{number}">{-added}</{offset}>' for number in range(13) if added
    )
    (safe / f"MTD_MSIL{level}.xml").write_text(
        f'<?xml version="1.0"?><n1:Level><{values} unit="none">10000</{values}>{offsets}</n1:Level>'
    )
    return safe


def zipped(safe):
    """Pack a SAFE folder as the Copernicus hubs do."""
    path = safe.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(safe.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(safe.parent))
    return path


def landsat(folder, level="L2SP", side=100, mtl=True):
    """Write a folder of Landsat 9's Collection 2."""
    name = f"LC09_{level}_193028_20230701_20230703_02_T1"
    prefix = "SR_" if level == "L2SP" else ""
    for band in range(1, 8):
        pixels = texture(side, side, band, 7500, 30000).astype(np.uint16)
        save(folder / name / f"{name}_{prefix}B{band}.TIF", pixels[None], 30, nodata=0)
    thermal = texture(side, side, 10, 30000, 45000).astype(np.uint16)[None]
    save(folder / name / f"{name}_{'ST_' if prefix else ''}B10.TIF", thermal, 30, nodata=0)
    save(folder / name / f"{name}_QA_PIXEL.TIF", np.full((1, side, side), 21824, np.uint16), 30)
    if level == "L1TP":
        pan = texture(side * 2, side * 2, 8, 7500, 30000).astype(np.uint16)[None]
        save(folder / name / f"{name}_B8.TIF", pan, 15, nodata=0)
    if mtl:
        lines = ["GROUP = LANDSAT_METADATA_FILE", "  GROUP = IMAGE_ATTRIBUTES",
                 "    SUN_ELEVATION = 30.0", "  END_GROUP = IMAGE_ATTRIBUTES"]  # fmt: skip
        for group, multiply, add in (
            ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "2.75e-05", "-0.2"),
            ("LEVEL1_RADIOMETRIC_RESCALING", "2.0000E-05", "-0.100000"),
        ):
            lines.append(f"  GROUP = {group}")
            lines += [f"    REFLECTANCE_MULT_BAND_{band} = {multiply}" for band in range(1, 10)]
            lines += [f"    REFLECTANCE_ADD_BAND_{band} = {add}" for band in range(1, 10)]
            lines.append(f"  END_GROUP = {group}")
        (folder / name / f"{name}_MTL.txt").write_text("\n".join(lines) + "\nEND\n")
    return folder / name


def sentinel_1(folder, side=120):
    """Write backscatter in dB as a file for each polarisation."""
    name = "S1A_IW_20230701T052013_DVP_RTC10_G_gdufed_4F2B"
    for seed, (band, low, high) in enumerate((("VV", -20, -2), ("VH", -28, -9))):
        pixels = texture(side, side, seed, low, high).astype(np.float32)
        save(folder / name / f"{name}_{band}.tif", pixels[None], 10)
    return folder / name


def planetscope(folder, bands=8, side=120, surface=True, coefficients=True):
    """Write an ortho scene, and its metadata where it is not surface reflectance."""
    pixels = np.stack([texture(side, side, n, 300, 5000) for n in range(bands)]).astype(np.uint16)
    pixels[:, :3] = 0
    stem = f"20230701_101500_12_2415_3B_AnalyticMS{'_8b' if bands == 8 else ''}"
    path = save(folder / f"{stem}{'_SR' if surface else ''}.tif", pixels, 3, nodata=0)
    if not surface and coefficients:
        said = "".join(
            f"<ps:bandSpecificMetadata><ps:bandNumber>{n}</ps:bandNumber>"
            f"<ps:reflectanceCoefficient>{n}.5e-05</ps:reflectanceCoefficient>"
            "</ps:bandSpecificMetadata>"
            for n in range(1, bands + 1)
        )
        (folder / f"{stem}_metadata.xml").write_text(f"<ps:Earth>{said}</ps:Earth>")
    return path
