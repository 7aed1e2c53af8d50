"""Draw a scene and label a few places on it, to try maps and searches."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from scipy.ndimage import distance_transform_edt

from rs_otl.datasets.landscape import LANDSCAPE, draw_landscape, draw_two_dates
from rs_otl.extras import require_extra
from rs_otl.files import atomic_folder, refuse_output
from rs_otl.geo.formats import write_cog

if TYPE_CHECKING:  # it comes with an extra
    import pystac

SIDE = 1024
BANDS = ("red", "green", "blue", "nir")
# The catalog: side of both places together in pixels, and the years of its dates.
CATALOG_SIDE = 768
YEARS = (2019, 2024)
_SEED = 0
_CATALOG_SEED = 1  # new houses lie in the east, new fields in the west
_METRES = 1.0
# Somewhere in zone 32 north; the place means nothing.
_CRS, _LEFT, _TOP = "EPSG:32632", 600_000, 5_400_000
_TRANSFORM = Affine(_METRES, 0, _LEFT, 0, -_METRES, _TOP)
_LABELS = 3  # of each class
# What is built over at the later date: a quarter of the scene's side, from this corner (shares).
_BUILT, _BUILT_ROW, _BUILT_COLUMN = 4, 0.3, 0.5
_APART = 120  # pixels between labels of a class, so that they come from several parcels


def demo(out: str | Path = "demo") -> Path:
    """Draw a scene, and label some places on it.

    Args:
        out: Folder to make.

    Returns:
        The folder. It holds ``scene.tif``, 1,024 x 1,024 pixels of 1 m in red, green, blue and near
        infrared, ``labels.geojson``, three points of each of six land covers, and ``later.tif``,
        the same place in other light, with a sixteenth of it changed.

    Raises:
        InputError: The folder exists, or cannot be written.
    """
    folder = Path(out)
    refuse_output(folder)
    pixels, cover = draw_landscape(SIDE, _SEED)
    with atomic_folder(folder) as aside:
        aside.mkdir()
        for name, date in (("scene.tif", pixels), ("later.tif", _later(pixels))):
            _write(aside / name, date, BANDS)
        _write_labels(aside / "labels.geojson", cover)
    return folder


def demo_catalog(out: str | Path = "places") -> Path:
    """Draw a STAC catalog of two places, side by side, at two dates; and label some spots.

    Args:
        out: Folder to make.

    Returns:
        The folder. It holds ``catalog.json`` with an item for each place and year, ``west-2019`` to
        ``east-2024``: 768 x 384 pixels of 1 m in red, green, blue and near infrared;
        ``labels.geojson``, three points of each of six land covers that hold for both years; and
        what was drawn, ``truth/cover-2019.tif`` and ``truth/cover-2024.tif`` (numbered from 1, in
        the order of the names) and ``truth/changed.tif`` (1 where they differ).

    Raises:
        InputError: The folder exists or cannot be written, or pystac is missing.
    """
    require_extra("stac", "a STAC catalog")
    import pystac

    folder = Path(out)
    refuse_output(folder)
    dates, covers = draw_two_dates(CATALOG_SIDE, _CATALOG_SEED)
    changed = covers[0] != covers[1]
    catalog = pystac.Catalog("drawn", "Two places at two dates, drawn by rs-otl demo")
    half = CATALOG_SIDE // 2
    with atomic_folder(folder) as aside:
        aside.mkdir()
        for year, pixels in zip(YEARS, dates, strict=True):
            for place, left in (("west", 0), ("east", half)):
                name = f"{place}-{year}"
                (aside / name).mkdir()
                _write(aside / name / f"{name}.tif", pixels[:, :, left : left + half], BANDS, left)
                catalog.add_item(_item(name, year, left, pixels.shape[1], half))
        # Not the real folder: pystac treats a folder whose name has a dot as a file.
        catalog.normalize_hrefs("/drawn")
        catalog.save(pystac.CatalogType.SELF_CONTAINED, dest_href=str(aside))
        (aside / "truth").mkdir()
        for year, cover in zip(YEARS, covers, strict=True):
            drawn = (1 + cover[None]).astype(np.uint8)
            _write(aside / "truth" / f"cover-{year}.tif", drawn, ("cover",))
        _write(aside / "truth" / "changed.tif", changed[None].astype(np.uint8), ("changed",))
        _write_labels(aside / "labels.geojson", np.where(changed, -1, covers[0]))
    return folder


def _item(name: str, year: int, left: int, height: int, width: int) -> "pystac.Item":
    """Describe a drawn scene, whose file lies beside the item."""
    import pystac

    x, y = _LEFT + left * _METRES, _TOP - height * _METRES
    outline = shapely.box(x, y, x + width * _METRES, y + height * _METRES)
    degrees = gpd.GeoSeries([outline], crs=_CRS).to_crs("EPSG:4326").iloc[0]
    item = pystac.Item(
        name,
        shapely.geometry.mapping(degrees),
        list(degrees.bounds),
        datetime(year, 7, 1, 10, tzinfo=UTC),
        {"gsd": _METRES},
    )
    asset = pystac.Asset(f"./{name}.tif", media_type=pystac.MediaType.COG, roles=["data"])
    item.add_asset("image", asset)
    return item


def _write(path: Path, pixels: NDArray[np.uint8], bands: Sequence[str], left: int = 0) -> None:
    """Write pixels (bands, height, width) that begin ``left`` pixels right of the corner."""
    write_cog(
        path,
        pixels.transpose(1, 0, 2),
        pixels.shape,
        "uint8",
        None,
        CRS.from_user_input(_CRS),
        _TRANSFORM * Affine.translation(left, 0),
        bands,
        {"TIFFTAG_IMAGEDESCRIPTION": "drawn by rs-otl demo; no real place"},
    )


def _write_labels(path: Path, cover: NDArray[np.intp]) -> None:
    rows, columns, classes = _places(cover)
    x, y = _TRANSFORM * (columns + 0.5, rows + 0.5)
    points = gpd.points_from_xy(x, y)
    labels = gpd.GeoDataFrame({"class": classes}, geometry=points, crs=_CRS).to_crs("EPSG:4326")
    labels.to_file(path, driver="GeoJSON", engine="pyogrio")


def _later(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the scene at another date: another landscape in a part of it, other light and noise."""
    side = pixels.shape[1] // _BUILT
    row, column = (int(part * pixels.shape[1]) for part in (_BUILT_ROW, _BUILT_COLUMN))
    later = pixels.astype(np.float32)
    later[:, row : row + side, column : column + side] = draw_landscape(side, _SEED + 1)[0]
    noise = np.random.default_rng(_SEED).normal(0, 2, later.shape)
    return np.asarray(np.clip(0.92 * later + 3 + noise, 0, 255).astype(np.uint8))


def _places(cover: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Choose the places that lie deepest in their land cover: rows, columns and classes."""
    chosen: list[tuple[int, int]] = []
    y, x = np.mgrid[: cover.shape[0], : cover.shape[1]]
    for kind in range(len(LANDSCAPE)):
        # The scene's edge counts as a border: a tile around a label lies inside.
        depth = distance_transform_edt(np.pad(cover == kind, 1))[1:-1, 1:-1]
        for _ in range(_LABELS):
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            chosen.append((int(row), int(column)))
            depth = np.where(np.hypot(y - row, x - column) < _APART, 0, depth)
    places = np.array(chosen)
    return places[:, 0], places[:, 1], [name for name in LANDSCAPE for _ in range(_LABELS)]
