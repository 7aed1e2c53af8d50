"""Find what has changed between two dates of one place."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError
from rs_otl.files import refuse_output
from rs_otl.geo.cells import Cells, refuse_mixed
from rs_otl.geo.class_map import TIFF, write_class_map, written_aside
from rs_otl.geo.extent import crs_name
from rs_otl.geo.formats import write_cog
from rs_otl.geo.grid import scaled
from rs_otl.geo.opening import open_embeddings
from rs_otl.geo.similar import unit
from rs_otl.progress import tracked

# Deviations above the median at which a cell has changed: docs/explore.md says why.
_DEVIATIONS = 4.0
# From the median absolute deviation to the standard deviation of a normal distribution.
_TO_DEVIATION = 1.4826
# Smaller angles are rounding, even if most of the place is equal to the bit.
_ROUNDING = 0.01
# Bytes of embeddings of one date that are compared at once.
_STRIP_BYTES = 64 * 2**20
# Tiles count as equally large if their sides on the ground differ by less than this share.
_SAME_SIZE = 0.1
_CLASSES, _COLOURS = ("unchanged", "changed"), ("#dddddd", "#d55e00")


@dataclass(frozen=True)
class Change:
    """What has changed between two dates.

    Attributes:
        path: GeoTIFF of the distances.
        mask: GeoTIFF of the cells that have changed.
        threshold: The distance above which a cell has changed.
        median: Median of the distances.
        shared: Cells with data at both dates.
        changed: Cells that have changed.
        hectares: Area that has changed; ``None`` for a scene without a place on Earth.
    """

    path: Path
    mask: Path
    threshold: float
    median: float
    shared: int
    changed: int
    hectares: float | None


def change(
    before: str | Path, after: str | Path, out: str | Path, *, progress: bool = False
) -> Change:
    """Find what has changed between two dates of one place.

    Each cell of the first date is compared with the cell of the second date in which its centre
    lies. Embeddings are scaled to length 1, and the mean of their date is subtracted: this removes
    what light, season and sensor change everywhere. The distance is 1 minus the cosine of the two
    results. Unchanged cells differ too, also because the images do not align exactly. So the
    threshold lies four robust standard deviations (from the median absolute deviation) above the
    median, and most of the place must be unchanged. Both are computed from the angles between
    embeddings, which have a shorter upper tail than the distances.

    Args:
        before: The GeoTIFF that :func:`rs_otl.geo.embed` made of one date, or a scene of an archive
            (``ARCHIVE/blocks/SCENE``).
        after: The same of the other date, with the same encoder and CRS; the grid may differ.
        out: GeoTIFF to write, one pixel per cell of ``before``: the distance, 0 to 2, NaN where
            a date has no data. ``NAME-mask.tif`` beside it holds 1 for unchanged and 2 for changed
            cells, 0 for nodata, with names and colours like a map of classes.
        progress: Whether to show a bar on stderr.

    Returns:
        What was written and found.

    Raises:
        InputError: A file cannot be used, or the two cannot be compared.
    """
    out = Path(out)
    if out.suffix.lower() not in TIFF:
        raise InputError(f"{out}: expected the name of a GeoTIFF, such as change.tif")
    mask = out.with_name(f"{out.stem}-mask{out.suffix}")
    for path in (out, mask, mask.with_suffix(".qml")):
        refuse_output(path)
    with ExitStack() as stack:
        first, second = (stack.enter_context(open_embeddings(path)) for path in (before, after))
        _refuse_incomparable(first, second)
        means = _means(first, second, progress)
        if means is None:
            raise InputError(
                f"{after}: no cell with data where {before} has some: expected two dates of one "
                "place"
            )
        distances = _distances(first, second, means, progress)
        shared = np.isfinite(distances)
        median, threshold = _threshold(distances[shared])
        changed = np.where(shared, 1 + (distances > threshold), 0).astype(np.uint8)
        with written_aside(out) as folder:
            counts, hectares = write_class_map(
                folder / mask.name, first, changed, _CLASSES, _COLOURS
            )
            write_cog(
                folder / out.name,
                distances[:, None],
                (1, *distances.shape),
                "float32",
                float("nan"),
                first.crs,
                scaled(first.shown_transform, first.grid.stride),
                ("cosine distance",),
                {"RS_OTL_BEFORE": first.provenance.scene, "RS_OTL_AFTER": second.provenance.scene},
            )
    area = None if hectares is None else hectares["changed"]
    return Change(out, mask, threshold, median, int(shared.sum()), counts["changed"], area)


def _threshold(distances: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median of distances, and the distance above which a cell has changed."""
    angles = np.arccos(1 - distances)
    median = float(np.median(angles))
    spread = _TO_DEVIATION * float(np.median(np.abs(angles - median)))
    threshold = min(median + max(_DEVIATIONS * spread, _ROUNDING), np.pi)
    return 1 - float(np.cos(median)), 1 - float(np.cos(threshold))


def _refuse_incomparable(first: Cells, second: Cells) -> None:
    refuse_mixed([first, second])
    if first.provenance.components is not None:
        raise InputError(
            f"{first.name}: principal components of different files cannot be compared; embed both "
            "without --pca"
        )
    if first.crs != second.crs:
        names = ["no CRS" if each.crs is None else crs_name(each.crs) for each in (first, second)]
        raise InputError(
            f"{first.name} is in {names[0]}, {second.name} in {names[1]}: expected one CRS; warp "
            "one scene to the other's, and embed it again"
        )
    sides = [_tile_side(each) for each in (first, second)]
    if not 1 / (1 + _SAME_SIZE) < sides[0] / sides[1] < 1 + _SAME_SIZE:
        raise InputError(
            f"tiles of {first.name} measure {sides[0]:.4g} on the ground, those of {second.name} "
            f"{sides[1]:.4g} (in the units of their CRS): expected the same; choose --tile so "
            "that they match"
        )


def _tile_side(cells: Cells) -> float:
    return float(cells.grid.tile * np.sqrt(abs(cells.transform.determinant)))


def _means(first: Cells, second: Cells, progress: bool) -> NDArray[np.float32] | None:
    """Return each date's mean embedding of length 1, (2, D); ``None`` if no cell is shared."""
    total, count = np.zeros((2, first.features)), 0
    for _, mine, theirs in _shared(first, second, "Reading", progress):
        total += [mine.sum(0), theirs.sum(0)]
        count += len(mine)
    return (total / count).astype(np.float32) if count else None


def _distances(
    first: Cells, second: Cells, means: NDArray[np.float32], progress: bool
) -> NDArray[np.float32]:
    """Return the distance of each cell of the first date, (rows, columns), NaN without data."""
    found = []
    for inside, mine, theirs in _shared(first, second, "Comparing", progress):
        cosines = (unit(mine - means[0]) * unit(theirs - means[1])).sum(1)
        strip = np.full(inside.shape, np.nan, np.float32)
        strip[inside] = np.clip(1 - cosines, 0, 2)
        found.append(strip)
    return np.concatenate(found)


def _shared(
    first: Cells, second: Cells, title: str, progress: bool
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]]:
    """Read both dates, some rows of the first date's cells at once.

    Yields:
        Which of these cells have data at both dates, (rows, columns), and their embeddings at the
        first and at the second date, of length 1, (n, D).
    """
    grid, other = first.grid, second.grid
    strip = max(1, _STRIP_BYTES // (4 * first.features * grid.columns))
    rows = iter(tracked(first.rows(), title, progress, grid.rows))
    columns = (np.arange(grid.columns) + 0.5) * grid.stride
    for top in range(0, grid.rows, strip):
        values = np.stack([next(rows) for _ in range(min(strip, grid.rows - top))])
        middle = (np.arange(top, top + len(values))[:, None] + 0.5) * grid.stride
        t = first.transform
        x, y = t.a * columns + t.b * middle + t.c, t.d * columns + t.e * middle + t.f
        column, row = second.position(x, y)
        inside = (column >= 0) & (column < other.width) & (row >= 0) & (row < other.height)
        inside &= np.isfinite(values[..., 0])
        theirs = np.zeros((0, first.features), np.float32)
        if inside.any():
            theirs = second.at(other.cells_at(column[inside], row[inside]))
            with_data = np.isfinite(theirs[:, 0])
            inside[inside] = with_data
            theirs = theirs[with_data]
        yield inside, unit(values[inside]), unit(theirs)
