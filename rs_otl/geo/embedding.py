"""Embed scenes, and write the embeddings."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.datasets.sources import all_scenes
from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.files import refuse_output
from rs_otl.geo.cells import SceneCells
from rs_otl.geo.embedding_file import Store, fill_store, part_folder
from rs_otl.geo.formats import write_cog, write_geoparquet
from rs_otl.geo.grid import TileGrid, scaled
from rs_otl.geo.projection import Projection, fit_projection
from rs_otl.geo.provenance import Provenance
from rs_otl.geo.storage import Storage, check_dtype, fit_storage
from rs_otl.spec import Values

if TYPE_CHECKING:  # importing PyTorch takes seconds; writing embeddings does not need it
    from rs_otl.models import Encoder

_TIFF, _PARQUET, _ZARR = (".tif", ".tiff"), (".parquet", ".geoparquet"), (".zarr",)


@dataclass(frozen=True)
class EmbedResult:
    """The result of embedding a scene.

    Attributes:
        path: The file written.
        scene: Name of the scene.
        tiles: Tiles embedded.
        cells: Cells of the grid, as (rows, columns).
        nodata: Share of the cells that are nodata.
        features: Length of an embedding.
        explained: Share of the variance that the principal components keep; ``None`` for
            whole embeddings.
        seconds: Total seconds, without loading the encoder.
        encoder_seconds: Seconds in the encoder.
    """

    path: Path
    scene: str
    tiles: int
    cells: tuple[int, int]
    nodata: float
    features: int
    explained: float | None
    seconds: float
    encoder_seconds: float


def embed(
    scenes: SceneLike | Sequence[SceneLike],
    encoder: "str | Path | Encoder",
    out: str | Path,
    *,
    tile: int | None = None,
    stride: int | None = None,
    pca: int | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    values: Values | None = None,
    image_size: int | None = None,
    pool: str | None = None,
    precision: str = "auto",
    dtype: str = "float32",
    resume: bool = False,
    progress: bool = False,
) -> list[EmbedResult]:
    """Write the embeddings of scenes, for a GIS.

    A value stands for a cell of ``stride`` pixels and is the embedding of the tile around it; see
    :class:`rs_otl.geo.grid.TileGrid`. It is nodata if less than half of the cell or of the tile
    holds data. Pixels without data within a tile count as the encoder's mean.

    Args:
        scenes: Paths or addresses, what STAC describes
            (:func:`rs_otl.datasets.sources.scenes_of`), rasterio datasets, or DataArrays that
            rioxarray knows: one or several.
        encoder: Any name that :func:`rs_otl.load_encoder` takes, or an encoder.
        out: A ``.tif``: a Cloud-Optimized GeoTIFF with one pixel per cell and one band per feature.
            A ``.zarr``: the same as a Zarr store for xarray. A ``.parquet``: GeoParquet with one
            row per tile, of all scenes. A folder, for several scenes: one GeoTIFF per scene.
        tile: Side of a tile in pixels; by default the side at which the encoder's images are
            loaded (:func:`rs_otl.spec.load_size`).
        stride: Side of a cell in pixels, at most ``tile``; by default half a tile.
        pca: Principal components to keep, of all scenes together; by default whole embeddings.
        bands: The scene's bands that the encoder sees, by name or number from 1.
        nodata: The stored value that means there is no data if all bands have it, in addition to
            what the scenes say.
        values: What stored values stand for, where files do not say it, or say it wrong: scale,
            offset and quantity.
        image_size: Side that tiles are resized to; by default the encoder's own.
        pool: What a vision transformer's features are made of, ``"cls"`` or ``"mean"``; by default
            the encoder's own rule.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 if the hardware computes in it. An
            encoder that is given as an object keeps its own.
        dtype: Number type to write: ``float32``, ``float16``, or ``int8``, with a scale for each
            feature in the file.
        resume: Continue an embedding that was stopped.
        progress: Whether to show bars on stderr.

    Returns:
        What was written, for each scene.

    Raises:
        InputError: A scene, the encoder or the output cannot be used. Nothing is left half-written.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    with ExitStack() as stack:
        loaded, grids = open_grids(
            stack, scenes, encoder, out, tile, stride, bands, nodata, values, image_size, pool,
            precision, dtype,
        )  # fmt: skip
        facts = {"pca": pca, **_facts(grids, loaded)}
        folder = stack.enter_context(part_folder(out, facts, resume))
        stores = []
        for number, cells in enumerate(grids):
            with cells.timer.running(loaded):
                stores.append(fill_store(folder / f"{number}.f32", cells, progress))
            if not stores[-1].cells_with_data():
                raise InputError(f"{cells.name}: no tile of it holds data, all is nodata")
        projection = None
        if pca is not None:
            projection = fit_projection((row for store in stores for row in store.rows()), pca)
        storage = fit_storage(
            (_projected(row, projection) for store in stores for row in store.rows()), dtype
        )
        paths = [out] * len(grids)
        if suffix in _PARQUET:
            with grids[0].timer.running(loaded):
                _write_parquet(out, grids, stores, projection, storage)
        elif suffix:
            write = write_tiff if suffix in _TIFF else _write_zarr
            with grids[0].timer.running(loaded):
                write(out, grids[0], stores[0], storage, projection)
        else:
            written = folder / "written"
            shutil.rmtree(written, ignore_errors=True)  # what a stopped pass has left
            written.mkdir()
            names = _names(grids)
            for name, cells, store in zip(names, grids, stores, strict=True):
                with cells.timer.running(loaded):
                    write_tiff(written / name, cells, store, storage, projection)
            written.rename(out)
            paths = [out / name for name in names]
        return [
            _result(path, cells, store, projection)
            for path, cells, store in zip(paths, grids, stores, strict=True)
        ]


def _facts(grids: Sequence[SceneCells], encoder: "Encoder") -> dict[str, Any]:
    """Return what embeddings depend on, ready for JSON."""
    return {
        "encoder": encoder.source,
        "weights": encoder.fingerprint(),
        "image size": encoder.config.image_size,
        "precision": encoder.precision,
        "scenes": [cells.name for cells in grids],
        "scene fingerprints": [cells.scene.fingerprint() for cells in grids],
        "grids": [
            [cells.grid.width, cells.grid.height, cells.grid.tile, cells.grid.stride]
            for cells in grids
        ],
        "bands": [cells.bands for cells in grids],
        "nodata": grids[0].scene.given_nodata,
        "values": [cells.scene.values.model_dump(mode="json") for cells in grids],
    }


def open_grids(
    stack: ExitStack,
    scenes: Any,
    encoder: Any,
    out: Path,
    tile: int | None,
    stride: int | None,
    bands: Sequence[str] | None,
    nodata: float | None,
    values: Values | None,
    image_size: int | None,
    pool: str | None,
    precision: str,
    dtype: str,
) -> tuple[Any, list[SceneCells]]:
    """Open the encoder and the scenes of an embedding, or refuse what cannot be embedded.

    ``stack`` closes the scenes; for the other arguments see :func:`embed`.

    Returns:
        The encoder, and the cells of each scene.

    Raises:
        InputError: A scene, the encoder or the output cannot be used.
    """
    refuse_output(out)
    sources = all_scenes(scenes)
    suffix = out.suffix.lower()
    one = suffix in (*_TIFF, *_ZARR)
    if suffix not in (*_TIFF, *_ZARR, *_PARQUET, "") or (one and len(sources) > 1):
        raise InputError(
            f"{out}: expected a .tif or .zarr for one scene, a .parquet, or a folder for a GeoTIFF "
            "of each"
        )
    if suffix in _ZARR:
        require_extra("zarr", f"{out}: Zarr")
    check_dtype(dtype)
    from rs_otl.models import load_encoder

    loaded = load_encoder(
        encoder, image_size=image_size, pool=pool, device="auto", precision=precision
    )
    grids = [
        SceneCells.over(
            stack.enter_context(Scene(source, nodata, values)), loaded, tile, stride, bands
        )
        for source in sources
    ]
    if suffix in _PARQUET:
        _refuse_several_crs(grids)
    if not suffix:
        _names(grids)
    return loaded, grids


def _refuse_several_crs(grids: Sequence[SceneCells]) -> None:
    first = grids[0]
    for other in grids[1:]:
        if other.crs != first.crs:
            raise InputError(
                f"{first.name} is in {first.crs}, {other.name} in {other.crs}: a GeoParquet file "
                "has one CRS; write one file for each scene"
            )


def _names(grids: Sequence[SceneCells]) -> list[str]:
    names = [f"{cells.stem.replace('*', '')}.tif" for cells in grids]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"two scenes would both become {twice}: embed them in two commands")
    return names


def _described(cells: SceneCells, projection: Projection | None) -> Provenance:
    components = None if projection is None else len(projection.components)
    return cells.provenance.model_copy(update={"components": components})


def write_tiff(
    out: Path,
    cells: SceneCells,
    store: Store,
    storage: Storage,
    projection: Projection | None = None,
) -> None:
    """Write the embeddings of a scene, or of a block of it, as a Cloud-Optimized GeoTIFF.

    Args:
        out: The file; must be new.
        cells: Cells of the scene or block.
        store: Embeddings of the cells.
        storage: How to store the embeddings.
        projection: Projection to principal components; by default whole embeddings.

    Raises:
        InputError: The file cannot be written, or exists.
    """
    names = _features(store, projection)
    write_cog(
        out,
        (storage.store(_projected(row, projection)).T for row in store.rows()),
        (len(names), cells.grid.rows, cells.grid.columns),
        storage.dtype,
        storage.nodata,
        cells.crs,
        scaled(cells.shown_transform, cells.grid.stride),
        names,
        _described(cells, projection).tags(),
        scales=storage.scales or None,
    )


def _write_zarr(
    out: Path, cells: SceneCells, store: Store, storage: Storage, projection: Projection | None
) -> None:
    from rs_otl.geo.zarr_store import write_zarr  # needs an extra

    names = _features(store, projection)
    write_zarr(
        out,
        (storage.store(_projected(row, projection)) for row in store.rows()),
        (len(names), cells.grid.rows, cells.grid.columns),
        storage,
        cells.crs,
        scaled(cells.shown_transform, cells.grid.stride),
        names,
        _described(cells, projection).tags(),
    )


def _features(store: Store, projection: Projection | None) -> list[str]:
    """Name the bands of an output."""
    if projection is None:
        return [f"feature {number + 1}" for number in range(store.width)]
    return [
        f"principal component {number + 1} ({100 * share:.1f} %)"
        for number, share in enumerate(projection.explained)
    ]


def _write_parquet(
    out: Path,
    grids: Sequence[SceneCells],
    stores: Sequence[Store],
    projection: Projection | None,
    storage: Storage,
) -> None:
    def tables() -> Iterator[tuple[NDArray[np.float64], dict[str, NDArray[Any]], NDArray[Any]]]:
        for cells, store in zip(grids, stores, strict=True):
            for corners, values in tiles_of(cells.grid, store.rows()):
                columns = {
                    "scene": np.full(len(corners), cells.provenance.scene),
                    "row": corners[:, 0],
                    "column": corners[:, 1],
                }
                yield (
                    cells.outlines(corners),
                    columns,
                    storage.store(_projected(values, projection)),
                )

    width = stores[0].width if projection is None else len(projection.components)
    tags = _described(grids[0], projection).tags()
    if storage.scales:
        tags["RS_OTL_SCALES"] = json.dumps(storage.scales)
    write_geoparquet(out, tables(), width, grids[0].crs, tags)


def tiles_of(
    grid: TileGrid, rows: Iterator[NDArray[np.float32]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Go through the distinct tiles that hold data.

    Args:
        grid: The cells.
        rows: Embeddings of the cells, row after row, (columns, D).

    Yields:
        For each row of tiles: first row and column in pixels, (n, 2), and embeddings (n, D).
    """
    lefts = grid.lefts()
    before, seen = -1, np.zeros(0, np.int64)
    for top, row in zip(grid.tops().tolist(), rows, strict=True):
        if top != before:
            before, seen = top, np.zeros(0, np.int64)
        cells = np.flatnonzero(np.isfinite(row[:, 0]))
        distinct, first = np.unique(lefts[cells], return_index=True)
        new = ~np.isin(distinct, seen)
        seen = np.concatenate([seen, distinct[new]])
        if new.any():
            corners = np.stack([np.full(new.sum(), top), distinct[new]], axis=1)
            yield corners, row[cells[first[new]]]


def _projected(rows: NDArray[np.float32], projection: Projection | None) -> NDArray[np.float32]:
    return rows if projection is None else projection(rows)


def _result(
    path: Path, cells: SceneCells, store: Store, projection: Projection | None
) -> EmbedResult:
    with_data = store.cells_with_data()
    shape = (cells.grid.rows, cells.grid.columns)
    return EmbedResult(
        path=path,
        scene=cells.name,
        tiles=cells.timer.tiles,
        cells=shape,
        nodata=1 - with_data / (shape[0] * shape[1]),
        features=store.width if projection is None else len(projection.components),
        explained=None if projection is None else float(projection.explained.sum()),
        seconds=cells.timer.total,
        encoder_seconds=cells.timer.encoder,
    )
