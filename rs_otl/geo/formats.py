"""Files that a GIS opens."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.shutil import copy as translate
from rasterio.windows import Window

from rs_otl.datasets.scene import bounded_cache, quiet_georeference
from rs_otl.errors import InputError
from rs_otl.files import atomic_write

# A block of the TIFF holds all its bands: many bands, small blocks, of 128 pixels at least.
_BLOCK_BYTES = 16 * 2**20
_STRIP_BYTES = 64 * 2**20
# Rows of a Parquet file that are written, and read, at once.
_GROUP_ROWS = 8192


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
) -> None:
    """Write a Cloud-Optimized GeoTIFF row by row.

    GDAL's COG driver only copies whole rasters: rows go to a plain TIFF beside it first.

    Args:
        out: The file; replaced if it exists.
        rows: Of pixels, each (bands, width).
        shape: (bands, height, width).
        dtype: Of the pixels.
        nodata: The value that means there is no data.
        crs: Of the scene.
        transform: From (column, row) to (x, y).
        names: Descriptions of the bands.
        tags: Of the file.
        colours: Of the values of the first band.
        resampling: Of the overviews.

    Raises:
        InputError: It cannot be written.
    """
    bands, height, width = shape
    size = np.dtype(dtype).itemsize
    block = 512
    while block > 128 and bands * size * block**2 > _BLOCK_BYTES:
        block //= 2
    strip_rows = max(1, min(64, height, _STRIP_BYTES // (bands * size * width)))
    plain = out.with_name(f".{out.stem}.plain.tif")
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": dtype,
        "nodata": nodata,
        "crs": crs,
        "transform": transform,
        # Strips of one band: what GDAL reads fastest band by band, as overviews are made.
        "interleave": "band",
        "blockysize": strip_rows,
        "BIGTIFF": "IF_SAFER",
    }
    if colours:
        profile["photometric"] = "palette"
    try:
        with quiet_georeference(), bounded_cache():
            with rasterio.open(plain, "w", **profile) as file:
                file.descriptions = tuple(names)
                file.update_tags(**tags)
                if colours:
                    file.write_colormap(1, colours)
                top = 0
                for strip in _strips(rows, strip_rows):
                    file.write(strip, window=Window(0, top, width, strip.shape[1]))
                    top += strip.shape[1]
            with atomic_write(out) as aside:
                translate(
                    plain,
                    aside,
                    driver="COG",
                    BLOCKSIZE=block,
                    COMPRESS="DEFLATE",
                    PREDICTOR="YES",
                    OVERVIEW_RESAMPLING=resampling,
                    BIGTIFF="IF_SAFER",
                    NUM_THREADS="ALL_CPUS",
                )
    except RasterioError as error:
        raise InputError(f"{out}: cannot be written ({error.__cause__ or error})") from error
    finally:
        plain.unlink(missing_ok=True)
        plain.with_name(f"{plain.name}.aux.xml").unlink(missing_ok=True)


def _strips(rows: Iterable[NDArray[Any]], height: int) -> Iterator[NDArray[Any]]:
    """Join rows (bands, width) to strips (bands, height, width); the last may be lower."""
    remaining = iter(rows)
    while strip := list(itertools.islice(remaining, height)):
        yield np.stack(strip, axis=1)


def write_geoparquet(
    out: Path,
    tables: Iterable[tuple[NDArray[np.float64], Mapping[str, NDArray[Any]], NDArray[np.float32]]],
    width: int,
    crs: CRS | None,
    tags: Mapping[str, str],
) -> None:
    """Write a GeoParquet file (version 1.1.0 of the format), some rows at a time.

    Args:
        out: The file; replaced if it exists.
        tables: Corners of n polygons (n, 4, 2), other columns of n values, embeddings (n, D).
        width: Length D of an embedding.
        crs: Of the corners.
        tags: Metadata of the file.

    Raises:
        InputError: It cannot be written.
    """
    writer: pq.ParquetWriter | None = None
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with atomic_write(out) as aside:
        try:
            for corners, columns, embeddings in tables:
                bounds[:2] = np.minimum(bounds[:2], corners.min((0, 1)))
                bounds[2:] = np.maximum(bounds[2:], corners.max((0, 1)))
                rings = np.concatenate([corners, corners[:, :1]], axis=1)
                values = pa.array(embeddings.ravel())
                table = pa.table(
                    {
                        **{name: pa.array(values) for name, values in columns.items()},
                        "geometry": pa.array(shapely.to_wkb(shapely.polygons(rings)), pa.binary()),
                        "embedding": pa.FixedSizeListArray.from_arrays(values, width),
                    }
                )
                if writer is None:
                    writer = pq.ParquetWriter(aside, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=_GROUP_ROWS)
            assert writer is not None
            geo = {
                "version": "1.1.0",
                "primary_column": "geometry",
                "columns": {
                    "geometry": {
                        "encoding": "WKB",
                        "geometry_types": ["Polygon"],
                        "crs": None if crs is None else _projjson(crs),
                        "bbox": bounds.tolist(),
                    }
                },
            }
            writer.add_key_value_metadata({"geo": json.dumps(geo), **tags})
        finally:
            if writer is not None:
                writer.close()


def _projjson(crs: CRS) -> dict[str, Any]:
    return pyproj.CRS.from_user_input(crs.to_wkt()).to_json_dict()
