"""Labelled points and polygons over a scene."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine

from rs_otl.errors import InputError, note
from rs_otl.geo.cells import Cells
from rs_otl.geo.grid import TileGrid

# Cells that one polygon gives at most, evenly spread over it.
_MOST_CELLS = 64
_USUAL_FIELDS = ("class", "label")
# Names of the columns of a table that hold coordinates, and their CRS; None is the scene's.
_COORDINATES = (
    ("x", "y", None),
    ("lon", "lat", "EPSG:4326"),
    ("longitude", "latitude", "EPSG:4326"),
)
# Pixels that a polygon must reach into the scene: a border that both share may come out of a
# change of CRS with this error.
_MARGIN = 0.01


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
    path: Path, scene: Cells, field: str | None = None, layer: str | None = None
) -> tuple[list[Label], list[Skipped]]:
    """Read the labels of a scene.

    A point stands for the cell that it lies in. A polygon stands for the cells whose centres lie
    in it, or, if there are none, for the cell of a point in it. Polygons that cross themselves
    are repaired. What is repaired or reinterpreted is said on stderr.

    Args:
        path: GeoJSON, GeoPackage, GeoParquet or another file that GeoPandas reads, in any CRS; or a
            table, such as CSV, with columns ``x`` and ``y`` in the scene's CRS, or ``lon`` and
            ``lat`` (``longitude`` and ``latitude``). On an image without georeference coordinates
            are pixels; y may count down from 0, as QGIS shows such an image.
        scene: The cells of the scene.
        field: The attribute that holds the class; by default the only one, or ``class`` or
            ``label``.
        layer: The layer of the file, where several have geometries.

    Returns:
        The labels, and those that cannot be used, named.

    Raises:
        InputError: The file cannot be read, has no such attribute, or no label that can be used.
    """
    frame, names = _read(path, layer)
    if not len(frame):
        raise InputError(f"{path}: no labels, expected points or polygons")
    field = field or _field(path, names)
    if field not in names:
        raise InputError(f"{path}: no attribute {field!r}, expected one of {', '.join(names)}")
    raw = frame.geometry
    if scene.crs is not None and frame.crs is not None:
        try:
            frame = frame.to_crs(scene.crs.to_wkt())
        except Exception as error:  # of pyproj, which has several kinds
            raise InputError(
                f"{path}: labels in {frame.crs.name} cannot be transformed to the CRS of "
                f"{scene.name} ({' '.join(str(error).split())[:80]}); give them in the scene's CRS"
            ) from None
    elif _counts_down(raw, scene):
        note(
            f"{path}: y counts down from 0, as QGIS shows an image without georeference; taken as "
            "rows from the top"
        )
        frame = frame.set_geometry(raw.affine_transform([1, 0, 0, -1, 0, 0]))
    labels: list[Label] = []
    skipped: list[Skipped] = []
    repaired = 0
    for number, (value, shape) in enumerate(
        zip(frame[field], frame.geometry, strict=True), start=1
    ):
        klass = _class_name(path, number, field, value)
        name = f"label {number} ({klass or 'no class'})"
        if not klass:
            skipped.append(Skipped(name, f"has no {field}"))
        elif shape is None or shape.is_empty:
            skipped.append(Skipped(name, "has no geometry"))
        elif shape.geom_type not in ("Point", "MultiPoint", "Polygon", "MultiPolygon"):
            skipped.append(Skipped(name, f"is a {shape.geom_type}, not a point or polygon"))
        else:
            cells, mended = _cells_of(shape, scene)
            repaired += mended
            if len(cells):
                labels.append(Label(name, klass, np.unique(cells, axis=0)))
            else:
                skipped.append(Skipped(name, "lies outside the scene"))
    if repaired:
        note(f"{path}: {repaired:,} polygons cross or touch themselves and were repaired")
    if not labels:
        reasons = "; ".join(f"{label.name} {label.reason}" for label in skipped[:3])
        raise InputError(
            f"{path}: none of {len(frame):,} labels can be used on {scene.name}: {reasons}"
            f"{' and so on' if len(skipped) > 3 else ''}"
            f"{_advice(raw, scene) if any('outside' in label.reason for label in skipped) else ''}"
        )
    return labels, skipped


def _cells_of(shape: Any, scene: Cells) -> tuple[NDArray[np.int64], bool]:
    """Return the cells that a point or polygon stands for, and whether it was repaired."""
    grid = scene.grid
    none = np.empty((0, 2), np.int64)
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        return none, False  # out of reach of the scene's CRS
    place = shapely.transform(shape, lambda xy: _pixels(scene, xy))
    if "Point" in place.geom_type:
        points = shapely.get_coordinates(place.intersection(shapely.box(0, 0, *_size(grid))))
        return grid.cells_at(*points.T), False
    valid = place.is_valid
    if not valid:
        # Without the lines and points that are left of parts without area.
        place = shapely.make_valid(place).buffer(0)
    width, height = _size(grid)
    place = place.intersection(shapely.box(_MARGIN, _MARGIN, width - _MARGIN, height - _MARGIN))
    return _of_polygon(place, grid) if place.area else none, not valid


def _size(grid: TileGrid) -> tuple[int, int]:
    return grid.width, grid.height


def _counts_down(shapes: Any, scene: Cells) -> bool:
    """Whether labels have the coordinates that QGIS gives an image without georeference."""
    if scene.crs is not None or not np.allclose(scene.transform, Affine.identity()):
        return False
    _, bottom, _, top = shapes.total_bounds
    return bool(-scene.grid.height <= bottom < 0 and top <= 0)


def _advice(shapes: Any, scene: Cells) -> str:
    """Say where the scene lies, and in which CRS labels outside it would lie on it."""
    width, height = _size(scene.grid)
    x, y = scene.coordinate(np.array([0, width, width, 0]), np.array([0, 0, height, height]))
    text = (
        f"; the scene reaches from {x.min():.10g},{y.min():.10g} to {x.max():.10g},{y.max():.10g} "
        f"in {scene.crs or 'coordinates without a CRS'}"
    )
    if scene.crs is None:
        return text
    import geopandas  # takes a second

    inside = shapely.Polygon(np.stack([x, y], axis=1))
    crs = scene.crs.to_wkt()
    for name, assumed in (("longitude and latitude", "EPSG:4326"), ("the scene's CRS", crs)):
        try:
            moved = geopandas.GeoSeries(shapes.to_numpy(), crs=assumed).to_crs(crs)
        except Exception:  # of pyproj, which has several kinds: then there is nothing to advise
            continue
        if moved.intersects(inside).any():
            return f"{text}; labels would lie on it if they were in {name}: check the labels' CRS"
    return text


def _read(path: Path, layer: str | None) -> tuple[Any, list[str]]:
    """Read a file of labels.

    Returns:
        A GeoDataFrame, and the names of its attributes.
    """
    import geopandas  # takes a second

    if not path.is_file():
        raise InputError(f"{path}: no such file, expected GeoJSON or a GeoPackage of labels")
    parquet = path.suffix.lower() in (".parquet", ".geoparquet")
    try:
        layers = None if parquet else geopandas.list_layers(path)
        frame = geopandas.read_parquet(path) if parquet else None
    except Exception as error:  # GeoPandas' readers have no common kind
        raise _unreadable(path, error) from None
    if frame is None:
        layer = _layer(path, layers, layer)
        try:
            frame = geopandas.read_file(path, layer=layer)
        except Exception as error:
            raise _unreadable(path, error) from None
    elif layer is not None:
        raise InputError(f"{path}: GeoParquet has no layers; leave --layer out")
    if isinstance(frame, geopandas.GeoDataFrame):
        return frame, [str(name) for name in frame.columns if name != frame.geometry.name]
    return _placed(path, frame)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{path}: cannot be read, expected GeoJSON or GeoPackage ({reason})")


def _layer(path: Path, layers: Any, layer: str | None) -> str | None:
    """Return the layer to read: the only one with geometries, or the one asked for."""
    names = [str(name) for name in layers["name"]]
    if layer is not None:
        if layer not in names:
            raise InputError(f"{path}: no layer {layer!r}, expected one of {', '.join(names)}")
        return layer
    # Without tables such as the styles that QGIS keeps in a GeoPackage.
    spatial = [str(name) for name in layers["name"][layers["geometry_type"].notna()]]
    if len(spatial) > 1:
        raise InputError(
            f"{path}: several layers, {', '.join(spatial)}: name the one of labels with layer= "
            "(--layer)"
        )
    return next(iter(spatial or names), None)


def _placed(path: Path, table: Any) -> tuple[Any, list[str]]:
    """Make points of the columns of a table that hold coordinates."""
    import geopandas
    import pandas

    columns = {str(name).strip().lower(): name for name in table.columns}
    for x, y, crs in _COORDINATES:
        if x in columns and y in columns:
            easting, northing = (
                pandas.to_numeric(table[columns[name]], errors="coerce").to_numpy()
                for name in (x, y)
            )
            points = np.array(shapely.points(easting, northing), object)
            points[~np.isfinite(easting + northing)] = None
            names = [str(name) for name in table if name not in (columns[x], columns[y])]
            return geopandas.GeoDataFrame(table, geometry=points, crs=crs), names
    raise InputError(
        f"{path}: a table without geometries, expected points or polygons, or columns x and y or "
        "longitude and latitude"
    )


def _field(path: Path, names: list[str]) -> str:
    usual = [name for name in names if name.lower() in _USUAL_FIELDS]
    if len(names) == 1 or len(usual) == 1:
        return (names if len(names) == 1 else usual)[0]
    raise InputError(
        f"{path}: which attribute holds the class? Name it with field= (--field), one of "
        f"{', '.join(names) or '(it has none)'}"
    )


def _class_name(path: Path, number: int, field: str, value: Any) -> str:
    """Return a class's name, empty if there is none; whole numbers without a fraction."""
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        kind = "record" if isinstance(value, dict) else "list"
        raise InputError(
            f"{path}: {field} of label {number} is a {kind}, expected one name or number"
        )
    if value is None or value != value:
        return ""
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
