"""Write a raster of classes: the map with its legend, and its patches as polygons."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine, features
from scipy import ndimage

from rs_otl.errors import InputError
from rs_otl.files import atomic_write, unwritten
from rs_otl.geo.areas import row_areas
from rs_otl.geo.cells import Cells
from rs_otl.geo.formats import write_cog
from rs_otl.geo.grid import scaled
from rs_otl.geo.legend import rgba, write_attributes, write_map_style

TIFF = (".tif", ".tiff")


def write_class_map(
    out: Path,
    cells: Cells,
    chart: NDArray[np.uint8],
    classes: Sequence[str],
    colours: Sequence[str],
    polygons: bool = False,
) -> tuple[dict[str, int], dict[str, float] | None]:
    """Write a map, with its legend for GDAL (``MAP.aux.xml``) and QGIS (``MAP.qml``) beside it.

    Args:
        out: The GeoTIFF; must be new.
        cells: The scene's cells.
        chart: The class of each cell from 1, 0 where there is no data, (rows, columns).
        classes: Names of the classes.
        colours: Colour of each class, as ``#rrggbb``.
        polygons: Whether to write ``MAP.gpkg`` too.

    Returns:
        Cells of each class; and its hectares, ``None`` for a scene without a place on Earth.
    """
    ground = np.zeros(chart.shape, np.float32)
    measure = row_areas(cells)
    if measure is not None:
        for number in range(len(ground)):
            ground[number] = measure(number)
    length = len(classes) + 1
    counts = np.bincount(chart.ravel(), minlength=length)[1:].tolist()
    hectares = None
    if measure is not None:
        hectares = np.bincount(chart.ravel(), ground.ravel(), length)[1:].tolist()
    palette = {0: (0, 0, 0, 0)} | {
        value: rgba(colour) for value, colour in enumerate(colours, start=1)
    }
    write_cog(
        out,
        chart[:, None],
        (1, *chart.shape),
        "uint8",
        0,
        cells.crs,
        scaled(cells.shown_transform, cells.grid.stride),
        ("class",),
        cells.provenance.model_copy(update={"classes": tuple(classes)}).tags(),
        palette,
        "NEAREST",
    )
    write_attributes(out, classes, colours, counts, hectares, chart)
    write_map_style(out, classes, colours)
    if polygons:
        _write_polygons(out.with_suffix(".gpkg"), cells, chart, ground, classes)
    areas = None if hectares is None else dict(zip(classes, hectares, strict=True))
    return dict(zip(classes, counts, strict=True)), areas


def _write_polygons(
    out: Path,
    cells: Cells,
    chart: NDArray[np.uint8],
    ground: NDArray[np.float32],
    classes: Sequence[str],
) -> None:
    """Write the patches of a map, cells of one class that share sides, as polygons."""
    import geopandas  # takes a second
    import shapely

    patches, values = np.zeros(chart.shape, np.int32), [0]
    for value in range(1, len(classes) + 1):
        numbered, count = ndimage.label(chart == value)
        patches[numbered > 0] = numbered[numbered > 0] + len(values) - 1
        values += [value] * count
    hectares = np.bincount(patches.ravel(), ground.ravel(), len(values))
    grid, t = cells.grid, cells.shown_transform
    shapes, numbers = [], []
    for geometry, number in features.shapes(
        patches, mask=patches > 0, connectivity=4, transform=Affine.scale(grid.stride)
    ):
        shapes.append(shapely.geometry.shape(geometry))
        numbers.append(int(number))
    # The last row and column of cells may extend beyond the scene.
    inside = shapely.clip_by_rect(np.array(shapes, object), 0, 0, grid.width, grid.height)
    placed = [shapely.affinity.affine_transform(s, (t.a, t.b, t.d, t.e, t.c, t.f)) for s in inside]
    columns: dict[str, Any] = {
        "class": [classes[values[number] - 1] for number in numbers],
        "value": [values[number] for number in numbers],
    }
    if ground.any():
        columns["hectares"] = hectares[numbers].round(4)
    crs = None if cells.crs is None else cells.crs.to_wkt()
    write_features(out, geopandas.GeoDataFrame(columns, geometry=placed, crs=crs))


def write_features(out: Path, frame: Any) -> None:
    """Write a GeoDataFrame as GeoJSON, GeoPackage or GeoParquet, by the file's name.

    Raises:
        InputError: It cannot be written, or exists.
    """
    with atomic_write(out, new=True) as aside, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a missing CRS
        try:
            if out.suffix.lower() == ".parquet":
                frame.to_parquet(aside)
            else:
                frame.to_file(aside, layer=out.stem)
        except OSError:
            raise
        except Exception as error:  # errors of pyogrio and GDAL have no common base class
            reason = " ".join(str(error).split())
            raise InputError(f"{out}: cannot be written ({reason})") from error


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """Yield a temporary folder for maps and the files beside them; move all into place at the end.

    Args:
        out: The map of one scene, to be written into the folder under its name; or the final
            name of the folder.

    Raises:
        InputError: A file cannot be written, or exists; the error names its final path.
    """
    target = out.parent if out.suffix.lower() in TIFF else out
    try:
        with TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as aside:
            folder = Path(aside) / "maps"
            folder.mkdir()
            try:
                yield folder
            except InputError as error:
                shown = os.path.join(target, "") if target != Path() else ""
                raise InputError(str(error).replace(f"{folder}{os.sep}", shown)) from error
            _move_into_place(folder, out)
    except OSError as error:
        raise unwritten(out, error) from error


def _move_into_place(folder: Path, out: Path) -> None:
    """Move complete files into place, the map last.

    Args:
        folder: The temporary folder.
        out: The map of one scene, which lies in the folder under its name; or the final name of
            the folder.

    Raises:
        InputError: A file cannot be written, or exists.
    """
    if out.suffix.lower() not in TIFF:
        try:
            folder.rename(out)
        except OSError as error:
            raise unwritten(out, error) from error
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == out.name):
        # An .aux.xml that a deleted map has left may be replaced.
        of_gdal = path.name.endswith(".aux.xml")
        with atomic_write(out.with_name(path.name), new=not of_gdal) as aside:
            path.rename(aside)
