"""Several rasters on one grid as one scene: the files of a folder, or of a tile index."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import MemoryFile

from rs_otl.datasets.files import find_images
from rs_otl.datasets.products import DATA_TYPES
from rs_otl.datasets.raster import (
    RASTER_ERRORS,
    UnreadableError,
    gdal,
    gdal_name,
    open_raster,
    open_remote,
    quiet_georeference,
    reason_of,
)
from rs_otl.datasets.remote import gdal_address, is_address, public
from rs_otl.errors import InputError
from rs_otl.extras import require_extra

# Vector files that may be a tile index, as `gdaltindex` writes them.
INDEXES = (".gpkg", ".fgb", ".shp", ".geojson")
_FIELD = "location"
_RASTERS = (".tif", ".tiff", ".jp2", ".vrt")
# How far the pixels of two files may lie from one grid, as a share of a pixel.
_NEARLY = 1e-2


@dataclass(frozen=True)
class Mosaic:
    """Files that are parts of one scene.

    Attributes:
        name: The folder or index.
        files: Paths, or addresses; where several cover a pixel, the last with data counts.
        may_overlap: Whether several files may cover a pixel.
    """

    name: str
    files: tuple[str, ...]
    may_overlap: bool

    @property
    def remote(self) -> bool:
        """Whether a file lies on a server."""
        return any(map(is_address, self.files))


class _Part(NamedTuple):
    name: str
    path: str
    transform: Affine
    size: tuple[int, int]
    alike: dict[str, Any]
    masked: bool


def mosaic_of_folder(folder: Path) -> Mosaic | None:
    """List the rasters of a folder and its sub-folders; ``None`` if there are none."""
    found = find_images(folder).paths
    files = sorted(str(path) for path in found if path.suffix.lower() in _RASTERS)
    return Mosaic(str(folder), tuple(files), may_overlap=False) if files else None


def mosaic_of_index(path: Path) -> Mosaic:
    """Read a tile index: a vector file whose column ``location`` names rasters.

    Names are relative to the index, or else to the working folder, as `gdaltindex` writes them.

    Raises:
        InputError: It cannot be read, has no such column, or is empty.
    """
    require_extra("geo", f"{path}: a tile index")
    import pyogrio

    try:
        with gdal():
            table = pyogrio.read_dataframe(path, read_geometry=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: no tile index ({' '.join(str(error).split()):.200})") from None
    if _FIELD not in table.columns or not len(table):
        raise InputError(
            f"{path}: no tile index, it has no rows or no column {_FIELD}; expected a raster, or "
            "what `gdaltindex` writes"
        )
    files = []
    for name in table[_FIELD].astype(str):
        beside = path.parent / name
        files.append(name if is_address(name) else str(beside if beside.exists() else name))
    return Mosaic(str(path), tuple(files), may_overlap=True)


def open_mosaic(mosaic: Mosaic, opened: ExitStack) -> rasterio.DatasetReader:
    """Open the files as one raster, on their grid; nothing is interpolated.

    Pixels that no file covers have no data.

    Args:
        mosaic: The files.
        opened: Closes the raster.

    Raises:
        InputError: A file cannot be opened; the files differ in bands, type, CRS, pixels or what
            their values stand for; or they overlap.
    """
    parts = [_part(mosaic, path) for path in mosaic.files]
    first = parts[0]
    grid = first.transform
    boxes = np.array([_box(mosaic, part, first) for part in parts])
    if not mosaic.may_overlap:
        _refuse_overlap(mosaic, parts, boxes)
    left, top = boxes[:, :2].min(axis=0)
    width, height = boxes[:, 2:].max(axis=0) - (left, top)
    places = boxes[:, :2] - (left, top)
    nodata = first.alike["nodata"]
    bands = []
    for number, value in enumerate(nodata, start=1):
        said = "" if value is None else f"<NoDataValue>{value!r}</NoDataValue>"
        sources = "".join(
            _source(part, place, str(number), value)
            for part, place in zip(parts, places, strict=True)
        )
        bands.append(_band(first, number, f"{said}{_said(first, number)}{sources}"))
    mask = ""
    alpha = ColorInterp.alpha in first.alike["colours"]
    if None in nodata and not alpha:
        covered = "".join(
            _source(part, place, "mask,1", 0) for part, place in zip(parts, places, strict=True)
        )
        mask = f'<MaskBand><VRTRasterBand dataType="Byte">{covered}</VRTRasterBand></MaskBand>'
    placed = (grid * Affine.translation(left, top)).to_gdal()
    crs = first.alike["CRS"]
    srs = f"<SRS>{escape(str(crs))}</SRS>" if crs else ""
    text = (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{srs}'
        f"<GeoTransform>{', '.join(repr(value) for value in placed)}</GeoTransform>"
        f"{''.join(bands)}{mask}</VRTDataset>"
    )
    memory = opened.enter_context(MemoryFile(text.encode(), ext=".vrt"))
    try:
        with quiet_georeference(), gdal(mosaic.remote):
            return opened.enter_context(memory.open(driver="VRT"))
    except RASTER_ERRORS as error:
        reason = f"cannot be put together ({reason_of(error, mosaic.name)})"
        raise UnreadableError(mosaic.name, reason) from None


def _part(mosaic: Mosaic, name: str) -> _Part:
    """Read the header of a file."""
    shown = f"{mosaic.name}: {public(name)}"
    try:
        with quiet_georeference():
            if is_address(name):
                path = gdal_address(name)
                file = open_remote(path, shown)
            else:
                path = gdal_name(Path(name))
                file = open_raster(Path(name))
    except (*RASTER_ERRORS, OSError) as error:
        raise UnreadableError(shown, f"cannot be opened ({reason_of(error, name)})") from None
    with file:
        t = file.transform
        if t.b or t.d or t == Affine.identity():
            raise InputError(
                f"{shown}: has no position, or is rotated; expected a part of a mosaic"
            )
        if not set(file.dtypes) <= set(DATA_TYPES):
            raise InputError(f"{shown}: holds {file.dtypes[0]}, expected imagery")
        alike = {
            "CRS": file.crs.to_wkt() if file.crs else "",
            "type": file.dtypes,
            "bands": file.descriptions,
            "colours": file.colorinterp,
            "nodata": file.nodatavals,
            "scale": file.scales,
            "offset": file.offsets,
            "units": file.units,
        }
        if ColorInterp.palette in file.colorinterp:
            raise InputError(f"{shown}: has a palette, expected bands of imagery")
        masked = MaskFlags.per_dataset in file.mask_flag_enums[0]
        return _Part(public(name), path, t, (file.width, file.height), alike, masked)


def _box(mosaic: Mosaic, part: _Part, first: _Part) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a file in pixels of the first one's grid."""
    both = f"{mosaic.name}: {first.name} and {part.name}"
    each = "expected parts of one scene; name the files to take each as a scene of its own"
    for what, value in part.alike.items():
        if repr(value) != repr(first.alike[what]):  # NaN does not equal itself
            raise InputError(f"{both} differ in {what}; {each}")
    across, down = part.transform.a / first.transform.a, part.transform.e / first.transform.e
    width, height = part.size
    left, top = ~first.transform * (part.transform.c, part.transform.f)
    drift = max(abs(across - 1) * width, abs(down - 1) * height)
    if max(drift, abs(left - round(left)), abs(top - round(top))) > _NEARLY:
        raise InputError(f"{both} have different pixel sizes, or do not lie on one grid; {each}")
    return round(left), round(top), round(left) + width, round(top) + height


def _refuse_overlap(mosaic: Mosaic, parts: Sequence[_Part], boxes: np.ndarray) -> None:
    order = np.lexsort((boxes[:, 1], boxes[:, 0]))
    for at, one in enumerate(order):
        for other in order[at + 1 :]:
            if boxes[other, 0] >= boxes[one, 2]:
                break
            if boxes[other, 1] < boxes[one, 3] and boxes[one, 1] < boxes[other, 3]:
                names = ", ".join(os.path.basename(parts[i].path) for i in sorted((one, other)))
                raise InputError(
                    f"{mosaic.name}: {names} overlap, expected a product or files side by side; "
                    "name the files, or a tile index of `gdaltindex`, whose last file counts"
                )


def _band(first: _Part, number: int, inside: str) -> str:
    kinds, colours = first.alike["type"], first.alike["colours"]
    colour = colours[number - 1].name.capitalize()
    return (
        f'<VRTRasterBand dataType="{DATA_TYPES[kinds[number - 1]]}" band="{number}">'
        f"<ColorInterp>{colour}</ColorInterp>{inside}</VRTRasterBand>"
    )


def _said(first: _Part, number: int) -> str:
    """Write what the files say about a band."""
    said = ""
    for key, tag, nothing in (
        ("bands", "Description", None),
        ("units", "UnitType", None),
        ("offset", "Offset", 0.0),
        ("scale", "Scale", 1.0),
    ):
        value = first.alike[key][number - 1]
        if value not in (nothing, None, ""):
            said += f"<{tag}>{escape(value if isinstance(value, str) else repr(value))}</{tag}>"
    return said


def _source(part: _Part, place: np.ndarray, band: str, nodata: float | None) -> str:
    """Write a file as the source of a band; its pixels without data show the files below."""
    width, height = part.size
    kind, more = "SimpleSource", ""
    if nodata is not None:
        kind, more = "ComplexSource", f"<NODATA>{nodata!r}</NODATA>"
    elif part.masked:
        kind, more = "ComplexSource", "<UseMaskBand>true</UseMaskBand>"
    size = f'xSize="{width}" ySize="{height}"'
    return (
        f'<{kind}><SourceFilename relativeToVRT="0">{escape(part.path)}</SourceFilename>'
        f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" {size}/>'
        f'<DstRect xOff="{place[0]}" yOff="{place[1]}" {size}/>{more}</{kind}>'
    )
