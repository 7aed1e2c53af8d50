"""Labelled points and polygons over a scene."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine

from rs_otl.errors import InputError, note, printable, shortened
from rs_otl.geo.cells import Cells
from rs_otl.geo.extent import misplaced, pixels_of
from rs_otl.geo.grid import TileGrid

# Most cells of one polygon, evenly spread over it, and about the most of all polygons together.
_MOST_CELLS = 64
_MOST_CELLS_IN_ALL = 4096
_USUAL_FIELDS = ("class", "label")
# Names of the columns of a table that hold coordinates, and their CRS; None is the scene's.
_COORDINATES = (
    ("x", "y", None),
    ("lon", "lat", "EPSG:4326"),
    ("longitude", "latitude", "EPSG:4326"),
)
# Pixels that a polygon must reach into the scene: a change of CRS may move a border that both
# share by this error.
_MARGIN = 0.01
# Pixels from a scene's corner: computing with places farther away is not possible.
_FAR = 1e12


@dataclass(frozen=True)
class Label:
    """A labelled place.

    Attributes:
        number: Its number in the file, from 1.
        klass: Its class.
        places: For each scene that the label lies on: number of the scene, and row and column of
            the label's cells there, (n, 2).
    """

    number: int
    klass: str
    places: tuple[tuple[int, NDArray[np.int64]], ...]

    @property
    def name(self) -> str:
        """Name of the label in messages."""
        return _label_name(self.number, self.klass)


@dataclass(frozen=True)
class Skipped:
    """A label that is not used, and why."""

    number: int
    name: str
    reason: str


@dataclass(frozen=True)
class Labels:
    """The labels of a file.

    Attributes:
        frame: The file as it was read: geometries in its own CRS, and attributes.
        used: Labels that lie on a scene.
        skipped: Labels that cannot be used.
    """

    frame: Any
    used: list[Label]
    skipped: list[Skipped]


def read_labels(
    path: Path, scenes: Sequence[Cells], field: str | None = None, layer: str | None = None
) -> Labels:
    """Read the labels of scenes.

    A point stands for the cell that it lies in. A polygon stands for the cells whose centres lie
    in it, or, if there are none, for the cell of a point in it. Polygons that cross themselves
    are repaired. Stderr says what was repaired or reinterpreted.

    Args:
        path: GeoJSON, GeoPackage, GeoParquet or another file that GeoPandas reads, in any CRS; or a
            table, such as CSV, with columns ``x`` and ``y`` in the scene's CRS, or ``lon`` and
            ``lat`` (``longitude`` and ``latitude``). On an image without georeference coordinates
            are pixels; y may count down from 0, as QGIS shows such an image.
        scenes: The cells of the scenes.
        field: The attribute that holds the class; by default the only one, or ``class`` or
            ``label``.
        layer: The layer of the file, if several layers have geometries.

    Raises:
        InputError: The file cannot be read, has no such attribute, or has no usable label.
    """
    frame, names = _read(path, layer)
    if not len(frame):
        raise InputError(f"{path}: no labels, expected points or polygons")
    field = field or _field(path, names)
    if field not in names:
        raise InputError(f"{path}: no attribute {field!r}, expected one of {', '.join(names)}")
    placed = [_in_crs_of(scene, frame, path) for scene in scenes]
    most = max(1, min(_MOST_CELLS, _MOST_CELLS_IN_ALL // len(frame)))
    used: list[Label] = []
    skipped: list[Skipped] = []
    repaired = 0
    for number, (value, *shapes) in enumerate(zip(frame[field], *placed, strict=True), start=1):
        klass = _class_name(path, number, field, value)
        reason, places, mended = "lies outside the scene", [], False
        if len(scenes) > 1:
            reason = f"lies outside all {len(scenes):,} scenes"
        if not klass:
            reason = f"has no {field}"
        elif shapes[0] is None or shapes[0].is_empty:
            reason = "has no geometry"
        elif shapes[0].geom_type not in ("Point", "MultiPoint", "Polygon", "MultiPolygon"):
            reason = f"is a {shapes[0].geom_type}, not a point or polygon"
        else:
            for position, (scene, shape) in enumerate(zip(scenes, shapes, strict=True)):
                cells, was_mended, flat = _cells_of(shape, scene, most)
                mended |= was_mended
                if flat:
                    reason = "has no area"
                if len(cells):
                    places.append((position, np.unique(cells, axis=0)))
        repaired += mended
        if places:
            used.append(Label(number, klass, tuple(places)))
        else:
            skipped.append(Skipped(number, _label_name(number, klass), reason))
    if repaired:
        note(f"{path}: {repaired:,} polygons cross or touch themselves and were repaired")
    if not used:
        reasons = "; ".join(f"{label.name} {label.reason}" for label in skipped[:3])
        advice = ""
        outside = [label.number - 1 for label in skipped if label.reason.startswith("lies outside")]
        if outside:
            coordinates = shapely.get_coordinates(frame.geometry.to_numpy()[outside])
            how = "check the CRS that the file says"
            if frame.crs is None:
                how = "name the columns lon and lat instead of x and y"
            advice = f"; {misplaced(scenes[0], coordinates, how, frame.crs)}"
        raise InputError(
            f"{path}: none of {len(frame):,} labels can be used on {scenes[0].name}"
            f"{f' and {len(scenes) - 1:,} other scenes' if len(scenes) > 1 else ''}: {reasons}"
            f"{' and so on' if len(skipped) > 3 else ''}{advice}"
        )
    return Labels(frame, used, skipped)


def _label_name(number: int, klass: str) -> str:
    return f"label {number} ({shortened(klass) or 'no class'})"


def _in_crs_of(scene: Cells, frame: Any, path: Path) -> Any:
    """Return the geometries of labels in the CRS of a scene."""
    shapes = frame.geometry
    if scene.crs is not None and shapes.crs is not None:
        try:
            return shapes.to_crs(scene.crs.to_wkt())
        except Exception as error:  # pyproj raises several kinds
            raise InputError(
                f"{path}: labels in {shapes.crs.name} cannot be transformed to the CRS of "
                f"{scene.name} ({' '.join(str(error).split())[:80]}); give them in the scene's CRS"
            ) from None
    if _counts_down(shapes, scene):
        note(
            f"{path}: y counts down from 0, as QGIS shows an image without georeference; taken as "
            "rows from the top"
        )
        return shapes.affine_transform([1, 0, 0, -1, 0, 0])
    return shapes


def _cells_of(shape: Any, scene: Cells, most: int) -> tuple[NDArray[np.int64], bool, bool]:
    """Find the cells that a point or polygon stands for.

    Returns:
        The cells, whether the shape was repaired, and whether it is a polygon without area in the
        scene.
    """
    grid = scene.grid
    width, height = grid.width, grid.height
    none = np.empty((0, 2), np.int64)
    pixels = pixels_of(scene, shapely.get_coordinates(shape))
    if not (np.abs(pixels) < _FAR).all():  # also true if a coordinate is NaN
        return none, False, False
    place = shapely.transform(shape, lambda _: pixels)
    if "Point" in place.geom_type:
        points = shapely.get_coordinates(place.intersection(shapely.box(0, 0, width, height)))
        return grid.cells_at(*points.T), False, False
    valid = place.is_valid
    if not valid:
        # buffer(0) removes the lines and points that are left of parts without area.
        place = shapely.make_valid(place).buffer(0)
    if not place.area:
        inside = (pixels.max(0) > 0).all() and (pixels.min(0) < [width, height]).all()
        return none, False, bool(inside)
    place = place.intersection(shapely.box(_MARGIN, _MARGIN, width - _MARGIN, height - _MARGIN))
    return _of_polygon(place, grid, most) if place.area else none, not valid, False


def _counts_down(shapes: Any, scene: Cells) -> bool:
    """Whether labels have the coordinates that QGIS gives an image without georeference."""
    if scene.crs is not None or not np.allclose(scene.transform, Affine.identity()):
        return False
    _, bottom, _, top = shapes.total_bounds
    return bool(-scene.grid.height <= bottom < 0 and top <= 0)


def _read(path: Path, layer: str | None) -> tuple[Any, list[str]]:
    """Read a file of labels.

    Returns:
        A GeoDataFrame, and the names of its attributes.
    """
    import geopandas  # takes a second

    if not path.is_file():
        raise InputError(f"{path}: no such file, expected GeoJSON or a GeoPackage of labels")
    parquet = path.suffix.lower() in (".parquet", ".geoparquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of GDAL: labels that cannot be used are named later
        try:
            layers = None if parquet else geopandas.list_layers(path)
            frame = geopandas.read_parquet(path) if parquet else None
        except Exception as error:  # errors of GeoPandas' readers have no common base class
            raise _unreadable(path, error) from None
        if frame is None:
            layer = _layer(path, layers, layer)
            try:
                frame = geopandas.read_file(path, layer=layer)
            except Exception as error:
                raise _unreadable(path, error) from None
    if parquet and layer is not None:
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
    # Leave out tables such as the styles that QGIS keeps in a GeoPackage.
    spatial = [str(name) for name in layers["name"][layers["geometry_type"].notna()]]
    if len(spatial) > 1:
        raise InputError(
            f"{path}: several layers, {', '.join(spatial)}: name the one of labels with layer= "
            "(--layer)"
        )
    return next(iter(spatial or names), None)


def _placed(path: Path, table: Any) -> tuple[Any, list[str]]:
    """Make points from the columns of a table that hold coordinates."""
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
    import pandas  # takes a second

    if isinstance(value, list | tuple | dict | set | np.ndarray):
        kind = "record" if isinstance(value, dict) else "list"
        raise InputError(
            f"{path}: {field} of label {number} is a {kind}, expected one name or number"
        )
    if value is None or pandas.isna(value):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    # One printable line: it goes into legends, tags and messages.
    return printable(" ".join(str(value).split()))


def _of_polygon(place: Any, grid: TileGrid, most: int) -> NDArray[np.int64]:
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
    return cells[np.linspace(0, len(cells) - 1, min(len(cells), most), dtype=int)]
