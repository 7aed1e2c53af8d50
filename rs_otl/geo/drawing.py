"""A drawn scene and a few labelled places on it, to try maps and searches on."""

from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from scipy.ndimage import distance_transform_edt

from rs_otl.datasets.landscape import LANDSCAPE, draw_landscape
from rs_otl.files import atomic_folder, refuse_output
from rs_otl.geo.formats import write_cog

SIDE = 1024
_SEED = 0
_METRES = 1.0
# Somewhere in zone 32 north; the place means nothing.
_CRS, _LEFT, _TOP = "EPSG:32632", 600_000, 5_400_000
_LABELS = 3  # of each class
# What is built over at the later date: its side and corner, in parts of the scene's side.
_BUILT, _BUILT_ROW, _BUILT_COLUMN = 4, 0.3, 0.5
_APART = 120  # pixels between labels of a class, so that they come from several parcels


def demo(out: str | Path = "demo") -> Path:
    """Draw a scene, and label some places on it.

    Args:
        out: Folder to make.

    Returns:
        The folder. It holds ``scene.tif``, 1,024 x 1,024 pixels of 1 m in red, green, blue and near
        infrared, ``labels.geojson``, three points of each of six land covers, and ``later.tif``,
        the same place in other light, of which a sixteenth has changed.

    Raises:
        InputError: The folder exists, or cannot be written.
    """
    folder = Path(out)
    refuse_output(folder)
    pixels, cover = draw_landscape(SIDE, _SEED)
    transform = Affine(_METRES, 0, _LEFT, 0, -_METRES, _TOP)
    rows, columns, classes = _places(cover)
    x, y = transform * (columns + 0.5, rows + 0.5)
    labels = gpd.GeoDataFrame(
        {"class": classes}, geometry=gpd.points_from_xy(x, y), crs=_CRS
    ).to_crs("EPSG:4326")
    with atomic_folder(folder) as aside:
        aside.mkdir()
        for name, date in (("scene.tif", pixels), ("later.tif", _later(pixels))):
            write_cog(
                aside / name,
                date.transpose(1, 0, 2),
                date.shape,
                "uint8",
                None,
                CRS.from_user_input(_CRS),
                transform,
                ("red", "green", "blue", "nir"),
                {"TIFFTAG_IMAGEDESCRIPTION": "drawn by rs-otl demo; no real place"},
            )
        labels.to_file(aside / "labels.geojson", driver="GeoJSON", engine="pyogrio")
    return folder


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
