"""How much ground each cell of a scene covers."""

from collections.abc import Callable

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from rs_otl.geo.cells import Cells
from rs_otl.geo.extent import WGS84, crs_of

# Cylindrical: at the antimeridian x jumps by one known length, which is subtracted below.
_EQUAL_AREA = "+proj=cea +datum=WGS84"
_SQUARE_METRES = 10_000.0


def row_areas(cells: Cells) -> Callable[[int], NDArray[np.float64]] | None:
    """Return a function from the number of a row to the hectares of its cells, (columns,).

    Only the part of a cell within the scene counts. Cells off the Earth have 0. The projection is
    equal-area, so web Mercator, degrees and UTM give the same.

    Args:
        cells: The scene's cells.

    Returns:
        The function; ``None`` if the scene has no place on Earth.
    """
    if cells.crs is None:
        return None
    try:
        to_metres = pyproj.Transformer.from_crs(crs_of(cells.crs), _EQUAL_AREA, always_xy=True)
    except (CRSError, ProjError):
        return None
    grid = cells.grid
    columns = np.minimum(np.arange(grid.columns + 1) * grid.stride, grid.width)
    around = (
        2 * pyproj.Transformer.from_crs(WGS84, _EQUAL_AREA, always_xy=True).transform(180, 0)[0]
    )

    def edge(row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        at = np.full(len(columns), min(row * grid.stride, grid.height))
        x, y = to_metres.transform(*cells.coordinate(columns, at))
        return np.asarray(x), np.asarray(y)

    def areas(row: int) -> NDArray[np.float64]:
        (upper_x, upper_y), (lower_x, lower_y) = edge(row), edge(row + 1)
        x = np.stack([upper_x[:-1], lower_x[:-1], lower_x[1:], upper_x[1:]])
        y = np.stack([upper_y[:-1], lower_y[:-1], lower_y[1:], upper_y[1:]])
        with np.errstate(invalid="ignore"):
            x = x - x[:1]
            x -= around * np.round(x / around)
            y = y - y[:1]
            twice = (x * np.roll(y, -1, axis=0) - np.roll(x, -1, axis=0) * y).sum(axis=0)
        return np.nan_to_num(np.abs(twice) / 2 / _SQUARE_METRES, nan=0, posinf=0, neginf=0)

    return areas
