"""Rasters with odd georeference, values, masks and shapes."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from harness import Case
from materials import QUICK, SIDE, Materials, damage, draw, settings, write_scene
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

_CRS: dict[str, tuple[str | None, Affine]] = {
    "none": (None, Affine(10, 0, 500_000, 0, -10, 5_000_000)),
    "none at all": (None, Affine.identity()),
    "site grid": ('LOCAL_CS["site",UNIT["metre",1]]', Affine(1, 0, 100, 0, -1, 200)),
    "engineering": (
        'ENGCRS["site",EDATUM["x"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
        'LENGTHUNIT["metre",1]]',
        Affine(1, 0, 100, 0, -1, 200),
    ),
    "geostationary": (
        "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84",
        Affine(120_000, 0, -5_568_748, 0, -120_000, 5_568_748),
    ),
    "rotated pole": (
        "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +to_meter=0.0174533",
        Affine(0.1, 0, -5, 0, -0.1, 5),
    ),
    "Goode": ("+proj=igh +datum=WGS84", Affine(100_000, 0, -5_000_000, 0, -100_000, 5_000_000)),
    "one way": ("+proj=airy +lat_b=90", Affine(10_000, 0, 0, 0, -10_000, 0)),
    "longitudes 0 to 360": ("EPSG:4326", Affine(0.5, 0, 170, 0, -0.5, 10)),
    "date line": ("EPSG:32660", Affine(10_000, 0, 500_000, 0, -10_000, 1_000_000)),
    "pole": ("EPSG:3413", Affine(50_000, 0, -2_400_000, 0, -50_000, 2_400_000)),
    "beyond the Earth": ("EPSG:4326", Affine(10, 0, -500, 0, -10, 500)),
    "beyond a projection": ("EPSG:3857", Affine(1e8, 0, -1e10, 0, -1e8, 1e10)),
    "moon": ("+proj=longlat +R=1737400", Affine(0.1, 0, 10, 0, -0.1, 5)),
    "feet": ("EPSG:2263", Affine(10, 0, 980_000, 0, -10, 200_000)),
    "south up": ("EPSG:32633", Affine(10, 0, 500_000, 0, 10, 5_000_000)),
    "geocentric": ("EPSG:4978", Affine(10, 0, 0, 0, -10, 0)),
    "compound": ("EPSG:32633+5773", Affine(10, 0, 500_000, 0, -10, 5_000_000)),
}
_TRANSFORMS = {
    "zero": Affine(0, 0, 0, 0, 0, 0),
    "zero width": Affine(0, 0, 500_000, 0, -10, 5_000_000),
    "NaN": Affine(math.nan, 0, 500_000, 0, -10, 5_000_000),
    "infinite": Affine(math.inf, 0, 500_000, 0, -10, 5_000_000),
    "singular": Affine(10, 10, 500_000, 10, 10, 5_000_000),
    "rotated": Affine(8, 3, 500_000, 3, -8, 5_000_000),
    "tiny pixels": Affine(1e-12, 0, 500_000, 0, -1e-12, 5_000_000),
    "huge pixels": Affine(1e12, 0, 500_000, 0, -1e12, 5_000_000),
    "far away": Affine(10, 0, 1e30, 0, -10, 1e30),
    "mirrored": Affine(-10, 0, 500_000, 0, -10, 5_000_000),
}


def _case(
    numbers: random.Random,
    materials: Materials,
    work: Path,
    note: str,
    path: str = "scene.tif",
    commands: tuple[str, ...] = ("embed", "parquet", "tile", "search", "map", "image query"),
) -> Case:
    """Let a command look at the scene ``path`` in ``work``."""
    encoder = ["--encoder", str(materials.encoder), *QUICK]
    command = numbers.choice(commands)
    x, y = 500_100.0, 4_999_900.0
    try:
        with rasterio.open(work / path) as file:
            x, y = file.transform * (SIDE / 2 + 0.5, SIDE / 2 + 0.5)
    except Exception:  # it is damaged
        pass
    words = {
        "embed": ["embed", path, *encoder, "-o", "e.tif"],
        "parquet": ["embed", path, *encoder, "-o", "e.parquet"],
        "tile": ["tile", path, "-o", "chips", "--tile", "32"],
        "search": ["search", path, *encoder, f"--query={x},{y}", "-o", "s.geojson"],
        "image query": ["search", path, *encoder, "--query", "query.png", "-o", "s.geojson"],
        "map": ["map", path, *encoder, "--labels", "labels.geojson", "-o", "m.tif"],
        "pretrain": ["pretrain", ".", "--out", "new", *settings()],
        "view": ["view", path, "--embeddings", "embeddings.tif", "-o", "v.html"],
        "augmentations": ["augmentations", path, "-o", "a.png", "--image-size", "32"],
    }[command]
    verify: Callable[[Path, str], str | None] | None = None
    if command == "map":
        _labels(work, path)
    if command == "image query":
        materials.copy("images/class0/00.png", work, "query.png")
    if command == "view":
        materials.copy("embeddings.tif", work)
    if command in ("search", "image query"):
        verify = geojson_is_on_earth
    elif command in ("embed", "tile"):
        verify = _georeference_is_kept
    return Case(words, note, verify=verify)


def _labels(work: Path, path: str) -> None:
    """Write labels in the scene's own coordinates and CRS."""
    try:
        with rasterio.open(work / path) as file:
            transform, crs = file.transform, file.crs
    except Exception:  # it is damaged
        transform, crs = Affine.identity(), None
    features = [
        {
            "type": "Feature",
            "properties": {"class": "ab"[number % 2]},
            "geometry": {"type": "Point", "coordinates": list(transform * (20 * number + 5, 40))},
        }
        for number in range(4)
    ]
    values: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs and crs.to_epsg():
        name = f"urn:ogc:def:crs:EPSG::{crs.to_epsg()}"
        values["crs"] = {"type": "name", "properties": {"name": name}}
    (work / "labels.geojson").write_text(json.dumps(values))


def geojson_is_on_earth(work: Path, said: str) -> str | None:
    """Say whether GeoJSON holds other than longitudes and latitudes without saying so."""
    try:
        values = json.loads(
            (work / "s.geojson").read_text(), parse_constant=lambda name: int(f"x{name}")
        )
    except ValueError as error:
        return f"no GeoJSON: {error}"
    for entry in values["features"]:
        if "coordinate_system" in values or "coordinate_system" in entry:
            continue  # a scene without a place on Earth
        geometry = entry["geometry"]
        rings = [geometry] if geometry is None else _rings(geometry)
        for ring in rings:
            if ring is None:
                continue
            xs, ys = zip(*(point[:2] for point in ring), strict=True)
            if max(map(abs, xs)) > 180.000001 or max(map(abs, ys)) > 90.000001:
                return f"GeoJSON outside longitude and latitude: {ring[0]}"
            if max(xs) - min(xs) > 180:
                return f"a polygon {max(xs) - min(xs):.0f} degrees wide"
    return None


def _rings(geometry: dict[str, Any]) -> list[list[list[float]]]:
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Point":
        return [[coordinates]]
    if geometry["type"] == "Polygon":
        return coordinates
    return [ring for polygon in coordinates for ring in polygon]


def _georeference_is_kept(work: Path, said: str) -> str | None:
    """Say whether outputs have lost the scene's CRS, points, mask or palette without a word."""
    if "ground control points" in said or "RPC" in said or "CRS" in said:
        return None
    outputs = [work / "e.tif"] if (work / "e.tif").exists() else sorted((work / "chips").glob("*"))
    outputs = [path for path in outputs if path.suffix == ".tif"]
    if not outputs or not (work / "scene.tif").exists():  # of another format
        return None
    with rasterio.open(work / "scene.tif") as scene, rasterio.open(outputs[0]) as output:
        if scene.crs and not output.crs and not output.gcps[1]:
            return f"{outputs[0].name} has lost the CRS {str(scene.crs)[:60]}"
        if scene.crs and output.crs and scene.crs != output.crs:
            return f"{outputs[0].name} has another CRS: {str(output.crs)[:60]}"
        if scene.gcps[0] and not output.gcps[0] and not output.crs:
            return f"{outputs[0].name} has lost the ground control points"
        if scene.rpcs and not output.rpcs and not output.crs:
            return f"{outputs[0].name} has lost the RPCs"
        if outputs[0].name == "e.tif":
            return None
        if scene.nodatavals[0] is not None and output.nodatavals[0] is None:
            return f"{outputs[0].name} has lost nodata"
        if (scene.colorinterp[0] == ColorInterp.palette) != (
            output.colorinterp[0] == ColorInterp.palette
        ) and output.count == scene.count:
            return f"{outputs[0].name} has lost the colour table"
        # As text, since a scale may be NaN.
        kept = str((scene.scales, scene.offsets)) == str((output.scales, output.offsets))
        if not kept and scene.dtypes == output.dtypes:
            return f"{outputs[0].name} has lost scale and offset"
    return None


def odd_crs(numbers: random.Random, materials: Materials, work: Path) -> Case:
    name = numbers.choice(sorted(_CRS))
    crs, transform = _CRS[name]
    try:
        write_scene(work / "scene.tif", draw(3), crs=crs, transform=transform)
    except Exception:  # what this version of GDAL cannot write
        write_scene(work / "scene.tif", draw(3), crs=None, transform=transform)
        name += ", which cannot be written"
    return _case(numbers, materials, work, f"CRS: {name}")


def odd_transform(numbers: random.Random, materials: Materials, work: Path) -> Case:
    name = numbers.choice(sorted(_TRANSFORMS))
    crs = numbers.choice(("EPSG:32633", None))
    write_scene(work / "scene.tif", draw(3), transform=_TRANSFORMS[name], crs=crs)
    return _case(numbers, materials, work, f"transform: {name}, {crs}")


def points_for_transform(numbers: random.Random, materials: Materials, work: Path) -> Case:
    how = numbers.choice(("GCPs", "GCPs in a line", "one GCP", "RPCs", "GCPs of NaN"))
    if how == "RPCs":
        ones = [1.0, *[0.0] * 19]
        rpcs = RPC(
            height_off=0, height_scale=100, lat_off=45, lat_scale=1, line_den_coeff=ones,
            line_num_coeff=[0.0, 0.0, 1.0, *[0.0] * 17], line_off=48, line_scale=48, long_off=15,
            long_scale=1, samp_den_coeff=ones, samp_num_coeff=[0.0, 1.0, *[0.0] * 18],
            samp_off=48, samp_scale=48,
        )  # fmt: skip
        write_scene(work / "scene.tif", draw(3), crs=None, transform=None, rpcs=rpcs)
    else:
        corners = [(0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)]
        if how == "GCPs in a line":
            corners = [(n, n) for n in (0, 30, 60, 90)]
        if how == "one GCP":
            corners = corners[:1]
        wrong = math.nan if how == "GCPs of NaN" else 0.0
        points = [
            GroundControlPoint(row, column, 15 + column / 1000 + wrong, 45 - row / 1000)
            for row, column in corners
        ]
        write_scene(work / "scene.tif", draw(3), gcps=points, crs="EPSG:4326", transform=None)
    return _case(numbers, materials, work, how)


def nodata(numbers: random.Random, materials: Materials, work: Path) -> Case:
    how = numbers.choice(
        ("per band", "alpha", "soft alpha", "mask", "all", "collar", "NaN", "too large", "of NaN")
    )
    pixels = draw(3)
    profile: dict[str, Any] = {"nodata": 0}
    if how == "all":
        pixels[:] = 0
    elif how in ("per band", "collar"):
        pixels[:, :40] = 0
        if how == "collar":
            profile = {}
    elif how in ("alpha", "soft alpha"):
        alpha = np.full((1, SIDE, SIDE), 255, np.uint8)
        alpha[:, :40] = 0
        if how == "soft alpha":
            alpha[:, 40:50] = 130
        pixels = np.concatenate([pixels, alpha])
        profile = {"photometric": "RGB", "alpha": "YES"}
    elif how == "mask":
        profile = {}
    elif how == "NaN":
        pixels = pixels.astype(np.float32)
        pixels[0, :40] = np.nan
        profile = {"nodata": math.nan}
    elif how == "of NaN":
        pixels = np.full((3, SIDE, SIDE), np.nan, np.float32)
        profile = {}
    elif how == "too large":
        pixels = pixels.astype(np.float32)
        profile = {"nodata": -3.4e38}
    path = write_scene(work / "scene.tif", pixels, **profile)
    if how == "mask":
        with rasterio.open(path, "r+") as file:
            mask = np.full((SIDE, SIDE), 255, np.uint8)
            mask[:40] = 0
            file.write_mask(mask)
    return _case(numbers, materials, work, f"nodata: {how}")


def odd_values(numbers: random.Random, materials: Materials, work: Path) -> Case:
    unit = draw(3).astype(np.float32) / 255
    values: dict[str, Any] = {
        "dB": -25 * unit,
        "unit floats": unit,
        "thousands": 10_000 * unit,
        "constant": np.full((3, SIDE, SIDE), 7, np.uint8),
        "int16": (3000 * unit - 100).astype(np.int16),
        "uint16": (3000 * unit).astype(np.uint16),
        "uint32": (3e9 * unit).astype(np.uint32),
        "int8": (100 * unit).astype(np.int8),
        "uint64": (3000 * unit).astype(np.uint64),
        "double": unit.astype(np.float64),
        "infinite": np.where(unit > 0.5, np.inf, unit).astype(np.float32),
        "largest": np.full((3, SIDE, SIDE), 3e38, np.float32),
        "complex": unit.astype(np.complex64),
        "complex integers": unit.astype(np.complex64),
    }
    name = numbers.choice(sorted(values))
    dtype = {"dtype": "complex_int16"} if name == "complex integers" else {}
    write_scene(work / "scene.tif", values[name], **dtype)
    return _case(numbers, materials, work, f"values: {name}")


def scale_and_offset(numbers: random.Random, materials: Materials, work: Path) -> Case:
    path = write_scene(work / "scene.tif", (40 * draw(3).astype(np.int16)))
    how = numbers.choice(("reflectance", "zero", "NaN", "per band", "below zero"))
    scales = {
        "reflectance": [1e-4] * 3,
        "zero": [0.0] * 3,
        "NaN": [math.nan] * 3,
        "per band": [1e-4, 1.0, 10.0],
        "below zero": [-1.0] * 3,
    }
    with rasterio.open(path, "r+") as file:
        file.scales = scales[how]
        file.offsets = [-0.1] * 3
    return _case(numbers, materials, work, f"scale: {how}")


def odd_shape(numbers: random.Random, materials: Materials, work: Path) -> Case:
    height, width = numbers.choice(((1, 1), (1, SIDE), (SIDE, 1), (3, 3), (31, 33), (1, 5000)))
    bands = numbers.choice((1, 2, 3, 3, 4, 13))
    pixels = np.random.default_rng(0).integers(1, 255, (bands, height, width)).astype(np.uint8)
    write_scene(work / "scene.tif", pixels)
    return _case(numbers, materials, work, f"{bands} bands, {height} x {width}")


def odd_bands(numbers: random.Random, materials: Materials, work: Path) -> Case:
    how = numbers.choice(("palette", "bgr", "named", "odd names", "twice", "nir as alpha"))
    pixels = draw(1) % 8 if how == "palette" else draw(4 if how == "nir as alpha" else 3)
    path = write_scene(work / "scene.tif", pixels)
    with rasterio.open(path, "r+") as file:
        if how == "palette":
            file.write_colormap(1, {n: (n * 30, 0, 255 - n * 30, 255) for n in range(8)})
        elif how == "bgr":
            file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
        elif how == "named":
            file.descriptions = ("B4", "B3", "B2")
        elif how == "odd names":
            file.descriptions = ("\x1b[31m", "a\nb", "x" * 3000)
        elif how == "twice":
            file.descriptions = ("red", "red", "red")
        else:
            file.colorinterp = [
                *(ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
            ]
            file.set_band_description(4, "nir")
    case = _case(numbers, materials, work, f"bands: {how}")
    if numbers.random() < 0.4 and case.words[0] in ("embed", "search", "map"):
        bands = numbers.choice(("1,2,3", "3,2,1", "1,1,1", "0", "9,9,9", "red", "", "1,2", "1,2,x"))
        return Case([*case.words, "--bands", bands], f"{case.note}, --bands {bands}")
    return case


def damaged_scene(numbers: random.Random, materials: Materials, work: Path) -> Case:
    path = materials.copy("scene.tif", work)
    commands = ("embed", "tile", "search", "map", "pretrain", "view", "augmentations")
    note = damage(path, numbers)
    return _case(numbers, materials, work, note, commands=commands)


def damaged_embedding(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """The files that ``embed`` and ``map`` wrote, damaged, or with other tags."""
    for name in ("scene.tif", "embeddings.tif", "map.tif", "labels.geojson"):
        materials.copy(name, work)
    name = numbers.choice(("embeddings.tif", "embeddings.tif", "map.tif"))
    if numbers.random() < 0.5:
        note = damage(work / name, numbers)
    else:
        values = ("", "0", "-1", "[1]", "null", "1e99", "9" * 400, "x\x1b", "[" * 4000, "NaN")
        with rasterio.open(work / name, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            tags = [tag for tag in file.tags() if tag.startswith("RS_OTL")]
            tag, value = numbers.choice(sorted(tags)), numbers.choice(values)
            file.update_tags(**{tag: value})
        note = f"{name}: {tag} = {value[:20]!r}"
    words = numbers.choice(
        (
            [
                "view",
                "scene.tif",
                "--embeddings",
                "embeddings.tif",
                "--map",
                "map.tif",
                "-o",
                "v.html",
            ],
            ["view", "embeddings.tif", "-o", "v.html"],
            ["map", "embeddings.tif", "--labels", "labels.geojson", "-o", "m.tif"],
            ["search", "embeddings.tif", "--query", "500100,4999900", "-o", "s.geojson"],
        )
    )
    return Case(words, note)


def other_formats(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """Rasters that are no TIFF, and names that GDAL takes for something else."""
    how = numbers.choice(
        ("VRT", "VRT to nothing", "VRT of itself", "ASC", "name", "sidecar", "PNG")
    )
    path = "scene.vrt"
    if how == "ASC":
        path = "scene.asc"
        rows = "\n".join(" ".join(map(str, row)) for row in draw(1)[0, :40, :40])
        head = "ncols 40\nnrows 40\nxllcorner 0\nyllcorner 0\ncellsize 1\nNODATA_value 0\n"
        (work / path).write_text(head + rows)
    elif how == "name":
        path = numbers.choice(
            ("http:x.tif", "/vsicurl/x.tif", "GTIFF_DIR:1:scene.tif", "HDF5:x.tif")
        )
        path = path.lstrip("/").replace("/", "_") if path.startswith("/") else path
        write_scene(work / "plain.tif", draw(3)).rename(work / path)
    elif how == "PNG":
        path = "scene.png"
        materials.copy("images/class0/00.png", work, path)
    elif how == "sidecar":
        path = "scene.tif"
        materials.copy("scene.tif", work)
        (work / "scene.tif.aux.xml").write_text(
            numbers.choice(("<PAMDataset>", "<PAMDataset><SRS>x</SRS></PAMDataset>", "\0"))
        )
    else:
        source = {"VRT": "plain.tif", "VRT to nothing": "no.tif", "VRT of itself": "scene.vrt"}[how]
        write_scene(work / "plain.tif", draw(3))
        bands = "".join(
            f'<VRTRasterBand dataType="Byte" band="{n}"><SimpleSource><SourceFilename '
            f'relativeToVRT="1">{source}</SourceFilename><SourceBand>{n}</SourceBand>'
            "</SimpleSource></VRTRasterBand>"
            for n in (1, 2, 3)
        )
        (work / path).write_text(
            f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">{bands}</VRTDataset>'
        )
    return _case(numbers, materials, work, f"{how}: {path}", path, ("embed", "tile", "search"))


def huge_scene(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A sparse file of a few kilobytes that is terabytes of nothing."""
    side = 2_000_000
    rasterio.open(
        work / "scene.tif", "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8",
        crs="EPSG:32633", transform=Affine(1, 0, 0, 0, -1, 0), tiled=True, blockxsize=32768,
        blockysize=32768, SPARSE_OK=True, BIGTIFF="YES", nodata=0,
    ).close()  # fmt: skip
    return _case(numbers, materials, work, "2,000,000 pixels wide", commands=("augmentations",))


DRAWS = (
    odd_crs,
    odd_crs,
    odd_crs,
    odd_transform,
    points_for_transform,
    nodata,
    nodata,
    odd_values,
    scale_and_offset,
    odd_shape,
    odd_bands,
    damaged_scene,
    damaged_scene,
    damaged_embedding,
    other_formats,
    huge_scene,
)
