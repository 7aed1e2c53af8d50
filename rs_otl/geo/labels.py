"""Labelled points and polygons over a scene."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rs_otl.errors import InputError
from rs_otl.geo.cells import Cells
from rs_otl.geo.grid import TileGrid

# Cells that one polygon gives at most, evenly spread over it.
_MOST_CELLS = 64
_USUAL_FIELDS = ("class", "label")


@dataclass(frozen=True)
class Label:
    """A labelled place.

    Attributes:
        name: What it is called when it is named: its number from 1 in the file and its class.
        klass: Its class.
        cells: Row and column of the cells that stand for it, (n, 2).
    """

    name: str
    klass: str
    cells: NDArray[np.int64]


@dataclass(frozen=True)
class Skipped:
    """A label that is not used, and why."""

    name: str
    reason: str


def read_labels(
    path: Path, scene: Cells, field: str | None = None
) -> tuple[list[Label], list[Skipped]]:
    """Read the labels of a scene.

    A point stands for the cell that it lies in. A polygon stands for the cells whose centres lie
    in it, or, if there are none, for the cell of a point in it.

    Args:
        path: GeoJSON, GeoPackage or what else GeoPandas reads, in any CRS.
        scene: The cells of the scene.
        field: The attribute that holds the class; by default the only one, or ``class`` or
            ``label``.

    Returns:
        The labels, and those that cannot be used, named.

    Raises:
        InputError: The file cannot be read, has no such attribute, or no label that can be used.
    """
    frame = _read(path)
    if not len(frame):
        raise InputError(f"{path}: no labels, expected points or polygons")
    field = field or _field(path, frame)
    if field not in _attributes(frame):
        raise InputError(
            f"{path}: no attribute {field!r}, expected one of {', '.join(_attributes(frame))}"
        )
    if scene.crs is not None and frame.crs is not None:
        frame = frame.to_crs(scene.crs.to_wkt())
    grid = scene.grid
    inside = shapely.box(0, 0, grid.width, grid.height)
    labels: list[Label] = []
    skipped: list[Skipped] = []
    for number, (value, shape) in enumerate(
        zip(frame[field], frame.geometry, strict=True), start=1
    ):
        klass = "" if value is None or value != value else _text(value)
        name = f"label {number} ({klass or 'no class'})"
        if not klass:
            skipped.append(Skipped(name, f"has no {field}"))
        elif shape is None or shape.is_empty:
            skipped.append(Skipped(name, "has no geometry"))
        elif shape.geom_type not in ("Point", "MultiPoint", "Polygon", "MultiPolygon"):
            skipped.append(Skipped(name, f"is a {shape.geom_type}, not a point or polygon"))
        else:
            place = shapely.transform(shape, lambda xy: _pixels(scene, xy)).intersection(inside)
            points = place if place.is_empty or place.area else shapely.get_coordinates(place)
            if place.is_empty:
                skipped.append(Skipped(name, "lies outside the scene"))
                continue
            cells = _of_polygon(place, grid) if place.area else grid.cells_at(*np.array(points).T)
            labels.append(Label(name, klass, np.unique(cells, axis=0)))
    if not labels:
        reasons = "; ".join(f"{label.name} {label.reason}" for label in skipped[:3])
        raise InputError(
            f"{path}: none of {len(frame):,} labels can be used on {scene.name}: {reasons}"
            f"{' and so on' if len(skipped) > 3 else ''}"
        )
    return labels, skipped


def _read(path: Path) -> Any:
    import geopandas  # takes a second

    if not path.is_file():
        raise InputError(f"{path}: no such file, expected GeoJSON or a GeoPackage of labels")
    try:
        return geopandas.read_file(path)
    except Exception as error:  # GeoPandas' readers have no common kind
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read, expected GeoJSON or GeoPackage ({reason})"
        ) from None


def _attributes(frame: Any) -> list[str]:
    return [str(name) for name in frame.columns if name != frame.geometry.name]


def _field(path: Path, frame: Any) -> str:
    names = _attributes(frame)
    usual = [name for name in names if name.lower() in _USUAL_FIELDS]
    if len(names) == 1 or len(usual) == 1:
        return (names if len(names) == 1 else usual)[0]
    raise InputError(
        f"{path}: which attribute holds the class? Say it with --field, one of "
        f"{', '.join(names) or '(it has none)'}"
    )


def _text(value: Any) -> str:
    """Return a class's name; whole numbers without a fraction, whatever the file made of them."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _pixels(scene: Cells, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(scene.position(xy[:, 0], xy[:, 1]), axis=1)


def _of_polygon(place: Any, grid: TileGrid) -> NDArray[np.int64]:
    left, top, right, bottom = place.bounds
    cells = grid.inside((top, bottom), (left, right))
    middle = (cells + 0.5) * grid.stride
    cells = cells[shapely.contains_xy(place, middle[:, 1], middle[:, 0])]
    if not len(cells):
        point = place.representative_point()
        return grid.cells_at(np.array([point.x]), np.array([point.y]))
    # Along the edges several cells have the same tile.
    _, first = np.unique(grid.corners(cells), axis=0, return_index=True)
    cells = cells[first]
    return cells[np.linspace(0, len(cells) - 1, min(len(cells), _MOST_CELLS), dtype=int)]
