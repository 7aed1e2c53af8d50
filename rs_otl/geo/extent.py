"""Find where a scene lies, and why coordinates miss it."""

from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from rs_otl.geo.cells import Cells

# Longitude and latitude.
WGS84 = "EPSG:4326"
# Points along each side of an outline: a side that is straight in one CRS is curved in another.
_STEPS = 21
# Degrees: a larger number is no longitude, even with whole turns added.
_TURNED = 1080


def crs_of(crs: Any) -> pyproj.CRS:
    """Return a CRS for pyproj, from one of rasterio or pyproj, or from a text that names one.

    Raises:
        CRSError: It is no CRS.
    """
    return pyproj.CRS.from_user_input(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)


def degrees_of(cells: Cells) -> pyproj.Transformer | None:
    """Return the transformer from a scene's coordinates to longitude and latitude.

    ``None`` for a scene without a CRS, or with a local one such as a site grid.
    """
    if cells.crs is None:
        return None
    try:
        return pyproj.Transformer.from_crs(crs_of(cells.crs), WGS84, always_xy=True)
    except (CRSError, ProjError):
        return None


def crs_name(crs: Any) -> str:
    """Return a short name of a CRS: its code, such as EPSG:32633, else its name."""
    text = crs.to_string() if hasattr(crs, "to_string") else str(crs)
    return text if len(text) < 40 else crs_of(crs).name


def pixels_of(cells: Cells, xy: NDArray[np.float64], crs: Any = None) -> NDArray[np.float64]:
    """Convert coordinates to pixels of a scene.

    Longitudes that differ by whole turns are the same place: all are shifted by the whole turns
    that bring their mean nearest to the scene's middle.

    Args:
        cells: The scene's cells.
        xy: The coordinates, (n, 2).
        crs: CRS of the coordinates; by default the scene's.

    Returns:
        Column and row in pixels, with fractions, (n, 2); not finite for places that the scene's
        CRS does not cover.

    Raises:
        CRSError: ``crs`` is no CRS.
        ProjError: ``crs`` cannot be transformed to the scene's.
    """
    x, y = xy[:, 0], xy[:, 1]
    if crs is not None and cells.crs is not None:
        x, y = pyproj.Transformer.from_crs(
            crs_of(crs), crs_of(cells.crs), always_xy=True
        ).transform(x, y)
    with np.errstate(all="ignore"):  # about coordinates that are infinite, NaN or huge
        if cells.crs is not None and cells.crs.is_geographic and (np.abs(x) < _TURNED).all():
            middle, _ = cells.coordinate(cells.grid.width / 2, cells.grid.height / 2)
            x = x + 360 * np.round((middle - np.mean(x)) / 360)
        return np.stack(cells.position(x, y), axis=1)


def misplaced(cells: Cells, xy: NDArray[np.float64], how: str, crs: Any = None) -> str:
    """Say where a scene lies, and what is wrong with coordinates that all miss it, if it is known.

    Args:
        cells: The scene's cells.
        xy: The coordinates, (n, 2).
        how: How to name the CRS of the coordinates, for the advice if another one would fit.
        crs: CRS of the coordinates; by default the scene's.

    Returns:
        Text without a full stop.
    """
    text = f"the scene reaches {_extent(cells)}"
    if cells.crs is None:
        swapped = _hits(cells, xy[:, ::-1])
        return f"{text}; x and y are swapped" if swapped else text
    own = crs_of(cells.crs)
    given = own if crs is None else crs_of(crs)
    if given != own and (extent := _extent(cells, given)):
        text += f", {extent}"
    here, degrees = f"the scene's CRS, {crs_name(cells.crs)},", f"{WGS84} (longitude and latitude)"
    for name, assumed in (("", given), (degrees, crs_of(WGS84)), (here, own)):
        for swapped in (True,) if not name else (False, True):
            if _hits(cells, xy[:, ::-1] if swapped else xy, assumed):
                if not swapped:
                    return f"{text}; {name} would fit: {how}"
                fits = f": {name} would fit" if name else ""
                return f"{text}; x and y are swapped{fits}, expected east before north"
    return text


def _extent(cells: Cells, crs: pyproj.CRS | None = None) -> str:
    """Say from where to where a scene reaches; empty if it has no place in the CRS."""
    side = np.linspace(0, 1, _STEPS)
    edge = np.concatenate([side, np.ones(_STEPS), side[::-1], np.zeros(_STEPS)])
    x, y = cells.coordinate(edge * cells.grid.width, np.roll(edge, _STEPS) * cells.grid.height)
    if crs is not None:
        assert cells.crs is not None
        try:
            to_crs = pyproj.Transformer.from_crs(crs_of(cells.crs), crs, always_xy=True)
        except (CRSError, ProjError):
            return ""
        x, y = to_crs.transform(x, y)
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.any():
            return ""
        x, y = x[finite], y[finite]
    name = "coordinates without a CRS"
    if cells.crs is not None:
        name = crs_name(cells.crs if crs is None else crs)
    return f"from {x.min():.8g},{y.min():.8g} to {x.max():.8g},{y.max():.8g} in {name}"


def _hits(cells: Cells, xy: NDArray[np.float64], crs: Any = None) -> bool:
    """Whether any of the coordinates lies on a scene."""
    try:
        places = pixels_of(cells, xy, crs)
    except (CRSError, ProjError):
        return False
    inside = (places >= 0) & (places < [cells.grid.width, cells.grid.height])
    return bool(inside.all(axis=1).any())
