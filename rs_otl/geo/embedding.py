"""Scenes in, embeddings out."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.errors import InputError
from rs_otl.geo.embed_windows import Clock
from rs_otl.geo.embedding_file import Store, fill_store, part_folder, refuse_existing
from rs_otl.geo.formats import write_cog, write_geoparquet
from rs_otl.geo.grid import TileGrid
from rs_otl.geo.projection import Projection, fit_projection
from rs_otl.models import Encoder, load_encoder

_TIFF, _PARQUET = (".tif", ".tiff"), (".parquet", ".geoparquet")


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding of a scene came to.

    Attributes:
        path: The file written.
        scene: Name of the scene.
        tiles: Tiles embedded.
        cells: Cells of the grid, as (rows, columns).
        nodata: Share of the cells that are nodata.
        features: Numbers a tile.
        explained: Share of the variance that the principal components keep; ``None`` for
            whole embeddings.
        seconds: What it took, opening the encoder not counted.
        encoder_seconds: What of it the encoder took.
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


@dataclass(frozen=True)
class Pass:
    """What is settled of a scene before its pixels are read."""

    scene: Scene
    grid: TileGrid
    bands: list[int]


def plan(
    scene: Scene,
    encoder: Encoder,
    tile: int | None,
    stride: int | None,
    bands: Sequence[str] | None,
) -> Pass:
    """Settle tiles and bands of a scene, and say on stderr if it has no coordinates.

    Args:
        scene: The scene.
        encoder: The encoder.
        tile: Side of a tile in pixels; by default the encoder's image size.
        stride: Side of a cell in pixels; by default half a tile.
        bands: The scene's bands that are the encoder's, by name or number.

    Raises:
        InputError: The scene has other bands or units, or is smaller than a tile.
    """
    positions = scene.match_bands(encoder.config, encoder.source, bands)
    grid = TileGrid.over(scene, tile or encoder.config.image_size, stride)
    if scene.crs is None:
        where = "the coordinates of its own transform" if scene.georeferenced else "pixels"
        print(f"{scene.name}: no CRS; working in {where}", file=sys.stderr)
    return Pass(scene, grid, positions)


def embed(
    scenes: SceneLike | Sequence[SceneLike],
    encoder: str | Path | Encoder,
    out: str | Path,
    *,
    tile: int | None = None,
    stride: int | None = None,
    pca: int | None = None,
    bands: Sequence[str] | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    resume: bool = False,
    progress: bool = False,
) -> list[EmbedResult]:
    """Write the embeddings of scenes, for a GIS.

    A value stands for a cell of ``stride`` pixels and is the embedding of the tile around it; see
    :class:`rs_otl.geo.grid.TileGrid`. It is nodata where less than half of the cell or of the tile
    holds data; pixels without data within a tile count as the encoder's mean.

    Args:
        scenes: Paths, rasterio datasets, or DataArrays that rioxarray knows: one or several.
        encoder: A run, an exported directory, a checkpoint file, ``timm/NAME``, the name of
            torchgeo weights, or an opened encoder.
        out: A ``.tif``: a Cloud-Optimized GeoTIFF, a pixel a cell, a band a feature, float32. A
            ``.parquet``: GeoParquet, a row a tile, of all scenes. A folder, for several scenes: a
            GeoTIFF each.
        tile: Side of a tile in pixels; by default the encoder's image size.
        stride: Side of a cell in pixels, at most ``tile``; by default half of it.
        pca: Keep so many principal components, of all scenes together.
        bands: The scene's bands that are the encoder's, by name or number from 1.
        image_size: Side that tiles are resized to; by default the encoder's own.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 where the processor has it.
        resume: Go on with a pass that was stopped.
        progress: Whether to show bars on stderr.

    Returns:
        What was written, for each scene.

    Raises:
        InputError: A scene, the encoder or the output cannot be used. Nothing is left half-written.
    """
    sources = list(scenes) if isinstance(scenes, list | tuple) else [scenes]
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in (*_TIFF, *_PARQUET, "") or (suffix in _TIFF and len(sources) > 1):
        raise InputError(
            f"{out}: expected a .tif for one scene, a .parquet, or a folder for a GeoTIFF of each"
        )
    refuse_existing(out)
    encoder = load_encoder(encoder, image_size=image_size, device="auto", precision=precision)
    with ExitStack() as stack:
        passes = [
            plan(stack.enter_context(Scene(source)), encoder, tile, stride, bands)
            for source in sources
        ]
        if suffix in _PARQUET:
            _refuse_several_crs(passes)
        facts = {"pca": pca, **_facts(passes, encoder)}
        folder = stack.enter_context(part_folder(out, facts, resume))
        clocks = [Clock() for _ in passes]
        stores = []
        for number, (each, clock) in enumerate(zip(passes, clocks, strict=True)):
            path = folder / f"{number}.f32"
            with clock.running(encoder):
                stores.append(
                    fill_store(path, each.scene, each.grid, encoder, each.bands, clock, progress)
                )
        projection = None
        if pca is not None:
            projection = fit_projection((row for store in stores for row in store.rows()), pca)
        tags = [description(each, encoder) for each in passes]
        paths = [out] * len(passes)
        if suffix in _PARQUET:
            with clocks[0].running(encoder):
                _write_parquet(out, passes, stores, projection, tags[0])
        elif suffix in _TIFF:
            with clocks[0].running(encoder):
                _write_tiff(out, passes[0], stores[0], projection, tags[0])
        else:
            made = folder / "made"
            made.mkdir(exist_ok=True)
            names = _names(passes)
            for name, each, store, tag, clock in zip(
                names, passes, stores, tags, clocks, strict=True
            ):
                with clock.running(encoder):
                    _write_tiff(made / name, each, store, projection, tag)
            made.rename(out)
            paths = [out / name for name in names]
        return [
            _result(path, each, store, projection, clock)
            for path, each, store, clock in zip(paths, passes, stores, clocks, strict=True)
        ]


def _facts(passes: Sequence[Pass], encoder: Encoder) -> dict[str, Any]:
    """Return what embeddings depend on, ready for JSON."""
    return {
        "encoder": encoder.source,
        "weights": encoder.fingerprint(),
        "image size": encoder.config.image_size,
        "precision": encoder.precision,
        "scenes": [each.scene.name for each in passes],
        "grids": [
            [each.grid.width, each.grid.height, each.grid.tile, each.grid.stride] for each in passes
        ],
        "bands": [each.bands for each in passes],
    }


def description(each: Pass, encoder: Encoder) -> dict[str, str]:
    """Return what a file says of how it was made."""
    spec = encoder.config.spec
    return {
        "RS_OTL_VERSION": metadata.version("rs-otl"),
        "RS_OTL_ENCODER": encoder.source,
        "RS_OTL_ARCHITECTURE": encoder.config.encoder,
        "RS_OTL_WEIGHTS": encoder.fingerprint(),
        "RS_OTL_TRAINED_ON": encoder.config.dataset,
        "RS_OTL_BANDS": ",".join(each.scene.bands[band] for band in each.bands),
        "RS_OTL_SCALE": repr(spec.scale),
        "RS_OTL_MEAN": json.dumps(spec.mean),
        "RS_OTL_STD": json.dumps(spec.std),
        "RS_OTL_TILE": str(each.grid.tile),
        "RS_OTL_STRIDE": str(each.grid.stride),
        "RS_OTL_IMAGE_SIZE": str(encoder.config.image_size),
        "RS_OTL_PRECISION": encoder.precision,
        "RS_OTL_SCENE": Path(each.scene.name).name,
    }


def _refuse_several_crs(passes: Sequence[Pass]) -> None:
    first = passes[0].scene
    for other in (each.scene for each in passes[1:]):
        if other.crs != first.crs:
            raise InputError(
                f"{first.name} is in {first.crs}, {other.name} in {other.crs}: a GeoParquet file "
                "has one CRS; write one for each"
            )


def _names(passes: Sequence[Pass]) -> list[str]:
    names = [f"{Path(each.scene.name).stem}.tif" for each in passes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"two scenes would both become {twice}: embed them apart")
    return names


def _write_tiff(
    out: Path, each: Pass, store: Store, projection: Projection | None, tags: Mapping[str, str]
) -> None:
    if projection is None:
        names = [f"feature {number + 1}" for number in range(store.width)]
    else:
        names = [
            f"principal component {number + 1} ({100 * share:.1f} %)"
            for number, share in enumerate(projection.explained)
        ]
    write_cog(
        out,
        (_projected(row, projection).T for row in store.rows()),
        (len(names), each.grid.rows, each.grid.columns),
        "float32",
        np.nan,
        each.scene.crs,
        each.grid.transform(each.scene.transform),
        names,
        tags,
    )


def _write_parquet(
    out: Path,
    passes: Sequence[Pass],
    stores: Sequence[Store],
    projection: Projection | None,
    tags: Mapping[str, str],
) -> None:
    def tables() -> Iterator[tuple[NDArray[np.float64], dict[str, NDArray[Any]], NDArray[Any]]]:
        for each, store in zip(passes, stores, strict=True):
            for corners, values in tiles_of(each.grid, store.rows()):
                columns = {
                    "scene": np.full(len(corners), Path(each.scene.name).name),
                    "row": corners[:, 0],
                    "column": corners[:, 1],
                }
                outline = outlines(each.scene, corners, each.grid.tile)
                yield outline, columns, _projected(values, projection)

    width = stores[0].width if projection is None else len(projection.components)
    write_geoparquet(out, tables(), width, passes[0].scene.crs, tags)


def tiles_of(
    grid: TileGrid, rows: Iterator[NDArray[np.float32]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Go through the distinct tiles that hold data.

    Args:
        grid: The cells.
        rows: Their embeddings, row after row, (columns, D).

    Yields:
        For each row of tiles their first row and column in pixels, (n, 2), and embeddings (n, D).
    """
    lefts = grid.lefts()
    before, seen = -1, np.zeros(0, np.int64)
    for top, row in zip(grid.tops().tolist(), rows, strict=True):
        if top != before:
            before, seen = top, np.zeros(0, np.int64)
        cells = np.flatnonzero(np.isfinite(row[:, 0]))
        found, first = np.unique(lefts[cells], return_index=True)
        new = ~np.isin(found, seen)
        seen = np.concatenate([seen, found[new]])
        if new.any():
            corners = np.stack([np.full(new.sum(), top), found[new]], axis=1)
            yield corners, row[cells[first[new]]]


def outlines(scene: Scene, corners: NDArray[np.int64], tile: int) -> NDArray[np.float64]:
    """Return the corners of tiles in the scene's CRS.

    Args:
        scene: The scene.
        corners: First row and column of each tile in pixels, (n, 2).
        tile: Side in pixels.

    Returns:
        (n, 4, 2), x and y.
    """
    rows = corners[:, :1] + np.array([0, 0, tile, tile])
    columns = corners[:, 1:] + np.array([0, tile, tile, 0])
    return np.stack(scene.coordinate(columns, rows), axis=-1)


def _projected(rows: NDArray[np.float32], projection: Projection | None) -> NDArray[np.float32]:
    return rows if projection is None else projection(rows)


def _result(
    path: Path, each: Pass, store: Store, projection: Projection | None, clock: Clock
) -> EmbedResult:
    held = sum(int(np.isfinite(row[:, 0]).sum()) for row in store.rows())
    cells = each.grid.rows * each.grid.columns
    return EmbedResult(
        path=path,
        scene=each.scene.name,
        tiles=clock.tiles,
        cells=(each.grid.rows, each.grid.columns),
        nodata=1 - held / cells,
        features=store.width if projection is None else len(projection.components),
        explained=None if projection is None else float(projection.explained.sum()),
        seconds=clock.total,
        encoder_seconds=clock.encoder,
    )
