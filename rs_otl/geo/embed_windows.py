"""Embed the cells of a scene, a few rows at a time."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.datasets.scene import Scene
from rs_otl.geo.grid import VALID_SHARE, TileGrid
from rs_otl.models import Encoder

# A slab is the part of a scene that is read at once: high enough to cut few blocks of a file in
# two, and as wide as this number of values allows.
_SLAB_ROWS = 1024
_SLAB_VALUES = 2**24
# Bytes of the embeddings of rows of cells that are not complete yet.
_ROWS_BYTES = 2**26

Part = tuple[slice, slice]


@dataclass
class Timer:
    """Where the time of an embedding is spent.

    Attributes:
        encoder: Seconds in the encoder's forward pass.
        total: Seconds in all, within :meth:`running`.
        tiles: Tiles embedded.
    """

    encoder: float = 0.0
    total: float = 0.0
    tiles: int = 0

    @contextmanager
    def running(self, encoder: Encoder) -> Iterator[None]:
        """Add the seconds of the ``with`` block, and the encoder's seconds in it."""
        began, before = time.perf_counter(), encoder.seconds
        yield
        self.total += time.perf_counter() - began
        self.encoder += encoder.seconds - before


def embed_rows(
    scene: Scene,
    grid: TileGrid,
    encoder: Encoder,
    bands: Sequence[int],
    first: int = 0,
    timer: Timer | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Embed the cells of a scene, row by row, from the top.

    A thread reads the next slab while the encoder works on the current one.
    Memory does not grow with the scene's height; with its width only the yielded rows grow.

    Args:
        scene: The scene.
        grid: The scene's cells and tiles.
        encoder: The encoder.
        bands: Positions of the scene's bands that the encoder sees.
        first: The row of cells to begin with.
        timer: Counts the tiles.

    Yields:
        The embeddings of the tiles of one row of cells, (columns, D), NaN where less than half of
        the cell, or of its tile, holds data.

    Raises:
        InputError: The file is truncated or damaged, or the encoder gives infinite numbers or NaN.
    """
    timer = timer or Timer()
    parts = list(_parts(grid, len(bands), encoder.num_features, first))

    def read(part: Part) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        left, top, width, height = _window(grid, part)
        return scene.read(left + grid.before[1], top + grid.before[0], width, height, bands)

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, parts[0]) if parts else None
        rows = np.empty((0, 0, 0), np.float32)
        for number, part in enumerate(parts):
            assert coming is not None
            pixels, valid = coming.result()
            if number + 1 < len(parts):
                coming = reader.submit(read, parts[number + 1])
            if part[1].start == 0:
                shape = (part[0].stop - part[0].start, grid.columns, encoder.num_features)
                rows = np.full(shape, np.nan, np.float32)
            _embed_part(grid, encoder, part, pixels, valid, rows[:, part[1]], timer)
            if part[1].stop == grid.columns:
                yield from rows


def embed_cells(
    scene: Scene,
    grid: TileGrid,
    encoder: Encoder,
    bands: Sequence[int],
    cells: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Embed some cells of a scene.

    Args:
        scene: The scene.
        grid: The scene's cells and tiles.
        encoder: The encoder.
        bands: Positions of the scene's bands that the encoder sees.
        cells: Row and column of each cell, (n, 2).

    Returns:
        The embeddings, (n, D), NaN as in :func:`embed_rows`.
    """
    values = np.full((len(cells), encoder.num_features), np.nan, np.float32)
    corners = grid.corners(cells)
    for start in range(0, len(cells), encoder.batch_size):
        batch: list[tuple[int, NDArray[Any], NDArray[np.bool_]]] = []
        for number in range(start, min(start + encoder.batch_size, len(cells))):
            top, left = (int(corner) for corner in corners[number])
            pixels, valid = scene.read(
                left + grid.before[1], top + grid.before[0], grid.tile, grid.tile, bands
            )
            row, column = cells[number] * grid.stride - (top, left)
            cell = valid[row : row + grid.stride, column : column + grid.stride]
            if min(valid.mean(), cell.mean()) >= VALID_SHARE:
                batch.append((number, pixels, valid))
        if batch:
            numbers, tiles, valid = (np.stack(parts) for parts in zip(*batch, strict=True))
            images = encoder.scale(as_tensor(tiles))
            values[numbers] = encoder.embed(images, torch.from_numpy(valid)).numpy()
    return values


def _parts(grid: TileGrid, bands: int, features: int, first: int) -> Iterator[Part]:
    """Cut cells into parts whose slabs and embeddings are of bounded size: across, then down."""
    most = _ROWS_BYTES // (4 * features * grid.columns)
    height = max(1, min(most, (_SLAB_ROWS - grid.tile) // grid.stride + 1))
    whole = grid.before[0] + grid.height + grid.after[0]
    high = min((height - 1) * grid.stride + grid.tile, whole)
    width = max(1, (_SLAB_VALUES // (bands * high) - grid.tile) // grid.stride + 1)
    for row in range(first, grid.rows, height):
        for column in range(0, grid.columns, width):
            yield (
                slice(row, min(row + height, grid.rows)),
                slice(column, min(column + width, grid.columns)),
            )


def _window(grid: TileGrid, part: Part) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the window that the tiles of a part cover."""
    tops, lefts = grid.tops()[part[0]], grid.lefts()[part[1]]
    left, top = int(lefts[0]), int(tops[0])
    return left, top, int(lefts[-1]) + grid.tile - left, int(tops[-1]) + grid.tile - top


def _embed_part(
    grid: TileGrid,
    encoder: Encoder,
    part: Part,
    pixels: NDArray[Any],
    valid: NDArray[np.bool_],
    into: NDArray[np.float32],
    timer: Timer,
) -> None:
    """Embed the distinct tiles of a part, and give each cell the embedding of its tile."""
    left, top, _, _ = _window(grid, part)
    tops, row_of = np.unique(grid.tops()[part[0]] - top, return_inverse=True)
    lefts, column_of = np.unique(grid.lefts()[part[1]] - left, return_inverse=True)
    cells = _cells_with_data(grid, part, valid)
    wanted = np.zeros((len(tops), len(lefts)), bool)
    np.logical_or.at(wanted, (row_of[:, None], column_of[None]), cells)
    embeddings = np.full((*wanted.shape, encoder.num_features), np.nan, np.float32)
    places = np.argwhere(wanted)
    tile, whole = grid.tile, bool(valid.all())
    source, with_data = as_tensor(pixels), torch.from_numpy(valid)
    for start in range(0, len(places), encoder.batch_size):
        batch = places[start : start + encoder.batch_size]
        corners = [(int(tops[row]), int(lefts[column])) for row, column in batch]
        tiles = torch.stack([source[:, y : y + tile, x : x + tile] for y, x in corners])
        masks = None
        if not whole:
            masks = torch.stack([with_data[y : y + tile, x : x + tile] for y, x in corners])
        embeddings[batch[:, 0], batch[:, 1]] = encoder.embed(encoder.scale(tiles), masks).numpy()
        timer.tiles += len(batch)
    into[cells] = embeddings[row_of[:, None], column_of[None]][cells]


def as_tensor(pixels: NDArray[Any]) -> Tensor:
    """Share raw values with torch; types other than uint8, int16 and float32 become float32."""
    known = (np.uint8, np.int16, np.float32)
    return torch.from_numpy(pixels if pixels.dtype in known else pixels.astype(np.float32))


def _cells_with_data(grid: TileGrid, part: Part, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which cells of a part, and their tiles, hold enough data."""
    left, top, _, _ = _window(grid, part)
    sums = np.pad(valid.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def share(
        top: NDArray[np.int64],
        bottom: NDArray[np.int64],
        left: NDArray[np.int64],
        right: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        bottom, top = bottom[:, None], top[:, None]
        count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return count / ((bottom - top) * (right - left))

    tops, lefts = grid.tops()[part[0]] - top, grid.lefts()[part[1]] - left
    tiles = share(tops, tops + grid.tile, lefts, lefts + grid.tile)
    rows = np.arange(part[0].start, part[0].stop) * grid.stride
    columns = np.arange(part[1].start, part[1].stop) * grid.stride
    cells = share(
        rows - top,
        np.minimum(rows + grid.stride, grid.height) - top,
        columns - left,
        np.minimum(columns + grid.stride, grid.width) - left,
    )
    return (tiles >= VALID_SHARE) & (cells >= VALID_SHARE)
