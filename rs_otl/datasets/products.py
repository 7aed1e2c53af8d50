"""Satellite products: a file for each band, or a raster with its units in another file.

Sentinel-2 (a SAFE folder or its zip, or loose JP2s), Landsat's Collection 2, HLS, Sentinel-1 as a
file for each polarisation, PlanetScope, and other products with a band's number or colour in the
names of the files. A product opens as one virtual raster of GDAL, on the grid of the finest band.
"""

import json
import math
import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import rasterio
from pydantic import AliasChoices, BaseModel, Field
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from rs_otl.datasets._decode import quiet_reading, read_header
from rs_otl.datasets.raster import (
    RASTER_ERRORS,
    UnreadableError,
    gdal,
    gdal_name,
    open_remote,
    quiet_georeference,
    reason_of,
)
from rs_otl.errors import InputError
from rs_otl.sensors import SENSORS, sensor_of
from rs_otl.spec import Band, Quantity

_SUFFIXES = (".tif", ".tiff", ".jp2")
# A band in a file's name: a number of Landsat (LC08_..._SR_B4), Sentinel-2 (T32TQM_..._B04_10m) or
# HLS (HLS.S30...B04), a polarisation, or a colour as in STAC.
_BAND = re.compile(
    r"""(?:^|(?<=[/_.-]))
        (?:(?:(?:SR|ST|TOA|BOA)_)?(?P<number>B\d{1,2}A?)
         | (?P<word>VV|VH|HH|HV|coastal|blue|green|red|nir(?:08|09)?|rededge[123]?|swir(?:16|22)))
        (?=[_.-]|$)""",
    re.IGNORECASE | re.VERBOSE,
)
# The resolution in names of a Sentinel-2 product: of its folders, or at the end of its files.
_RESOLUTION = re.compile(r"(?:^|(?<=[_/]))R?(10|20|60)m(?=/|$)")
_PLANET = re.compile(r"_(?:AnalyticMS|ortho_analytic)_?(?:\w*?_)?(SR)?(?:_|\.|$)", re.IGNORECASE)
# Landsat's thermal bands are not reflectance, and its panchromatic band has other pixels.
NOT_OF_LANDSAT = ("pan", "lwir11", "lwir12", "lwir")
# The order in which the metadata of Sentinel-2 number its bands.
_COUNTED = (*(f"B{n:02}" for n in range(1, 9)), "B8A", *(f"B{n:02}" for n in range(9, 13)))
# Scale and offset, fixed for surface reflectance of Landsat's Collection 2.
_LANDSAT_SURFACE = (2.75e-5, -0.2)
_LARGEST_TEXT = 64 * 2**20
_ABOVE = 5
_LISTED = 4
# Files looked at in a folder that is opened as a product; a SAFE folder has about a hundred.
_MOST_FILES = 100_000
# By rounding, edges of bands may differ by so many pixels.
_NEARLY = 1e-3
DATA_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
    "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip


class NoProductError(InputError):
    """A folder or zip without a satellite's product."""


@dataclass(frozen=True)
class File:
    """A band of a product: where it is, and what its stored values stand for.

    Attributes:
        band: Name of the band.
        path: Path, as GDAL reads it.
        index: Number of the band in the file, from 1.
        scale: What stored values are multiplied with; ``None`` for what the file says.
        offset: What is then added.
    """

    band: str
    path: str
    index: int = 1
    scale: float | None = None
    offset: float = 0.0


@dataclass(frozen=True)
class Product:
    """Bands of a product.

    Attributes:
        name: What the user calls it.
        sensor: Text in which the sensor is named.
        files: Its bands.
        quantity: What values measure; reflectance is x 10,000 where ``files`` have a scale.
        nodata: Stored value that means no data, where files do not name one.
        sources: Files on this disk that it is read from.
        known: What is known about each band besides its name; empty for what the sensor says.
        remote: Whether files lie on a server.
        whole: Whether all bands of each file are among ``files``.
        lacking: Missing file that says how stored values are scaled; empty if none is missing.
    """

    name: str
    sensor: str
    files: tuple[File, ...]
    quantity: Quantity | None = None
    nodata: float | None = None
    sources: tuple[Path, ...] = field(default=())
    known: tuple[Band, ...] = ()
    remote: bool = False
    whole: bool = False
    lacking: str = ""


class _Folder:
    """The files of a folder and its sub-folders, or of a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zip = path.is_file()
        if self.zip:
            try:
                with zipfile.ZipFile(path) as archive:
                    self.names = sorted(archive.namelist())
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                raise UnreadableError(path, f"no whole zip ({error}); get it again") from None
        else:
            found = (Path(root) / name for root, _, files in os.walk(path) for name in files)
            # Opening a pipe would block.
            regular = (file for file in islice(found, _MOST_FILES) if file.is_file())
            self.names = sorted(file.relative_to(path).as_posix() for file in regular)

    def gdal(self, name: str) -> str:
        if self.zip:
            return f"/vsizip/{gdal_name(self.path)}/{name}"
        return gdal_name(self.path / name)

    def text(self, pattern: str) -> str | None:
        """Read the metadata file whose name matches: in the zip, or in the folder or above it."""
        name = next((name for name in self.names if re.search(pattern, name)), None)
        if self.zip:
            if name is None:
                return None
            try:
                with zipfile.ZipFile(self.path) as archive, archive.open(name) as inside:
                    return inside.read(_LARGEST_TEXT).decode(errors="replace")
            except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError) as error:
                raise UnreadableError(self.path, f"{name} cannot be read ({error})") from None
        found = [] if name is None else [self.path / name]
        for parent in () if found else list(self.path.resolve().parents)[:_ABOVE]:
            if _RESOLUTION.search(parent.name) or re.search(
                r"(?i)safe$|granule|^l[12]", parent.name
            ):
                found += [path for path in parent.glob("*") if re.search(pattern, path.name)]
        if not found or not found[0].is_file():
            return None
        with found[0].open("rb") as file:
            return file.read(_LARGEST_TEXT).decode(errors="replace")


def product_at(path: Path) -> Product | None:
    """Find the product that a path stands for.

    Args:
        path: A folder, a zip, a product's ``MTD_...xml`` or ``..._MTL.txt``, a name with ``*``
            instead of the band, or a raster whose units are in another file.

    Returns:
        The product; ``None`` if the path is that of a plain file.

    Raises:
        InputError: It is a folder or zip without a product, or with several.
    """
    start = None
    folder, wanted = path, None
    if re.fullmatch(r"(?i)MTD_\w+\.xml", path.name):
        folder = path.parent
    elif re.search(r"(?i)_MTL\.(txt|xml|json)$", path.name):
        folder, start = path.parent, re.sub(r"(?i)_MTL\.\w+$", "", path.name)
    elif "*" in path.name and not path.exists():
        folder, wanted = path.parent, path.name
    elif path.is_file() and path.suffix.lower() != ".zip":
        return _planet(path) or _beside(path)
    if not (folder.is_dir() or folder.is_file()):
        return None
    files = _Folder(folder)
    products = {
        key: bands
        for key, bands in _grouped(files.names).items()
        if wanted in (None, key) and (start is None or key.startswith(start))
    }
    if len(products) == 1:
        (bands,) = products.values()
        return _described(str(path), files, bands)
    listed = ", ".join(str(folder / key) for key in list(products)[:_LISTED])
    if products:
        raise InputError(
            f"{path}: holds {len(products)} products, expected one scene; name one: {listed}"
        )
    if any(re.search(r"measurement/s1\w-.*\.tiff?$", name) for name in files.names):
        raise InputError(
            f"{path}: Sentinel-1 as it is delivered, in amplitudes that are not calibrated; "
            "expected backscatter in dB with a file or a band for VV and VH, as SNAP makes it"
        )
    raise NoProductError(
        f"{path}: no file for each band in it, such as ..._B04.jp2 or ..._SR_B4.TIF; expected a "
        "product, or name one file"
    )


def products_of(folder: Path, paths: Sequence[str]) -> list[str]:
    """Find the products with a file for each band, if most images of a folder are such files.

    Otherwise every file would be a scene of a single band.

    Args:
        folder: The folder.
        paths: Paths of its images, relative to it.

    Returns:
        Names of the products for :func:`product_at`, relative to the folder, sorted.
    """
    products = _grouped(paths)
    starts = tuple({re.sub(r"B?\*[^*]*$", "", key) for key in products})
    # Files of quality, angles and previews belong to products too.
    parts = sum(_plain(path).startswith(starts) for path in paths)
    if not products or parts * 2 <= len(paths):
        return []
    first = next(iter(products.values()))
    if not _have_one_band(folder, [files[0] for files in first.values()]):
        return []
    return sorted(products)


def zipped_products(folder: Path) -> list[str]:
    """List the zipped satellite products of a folder, by name, unless unpacked beside the zip.

    A damaged zip counts if it has the name of a product: reading it says what is wrong with it.
    """
    found = []
    for path in sorted(folder.glob("*.zip")):
        if any(path.with_suffix(suffix).is_dir() for suffix in ("", ".SAFE")):
            continue
        try:
            product_at(path)
        except NoProductError:
            continue
        except InputError:
            if sensor_of(path.name) is None:
                continue
        found.append(path.name)
    return found


def _grouped(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Group files of bands by product: ``..._B*.jp2`` to bands to files, the finest first.

    A file alone is no product: it may be a part of anything.
    """
    products: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names, key=lambda name: (_resolution(name), name)):
        path = PurePosixPath(name)
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        stem = name[: -len(path.suffix)]
        found = list(_BAND.finditer(stem))
        if not found:
            continue
        band = found[-1]
        letter = "B*" if band["number"] else "*"
        key = _plain(stem[: band.start()] + letter + stem[band.end() :]) + path.suffix
        products[key][band["number"] or band["word"]].append(name)
    return {key: dict(bands) for key, bands in products.items() if len(bands) > 1}


def _plain(path: str) -> str:
    """Take the resolution out of a path without its suffix."""
    return re.sub(r"/+", "/", _RESOLUTION.sub("", path)).lstrip("/").rstrip("_")


def _resolution(name: str) -> int:
    found = _RESOLUTION.search(name.rpartition(".")[0])
    return int(found[1]) if found else 0


def _have_one_band(folder: Path, names: Sequence[str]) -> bool:
    try:
        with quiet_reading():
            return all(len(read_header(folder / name).descriptions) == 1 for name in names)
    except UnreadableError:
        return False


def _described(name: str, folder: _Folder, bands: dict[str, list[str]]) -> Product:
    """Put a product together from its files and its metadata."""
    first = next(iter(bands.values()))[0]
    text = f"{folder.path.resolve()}/{first}"
    sensor = sensor_of(PurePosixPath(first).name) or sensor_of(text)
    chosen = {band.upper() if band[0] in "bB" and band[1].isdigit() else band: names[0]
              for band, names in bands.items()}  # fmt: skip
    files = {band: File(band, folder.gdal(path)) for band, path in chosen.items()}
    quantity: Quantity | None = None
    nodata: float | None = None
    lacking = ""
    if sensor == "sentinel-2":
        quantity, nodata, files = _sentinel_2(folder, files, first)
    elif sensor in ("landsat-7", "landsat-8"):
        quantity, nodata, files = _landsat(folder, files, first, SENSORS[sensor])
        if quantity is None:
            lacking = f"{re.split(r'(?i)_(?:SR_)?B[0-9]+[.]', first)[0]}_MTL.txt"
    if quantity is None and not folder.zip:
        files = _with_stac(folder, files, chosen)
    if re.search(r"(?:^|/)HLS\.[SL]30", first):
        quantity = Quantity.SURFACE
    order = {band: number for number, band in enumerate(_COUNTED)}
    ordered = sorted(files.values(), key=lambda file: (order.get(file.band, 99), file.band != "VV"))
    sources = [folder.path] if folder.zip else [folder.path / path for path in chosen.values()]
    hint = sensor or text
    if any(file.scale is not None for file in ordered):
        lacking = ""
    return Product(
        name, hint, tuple(ordered), quantity, nodata, tuple(sources), whole=True, lacking=lacking
    )


_Known = tuple[Quantity | None, float | None, dict[str, File]]


def _sentinel_2(folder: _Folder, files: dict[str, File], first: str) -> _Known:
    text = folder.text(r"MTD_MSIL(1C|2A)\.xml$")
    if text is None:
        return None, 0 if first.endswith(".jp2") else None, files
    surface = "BOA_QUANTIFICATION_VALUE" in text
    pattern = r"<(?:BOA_)?QUANTIFICATION_VALUE[^>]*>\s*(\d+(?:\.\d+)?)\s*<"
    found = re.search(pattern, text)
    root = re.search(r"<([\w:.-]+)[\s>]", text)
    whole = root is not None and text.rstrip().endswith(f"</{root[1]}>")
    if not (whole and found and float(found[1])):  # offsets might be missing
        raise UnreadableError(
            folder.path,
            "the metadata that say what its values stand for, "
            f"MTD_MSIL{'2A' if surface or '2A' in first else '1C'}.xml, are damaged; get it again, "
            "or name the bands' files with * for the band, and --units and --offset",
        )
    scale = 10_000 / float(found[1])
    added = {
        int(band): float(value)
        for band, value in re.findall(
            r'<(?:BOA|RADIO)_ADD_OFFSET band_id="(\d+)">\s*(-?\d+(?:\.\d+)?)\s*<', text
        )
    }
    numbers = {band: number for number, band in enumerate(_COUNTED)}
    files = {
        band: File(
            band, file.path, 1, scale, scale * added.get(numbers.get(_two_digits(band), -1), 0.0)
        )
        for band, file in files.items()
    }
    return Quantity.SURFACE if surface else Quantity.TOA, 0, files


def _two_digits(band: str) -> str:
    return re.sub(r"^B(\d)$", r"B0\1", band)


def _landsat(folder: _Folder, files: dict[str, File], first: str, table: Sequence[Band]) -> _Known:
    """Leave out bands without reflectance; scale the rest by MTL, or by Collection 2's factors."""
    common = {band.name: band.common_name for band in table}
    plain = {band: re.sub(r"^B0*", "B", band) for band in files}
    files = {
        band: file for band, file in files.items() if common.get(plain[band]) not in NOT_OF_LANDSAT
    }
    surface = re.search(r"(?i)_SR_B|_L2S[PR]_", first) is not None
    text = folder.text(r"(?i)_MTL\.txt$")
    groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
    group = ""
    for line in (text or "").splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        else:
            groups[group][key] = value
    said = groups[
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS" if surface else "LEVEL1_RADIOMETRIC_RESCALING"
    ]
    factors: dict[str, tuple[float, float]] = {}
    try:
        above = 1.0
        if not surface:
            above = math.sin(math.radians(float(groups["IMAGE_ATTRIBUTES"]["SUN_ELEVATION"])))
        for band in files:
            number = plain[band][1:]
            factors[band] = (
                float(said[f"REFLECTANCE_MULT_BAND_{number}"]) / above,
                float(said[f"REFLECTANCE_ADD_BAND_{number}"]) / above,
            )
    except (KeyError, ValueError, ZeroDivisionError):
        if not (surface and "_02_" in first):
            return None, 0, files
        factors = dict.fromkeys(files, _LANDSAT_SURFACE)
    files = {
        band: File(band, file.path, 1, 10_000 * factors[band][0], 10_000 * factors[band][1])
        for band, file in files.items()
    }
    return Quantity.SURFACE if surface else Quantity.TOA, 0, files


def _planet(path: Path) -> Product | None:
    """Describe a PlanetScope scene of 4 or 8 bands by its name and the metadata beside it."""
    named = _PLANET.search(path.name)
    if named is None or path.suffix.lower() not in _SUFFIXES:
        return None
    try:
        with quiet_georeference(), gdal(), rasterio.open(gdal_name(path)) as file:
            bands = SENSORS.get(f"planetscope-{file.count}")
    except RASTER_ERRORS:
        return None
    if bands is None:
        return None
    plain = gdal_name(path)
    files = [File(band.name, plain, number) for number, band in enumerate(bands, start=1)]
    sensor, quantity = f"planetscope-{len(bands)}", Quantity.SURFACE
    if named[1] is None:
        stem = re.sub(r"(?i)_clip$", "", path.stem)
        beside = [path.with_name(f"{stem}_metadata{end}.xml") for end in ("", "_clip")]
        texts = [other.read_text(errors="replace") for other in beside if other.is_file()]
        found = re.findall(
            r"<ps:bandNumber>(\d+)</.*?<ps:reflectanceCoefficient>(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)<",
            texts[0] if texts else "",
            re.DOTALL,
        )
        factors = {int(number): float(value) for number, value in found}
        if set(factors) >= set(range(1, len(bands) + 1)):
            quantity = Quantity.TOA
            files = [
                File(file.band, plain, file.index, 10_000 * factors[file.index]) for file in files
            ]
        else:
            quantity = Quantity.RADIANCE
            files = [File(file.band, plain, file.index, 0.01) for file in files]
    return Product(str(path), sensor, tuple(files), quantity, 0, (path,))


class _Header(NamedTuple):
    transform: Affine
    width: int
    height: int
    crs: CRS | None
    dtype: str
    nodata: float | None
    scale: float
    offset: float


def _opened(product: Product, path: str) -> rasterio.DatasetReader:
    if product.remote and path.startswith("/vsi"):
        return open_remote(path, f"{product.name}: {PurePosixPath(urlsplit(path).path).name}")
    with gdal():
        return rasterio.open(path)


def _header(product: Product, file: File) -> _Header:
    """Read what a band's file says about it."""
    try:
        with quiet_georeference(), _opened(product, file.path) as source:
            said = sum(other.path == file.path for other in product.files)
            if source.count < file.index or (product.whole and source.count != said):
                raise UnreadableError(
                    product.name,
                    f"the file of band {file.band} holds {source.count} bands, expected {said}; "
                    "name the file itself to take its bands",
                )
            at = file.index - 1
            header = _Header(
                source.transform,
                source.width,
                source.height,
                source.crs,
                source.dtypes[at],
                source.nodatavals[at],
                source.scales[at],
                source.offsets[at],
            )
    except RASTER_ERRORS as error:
        again = "try again later" if product.remote else "get it again"
        reason = f"band {file.band} cannot be opened ({reason_of(error, file.path)}); {again}"
        raise UnreadableError(product.name, reason) from None
    if header.dtype not in DATA_TYPES:
        raise InputError(
            f"{product.name}: band {file.band} holds {header.dtype} values, expected imagery"
        )
    if header.transform.b or header.transform.d:
        raise InputError(
            f"{product.name}: band {file.band} is rotated, expected rows along one axis; gdalwarp "
            "makes them so"
        )
    return header


def _with_stac(
    folder: _Folder, files: dict[str, File], chosen: Mapping[str, str]
) -> dict[str, File]:
    """Scale the files of bands as a STAC item in their folder says."""
    names = {PurePosixPath(path).name: band for band, path in chosen.items()}
    for item in sorted(folder.path.glob("*.json")):
        for name, (said, *_) in _stac(item, list(names)).items():
            if said.scale is not None and names[name] in files:
                band = names[name]
                files[band] = replace(files[band], scale=said.scale, offset=said.offset)
    return files


class StacBand(BaseModel):
    """A band of an asset, in STAC 1.1 or in the extensions eo and raster of earlier versions."""

    name: str | None = None
    common_name: str | None = Field(
        None, validation_alias=AliasChoices("eo:common_name", "common_name")
    )
    scale: float | None = Field(None, validation_alias=AliasChoices("raster:scale", "scale"))
    offset: float = Field(0.0, validation_alias=AliasChoices("raster:offset", "offset"))
    nodata: float | Literal["nan", "inf", "-inf"] | None = None
    wavelength: Annotated[float, Field(gt=0)] | None = Field(
        None, validation_alias=AliasChoices("eo:center_wavelength", "center_wavelength")
    )
    resolution: float | None = Field(
        None,
        validation_alias=AliasChoices("gsd", "raster:spatial_resolution", "spatial_resolution"),
    )


class _Item(BaseModel):
    stac_version: str
    assets: dict[str, dict[str, Any]]


def _stac(path: Path, names: Sequence[str]) -> dict[str, list[StacBand]]:
    """Read what a STAC item says about the bands of files, by the names of the files.

    Raises:
        UnreadableError: It is an item, but what it says about a band is not valid.
    """
    try:
        with path.open("rb") as file:
            item = _Item.model_validate(json.loads(file.read(_LARGEST_TEXT)))
    except (OSError, ValueError, RecursionError):
        return {}  # some other JSON
    found: dict[str, list[StacBand]] = {}
    for asset in item.assets.values():
        name = PurePosixPath(str(asset.get("href"))).name
        if name in names and (bands := bands_said(asset, path, name)):
            found[name] = bands
    return found


def bands_said(asset: Mapping[str, Any], item: str | Path, name: str) -> list[StacBand]:
    """Read what a STAC item says about the bands of an asset; an empty list if it says nothing.

    Args:
        asset: The asset, with ``bands``, or ``eo:bands`` and ``raster:bands``.
        item: What the item is called in errors.
        name: What the asset is called in errors.

    Raises:
        UnreadableError: What it says is not valid, or its lists have different lengths.
    """
    parts = [asset[key] for key in ("bands", "eo:bands", "raster:bands") if asset.get(key)]
    try:
        return [
            StacBand.model_validate({key: value for part in said for key, value in part.items()})
            for said in zip(*parts, strict=True)
        ]
    except (ValueError, TypeError, AttributeError):
        reason = f"its description of the bands of {name} is not valid"
        raise UnreadableError(item, reason) from None


def _beside(path: Path) -> Product | None:
    """Describe a raster by the STAC item beside it of the same name, if it tells the bands."""
    item = path.with_suffix(".json")
    if path.suffix.lower() not in _SUFFIXES or not item.is_file():
        return None
    said = _stac(item, [path.name]).get(path.name)
    if said is None or not any(band.name or band.scale is not None for band in said):
        return None
    plain = gdal_name(path)
    files = tuple(
        File(
            band.name or band.common_name or f"band-{number}",
            plain,
            number,
            band.scale if band.scale is not None else (1.0 if band.offset else None),
            band.offset,
        )
        for number, band in enumerate(said, start=1)
    )
    nodata = said[0].nodata
    return Product(
        str(path), path.name, files, None, nodata if isinstance(nodata, float) else None,
        (path, item),
    )  # fmt: skip


def open_product(product: Product, opened: ExitStack) -> rasterio.DatasetReader:
    """Open a product as one raster, on the grid of its finest band.

    Pixels of coarser bands are repeated; nothing is interpolated. The raster covers the area that
    all bands cover, and gives the name, scale and offset of each band.

    Args:
        product: The product.
        opened: Closes the raster.

    Raises:
        InputError: A band cannot be opened, is rotated, lies in another CRS, or holds values that
            are not imagery; a file has more bands than the product says; or the bands do not
            overlap.
    """
    headers = [_header(product, file) for file in product.files]
    first = headers[0]
    for file, header in zip(product.files, headers, strict=True):
        if str(header.crs) != str(first.crs):
            raise InputError(
                f"{product.name}: band {file.band} is in {header.crs or 'no CRS'}, band "
                f"{product.files[0].band} in {first.crs or 'no CRS'}, expected one; gdalwarp "
                f"-t_srs {first.crs or header.crs} makes it so"
            )
    finest = min(headers, key=lambda header: abs(header.transform.a))
    grid, crs = finest.transform, finest.crs
    boxes = []  # left, top, right and bottom in pixels of the finest band
    for header in headers:
        corner = header.transform.c, header.transform.f
        opposite = header.transform * (header.width, header.height)
        boxes.append((*(~grid * corner), *(~grid * opposite)))
    left, top = (math.ceil(max(edges[i] for edges in boxes) - _NEARLY) for i in (0, 1))
    right, bottom = (math.floor(min(edges[i] for edges in boxes) + _NEARLY) for i in (2, 3))
    if right <= left or bottom <= top:
        x, y, x_end, y_end = boxes[0]
        apart = next(
            (
                file.band
                for file, box in zip(product.files, boxes, strict=True)
                if box[0] >= x_end or box[1] >= y_end or box[2] <= x or box[3] <= y
            ),
            product.files[-1].band,
        )
        raise InputError(
            f"{product.name}: its bands do not overlap, {apart} lies elsewhere than "
            f"{product.files[0].band}; expected files of one place: take {apart} out, or name the "
            "files of each place with * for the band"
        )
    shifted = grid * grid.translation(left, top)
    bands = []
    for number, (file, header, edges) in enumerate(
        zip(product.files, headers, boxes, strict=True), start=1
    ):
        across, down = header.transform.a / grid.a, header.transform.e / grid.e
        source = (
            f'<SrcRect xOff="{(left - edges[0]) / across!r}" yOff="{(top - edges[1]) / down!r}" '
            f'xSize="{(right - left) / across!r}" ySize="{(bottom - top) / down!r}"/>'
            f'<DstRect xOff="0" yOff="0" xSize="{right - left}" ySize="{bottom - top}"/>'
        )
        scale, offset = header.scale, header.offset
        if file.scale is not None:
            scale, offset = file.scale, file.offset
        nodata = product.nodata if header.nodata is None else header.nodata
        said = "" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>"
        bands.append(
            f'<VRTRasterBand dataType="{DATA_TYPES[header.dtype]}" band="{number}">'
            f"<Description>{escape(file.band)}</Description>{said}<Offset>{offset!r}</Offset>"
            f"<Scale>{scale!r}</Scale><ColorInterp>Undefined</ColorInterp><SimpleSource>"
            f'<SourceFilename relativeToVRT="0">{escape(file.path)}</SourceFilename>'
            f"<SourceBand>{file.index}</SourceBand>{source}</SimpleSource></VRTRasterBand>"
        )
    placed = shifted.to_gdal()
    srs = "" if crs is None else f"<SRS>{escape(crs.to_wkt())}</SRS>"
    text = (
        f'<VRTDataset rasterXSize="{right - left}" rasterYSize="{bottom - top}">{srs}'
        f"<GeoTransform>{', '.join(repr(value) for value in placed)}</GeoTransform>"
        f"{''.join(bands)}</VRTDataset>"
    )
    memory = opened.enter_context(MemoryFile(text.encode(), ext=".vrt"))
    try:
        with quiet_georeference(), gdal(product.remote):
            return opened.enter_context(memory.open(driver="VRT"))
    except RASTER_ERRORS as error:
        raise UnreadableError(
            product.name, f"cannot be put together ({reason_of(error, product.name)})"
        ) from None
