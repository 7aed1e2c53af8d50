"""Where a raster lies: by its transform, its ground control points, or its RPCs."""

from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT

from rs_otl.datasets.raster import RASTER_ERRORS
from rs_otl.errors import InputError

# If an affine transform meets all points this well, in pixels, nothing is resampled.
_NEAR = 0.5
# Points lie in a line if their spread across it is at most this share of their spread along it.
_LINE = 1e-6
# If warping makes a raster larger by more than this, its points contradict each other.
_MOST_GROWTH = 16
_SPLINE_POINTS = 500
_WGS84 = CRS.from_epsg(4326)


class Placement(NamedTuple):
    """Where a raster lies.

    Attributes:
        dataset: What its pixels are read from: the raster itself, or a warped virtual raster.
        crs: ``None`` where there is none.
        transform: From (column, row) to (x, y).
        words: How points or RPCs placed it; ``None`` if they did not.
    """

    dataset: Any
    crs: CRS | None
    transform: Affine
    words: str | None


def placed(dataset: rasterio.DatasetReader, name: str, palette: bool) -> Placement:
    """Find out where an open raster lies.

    A file without a transform is placed by its ground control points: by an affine transform if
    that meets all points to half a pixel, else by warping. Without points it is warped by its
    RPCs, at the height on which the RPCs are centred. Geographic coordinates become UTM, in which
    pixels are square.

    Args:
        dataset: The raster; a warped raster reads from it.
        name: What it is called in errors.
        palette: Whether its values are those of a palette, which cannot be averaged.

    Raises:
        InputError: It has fewer than three points, points in a line or with coordinates that are
            not numbers, or a transform that gives all pixels one place.
    """
    transform = dataset.transform
    if transform != Affine.identity():
        if not (np.isfinite(transform[:6]).all() and transform.determinant):
            raise InputError(
                f"{name}: its transform {tuple(transform[:6])} gives its pixels no place; "
                "expected one with pixels of some size, or none (gdal_edit.py -unsetgt)"
            )
        return Placement(dataset, dataset.crs, transform, None)
    points, crs = dataset.gcps
    if points:
        return _by_points(dataset, name, points, crs or dataset.crs, palette)
    if dataset.rpcs is not None:
        return _by_rpcs(dataset, name, palette)
    return Placement(dataset, dataset.crs, transform, None)


def _by_points(
    dataset: rasterio.DatasetReader, name: str, points: Any, crs: CRS | None, palette: bool
) -> Placement:
    words = f"placed by its {len(points)} ground control points (GCPs)"
    pixels = np.array([(point.col, point.row) for point in points], float)
    places = np.array([(point.x, point.y) for point in points], float)
    if not np.isfinite([pixels, places]).all():
        raise _useless(name, points, "some have coordinates that are no numbers")
    if len(points) < 3 or _in_line(pixels) or _in_line(places):
        raise _useless(name, points, "expected three or more that lie in no line")
    if crs is not None and crs.is_geographic and np.ptp(places[:, 0]) > 180:
        places[:, 0] %= 360  # across the antimeridian
    columns = np.column_stack([pixels, np.ones(len(pixels))])
    # Centred, since coordinates of millions leave few digits for a pixel.
    middle = places.mean(0)
    factors = np.linalg.lstsq(columns, places - middle, rcond=None)[0]
    offsets = np.linalg.solve(factors[:2].T, (columns @ factors - (places - middle)).T)
    if np.abs(offsets).max() <= _NEAR:
        (a, d), (b, e), (c, f) = factors
        transform = Affine(a, b, c + middle[0], d, e, f + middle[1])
        return Placement(dataset, crs, transform, words)
    if np.abs(offsets).max() > max(dataset.width, dataset.height):
        raise _useless(name, points, "they contradict each other")
    target = crs
    if crs is not None and crs.is_geographic:
        target = _square_crs(*middle)
    # A spline meets every point; solving one for thousands takes minutes.
    method = {"SRC_METHOD": "GCP_TPS"} if len(points) <= _SPLINE_POINTS else {"MAX_GCP_ORDER": "3"}
    return _warped(dataset, name, palette, words, src_crs=crs, crs=target, **method)


def _by_rpcs(dataset: rasterio.DatasetReader, name: str, palette: bool) -> Placement:
    rpcs = dataset.rpcs
    numbers = np.array(
        [
            *(rpcs.lat_off, rpcs.lat_scale, rpcs.long_off, rpcs.long_scale, rpcs.height_off),
            *(*rpcs.line_num_coeff, *rpcs.line_den_coeff),
            *(*rpcs.samp_num_coeff, *rpcs.samp_den_coeff),
        ]
    )
    if not (np.isfinite(numbers).all() and rpcs.lat_scale and rpcs.long_scale):
        raise InputError(
            f"{name}: its RPCs hold NaN, or a scale of 0; get the file again, or georeference it"
        )
    return _warped(
        dataset,
        name,
        palette,
        f"placed by its RPCs, at a height of {rpcs.height_off:g} m everywhere",
        src_crs=_WGS84,
        crs=_square_crs(rpcs.long_off, rpcs.lat_off),
        RPC_HEIGHT=str(rpcs.height_off),
    )


def _warped(
    dataset: rasterio.DatasetReader, name: str, palette: bool, words: str, **options: Any
) -> Placement:
    alpha = [i for i in dataset.indexes if dataset.colorinterp[i - 1] == ColorInterp.alpha]
    resampling = Resampling.nearest if palette else Resampling.bilinear
    # Pixels outside the raster have no data.
    if dataset.nodata is None and not alpha:
        options["add_alpha"] = True
    try:
        warped = WarpedVRT(dataset, resampling=resampling, **options)
    except (*RASTER_ERRORS, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{name}: {words}, but cannot be warped by them ({reason})") from error
    grown = warped.width * warped.height / (dataset.width * dataset.height)
    if grown > _MOST_GROWTH:
        warped.close()
        raise InputError(
            f"{name}: {words}, which make it {grown:,.0f} times as large: they contradict each "
            "other; georeference it again"
        )
    where = "" if warped.crs is None else f" to {warped.crs.to_string():.40}"
    words = f"{words} and warped{where}, {warped.width:,} x {warped.height:,} pixels"
    return Placement(warped, warped.crs, warped.transform, words)


def _useless(name: str, points: Any, reason: str) -> InputError:
    return InputError(
        f"{name}: its {len(points)} ground control points (GCPs) give it no place: {reason}; "
        "georeference it again, or take them out (gdal_edit.py -unsetgcp)"
    )


def _in_line(points: NDArray[np.float64]) -> bool:
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(len(spread) < 2 or spread[1] <= _LINE * spread[0])


def _square_crs(longitude: float, latitude: float) -> CRS:
    """Return a CRS in metres around a place on Earth: UTM, or polar stereographic."""
    if not -80 <= latitude <= 84:
        return CRS.from_epsg(32661 if latitude > 0 else 32761)
    zone = int((longitude + 180) % 360 // 6) + 1
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)
