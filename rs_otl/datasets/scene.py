"""One georeferenced raster, read window by window."""

import functools
import hashlib
import shlex
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

from rs_otl.datasets.bands import NO_DECIBELS, alpha_is_imagery, choose_bands, name_bands
from rs_otl.datasets.placement import placed
from rs_otl.datasets.products import Product
from rs_otl.datasets.raster import (
    RASTER_ERRORS,
    Layout,
    gdal,
    quiet_georeference,
    reason_of,
    retried,
    units_of,
)
from rs_otl.datasets.sources import Source, one_source, source_of
from rs_otl.errors import InputError, note
from rs_otl.extras import require_extra
from rs_otl.sensors import bands_of, described, match
from rs_otl.spec import RGB, Band, EncoderConfig, ImageSpec, Quantity, Values, made_printable

# A path, an address, a Source, an open rasterio dataset, or an xarray.DataArray that rioxarray
# knows.
SceneLike = Any

# Pixels a side of a quick look at a scene, evenly spread over it.
_GLANCE = 64
# One value from the edge inwards is reported if it covers at least this share of the scene.
_COLLAR_SHARE = 0.05
# Values below 0 by a hundredth of the encoder's scale are not noise around dark surfaces.
_NOISE = 0.01
_NEGATIVE_SHARE = 0.1
# Values so many times smaller or larger than the encoder's are in other units.
_MUCH_SMALLER, _MUCH_LARGER = 100, 20
# Sides of the windows that tell alpha from imagery.
_WINDOW = 64
# What ESA has added to Sentinel-2's values since 2022.
_ADDED = 1000
# The median of a scene of backscatter in dB lies between these.
_FAINTEST, _BRIGHTEST = -80, 20


class _Glance(NamedTuple):
    stored: NDArray[Any]
    values: NDArray[Any]
    valid: NDArray[np.bool_]


class Scene:
    """A raster of any size; only windows of it are in memory.

    Attributes:
        name: Path, or the name of an array; used in errors.
        width: In pixels.
        height: In pixels.
        bands: Names of the bands, masks left out; see :func:`rs_otl.datasets.bands.name_bands`.
        named: Whether the file itself names its bands.
        known: What is known about each band besides its name.
        crs: ``None`` where the file has none: coordinates are then those of ``transform``.
        transform: From (column, row) to (x, y).
        placement: How points or RPCs placed it; ``None`` if they did not.
        given_nodata: Stored value that means there is no data, besides what the file says.
        origin: Where it lies; ``None`` for a dataset that was open already, or an array.
        remote: Whether some of it lies on a server.
        dataset: The rasterio dataset that pixels are read from; warped if points or RPCs need it.
    """

    def __init__(
        self, source: SceneLike, nodata: float | None = None, values: Values | None = None
    ) -> None:
        """Open a scene.

        Args:
            source: The path of a raster, of a product with a file for each band (its folder or
                zip, or the name of its files with ``*`` for the band), or of a mosaic (a folder of
                files side by side, or a tile index); as text also an address, or a STAC item; what
                :func:`rs_otl.datasets.sources.scenes_of` returns; an open rasterio dataset, which
                the caller closes; or an ``xarray.DataArray`` of the dimensions (band, y, x) with
                rioxarray's accessor.
            nodata: The stored value that means there is no data where all bands have it, besides
                what the file itself says.
            values: What stored values stand for, where the file does not say it, or says it wrong.

        Raises:
            InputError: It is no raster, is empty, holds complex numbers, or has points or a
                transform that give it no place.
        """
        product: Product | None = None
        if isinstance(source, str):
            source = one_source(source)
        elif isinstance(source, Path):
            source = source_of(source)
        self.origin = source if isinstance(source, Source) else None
        self.remote = self.origin is not None and self.origin.remote
        # Any question about a raster on a server may read from the server.
        with ExitStack() as opened, gdal(self.remote):
            if self.origin is not None:
                self.name, product = self.origin.name, self.origin.product
                dataset = self.origin.open(opened)
            elif hasattr(source, "read_masks"):
                self.name, dataset = source.name, source
            else:
                self.name = str(getattr(source, "name", None) or "array")
                memory, dataset = _written(source, self.name)
                opened.enter_context(memory)
                opened.enter_context(dataset)
            self._source = dataset
            indexes, self._alpha_is_band = _imagery(dataset, self.name, self.remote)
            self._given = values or Values()
            if product is not None and self._given.quantity is None:
                self._given = self._given.model_copy(update={"quantity": product.quantity})
            self._lacking = "" if product is None else product.lacking
            self._files = [] if self.origin is None else self.origin.files
            self._layout = Layout.of(dataset, indexes, self.name, self._given)
            if nodata is not None and not in_dtype_range(nodata, self._layout.stored):
                raise InputError(
                    f"nodata={nodata:g} (--nodata): no value of {self.name}, which stores "
                    f"{self._layout.stored}"
                )
            # NaN never counts as data.
            self.given_nodata = None if nodata is None or np.isnan(nodata) else nodata
            place = placed(dataset, self.name, self._layout.table is not None)
            self.dataset, self.placement = place.dataset, place.words
            if place.dataset is not dataset:
                opened.enter_context(place.dataset)
            self.crs: CRS | None = place.crs
            self.transform: Affine = place.transform
            self.width, self.height = self.dataset.width, self.dataset.height
            self.bands, self.named = name_bands(self._layout.descriptions, self._layout.colours)
            self.known: tuple[Band, ...] = (
                described(self.bands, product.sensor if product else Path(self.name).name)
                if self.named
                else _by_colour(self.bands, self._layout.colours)
            )
            if product is not None and product.known and len(product.known) == len(self.bands):
                self.known = product.known
            flags = self.dataset.mask_flag_enums
            self._masked = any(MaskFlags.all_valid not in flags[i - 1] for i in indexes)
            self._opened = opened.pop_all()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the raw values: what is stored with scale and offset applied."""
        return self._layout.dtype

    @property
    def units(self) -> str:
        """What a raw value counts, as :class:`rs_otl.spec.ImageSpec` says it."""
        return self._layout.units

    @property
    def quantity(self) -> Quantity | None:
        """What a raw value measures; ``None`` where nothing says it."""
        return self._layout.quantity

    @property
    def values(self) -> Values:
        """What stored values are taken to stand for, besides what the file says."""
        return self._given

    @property
    def is_product(self) -> bool:
        """Whether it is read from several files, or its units are in another file."""
        origin = self.origin
        return origin is not None and (origin.product is not None or origin.mosaic is not None)

    @property
    def short(self) -> str:
        """Its short name: the file's name, or the id of a STAC item."""
        return Path(self.name).name if self.origin is None else self.origin.short

    @property
    def address(self) -> str | None:
        """Address or path of a scene on a server or from STAC, without secrets; else ``None``."""
        origin = self.origin
        return origin.name if origin is not None and (origin.remote or origin.id) else None

    @property
    def stem(self) -> str:
        """The name, without a suffix, of files made from it."""
        item = self.origin is not None and bool(self.origin.id)
        return made_printable(self.short if item else Path(self.short).stem)

    @property
    def georeferenced(self) -> bool:
        """Whether the file says where it lies, even if only by a transform."""
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
        """Whether pixels may have no data: there is nodata, a mask, alpha, or floating point."""
        return (
            self._masked
            or self.given_nodata is not None
            or self.dtype.kind == "f"
            or self._layout.transparent is not None
        )

    def fingerprint(self) -> str:
        """Return a hash that changes when the file is replaced: of its size, time and header.

        Returns:
            16 hexadecimal digits.
        """
        dataset = self._source
        with gdal(self.remote):
            facts = [str(dataset.profile), str(dataset.tags())]
            if not self.remote:
                facts.append(str(dataset.overviews(1)))
        for path in self._files or [Path(dataset.name)]:
            if not path.is_file():
                continue
            status = path.stat()
            facts += [str(status.st_size), str(status.st_mtime_ns)]
        if self.origin is not None and self.remote:
            # GDAL does not give the time of a file on a server: some pixels stand for all.
            facts += [
                self.origin.version,
                hashlib.blake2b(self._glance.stored.tobytes()).hexdigest(),
            ]
        return hashlib.blake2b("\n".join(facts).encode(), digest_size=8).hexdigest()

    def __enter__(self) -> "Scene":
        """Return the scene, which is closed at the end of the block."""
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
            and its palette expanded; and which pixels hold data, (height, width). A pixel holds no
            data if every band is nodata, if it is transparent or masked, or if a band is NaN or
            infinite.

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
            left: First column.
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
        """Some pixels from all over the scene: stored values, and what they stand for."""
        return self._thumbnail(_GLANCE)

    def _read(self, indexes: list[int], **where: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read stored values of some bands of the file, and which pixels hold data."""
        dtypes = [self.dataset.dtypes[index - 1] for index in indexes]

        def read() -> tuple[NDArray[Any], NDArray[np.bool_]]:
            with gdal(self.remote):
                stored = self.dataset.read(indexes, out_dtype=np.result_type(*dtypes), **where)
                return stored, self._valid(stored, indexes, **where)

        try:
            return retried(read) if self.remote else read()
        except (*RASTER_ERRORS, OSError) as error:
            rows = ""
            if "window" in where:
                top, height = where["window"].row_off, where["window"].height
                rows = f" at rows {top:,} to {top + height:,}"
            raise InputError(
                f"{self.name}: {'cannot be read' if self.remote else 'truncated or damaged'}{rows} "
                f"({reason_of(error, self.name)}); "
                f"{'try again later' if self.remote else 'get the file again'}"
            ) from error

    def _valid(self, stored: NDArray[Any], indexes: list[int], **where: Any) -> NDArray[np.bool_]:
        """Tell which pixels of a part that was read hold data."""
        bands = list(self._layout.indexes)
        valid = np.ones(stored.shape[1:], bool)
        nodata = [self.given_nodata] * len(bands) if self.given_nodata is not None else None
        if self._alpha_is_band:
            # GDAL's mask would be the alpha band.
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
        """Report it if much of the scene is one value from the edge inwards.

        Returns:
            The value as it is stored, the share of the scene, and what to do, in a line; else
            ``None``.

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
            f"counts as data; if these pixels have no data, say so with nodata={value:g} "
            f"(--nodata {value:g})"
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
        """Find the scene's bands that an encoder was trained on.

        Bands are found by name, alias, common name and wavelength, see
        :func:`rs_otl.sensors.match`; if not by name, a note on stderr says how. If neither the
        scene nor the encoder names its bands, their number must be the same. Whole numbers of more
        than 8 bits without units are taken as the encoder's reflectance, and floating-point
        numbers below 0 as its decibels; a note on stderr says so.

        Args:
            config: Configuration of the encoder.
            source: What the encoder is called in errors.
            chosen: Names or numbers from 1 of the scene's bands, in the encoder's order, where
                the user knows better.

        Returns:
            Positions in ``bands``, one for each of the encoder's.

        Raises:
            InputError: The scene has other bands or units.
        """
        spec = config.spec
        self._agree_on_values(spec, source)
        if chosen is not None:
            if len(chosen) != len(spec.bands):
                raise InputError(
                    f"--bands {','.join(chosen)}: expected {len(spec.bands)} bands of {self.name}, "
                    f"for the encoder's {', '.join(spec.bands)}"
                )
            positions, names = choose_bands(chosen, self.known, self.named, self.name)
            if set(names) <= set(self.bands):
                return positions
            # The file names no bands, the user names all.
            self.bands, self.named = names, True
            self.known = described(names, Path(self.name).name)
        matched, words = match(bands_of(spec), self.known)
        found = [position for position in matched if position is not None]
        if len(found) == len(spec.bands):
            if words is not None:
                note(f"{self.name}: the encoder's bands {words}")
            return found
        nameless = all(name.startswith("band") for name in (*spec.bands, *self.bands))
        if nameless and len(spec.bands) == len(self.bands):
            return list(range(len(spec.bands)))
        lacking = [name for name, at in zip(spec.bands, matched, strict=True) if at is None]
        others = f"{source} was trained on the bands {', '.join(spec.bands)}, {self.name} has "
        others += f"{', '.join(self.bands)}, without {', '.join(lacking)}"
        if len(self.bands) < len(spec.bands):
            command = shlex.join(["rs-otl", "pretrain", self.name, "--init", source])
            raise InputError(f"{others}: expected all; `{command}` adapts it to the scene's")
        free = iter(sorted({*range(len(self.bands))} - {*found}))
        order = (next(free) if at is None else at for at in matched)
        raise InputError(
            f"{others}: --bands says which of the scene's are the encoder's, for example --bands "
            f"{','.join(str(at + 1) for at in order)}"
        )

    def _agree_on_values(self, spec: ImageSpec, source: str) -> None:
        """Take values without units as those of an encoder, if they can be."""
        if spec.measures_as(self.units, self.quantity or Quantity.COUNTS):
            return
        wanted, whole = spec.quantity, self._layout.stored.kind in "iu"
        trained = f"{source} was trained on {spec.units}, {self.name} is in {self.units}"
        how = spec.how_to_measure(self.units, self.quantity)
        if wanted is Quantity.COUNTS:
            if self.quantity is Quantity.COUNTS and self._given.scale is not None:
                return  # the user has scaled them as the encoder's
            if self.quantity not in (None, Quantity.COUNTS) and spec.units == units_of(
                self._layout.stored
            ):
                raise InputError(f"{trained}: --units counts takes the stored values as they are")
            raise InputError(f"{trained}: {how}")
        if self.quantity is not None:
            raise InputError(f"{trained}: {how}")
        if wanted.is_reflectance and self._lacking and self._given.scale is None:
            raise InputError(
                f"{trained}, without its {self._lacking}, which says the factors: get it again; "
                f"or --units {wanted} --scale 0.00002 --offset -0.1 takes those of Landsat 8 and "
                "9, as if the sun stood overhead"
            )
        if wanted.is_reflectance and whole and self._layout.stored.itemsize > 1:
            self._measure(wanted)
            note(f"{self.name}: says no units; taken as {spec.units}{self._added(spec)}")
            return
        if wanted is Quantity.DECIBELS and not whole:
            _, values, valid = self._glance
            if valid.any() and np.median(values[:, valid]) < 0:  # as power cannot be
                self._measure(wanted)
                note(f"{self.name}: says no units; taken as {spec.units}")
                return
        raise InputError(f"{trained}, which says no units: {how}")

    def _measure(self, quantity: Quantity) -> None:
        self._given = self._given.model_copy(update={"quantity": quantity})
        self._layout = Layout.of(self._source, self._layout.indexes, self.name, self._given)
        self.__dict__.pop("_glance", None)

    def _added(self, spec: ImageSpec) -> str:
        """Say so if values look as if ESA's 1,000 were added to them; else name the options."""
        _, values, valid = self._glance
        added = bool(valid.any()) and values[:, valid].min() >= _ADDED
        if self._given.offset is not None or not added or not _of_sentinel_2(spec):
            return " (--scale, --offset and --units say otherwise)"
        return (
            f"; all are {_ADDED:,} or more, which Sentinel-2's products since 2022 have added: "
            f"--offset -{_ADDED} takes it off"
        )

    def refuse_other_values(self, config: EncoderConfig, source: str, bands: Sequence[int]) -> None:
        """Raise an :class:`InputError` if values are clearly not in an encoder's units.

        The name of the units is the same for reflectance from 0 to 1, reflectance in thousands
        and backscatter in decibels, so some pixels are compared with the encoder's scale.

        Args:
            config: Configuration of the encoder.
            source: What the encoder is called in errors.
            bands: Positions of the scene's bands that are the encoder's.
        """
        _, values, valid = self._glance
        chosen = values[list(bands)][:, valid].astype(np.float64)
        if self.dtype == np.uint8 or not chosen.size:
            return
        spec = config.spec
        low, high = spec.bounds
        span = f"{self.name}: values from {chosen.min():.4g} to {chosen.max():.4g}"
        trained = f"{source} was trained on values from {low:.4g} to {high:.4g}"
        middle = float(np.median(chosen))
        if spec.quantity is Quantity.DECIBELS:
            if not _FAINTEST < middle < _BRIGHTEST:
                raise InputError(
                    f"{span}; {trained} in dB: --scale and --offset make them so, as in stored x "
                    "scale + offset"
                )
            if chosen.min() >= 0:
                raise InputError(f"{span}; {trained} in dB: {NO_DECIBELS}")
            return
        negative = float((chosen < low - _NOISE * spec.scale).mean())
        if negative > _NEGATIVE_SHARE:
            raise InputError(
                f"{self.name}: {negative:.0%} of the values lie below {low:g}, down to "
                f"{chosen.min():.4g}; {trained}: expected the same, neither decibels (10 ** (dB / "
                "10) is the power) nor normalised values; --scale and --offset say what stored "
                "values stand for"
            )
        top = float(np.percentile(chosen, 99.9))
        if 0 < top - low < spec.scale / _MUCH_SMALLER or middle - low > spec.scale * _MUCH_LARGER:
            raise InputError(
                f"{span}; {trained}: expected the same units; --scale sets the factor that is "
                "applied when the scene is read"
            )


def _by_colour(names: Sequence[str], colours: Sequence[str]) -> tuple[Band, ...]:
    """Describe bands without names: red, green and blue by the file's colours."""
    said = colours if set(RGB) <= set(colours) and len(colours) > len(RGB) else [""] * len(names)
    return tuple(
        Band(name=name, common_name=colour if colour in (*RGB, "nir") else None)
        for name, colour in zip(names, said, strict=True)
    )


def _of_sentinel_2(spec: ImageSpec) -> bool:
    known = described(spec.bands, "sentinel-2")
    return all(band.wavelength for band in known) and known == described(spec.bands, spec.units)


def _imagery(dataset: rasterio.DatasetReader, name: str, remote: bool) -> tuple[list[int], bool]:
    """Return the bands that are imagery, and whether a band marked as alpha is one of them."""
    marked = [i for i in dataset.indexes if dataset.colorinterp[i - 1] == ColorInterp.alpha]
    is_band = bool(marked) and alpha_is_imagery(
        dataset.descriptions[marked[0] - 1], _windows(dataset, marked[0], remote)
    )
    indexes = [i for i in dataset.indexes if i not in marked or is_band]
    if not indexes:
        raise InputError(f"{name}: holds no band but alpha, expected imagery")
    return indexes, is_band


def _windows(dataset: rasterio.DatasetReader, index: int, remote: bool) -> Iterator[NDArray[Any]]:
    """Read one band in nine windows; stop at an error, which later reads report."""
    width, height = min(_WINDOW, dataset.width), min(_WINDOW, dataset.height)
    with suppress(*RASTER_ERRORS), gdal(remote):
        for top in sorted({(dataset.height - height) * part // 2 for part in range(3)}):
            for left in sorted({(dataset.width - width) * part // 2 for part in range(3)}):
                yield dataset.read(index, window=Window(left, top, width, height))


def _written(array: Any, name: str) -> tuple[MemoryFile, rasterio.DatasetReader]:
    """Write an xarray.DataArray to a GeoTIFF in memory, so that it is read like a file."""
    require_extra("xarray", f"{name}: a scene in an xarray object")
    import rioxarray  # noqa: F401 - adds the accessor `rio`

    if getattr(array, "ndim", 0) != 3 or not hasattr(array, "rio"):
        raise InputError(
            f"{name}: expected a path, a rasterio dataset, or an xarray.DataArray of (band, y, x)"
        )
    memory = MemoryFile(ext=".tif")
    with quiet_georeference():
        # Set, since rioxarray keeps the blocks of the file that the array came from.
        blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256}
        array.rio.to_raster(memory.name, driver="GTiff", **blocks)
        return memory, memory.open()
