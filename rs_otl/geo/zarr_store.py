"""Embeddings as a Zarr store (version 3 of the format) that xarray opens."""

import itertools
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS

from rs_otl.files import atomic_folder
from rs_otl.geo.storage import Storage

# A chunk holds all features of a block of cells.
_CHUNK_BYTES = 16 * 2**20
_MOST_CELLS = 256


def write_zarr(
    out: Path,
    rows: Iterable[NDArray[Any]],
    shape: tuple[int, int, int],
    storage: Storage,
    crs: CRS | None,
    transform: Affine,
    names: Sequence[str],
    tags: Mapping[str, str],
) -> None:
    """Write embeddings, one row of cells after another.

    ``embedding`` has the dimensions (band, y, x); ``spatial_ref`` is its grid mapping, as CF and
    rioxarray have it, and the attributes ``proj:`` and ``spatial:`` follow Zarr's conventions.
    ``x`` and ``y`` are the centres of cells; a rotated or sheared grid has none. Multiply 8-bit
    numbers by ``scale``, which has one value for each band.

    Args:
        out: The folder; must be new.
        rows: Stored numbers of one row of cells after another, (columns, D).
        shape: (D, rows, columns).
        storage: How the embeddings are stored.
        crs: CRS of the scene.
        transform: From (column, row) of cells to (x, y).
        names: Names of the features.
        tags: Attributes of the store.

    Raises:
        InputError: The store cannot be written, or exists.
    """
    import zarr
    from zarr.codecs import BloscCodec

    bands, height, width = shape
    side = 8
    while side < _MOST_CELLS and bands * np.dtype(storage.dtype).itemsize * (2 * side) ** 2 <= (
        _CHUNK_BYTES
    ):
        side *= 2
    with atomic_folder(out) as aside:
        store = zarr.open_group(aside, mode="w-", zarr_format=3)
        store.attrs.update(_described(crs, transform, shape), **tags)

        def add(name: str, values: Any, dimensions: Sequence[str], **attributes: Any) -> None:
            array = store.create_array(
                name, data=np.asarray(values), dimension_names=dimensions, compressors=None
            )
            array.attrs.update(attributes)

        add("band", np.arange(1, bands + 1), ["band"])
        add("band_name", np.array(names, np.dtypes.StringDType()), ["band"])
        add("spatial_ref", np.int64(0), [], **_grid_mapping(crs, transform))
        if transform.b == transform.d == 0:
            add("x", transform.c + (np.arange(width) + 0.5) * transform.a, ["x"], axis="X")
            add("y", transform.f + (np.arange(height) + 0.5) * transform.e, ["y"], axis="Y")
        coordinates = "spatial_ref band_name"
        if storage.scales:
            add("scale", np.array(storage.scales, np.float32), ["band"])
            coordinates += " scale"
        embedding = store.create_array(
            "embedding",
            shape=shape,
            dtype=storage.dtype,
            chunks=(bands, min(side, height), min(side, width)),
            fill_value=np.dtype(storage.dtype).type(storage.nodata),
            dimension_names=["band", "y", "x"],
            compressors=BloscCodec(cname="zstd", shuffle="shuffle"),
        )
        embedding.attrs.update({"grid_mapping": "spatial_ref", "coordinates": coordinates})
        if storage.scales:
            embedding.attrs["missing_value"] = int(storage.nodata)
        remaining, top = iter(rows), 0
        while strip := list(itertools.islice(remaining, side)):
            embedding[:, top : top + len(strip)] = np.stack(strip).transpose(2, 0, 1)
            top += len(strip)
        with warnings.catch_warnings():
            # Readers look for this metadata first; zarr warns that it is in no specification yet.
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(store.store)


def _grid_mapping(crs: CRS | None, transform: Affine) -> dict[str, Any]:
    """Describe CRS and place as CF, GDAL and rioxarray read them."""
    place = {"GeoTransform": " ".join(map(repr, transform.to_gdal()))}
    if crs is None:
        return place
    import pyproj

    wkt = crs.to_wkt(version="WKT2_2019")
    return {**pyproj.CRS.from_wkt(wkt).to_cf(), "crs_wkt": wkt, "spatial_ref": wkt, **place}


def _described(crs: CRS | None, transform: Affine, shape: tuple[int, int, int]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(shape[1:]),
        "spatial:transform": list(transform[:6]),
        "geoemb:type": "chip",
        "geoemb:dimensions": shape[0],
    }
    if crs is not None:
        described["proj:wkt2"] = crs.to_wkt(version="WKT2_2019")
        if code := crs.to_epsg():
            described["proj:code"] = f"EPSG:{code}"
    return json.loads(json.dumps(described))
