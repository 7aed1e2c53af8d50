"""The embeddings of a scene's cells: computed from the scene, or read from a file."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from rs_otl.datasets.raster import RASTER_ERRORS, gdal, gdal_name, quiet_georeference, reason_of
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError, note
from rs_otl.geo.grid import TileGrid, scaled
from rs_otl.geo.provenance import Provenance
from rs_otl.geo.storage import read_stored
from rs_otl.spec import load_size, made_printable

if TYPE_CHECKING:  # importing PyTorch takes seconds; embedding files do not need it
    from rs_otl.geo.embed_windows import Timer
    from rs_otl.models import Encoder

# Bytes of embeddings that are read from a file at once.
_STRIP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Cells:
    """The cells of a scene: where they lie, how they were made, and their embeddings.

    Attributes:
        name: Path of the scene or of the file.
        grid: The cells and their tiles.
        crs: ``None`` if there is none: coordinates are then those of ``transform``.
        transform: From (column, row) in pixels of the scene to (x, y).
        provenance: Scene, grid and encoder.
        features: Length D of an embedding.
    """

    name: str
    grid: TileGrid
    crs: CRS | None
    transform: Affine
    provenance: Provenance
    features: int

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """Give the embeddings of one row of cells after another, from the top.

        Yields:
            (columns, D), NaN where there is no data.
        """
        raise NotImplementedError

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give the embeddings of some cells.

        Args:
            cells: Row and column of each cell, (n, 2), within the grid.

        Returns:
            (n, D), NaN where there is no data.
        """
        raise NotImplementedError

    @property
    def taken(self) -> str:
        """When the scene was taken, in ISO 8601; empty if unknown."""
        raise NotImplementedError

    @property
    def stem(self) -> str:
        """Name of the files made from the scene, without a suffix."""
        return made_printable(Path(self.name).stem)

    @property
    def in_pixels(self) -> bool:
        """Whether there is no georeference, so that coordinates are pixels."""
        return self.crs is None and np.allclose(self.transform[:6], _pixels_of(self.grid)[:6])

    @property
    def shown_transform(self) -> Affine:
        """From (column, row) in pixels to (x, y) as written files have them.

        Without georeference y counts down from 0, as a GIS shows such an image.
        """
        return Affine.scale(1, -1) * self.transform if self.in_pixels else self.transform

    def position(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return column and row in pixels, with fractions, of coordinates.

        Without georeference x and y are column and row already.
        """
        t = ~self.transform
        return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f

    def coordinate(self, column: Any, row: Any) -> tuple[Any, Any]:
        """Return x and y, as written files have them, of columns and rows in pixels."""
        t = self.shown_transform
        return t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f

    def outlines(self, corners: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the outlines of tiles in the scene's CRS.

        Args:
            corners: First row and column of each tile in pixels, (n, 2).

        Returns:
            (n, 4, 2), x and y: upper left, lower left, lower right, upper right of the pixels.
        """
        tile = self.grid.tile
        rows = corners[:, :1] + np.array([0, tile, tile, 0])
        columns = corners[:, 1:] + np.array([0, 0, tile, tile])
        return np.stack(self.coordinate(columns, rows), axis=-1)


@dataclass(frozen=True)
class SceneCells(Cells):
    """Cells whose embeddings are computed from the scene.

    Attributes:
        scene: The open scene.
        encoder: The encoder.
        bands: Positions of the scene's bands that the encoder sees.
        timer: Counts the tiles that are embedded, and the seconds.
    """

    scene: Scene
    encoder: "Encoder"
    bands: list[int]
    timer: "Timer"

    @property
    def taken(self) -> str:
        """When the scene was taken, as its STAC item says."""
        return "" if self.scene.origin is None else self.scene.origin.datetime

    @classmethod
    def over(
        cls,
        scene: Scene,
        encoder: "Encoder",
        tile: int | None = None,
        stride: int | None = None,
        bands: Sequence[str] | None = None,
        block: tuple[int, int, int, int] | None = None,
    ) -> "SceneCells":
        """Lay cells over a scene; stderr says what may surprise about its place and data.

        Args:
            scene: The scene.
            encoder: The encoder.
            tile: Side of a tile in pixels; by default the side at which the encoder's images are
                loaded, so that nothing is resampled.
            stride: Side of a cell in pixels; by default half a tile.
            bands: The scene's bands that the encoder sees, by name or number from 1.
            block: The cells wanted, as :meth:`rs_otl.geo.grid.TileGrid.block` takes them; by
                default all.

        Raises:
            InputError: The scene has other bands or units, or is smaller than a tile.
        """
        config = encoder.config
        positions = scene.match_bands(config, encoder.source, bands)
        grid = TileGrid.over(scene, tile or load_size(config.image_size), stride)
        scene.refuse_other_values(config, encoder.source, positions)
        say_of(scene)
        if block is not None:
            grid = grid.block(*block)
        provenance = Provenance(
            version=metadata.version("rs-otl"),
            scene=made_printable(scene.short),
            source=scene.address,
            nodata=scene.given_nodata,
            scene_size=(grid.width, grid.height),
            before=grid.before,
            after=grid.after,
            tile=grid.tile,
            stride=grid.stride,
            bands=tuple(scene.bands[band] for band in positions),
            encoder=encoder.source,
            weights=encoder.fingerprint(),
            architecture=config.encoder,
            trained_on=config.dataset,
            image_size=config.image_size,
            pool=config.pool,
            precision=encoder.precision,
            scale=config.spec.scale,
            mean=config.spec.mean,
            std=config.spec.std,
            offset=config.spec.offset,
            units=config.spec.units,
        )
        from rs_otl.geo.embed_windows import Timer

        return cls(
            scene.name,
            grid,
            scene.crs,
            scene.transform * _pixels_of(grid),
            provenance,
            encoder.num_features,
            scene,
            encoder,
            positions,
            Timer(),
        )

    @property
    def stem(self) -> str:
        """Name of the files made from the scene, without a suffix."""
        return self.scene.stem

    def rows(self, first: int = 0) -> Iterator[NDArray[np.float32]]:
        """Embed one row of cells after another, from row ``first``."""
        from rs_otl.geo.embed_windows import embed_rows

        return embed_rows(self.scene, self.grid, self.encoder, self.bands, first, self.timer)

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embed some cells."""
        from rs_otl.geo.embed_windows import embed_cells

        return embed_cells(self.scene, self.grid, self.encoder, self.bands, cells)


@dataclass(frozen=True)
class FileCells(Cells):
    """Cells whose embeddings are read from a GeoTIFF that :func:`rs_otl.geo.embed` wrote.

    Attributes:
        file: The open GeoTIFF.
    """

    file: rasterio.DatasetReader

    @classmethod
    def of(cls, file: rasterio.DatasetReader) -> "FileCells":
        """Read what an open GeoTIFF says about its cells.

        Raises:
            InputError: It holds no embeddings, or was cut or resampled.
        """
        provenance = Provenance.from_tags(file.tags(), file.name)
        grid = _grid_of(file, provenance)
        if provenance.classes or file.dtypes[0] not in ("float32", "int8"):
            raise InputError(
                f"{file.name}: a map of classes; expected embeddings, as `rs-otl embed` writes them"
            )
        return cls(
            file.name,
            grid,
            file.crs,
            _transform_of(file, grid),
            provenance,
            file.count,
            file,
        )

    @property
    def taken(self) -> str:
        """When the scene was taken, as the STAC item beside the file says."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            item = json.loads(Path(self.name).with_suffix(".json").read_text(encoding="utf-8"))
            return str(item["properties"]["datetime"] or "")
        return ""

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """Read one row of cells after another."""
        rows, columns = self.grid.rows, self.grid.columns
        block = self.file.block_shapes[0][0]
        height = max(1, min(block, _STRIP_BYTES // (4 * self.features * columns)))
        for top in range(0, rows, height):
            window = Window(0, top, columns, min(height, rows - top))
            yield from self._read(window).transpose(1, 2, 0)

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read some cells, each block of the file once."""
        values = np.full((len(cells), self.features), np.nan, np.float32)
        blocks = cells // np.array(self.file.block_shapes[0])
        for block in np.unique(blocks, axis=0):
            inside = np.flatnonzero((blocks == block).all(1))
            (top, left), (bottom, right) = cells[inside].min(0), cells[inside].max(0)
            window = Window(left, top, right - left + 1, bottom - top + 1)
            row, column = (cells[inside] - [top, left]).T
            values[inside] = self._read(window)[:, row, column].T
        return values

    def _read(self, window: Window) -> NDArray[np.float32]:
        try:
            with gdal():
                stored = self.file.read(window=window)
        except RASTER_ERRORS as error:
            reason = reason_of(error, Path(self.name))
            raise InputError(f"{self.name}: truncated or damaged ({reason})") from error
        return read_stored(stored, self.file.scales)


def say_of(scene: Scene) -> None:
    """Say on stderr what may surprise about a scene's place and data."""
    if scene.placement is not None:
        note(f"{scene.name}: {scene.placement}")
    if scene.crs is None:
        where = "the coordinates of its own transform" if scene.georeferenced else "pixels"
        note(f"{scene.name}: no CRS; working in {where}")
    collar = scene.collar()
    if collar is not None:
        note(collar)


def _pixels_of(grid: TileGrid) -> Affine:
    """Return the transform from a block's pixels to those of its scene."""
    return Affine.translation(grid.before[1], grid.before[0])


def _transform_of(file: rasterio.DatasetReader, grid: TileGrid) -> Affine:
    """Return the transform of a scene's pixels from that of its cells."""
    transform = scaled(file.transform, 1 / grid.stride)
    pixels = _pixels_of(grid)
    shown = Affine.scale(1, -1) * pixels
    return pixels if file.crs is None and np.allclose(transform[:6], shown[:6]) else transform


def grid_of(made: Provenance) -> TileGrid:
    """Return the grid of a file from its provenance."""
    return TileGrid(*made.scene_size, made.tile, made.stride, made.before, made.after)


def _grid_of(file: rasterio.DatasetReader, provenance: Provenance) -> TileGrid:
    grid = grid_of(provenance)
    if (file.height, file.width) != (grid.rows, grid.columns):
        raise InputError(
            f"{file.name}: {file.height:,} x {file.width:,} cells, its tags say "
            f"{grid.rows:,} x {grid.columns:,}: expected the file as it was written, not cut or "
            "resampled"
        )
    return grid


@contextmanager
def open_file(path: str | Path) -> Iterator[rasterio.DatasetReader]:
    """Open a GeoTIFF of cells.

    Raises:
        InputError: There is no such file, or it is no GeoTIFF.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file, expected a GeoTIFF of `rs-otl embed`")
    try:
        with quiet_georeference(), geotiff(Path(path)) as file:
            yield file
    except RASTER_ERRORS as error:
        reason = reason_of(error, Path(path))
        raise InputError(f"{path}: cannot be opened, expected a GeoTIFF ({reason})") from None


def geotiff(path: Path) -> rasterio.DatasetReader:
    """Open a GeoTIFF, and nothing else, with rasterio."""
    return rasterio.open(gdal_name(path), driver="GTiff")


def refuse_others(
    cells: "Cells",
    encoder: "Encoder | None",
    tile: int | None,
    stride: int | None,
    bands: Sequence[str] | None,
    nodata: float | None,
) -> None:
    """Raise an :class:`InputError` if embeddings were made in another way than asked for."""
    made = cells.provenance
    if encoder is not None and encoder.fingerprint() != made.weights:
        raise InputError(
            f"{cells.name}: made with the encoder {made.encoder} (weights {made.weights}, "
            f"{made.image_size} px), not with {encoder.source} (weights {encoder.fingerprint()}, "
            f"{encoder.config.image_size} px): leave the encoder out, or embed the scene again"
        )
    refuse_other(cells, "tile", tile, made.tile)
    refuse_other(cells, "stride", stride, made.stride)
    refuse_other(cells, "nodata", nodata, made.nodata)
    if bands is not None and tuple(bands) != made.bands:
        # The file says names, also of bands that were chosen by number.
        raise InputError(
            f"{cells.name}: made of the bands {', '.join(made.bands)}; leave --bands out, give "
            f"these names instead of {', '.join(bands)}, or embed the scene again"
        )


def refuse_other(cells: "Cells", name: str, asked: Any, there: Any) -> None:
    """Raise an :class:`InputError` if an option is given and embeddings were made with another."""
    if asked is not None and asked != there:
        had = f"without --{name}" if there is None else f"with --{name} {there}"
        raise InputError(
            f"{cells.name}: made {had}, not with {asked}: leave --{name} out, or embed the scene "
            "again"
        )


def refuse_mixed(scenes: Sequence[Cells]) -> None:
    """Raise an :class:`InputError` if embeddings cannot be compared with each other."""
    first = scenes[0]
    for other in scenes[1:]:
        sizes = first.provenance.image_size, other.provenance.image_size
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{first.name} was seen at {sizes[0]} pixels, {other.name} at {sizes[1]}: expected "
                f"one size; embed one of them again with --image-size {sizes[0]}"
            )
        if other.provenance.weights != first.provenance.weights:
            raise InputError(
                f"{first.name} was embedded with {first.provenance.encoder}, {other.name} with "
                f"{other.provenance.encoder}: expected one encoder for all; embed one "
                f"of them again with --encoder {first.provenance.encoder}"
            )
        if other.features != first.features or other.provenance.components is not None:
            raise InputError(
                f"{other.name}: principal components of different files cannot be compared; use it "
                "alone, or embed without --pca"
            )


def refuse_another_scene(cells: Cells, scene: Scene) -> None:
    """Raise an :class:`InputError` if embeddings were not made of a scene."""
    corner = scene.coordinate(0, 0)
    same_place = np.allclose((cells.transform.c, cells.transform.f), corner)
    if cells.provenance.scene_size != (scene.width, scene.height) or not same_place:
        raise InputError(f"{cells.name}: made of {cells.provenance.scene}, not of {scene.name}")
