"""One georeferenced raster, read window by window."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from rs_otl.datasets._decode import UnreadableError, driver_of
from rs_otl.datasets.bands import alpha_is_imagery, name_bands, units_of
from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.spec import EncoderConfig

# A path, an open rasterio dataset, or an xarray.DataArray that rioxarray knows.
SceneLike = Any

# What reading and writing rasters raises: rasterio's functions in C let GDAL's own errors out.
RASTER_ERRORS = (RasterioError, CPLE_BaseError)

# What reading and writing rasters raises: rasterio's functions in C let GDAL's own errors out.
RASTER_ERRORS = (RasterioError, CPLE_BaseError)

# GDAL would keep a twentieth of the machine's memory in decoded blocks. It asks once, before the
# first raster is read.
_CACHE_BYTES = 128 * 2**20


class Scene:
    """A raster of any size, of which only windows are in memory.

    Attributes:
        name: Path, or the name of an array; used in errors.
        width: In pixels.
        height: In pixels.
        bands: Names of the bands, masks left out; see :func:`rs_otl.datasets.bands.name_bands`.
        named: Whether the file itself names its bands.
        dtype: Of the raw values.
        units: What a raw value counts, as :class:`rs_otl.spec.ImageSpec` says it.
        crs: ``None`` where the file has none: coordinates are then those of ``transform``.
        transform: From (column, row) to (x, y).
    """

    def __init__(self, source: SceneLike) -> None:
        """Open a scene.

        Args:
            source: A path, an open rasterio dataset, which stays the caller's to close, or an
                ``xarray.DataArray`` of the dimensions (band, y, x) with rioxarray's accessor.

        Raises:
            InputError: It is no raster, is empty, or holds complex numbers.
        """
        self._memory: MemoryFile | None = None
        self._own = True
        if isinstance(source, str | Path):
            self.name = str(source)
            self._dataset = _opened(Path(source))
        elif hasattr(source, "read_masks"):
            self.name, self._dataset, self._own = source.name, source, False
        else:
            self.name = str(getattr(source, "name", None) or "array")
            self._memory, self._dataset = _written(source, self.name)
        dataset = self._dataset
        colours = dataset.colorinterp
        alpha = [i for i in dataset.indexes if colours[i - 1] == ColorInterp.alpha]
        self._alpha_is_band = bool(alpha) and alpha_is_imagery(
            dataset.descriptions[alpha[0] - 1], _thumbnails(dataset, alpha[0])
        )
        self._indexes = [i for i in dataset.indexes if i not in alpha or self._alpha_is_band]
        if not self._indexes:
            raise InputError(f"{self.name}: holds no band but alpha, expected imagery")
        self.width, self.height = dataset.width, dataset.height
        self.dtype = np.result_type(*(dataset.dtypes[i - 1] for i in self._indexes))
        if self.dtype.kind == "c":
            raise InputError(f"{self.name}: holds complex numbers, expected imagery")
        self.units = units_of(self.dtype)
        self.crs: CRS | None = dataset.crs
        self.transform: Affine = dataset.transform
        self.bands, self.named = name_bands(
            [dataset.descriptions[i - 1] for i in self._indexes],
            [colours[i - 1].name for i in self._indexes],
        )
        flags = dataset.mask_flag_enums
        self._masked = any(MaskFlags.all_valid not in flags[i - 1] for i in self._indexes)

    @property
    def georeferenced(self) -> bool:
        """Whether the file says where it lies, if only by a transform."""
        return self.crs is not None or self.transform != Affine.identity()

    @property
    def nodata(self) -> float | None:
        """The value that means there is no data, if there is one."""
        return self._dataset.nodata

    @property
    def may_lack_data(self) -> bool:
        """Whether pixels may be without data: there is nodata, a mask, alpha, or fractions."""
        return self._masked or self.dtype.kind == "f"

    def fingerprint(self) -> str:
        """Return what changes when the file is replaced: its size, time and header, as a hash.

        Returns:
            16 hexadecimal digits.
        """
        dataset = self._dataset
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
        if self._own:
            self._dataset.close()
        if self._memory is not None:
            self._memory.close()

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
            Raw values, (C, height, width), of ``dtype``; and which pixels hold data, (height,
            width): those that are not nodata in every band, nor transparent, nor masked, nor
            not a number in any band.

        Raises:
            InputError: The file is truncated or damaged.
        """
        window = Window(left, top, width, height)
        chosen = self._indexes if bands is None else [self._indexes[i] for i in bands]
        try:
            with bounded_cache():
                pixels = self._dataset.read(chosen, window=window)
                valid = self._valid(pixels, window=window)
        except (RasterioError, OSError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise InputError(
                f"{self.name}: truncated or damaged at rows {top:,} to {top + height:,} "
                f"({reason}); get the file again"
            ) from error
        return pixels, valid

    def _valid(self, pixels: NDArray[Any], **where: Any) -> NDArray[np.bool_]:
        """Tell which pixels of a part that was read hold data."""
        shape = pixels.shape[1:]
        if self._alpha_is_band:
            # GDAL's mask would be that very band.
            nodata = self._dataset.nodata
            read = None if nodata is None else self._dataset.read(self._indexes, **where)
            valid = np.ones(shape, bool) if read is None else (read != nodata).any(axis=0)
        elif self._masked:
            valid = self._dataset.read_masks(self._indexes, **where).any(axis=0)
        else:
            valid = np.ones(shape, bool)
        if pixels.dtype.kind == "f":
            valid &= np.isfinite(pixels).all(axis=0)
        return valid

    def thumbnail(self, side: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the whole scene at a coarse step.

        Args:
            side: Longest side wanted, in pixels.

        Returns:
            Raw values (C, h, w) and which pixels hold data (h, w).

        Raises:
            InputError: The file is truncated or damaged.
        """
        step = max(1.0, max(self.width, self.height) / side)
        rows, columns = (max(1, round(length / step)) for length in (self.height, self.width))
        shape = (len(self._indexes), rows, columns)
        try:
            with bounded_cache():
                pixels = self._dataset.read(self._indexes, out_shape=shape)
                return pixels, self._valid(pixels, out_shape=shape)
        except (RasterioError, OSError) as error:
            raise InputError(f"{self.name}: truncated or damaged ({error})") from error

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

    def _position(self, name: str) -> int:
        if name.lower() in self.bands:
            return self.bands.index(name.lower())
        if name.isdigit() and 1 <= int(name) <= len(self.bands):
            return int(name) - 1
        raise InputError(
            f"--bands {name}: {self.name} has no such band; expected numbers from 1 to "
            f"{len(self.bands)} or of {', '.join(self.bands)}"
        )


def bounded_cache() -> rasterio.Env:
    """Return the environment in which GDAL's cache of blocks takes 128 MiB at most."""
    return rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES)


@contextlib.contextmanager
def quiet_georeference() -> Iterator[None]:
    """Silence the warning about a scene without georeference, which is reported otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _opened(path: Path) -> rasterio.DatasetReader:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a raster such as a GeoTIFF")
    driver, _ = driver_of(path)
    try:
        with quiet_georeference(), bounded_cache():
            return rasterio.open(path, driver=driver)
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).replace(str(path), "the file").split())
        raise UnreadableError(path, f"cannot be opened ({reason}); get the file again") from None


def _thumbnails(dataset: rasterio.DatasetReader, index: int) -> Iterator[NDArray[Any]]:
    """Read one band at a coarse step; nothing where it cannot be read, which later reads report."""
    shape = (min(256, dataset.height), min(256, dataset.width))
    with contextlib.suppress(RasterioError):
        yield dataset.read(index, out_shape=shape)


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
