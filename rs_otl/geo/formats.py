"""Write files that a GIS opens."""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.shutil import copy as translate
from rasterio.windows import Window

from rs_otl.datasets.raster import RASTER_ERRORS, gdal, gdal_name, quiet_georeference
from rs_otl.errors import note
from rs_otl.files import atomic_write, refuse_existing, unwritten

# A block of the TIFF holds all bands: with many bands blocks are small, 128 pixels at least.
_BLOCK_BYTES = 16 * 2**20
_STRIP_BYTES = 64 * 2**20
# Rows of a Parquet file that are written, and read or skipped, at once.
_GROUP_ROWS = 4096
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_cog(
    out: Path,
    rows: Iterable[NDArray[Any]],
    shape: tuple[int, int, int],
    dtype: str,
    nodata: float | None,
    crs: CRS | None,
    transform: Affine,
    names: Sequence[str],
    tags: Mapping[str, str],
    colours: Mapping[int, tuple[int, int, int, int]] | None = None,
    resampling: str = "AVERAGE",
    scales: Sequence[float] | None = None,
) -> None:
    """Write a Cloud-Optimized GeoTIFF row by row.

    GDAL's COG driver only copies whole rasters, so rows go to a plain TIFF first, in a hidden
    folder beside the output. The copy is read back, since GDAL reports no error if the disk is full
    at the last bytes. A CRS that GeoTIFF has no place for is kept in ``OUT.aux.xml``.

    Args:
        out: The file; must be new.
        rows: Rows of pixels, (bands, width).
        shape: (bands, height, width).
        dtype: Type of the pixels; float16 is what GDAL calls float32 of 16 bits.
        nodata: The value that means there is no data.
        crs: CRS of the scene.
        transform: From (column, row) to (x, y).
        names: Descriptions of the bands.
        tags: Tags of the file.
        colours: Colours of the values of the first band.
        resampling: Resampling of the overviews.
        scales: Factor of the stored values, for each band.

    Raises:
        InputError: The file cannot be written, or exists.
    """
    half, dtype = dtype == "float16", "float32" if dtype == "float16" else dtype
    bands, height, width = shape
    size = np.dtype(dtype).itemsize
    block = 512
    while block > 128 and bands * size * block**2 > _BLOCK_BYTES:
        block //= 2
    if half:  # a block's empty part beyond the edge of a small raster takes much room
        block = min(block, 16 * -(-max(height, width) // 16))
    strip_rows = max(1, min(64, height, _STRIP_BYTES // (bands * size * width)))
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": dtype,
        "nodata": nodata,
        "crs": crs,
        "transform": transform,
        # Overviews are made band by band; GDAL reads strips of one band fastest.
        "interleave": "band",
        "blockysize": strip_rows,
        "BIGTIFF": "IF_SAFER",
    }
    if colours:
        profile["photometric"] = "palette"
    if half:
        profile["nbits"] = 16
    written = np.zeros(bands, np.uint64)
    with (
        writing(out),
        quiet_georeference(),
        gdal(),
        TemporaryDirectory(prefix=".rs-otl-", dir=out.parent) as folder,
    ):
        plain, made = Path(folder, "plain.tif"), Path(folder, "made.tif")
        file = rasterio.open(gdal_name(plain), "w", **profile)
        try:
            file.descriptions = tuple(names)
            file.update_tags(**tags)
            if scales is not None:
                file.scales = tuple(scales)
            if colours:
                file.write_colormap(1, colours)
            top = 0
            for given in _strips(rows, strip_rows):
                strip = given.astype(dtype, copy=False)
                with quiet_libtiff():
                    file.write(strip, window=Window(0, top, width, strip.shape[1]))
                written += _sums(strip)
                top += strip.shape[1]
        finally:
            with quiet_libtiff():
                file.close()
        with quiet_libtiff():
            translate(
                gdal_name(plain),
                gdal_name(made),
                driver="COG",
                BLOCKSIZE=block,
                COMPRESS="ZSTD",
                # Embeddings of neighbouring tiles differ: their differences compress worse.
                PREDICTOR="YES" if dtype == "uint8" else "NO",
                OVERVIEW_RESAMPLING=resampling,
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
                **({"NBITS": 16} if half else {}),
            )
        if not np.array_equal(_sums_of_file(made), written):
            raise OSError("the file does not read back as written; is the disk full?")
        beside = keep_beside(made, crs, str(out))
        if beside is not None:
            refuse_existing(out)
            with atomic_write(out.with_name(f"{out.name}.aux.xml")) as aside:
                os.replace(beside, aside)
        with atomic_write(out, new=True) as aside:
            os.replace(made, aside)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn errors of the disk, and GDAL's, into an :class:`InputError` of one line.

    Args:
        out: The file that is written, for the error.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        yield
    except RASTER_ERRORS as error:
        reason = " ".join(str(error.__cause__ or error).split())
        failed = OSError(f"{reason}; is the disk full?")
        raise unwritten(out, failed) from failed
    except OSError as error:
        raise unwritten(out, error) from error


def keep_beside(
    path: Path, crs: CRS | None, name: str | None, bands: Mapping[int, str] | None = None
) -> Path | None:
    """Keep what GeoTIFF has no place for in ``PATH.aux.xml``, which GDAL reads with the file.

    A CRS that reads back from the GeoTIFF as another one is kept as WKT. If it still reads back as
    another one, stderr says so.

    Args:
        path: A GeoTIFF that was written.
        crs: The CRS that it was written with.
        name: What to call the file on stderr; ``None`` to keep quiet.
        bands: GDAL's XML about bands, by number from 1.

    Returns:
        The path of ``PATH.aux.xml``; ``None`` if there is none.
    """
    beside = path.with_name(f"{path.name}.aux.xml")
    parts = [
        f'<PAMRasterBand band="{number}">{text}</PAMRasterBand>'
        for number, text in (bands or {}).items()
    ]
    lost = crs is not None and not _has_crs(path, crs)
    if crs is not None and lost:
        axes = "2,1" if crs.is_geographic else "1,2"
        wkt = escape(crs.to_wkt(version="WKT2_2019"))
        parts.insert(0, f'<SRS dataAxisToSRSAxisMapping="{axes}">{wkt}</SRS>')
    elif parts and beside.is_file():
        # GDAL has already kept the CRS in this file.
        root = ElementTree.parse(beside).getroot()
        parts += [ElementTree.tostring(part, "unicode") for part in root.iter("SRS")]
    if parts:
        text = f"<PAMDataset>{''.join(parts)}</PAMDataset>\n"
        beside.write_text(text, encoding="utf-8")
    if lost and name and not _has_crs(path, crs):
        note(f"{name}: its CRS cannot be kept as it is; GDAL's version of it is written instead")
    return beside if beside.is_file() else None


def _has_crs(path: Path, crs: CRS | None) -> bool:
    with quiet_georeference(), rasterio.open(gdal_name(path), driver="GTiff") as file:
        return bool(file.crs == crs)


@contextmanager
def quiet_libtiff() -> Iterator[None]:
    """Keep libtiff from writing to stderr, as it does if a disk is full; GDAL reports it too."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _sums(pixels: NDArray[Any]) -> NDArray[np.uint64]:
    """Add up the bits of each band's pixels, whatever their order: (bands, ...) to (bands,)."""
    bits = np.ascontiguousarray(pixels).view(f"u{pixels.itemsize}")
    if pixels.dtype.kind == "f":
        bits = np.where(np.isnan(pixels), 0, bits)  # NaN has many bit patterns
    return bits.sum(axis=(1, 2), dtype=np.uint64)


def _sums_of_file(path: Path) -> NDArray[np.uint64]:
    """Read every block of a file, its overviews too, and add up the bands."""
    with rasterio.open(gdal_name(path)) as file:
        levels = len(file.overviews(1))
        total = np.zeros(file.count, np.uint64)
        for _, window in file.block_windows(1):
            total += _sums(file.read(window=window))
    for level in range(levels):
        with rasterio.open(gdal_name(path), overview_level=level) as file:
            for _, window in file.block_windows(1):
                file.read(window=window)
    return total


def _strips(rows: Iterable[NDArray[Any]], height: int) -> Iterator[NDArray[Any]]:
    """Join rows (bands, width) to strips (bands, height, width); the last may have fewer rows."""
    remaining = iter(rows)
    while strip := list(itertools.islice(remaining, height)):
        yield np.stack(strip, axis=1)


def write_geoparquet(
    out: Path,
    tables: Iterable[tuple[NDArray[np.float64], Mapping[str, NDArray[Any]], NDArray[Any]]],
    width: int,
    crs: CRS | None,
    tags: Mapping[str, str],
) -> None:
    """Write a GeoParquet file (version 1.1.0 of the format) for filters by place.

    Rows are sorted along a Hilbert curve and written in groups. The file stores the bounds of each
    group, so readers skip groups outside a box. Embeddings first go to a temporary file and are
    then read in this order, so only the other columns are in memory.

    Args:
        out: The file; must be new.
        tables: Corners of n polygons (n, 4, 2), other columns of n values, embeddings (n, D).
        width: Length D of an embedding.
        crs: CRS of the corners.
        tags: Metadata of the file.

    Raises:
        InputError: The file cannot be written, or exists.
    """
    with atomic_write(out, new=True) as aside, TemporaryFile(dir=out.parent) as waiting:
        parts: list[tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]] = []
        for corners, columns, embeddings in tables:
            np.ascontiguousarray(embeddings).tofile(waiting)
            dtype = embeddings.dtype
            parts.append((corners, columns))
        waiting.flush()
        corners = np.concatenate([part[0] for part in parts])
        columns = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
        embeddings = np.memmap(waiting, dtype, "r", shape=(len(corners), width))
        bounds = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        whole = [*bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist()]
        order = np.argsort(hilbert_distance(corners.mean(1), whole), kind="stable")
        geo = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {
                "geometry": {
                    "encoding": "WKB",
                    "geometry_types": ["Polygon"],
                    "crs": None if crs is None else _projjson(crs),
                    "bbox": whole,
                    "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
                }
            },
        }
        writer: pq.ParquetWriter | None = None
        try:
            for start in range(0, len(order), _GROUP_ROWS):
                rows = order[start : start + _GROUP_ROWS]
                rings = np.concatenate([corners[rows], corners[rows, :1]], axis=1)
                box = [pa.array(bounds[rows, at]) for at in range(4)]
                table = pa.table(
                    {
                        **{name: pa.array(values[rows]) for name, values in columns.items()},
                        "geometry": pa.array(shapely.to_wkb(shapely.polygons(rings)), pa.binary()),
                        "bbox": pa.StructArray.from_arrays(box, _SIDES),
                        "embedding": pa.FixedSizeListArray.from_arrays(
                            pa.array(embeddings[rows].ravel()), width
                        ),
                    }
                )
                if writer is None:
                    writer = pq.ParquetWriter(aside, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=_GROUP_ROWS)
            assert writer is not None
            writer.add_key_value_metadata({"geo": json.dumps(geo), **tags})
        finally:
            if writer is not None:
                writer.close()


def hilbert_distance(xy: NDArray[np.float64], bounds: Sequence[float]) -> NDArray[np.uint32]:
    """Return how far along a Hilbert curve of 65,536 x 65,536 steps points lie.

    Args:
        xy: The points, (n, 2).
        bounds: First x and y, last x and y of the square that the curve fills.

    Returns:
        (n,): points that are near each other are mostly near each other on the curve.
    """
    import geopandas  # takes a second

    points = geopandas.GeoSeries(shapely.points(xy))
    return points.hilbert_distance(tuple(bounds), level=16).to_numpy()


def _projjson(crs: CRS) -> dict[str, Any]:
    return pyproj.CRS.from_user_input(crs.to_wkt()).to_json_dict()
