"""Outlines in longitude and latitude, as GeoJSON has them (RFC 7946)."""

from typing import Any

import numpy as np
import pyproj
import shapely
import shapely.affinity
import shapely.geometry
import shapely.ops
from numpy.typing import NDArray

from rs_otl.geo.cells import Cells


def outline_in_degrees(
    cells: Cells, xy: NDArray[np.float64], transformer: pyproj.Transformer
) -> Any:
    """Convert the outline of a part of a scene to longitude and latitude.

    Args:
        cells: The scene's cells.
        xy: Corners in the scene's CRS, (n, 2).
        transformer: As :func:`rs_otl.geo.extent.degrees_of` returns it.

    Returns:
        A shapely Polygon, or MultiPolygon if it crosses the antimeridian, with counter-clockwise
        outer rings.
    """
    longitude, latitude = transformer.transform(xy[:, 0], xy[:, 1])
    latitude = latitude.clip(-90, 90)
    assert cells.crs is not None
    # Remove jumps of 360 degrees between the corners.
    near = xy[:, 0] if cells.crs.is_geographic else longitude[0]
    longitude = longitude + 360 * np.round((near - longitude) / 360)
    outline = shapely.Polygon(np.stack([longitude, latitude], axis=1))
    return counter_clockwise(_cut_at_antimeridian(outline))


def counter_clockwise(outline: Any) -> Any:
    """Orient outer rings as RFC 7946, section 3.1.6, requires."""
    parts = [shapely.geometry.polygon.orient(part) for part in shapely.get_parts(outline)]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _cut_at_antimeridian(outline: Any) -> Any:
    """Cut and shift an outline to longitudes from -180 to 180 (RFC 7946, section 3.1.9)."""
    west, _, east, _ = outline.bounds
    first, last = (int((edge + 180) // 360) for edge in (west, east))
    if first == last == 0:
        return outline
    parts = []
    for turn in range(first, last + 1):
        part = outline.intersection(shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90))
        if part.area:
            parts.append(shapely.affinity.translate(part, -360 * turn))
    return shapely.ops.unary_union(parts)
