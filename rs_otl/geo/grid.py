"""The grid of cells over a scene, and the tile of each cell."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError

# A cell is nodata if less than this share of it, or of its tile, holds data.
VALID_SHARE = 0.5


@dataclass(frozen=True)
class TileGrid:
    """A grid of cells over a scene, each with the tile around it.

    A cell is a square of ``stride`` pixels. Cell (0, 0) begins at the scene's upper left pixel, and
    the last row and column may reach over the scene's edge. The tile of a cell, a square of
    ``tile`` pixels, is centred on the cell (half a pixel up and left if ``tile - stride`` is odd).
    If a centred tile would reach over the scene's edge, the cell has the nearest tile within the
    scene instead, so tiles have real pixels only.

    A block of a grid is a grid too. Its pixels are counted from the block's upper left corner. Its
    tiles are the tiles of the whole grid, so they may reach out of the block into the scene.

    Attributes:
        width: Width of the scene, or the block, in pixels.
        height: Height of the scene, or the block, in pixels.
        tile: Side of a tile in pixels.
        stride: Side of a cell in pixels.
        before: Rows and columns of pixels that the scene has above and left of the block.
        after: Rows and columns of pixels that the scene has below and right of the block.
    """

    width: int
    height: int
    tile: int
    stride: int
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)

    @classmethod
    def over(cls, scene: Scene, tile: int, stride: int | None = None) -> "TileGrid":
        """Lay a grid over a scene.

        Args:
            scene: The scene.
            tile: Side of a tile in pixels.
            stride: Side of a cell in pixels; by default half a tile.

        Raises:
            InputError: The scene is smaller than a tile, or a number is out of range.
        """
        stride = max(1, tile // 2) if stride is None else stride
        if not 1 <= stride <= tile:
            raise InputError(
                f"--tile {tile} --stride {stride}: expected a stride of 1 to {tile} pixels"
            )
        if min(scene.width, scene.height) < tile:
            raise InputError(
                f"{scene.name}: {scene.width:,} x {scene.height:,} pixels, smaller than a tile of "
                f"{tile}; --tile {min(scene.width, scene.height)} or less would fit"
            )
        return cls(scene.width, scene.height, tile, stride)

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-self.height // self.stride)

    @property
    def columns(self) -> int:
        """Columns of cells."""
        return -(-self.width // self.stride)

    def tops(self) -> NDArray[np.int64]:
        """First row, in pixels, of the tile of each row of cells: (rows,), ascending."""
        return self._starts(self.rows, self.height, 0)

    def lefts(self) -> NDArray[np.int64]:
        """First column, in pixels, of the tile of each column of cells: (columns,), ascending."""
        return self._starts(self.columns, self.width, 1)

    def _starts(self, cells: int, length: int, axis: int) -> NDArray[np.int64]:
        centred = np.arange(cells) * self.stride - (self.tile - self.stride + 1) // 2
        return np.clip(centred, -self.before[axis], length + self.after[axis] - self.tile)

    def block(self, top: int, left: int, rows: int, columns: int) -> "TileGrid":
        """Return a block of the grid.

        Args:
            top: First row of cells.
            left: First column of cells.
            rows: Rows of cells.
            columns: Columns of cells; the block lies within the grid.
        """
        y, x = top * self.stride, left * self.stride
        height = min(rows * self.stride, self.height - y)
        width = min(columns * self.stride, self.width - x)
        return TileGrid(
            width,
            height,
            self.tile,
            self.stride,
            (self.before[0] + y, self.before[1] + x),
            (self.after[0] + self.height - y - height, self.after[1] + self.width - x - width),
        )

    def blocks(self, side: int) -> Iterator[tuple[int, int, int, int]]:
        """Divide the grid into blocks of about the same size.

        Args:
            side: Longest side of a block in pixels; a block has at least one cell.

        Yields:
            Top, left, rows and columns of each block in cells, as :meth:`block` takes them.
        """
        most = max(1, side // self.stride)
        tops, lefts = (
            np.linspace(0, cells, -(-cells // most) + 1).round().astype(int).tolist()
            for cells in (self.rows, self.columns)
        )
        for top, bottom in pairwise(tops):
            for left, right in pairwise(lefts):
                yield top, left, bottom - top, right - left

    def cells_at(
        self, columns: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return row and column of the cells that positions in pixels lie in, (n, 2)."""
        cells = np.stack([rows, columns], axis=-1) // self.stride
        return np.clip(cells.astype(np.int64), 0, [self.rows - 1, self.columns - 1])

    def corners(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return first row and column, in pixels, of the tiles of cells, both (n, 2)."""
        return np.stack([self.tops()[cells[:, 0]], self.lefts()[cells[:, 1]]], axis=1)

    def inside(self, rows: tuple[float, float], columns: tuple[float, float]) -> NDArray[np.int64]:
        """Find the cells whose centres lie in a box.

        Args:
            rows: First and last row of the box, in pixels with fractions.
            columns: First and last column.

        Returns:
            Row and column of each cell, (n, 2).
        """
        middle_rows = (np.arange(self.rows) + 0.5) * self.stride
        middle_columns = (np.arange(self.columns) + 0.5) * self.stride
        row = np.flatnonzero((rows[0] <= middle_rows) & (middle_rows <= rows[1]))
        column = np.flatnonzero((columns[0] <= middle_columns) & (middle_columns <= columns[1]))
        return np.stack(np.meshgrid(row, column, indexing="ij"), axis=-1).reshape(-1, 2)


def scaled(transform: Affine, factor: float) -> Affine:
    """Return the transform of pixels that are ``factor`` as large, from the same corner."""
    t = transform
    return Affine(t.a * factor, t.b * factor, t.c, t.d * factor, t.e * factor, t.f)


def apart(
    corners: NDArray[np.int64], tile: int, count: int, taken: NDArray[np.int64] | None = None
) -> list[int]:
    """Choose tiles that do not overlap; of tiles that overlap, choose the first.

    Args:
        corners: First row and column of each tile in pixels, (n, 2), the best first.
        tile: Side of a tile in pixels.
        count: Tiles wanted.
        taken: Corners of tiles that no chosen tile may overlap, (m, 2).

    Returns:
        Positions of the chosen tiles, at most ``count``.
    """
    free = np.ones(len(corners), bool)
    for corner in () if taken is None else taken:
        free &= np.abs(corners - corner).max(1) >= tile
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        chosen.append(int(free.argmax()))
        free &= np.abs(corners - corners[chosen[-1]]).max(1) >= tile
    return chosen
