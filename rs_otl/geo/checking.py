"""Find what is wrong with a scene, or with a file of embeddings or a map."""

from pathlib import Path

import numpy as np
import rasterio

from rs_otl.datasets.raster import RASTER_ERRORS, gdal, gdal_name, quiet_georeference
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.geo.cells import FileCells
from rs_otl.geo.provenance import Provenance
from rs_otl.progress import tracked
from rs_otl.spec import Band

_ROWS = 256  # rows of a scene that are read at once


def check_raster(path: Path, problems: list[str], progress: bool = False) -> dict[str, str]:
    """Read all of a scene, or of a GeoTIFF of embeddings or a map.

    Args:
        path: The file, or another scene, such as a product's folder.
        problems: Each problem is added here as one line.
        progress: Whether to show a bar on stderr.

    Returns:
        Facts about the file, by name.
    """
    try:
        with quiet_georeference(), rasterio.open(gdal_name(path), driver="GTiff") as file:
            ours = any(name.startswith("RS_OTL_") for name in file.tags())
    except RASTER_ERRORS:
        ours = False
    try:
        return _check_ours(path) if ours else _check_scene(path, progress)
    except InputError as error:
        problems.append(str(error))
        return {"file": "not usable"}


def _check_scene(path: Path, progress: bool) -> dict[str, str]:
    with Scene(str(path)) as scene:
        valid = 0
        low, high = np.inf, -np.inf
        tops = range(0, scene.height, _ROWS)
        for top in tracked(tops, f"Reading {path.name}", progress, len(tops)):
            height = min(_ROWS, scene.height - top)
            values, with_data = scene.read(0, top, scene.width, height)
            valid += int(with_data.sum())
            if with_data.any():
                low = min(low, float(values[:, with_data].min()))
                high = max(high, float(values[:, with_data].max()))
        if not valid:
            raise InputError(f"{path}: no pixel of it holds data")
        origin = scene.origin
        return {
            "scene": f"{scene.width:,} x {scene.height:,} pixels, {scene.dtype}",
            "bands": ", ".join(map(_band, scene.bands, scene.known)),
            "values": f"{scene.units}, from {low:.5g} to {high:.5g}{_unsaid(scene)}",
            "data": f"{valid / (scene.width * scene.height):.1%} of the pixels",
            "CRS": "none" if scene.crs is None else scene.crs.to_string()[:80],
            "pixels": f"{abs(scene.transform.a):.6g} x {abs(scene.transform.e):.6g}",
            **({} if origin is None or not origin.files else {"files": f"{len(origin.files):,}"}),
        }


def _band(name: str, known: Band) -> str:
    said = known.common_name if known.common_name not in (None, name) else None
    return f"{name} ({said})" if said else name


def _unsaid(scene: Scene) -> str:
    """Say that values have no units, unless they are 8-bit counts."""
    if scene.quantity is not None or scene.dtype == np.uint8:
        return ""
    return "; no units; give them with --units"


def _check_ours(path: Path) -> dict[str, str]:
    with quiet_georeference(), rasterio.open(gdal_name(path), driver="GTiff") as file:
        tags = file.tags()
        if "RS_OTL_BEFORE" in tags:
            _read_all(path, file)
            return {"change": f"from {tags['RS_OTL_BEFORE']} to {tags.get('RS_OTL_AFTER')}"}
        provenance = Provenance.from_tags(tags, path)
        if file.dtypes[0] == "uint8":  # a map, or its confidence
            _read_all(path, file)
            found = {"map": ", ".join(provenance.classes) or str(file.descriptions[0])}
        else:
            cells = FileCells.of(file)
            found = {"embeddings": _counted(path, list(map(_numbers, cells.rows())), file.count)}
    return found | _made_by(provenance)


def _read_all(path: Path, file: rasterio.DatasetReader) -> None:
    try:
        with gdal():
            for _, window in file.block_windows(1):
                file.read(window=window)
    except RASTER_ERRORS as error:
        raise InputError(f"{path}: truncated or damaged ({error}); make it again") from None


def check_parquet(path: Path, problems: list[str]) -> dict[str, str]:
    """Read all of a GeoParquet file of embeddings.

    Args:
        path: The file.
        problems: Each problem is added here as one line.

    Returns:
        Facts about the file, by name.
    """
    require_extra("geo", "reading GeoParquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            tags = {k.decode(): v.decode() for k, v in (file.metadata.metadata or {}).items()}
            provenance = Provenance.from_tags(tags, path)
            counts, width = [], 0
            for batch in file.iter_batches(columns=["embedding"]):
                column = batch.column("embedding")
                width = column.type.list_size
                values = column.flatten().to_numpy().reshape(-1, width)
                counts.append(_numbers(values))
        return {"embeddings": _counted(path, counts, width), **_made_by(provenance)}
    except InputError as error:
        problems.append(str(error))
    except (pa.ArrowException, OSError, KeyError, AttributeError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        problems.append(f"{path}: truncated or damaged ({reason:.200}); embed the scene again")
    return {"file": "not usable"}


def _numbers(rows: "np.ndarray") -> tuple[int, int, int]:
    """Count embeddings (n, D): all, the finite ones, and the only partly finite ones."""
    finite = np.isfinite(rows)
    whole = finite.all(1)
    return len(rows), int(whole.sum()), int((finite.any(1) & ~whole).sum())


def _counted(path: Path, counts: list[tuple[int, int, int]], width: int) -> str:
    total, whole, partly = (sum(column) for column in zip(*counts, strict=True))
    if partly:
        raise InputError(
            f"{path}: {partly:,} embeddings hold values that are not finite; embed the scene again"
        )
    if not whole:
        raise InputError(f"{path}: no embedding in it holds data; embed the scene again")
    return f"{whole:,} of {total:,} cells, {width:,} features"


def _made_by(provenance: Provenance) -> dict[str, str]:
    return {
        "scene": provenance.scene,
        "encoder": f"{provenance.encoder} ({provenance.architecture}, {provenance.weights})",
        "written by": f"rs-otl {provenance.version}",
    }
