"""One georeferenced raster, read window by window."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.dtypes import in_dtype_range
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import MemoryFile
from rasterio.windows import Window

from rs_otl.datasets.bands import alpha_is_imagery, name_bands, units_of
from rs_otl.datasets.placement import placed
from rs_otl.datasets.raster import (
    RASTER_ERRORS,
    Layout,
    UnreadableError,
    gdal,
    open_raster,
    quiet_georeference,
    reason_of,
)
from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.spec import EncoderConfig

# A path, an open rasterio dataset, or an xarray.DataArray that rioxarray knows.
SceneLike = Any

# Pixels a side that a scene is glanced at with, evenly spread over it.
_GLANCE = 64
# A scene whose edge is without data has at least this share of it in one value.
_COLLAR_SHARE = 0.05
# Values below 0 by a hundredth of the encoder's scale are no noise around dark surfaces.
_NOISE = 0.01
_NEGATIVE_SHARE = 0.1
# Values so many times smaller or larger than the encoder's are in other units.
_MUCH_SMALLER, _MUCH_LARGER = 100, 20
# Sides of the windows that tell alpha from imagery.
_WINDOW = 64


class _Glance(NamedTuple):
    stored: NDArray[Any]
    values: NDArray[Any]
    valid: NDArray[np.bool_]


class Scene:
    """A raster of any size, of which only windows are in memory.

    Attributes:
        name: Path, or the name of an array; used in errors.
        width: In pixels.
        height: In pixels.
        bands: Names of the bands, masks left out; see :func:`rs_otl.datasets.bands.name_bands`.
        named: Whether the file itself names its bands.
        dtype: Of the raw values: what is stored with the file's scale and offset applied.
        units: What a raw value counts, as :class:`rs_otl.spec.ImageSpec` says it.
        crs: ``None`` where the file has none: coordinates are then those of ``transform``.
        transform: From (column, row) to (x, y).
        placement: How points or RPCs placed it; ``None`` where a transform does, or nothing.
        given_nodata: Stored value that means there is no data, beside what the file says.
        dataset: The rasterio dataset that pixels are read from, warped where points demand it.
    """

    def __init__(self, source: SceneLike, nodata: float | None = None) -> None:
        """Open a scene.

        Args:
            source: A path, an open rasterio dataset, which stays the caller's to close, or an
                ``xarray.DataArray`` of the dimensions (band, y, x) with rioxarray's accessor.
            nodata: The stored value that means there is no data where all bands have it, beside
                what the file itself says.

        Raises:
            InputError: It is no raster, is empty, holds complex numbers, or is placed by points
                or a transform that place nothing.
        """
        with ExitStack() as opened:
            if isinstance(source, str | Path):
                self.name = str(source)
                dataset = opened.enter_context(_opened(Path(source)))
            elif hasattr(source, "read_masks"):
                self.name, dataset = source.name, source
            else:
                self.name = str(getattr(source, "name", None) or "array")
                memory, dataset = _written(source, self.name)
                opened.enter_context(memory)
                opened.enter_context(dataset)
            self._source = dataset
            indexes, self._alpha_is_band = _imagery(dataset, self.name)
            self._layout = Layout.of(dataset, indexes, self.name)
            if nodata is not None and not in_dtype_range(nodata, self._layout.stored):
                raise InputError(
                    f"nodata={nodata:g} (--nodata): no value of {self.name}, which stores "
                    f"{self._layout.stored}"
                )
            # What is no number never counts as data.
            self.given_nodata = None if nodata is None or np.isnan(nodata) else nodata
            place = placed(dataset, self.name, self._layout.table is not None)
            self.dataset, self.placement = place.dataset, place.words
            if place.dataset is not dataset:
                opened.enter_context(place.dataset)
            self.crs: CRS | None = place.crs
            self.transform: Affine = place.transform
            self.width, self.height = self.dataset.width, self.dataset.height
            self.dtype = self._layout.dtype
            self.units = units_of(self.dtype)
            self.bands, self.named = name_bands(self._layout.descriptions, self._layout.colours)
            flags = self.dataset.mask_flag_enums
            self._masked = any(MaskFlags.all_valid not in flags[i - 1] for i in indexes)
            self._opened = opened.pop_all()

    @property
    def georeferenced(self) -> bool:
        """Whether the file says where it lies, if only by a transform."""
        return self.crs is not None or self.transform != Affine.identity()

    @property
    def alpha_is_imagery(self) -> bool:
        """Whether a band that the file marks as alpha is one of ``bands``."""
        return self._alpha_is_band

    @property
    def imagery(self) -> list[int]:
        """Positions of the bands of the file that are imagery, in :meth:`read_stored`'s values."""
        return [index - 1 for index in self._layout.indexes]

    @property
    def may_lack_data(self) -> bool:
        """Whether pixels may be without data: there is nodata, a mask, alpha, or fractions."""
        return (
            self._masked
            or self.given_nodata is not None
            or self.dtype.kind == "f"
            or self._layout.transparent is not None
        )

    def fingerprint(self) -> str:
        """Return what changes when the file is replaced: its size, time and header, as a hash.

        Returns:
            16 hexadecimal digits.
        """
        dataset = self._source
        facts = [str(dataset.profile), str(dataset.tags()), str(dataset.overviews(1))]
        path = Path(dataset.name)
        if path.is_file():
            status = path.stat()
            facts += [str(status.st_size), str(status.st_mtime_ns)]
        return hashlib.blake2b("\n".join(facts).encode(), digest_size=8).hexdigest()

    def __enter__(self) -> "Scene":
        """Give itself, to be closed at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close what was opened here."""
        self._opened.close()

    def read(
        self, left: int, top: int, width: int, height: int, bands: Sequence[int] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window.

        Args:
            left: First column.
            top: First row.
            width: Columns.
            height: Rows; the window lies within the scene.
            bands: Positions in ``bands``; by default all.

        Returns:
            Raw values, (C, height, width), of ``dtype``, with the file's scale and offset applied
            and its palette expanded; and which pixels hold data, (height, width): those that are
            not nodata in every band, nor transparent, nor masked, nor not a number in any band.

        Raises:
            InputError: The file is truncated or damaged.
        """
        window = Window(left, top, width, height)
        stored, valid = self._read(self._layout.chosen(bands), window=window)
        return self._layout.values(stored, bands), valid

    def read_stored(
        self, left: int, top: int, width: int, height: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window of all bands of the file, alpha too, as they are stored.

        Args:
            left: As of :meth:`read`, like what follows.
            top: First row.
            width: Columns.
            height: Rows.

        Returns:
            Stored values, (bands, height, width), and which pixels hold data, (height, width).

        Raises:
            InputError: The file is truncated or damaged.
        """
        return self._read(list(self.dataset.indexes), window=Window(left, top, width, height))

    def thumbnail(self, side: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the whole scene at a coarse step.

        Args:
            side: Longest side wanted, in pixels.

        Returns:
            Raw values (C, h, w) and which pixels hold data (h, w).

        Raises:
            InputError: The file is truncated or damaged.
        """
        _, values, valid = self._thumbnail(side)
        return values, valid

    def _thumbnail(self, side: int) -> _Glance:
        step = max(1.0, max(self.width, self.height) / side)
        rows, columns = (max(1, round(length / step)) for length in (self.height, self.width))
        indexes = self._layout.chosen(None)
        stored, valid = self._read(indexes, out_shape=(len(indexes), rows, columns))
        return _Glance(stored, self._layout.values(stored), valid)

    @functools.cached_property
    def _glance(self) -> _Glance:
        """Some pixels from all over the scene, as they are stored and what they stand for."""
        return self._thumbnail(_GLANCE)

    def _read(self, indexes: list[int], **where: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read stored values of some bands of the file, and which pixels hold data."""
        try:
            with gdal():
                dtypes = [self.dataset.dtypes[index - 1] for index in indexes]
                stored = self.dataset.read(indexes, out_dtype=np.result_type(*dtypes), **where)
                return stored, self._valid(stored, indexes, **where)
        except (*RASTER_ERRORS, OSError) as error:
            rows = ""
            if "window" in where:
                top, height = where["window"].row_off, where["window"].height
                rows = f" at rows {top:,} to {top + height:,}"
            raise InputError(
                f"{self.name}: truncated or damaged{rows} "
                f"({reason_of(error, Path(self.name))}); get the file again"
            ) from error

    def _valid(self, stored: NDArray[Any], indexes: list[int], **where: Any) -> NDArray[np.bool_]:
        """Tell which pixels of a part that was read hold data."""
        bands = list(self._layout.indexes)
        valid = np.ones(stored.shape[1:], bool)
        nodata = [self.given_nodata] * len(bands) if self.given_nodata is not None else None
        if self._alpha_is_band:
            # GDAL's mask would be that very band.
            if nodata is None and None not in self.dataset.nodatavals:
                nodata = [self.dataset.nodatavals[index - 1] for index in bands]
        elif self._masked:
            if "out_shape" in where:
                where["out_shape"] = (len(bands), *stored.shape[1:])
            valid = self.dataset.read_masks(bands, **where).any(axis=0)
        if nodata is not None:
            read = (
                stored[[indexes.index(index) for index in bands]]
                if (set(bands) <= set(indexes))
                else self.dataset.read(bands, **where)
            )
            valid &= (read != np.array(nodata)[:, None, None]).any(axis=0)
        if stored.dtype.kind == "f":
            imagery = [number for number, index in enumerate(indexes) if index in bands]
            valid &= np.isfinite(stored[imagery]).all(axis=0)
        transparent = self._layout.transparent
        if transparent is not None:
            valid &= ~transparent[stored[indexes.index(bands[0])]]
        return valid

    def collar(self) -> str | None:
        """Say that much of the scene is one value from its edge inwards, if it is.

        Returns:
            The value as it is stored, the share of the scene, and what to do, in a line.

        Raises:
            InputError: The file is truncated or damaged.
        """
        from scipy import ndimage  # takes a second

        stored, _, valid = self._glance
        flat = valid & (stored == stored[0]).all(axis=0)
        edge = ndimage.binary_dilation(~valid)
        edge[[0, -1]] = edge[:, [0, -1]] = True
        values, counts = np.unique(stored[0][flat & edge], return_counts=True)
        if not len(values):
            return None
        value = values[counts.argmax()]
        region = ndimage.binary_propagation(
            flat & edge & (stored[0] == value), mask=(flat & (stored[0] == value))
        )
        if not _COLLAR_SHARE <= region.mean() < 1:
            return None
        return (
            f"{self.name}: {region.mean():.0%} of it, from the edge inwards, is {value:g} and "
            f"counts as data; if there is none, say so with nodata={value:g} (--nodata {value:g})"
        )

    def position(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return column and row, with fractions, of coordinates: numbers, or arrays of them."""
        t = ~self.transform
        return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f

    def coordinate(self, column: Any, row: Any) -> tuple[Any, Any]:
        """Return x and y of columns and rows with fractions: numbers, or arrays of them."""
        t = self.transform
        return t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f

    def match_bands(
        self, config: EncoderConfig, source: str, chosen: Sequence[str] | None = None
    ) -> list[int]:
        """Find the scene's bands that are an encoder's.

        Bands are found by name where the scene has all of the encoder's names, so a scene of
        red, green, blue and more does for an encoder of red, green and blue. Where neither
        names its bands, as many as the encoder has will do.

        Args:
            config: The encoder's.
            source: What the encoder is called in errors.
            chosen: Names or numbers from 1 of the scene's bands, in the encoder's order, where
                the user knows better.

        Returns:
            Positions in ``bands``, one for each of the encoder's.

        Raises:
            InputError: The scene has other bands or units.
        """
        wanted = config.spec.bands
        if self.units != config.spec.units:
            raise InputError(
                f"{source} was trained on {config.spec.units}, {self.name} is in {self.units}: "
                "expected the same units; gdal_translate -ot Byte -scale makes 8-bit counts"
            )
        if chosen is not None:
            if len(chosen) != len(wanted):
                raise InputError(
                    f"--bands {','.join(chosen)}: expected {len(wanted)} bands of {self.name}, "
                    f"for the encoder's {', '.join(wanted)}"
                )
            return [self._position(name) for name in chosen]
        if set(wanted) <= set(self.bands):
            return [self.bands.index(name) for name in wanted]
        nameless = not self.named and all(name.startswith("band") for name in wanted)
        if nameless and len(wanted) == len(self.bands):
            return list(range(len(wanted)))
        raise InputError(
            f"{source} was trained on the bands {', '.join(wanted)}, {self.name} has "
            f"{', '.join(self.bands)}: expected the same; --bands says which of the scene's are "
            "the encoder's, for example --bands 3,2,1"
        )

    def refuse_other_values(self, config: EncoderConfig, source: str, bands: Sequence[int]) -> None:
        """Raise an :class:`InputError` if values are plainly not in an encoder's units.

        The name of the units is the same for reflectance from 0 to 1, reflectance in thousands
        and backscatter in decibels, so some pixels are compared with the encoder's scale.

        Args:
            config: The encoder's.
            source: What the encoder is called in errors.
            bands: Positions of the scene's bands that are the encoder's.
        """
        _, values, valid = self._glance
        chosen = values[list(bands)][:, valid].astype(np.float64)
        if self.dtype == np.uint8 or not chosen.size:
            return
        scale = config.spec.scale
        trained = f"{source} was trained on values from 0 to {scale:.4g}"
        negative = float((chosen < -_NOISE * scale).mean())
        if negative > _NEGATIVE_SHARE:
            raise InputError(
                f"{self.name}: {negative:.0%} of the values lie below 0, down to "
                f"{chosen.min():.4g}; {trained}: expected the same, neither decibels (10 ** (dB / "
                "10) is the power) nor normalised values"
            )
        top, middle = float(np.percentile(chosen, 99.9)), float(np.median(chosen))
        if 0 < top < scale / _MUCH_SMALLER or middle > scale * _MUCH_LARGER:
            raise InputError(
                f"{self.name}: values from {chosen.min():.4g} to {chosen.max():.4g}; {trained}: "
                "expected the same units; gdal_edit.py -scale sets the factor that is applied when "
                "the scene is read"
            )

    def _position(self, name: str) -> int:
        if name.lower() in self.bands:
            return self.bands.index(name.lower())
        if name.isdigit() and 1 <= int(name) <= len(self.bands):
            return int(name) - 1
        raise InputError(
            f"--bands {name}: {self.name} has no such band; expected numbers from 1 to "
            f"{len(self.bands)} or of {', '.join(self.bands)}"
        )


def _opened(path: Path) -> rasterio.DatasetReader:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a raster such as a GeoTIFF")
    try:
        with quiet_georeference():
            return open_raster(path)
    except (*RASTER_ERRORS, OSError) as error:
        reason = f"cannot be opened ({reason_of(error, path)}); get the file again"
        raise UnreadableError(path, reason) from None


def _imagery(dataset: rasterio.DatasetReader, name: str) -> tuple[list[int], bool]:
    """Return the bands that are imagery, and whether one that is marked as alpha is."""
    marked = [i for i in dataset.indexes if dataset.colorinterp[i - 1] == ColorInterp.alpha]
    is_band = bool(marked) and alpha_is_imagery(
        dataset.descriptions[marked[0] - 1], _windows(dataset, marked[0])
    )
    indexes = [i for i in dataset.indexes if i not in marked or is_band]
    if not indexes:
        raise InputError(f"{name}: holds no band but alpha, expected imagery")
    return indexes, is_band


def _windows(dataset: rasterio.DatasetReader, index: int) -> Iterator[NDArray[Any]]:
    """Read one band in nine windows; nothing where it cannot be read, which later reads report."""
    width, height = min(_WINDOW, dataset.width), min(_WINDOW, dataset.height)
    with suppress(*RASTER_ERRORS), gdal():
        for top in sorted({(dataset.height - height) * part // 2 for part in range(3)}):
            for left in sorted({(dataset.width - width) * part // 2 for part in range(3)}):
                yield dataset.read(index, window=Window(left, top, width, height))


def _written(array: Any, name: str) -> tuple[MemoryFile, rasterio.DatasetReader]:
    """Write an xarray.DataArray to a GeoTIFF in memory, so that it is read like any other."""
    require_extra("xarray", f"{name}: a scene in an xarray object")
    import rioxarray  # noqa: F401 - adds the accessor `rio`

    if getattr(array, "ndim", 0) != 3 or not hasattr(array, "rio"):
        raise InputError(
            f"{name}: expected a path, a rasterio dataset, or an xarray.DataArray of (band, y, x)"
        )
    memory = MemoryFile(ext=".tif")
    with quiet_georeference():
        # Named, since rioxarray keeps the blocks of the file that the array came from.
        blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256}
        array.rio.to_raster(memory.name, driver="GTiff", **blocks)
        return memory, memory.open()
