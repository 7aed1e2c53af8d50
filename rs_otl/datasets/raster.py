"""Opening any raster, and what its stored values stand for.

Images and scenes are both read through this module, so the same file means the same to both.
"""

import atexit
import functools
import hashlib
import itertools
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from xml.sax.saxutils import unescape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from rs_otl.datasets.remote import ON_SERVERS, REMOTE, delay, public, why_not
from rs_otl.errors import InputError
from rs_otl.spec import RGB, UNITS, Quantity, Values

# rasterio lets some of GDAL's own errors through, and has no public name for them.
RASTER_ERRORS = (RasterioError, CPLE_BaseError)

# First bytes of a file and GDAL's drivers for it. The drivers are always named: by itself GDAL also
# opens formats that refer to addresses.
_DRIVERS: dict[bytes, tuple[str, ...]] = {
    b"\xff\xd8\xff": ("JPEG",),
    b"\x89PNG": ("PNG",),
    b"RIFF": ("WEBP",),
    b"BM": ("BMP",),
    b"II*\0": ("GTiff",),
    b"MM\0*": ("GTiff",),
    b"II+\0": ("GTiff",),
    b"MM\0+": ("GTiff",),
    b"\0\0\0\x0cjP  ": ("JP2OpenJPEG",),
    b"\xff\x4f\xff\x51": ("JP2OpenJPEG",),
    b"CDF": ("netCDF",),
    b"\x89HDF": ("netCDF", "HDF5", "HDF5Image"),
    b"<VRTDataset": ("VRT",),
}
# Drivers of files whose first bytes say nothing; they read the file itself, or one beside it.
_OTHER_DRIVERS = (
    *("AAIGrid", "BT", "DTED", "EHdr", "ENVI", "ERS", "GIF", "GRASSASCIIGrid", "GRIB", "GSAG"),
    *("GSBG", "GS7BG", "HFA", "NITF", "PCIDSK", "PNM", "RST", "SAGA", "SRTMHGT", "USGSDEM"),
)
# Drivers of rasters on servers, whose first bytes only GDAL reads.
_ON_SERVERS = {*itertools.chain(*_DRIVERS.values()), *_OTHER_DRIVERS} - {"VRT"}
# The name of one of several rasters of a file, in a VRT.
_PART = r'(?:NETCDF|HDF5):"?([^"]+)"?:[^:]*'
_LARGEST_VRT = 64 * 2**20
# Reflectance with a larger scale is already x 10,000.
_FRACTION = 0.01
_UNITS = {"uint8": "8-bit counts", "uint16": "16-bit counts", "int16": "16-bit counts"}
# By default, GDAL's cache of blocks takes a twentieth of the machine's memory.
_CACHE_BYTES = 128 * 2**20
# Waits before another try to open a raster on a server, or to read a window: times GDAL's delay.
_WAITS = (1, 4)


Read = TypeVar("Read")


class UnreadableError(InputError):
    """A file that no image can be decoded from; ``reason`` says why in a few words."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@contextmanager
def gdal(remote: bool = False, **options: Any) -> Iterator[None]:
    """Read with GDAL, with a bounded cache and with damage as an error.

    Args:
        remote: Whether to read from a server, as ``REMOTE`` and the environment say; by default
            there is no network.
        options: More options of GDAL.
    """
    # A second barrier behind _refuse_sources_elsewhere.
    network: dict[str, str] = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}"}
    if remote:
        network = {key: value for key, value in REMOTE.items() if key not in os.environ}
    with rasterio.Env(
        GDAL_CACHEMAX=_CACHE_BYTES,
        # libjpeg fills the missing part of a truncated file, and only warns.
        GDAL_ERROR_ON_LIBJPEG_WARNING=True,
        **network,
        **options,
    ):
        yield


@contextmanager
def quiet_georeference() -> Iterator[None]:
    """Silence the warning about a file without georeference, which is reported elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def reason_of(error: Exception, path: str | Path) -> str:
    """Say in a line why GDAL failed; rasterio's message often only points at GDAL's."""
    text = str(error.__cause__ or error)
    for name in (gdal_name(Path(path)), str(path)):
        text = text.replace(name, "the file")
    return " ".join(public(text).split())


def open_raster(path: Path) -> rasterio.DatasetReader:
    """Open a raster file by the drivers for its first bytes.

    Raises:
        UnreadableError: It is empty, no raster, holds several, or refers to missing files.
        RasterioError: GDAL cannot open it.
    """
    drivers, _ = drivers_of(path)
    if drivers == ("VRT",):
        _refuse_sources_elsewhere(path)
    failure: Exception | None = None
    for driver in drivers:
        try:
            with gdal():
                dataset = rasterio.open(gdal_name(path), driver=driver)
            break
        except RASTER_ERRORS as error:
            failure = failure or error
    else:
        if drivers == _OTHER_DRIVERS or failure is None:
            raise UnreadableError(path, "not an image, whatever its name")
        raise failure
    if not dataset.count:
        names = ", ".join(name.rpartition(":")[2] for name in dataset.subdatasets)
        dataset.close()
        raise UnreadableError(
            path,
            f"holds several rasters ({names}), expected one; gdal_translate takes one out, and "
            "gdalbuildvrt -separate joins several to the bands of one"
            if names
            else "holds no raster",
        )
    # GDAL reads a JPEG's EXIF block when it is first asked for anything beside pixels, and fails
    # once if the block is damaged; the pixels are sound.
    with suppress(*RASTER_ERRORS), gdal():
        _ = dataset.colorinterp
    return dataset


def open_remote(name: str, shown: str) -> rasterio.DatasetReader:
    """Open a raster on a server; try up to three times.

    Args:
        name: GDAL's name for it, or a VRT on this disk that refers to servers.
        shown: What it is called in errors.

    Raises:
        UnreadableError: It is not there or no raster, or the server does not answer.
    """
    driver = "VRT" if urlsplit(name).path.lower().endswith(".vrt") else None
    again: dict[str, str] = {}
    for wait in (*_WAITS, None):
        try:
            with gdal(remote=True, **again):
                dataset = rasterio.open(name, driver=driver)
            break
        except RASTER_ERRORS as error:
            reason = reason_of(error, name)
            if wait is None or re.search(r"HTTP response code: 4(?!08|29)", reason):
                reason = why_not(name) or reason
                raise UnreadableError(shown, f"cannot be opened ({reason})") from None
        time.sleep(wait * delay())
        # GDAL remembers a file that failed as one that does not exist.
        again = {"CPL_VSIL_CURL_NON_CACHED": name}
    if dataset.driver != driver and dataset.driver not in _ON_SERVERS:
        dataset.close()
        raise UnreadableError(shown, f"not an image, but what GDAL calls {dataset.driver}")
    if driver is not None and name.startswith("/vsi"):
        with gdal(remote=True):
            sources = dataset.files[1:]
        for source in sources:
            if not source.startswith(ON_SERVERS) or source.lower().endswith(".vrt"):
                dataset.close()
                raise UnreadableError(
                    shown, f"a VRT that refers to {public(source)}; expected rasters on servers"
                )
    if not dataset.count:
        dataset.close()
        raise UnreadableError(shown, "holds no raster, or several; expected one")
    return dataset


def retried(read: Callable[[], Read]) -> Read:
    """Read from a server; try up to three times."""
    for wait in _WAITS:
        try:
            return read()
        except (*RASTER_ERRORS, OSError):
            time.sleep(wait * delay())
    return read()


def drivers_of(path: Path) -> tuple[tuple[str, ...], bytes]:
    """Return GDAL's drivers for a file, and its first bytes, which decide them.

    Raises:
        UnreadableError: The file is empty, or is a VRT without the suffix ``.vrt``.
    """
    with path.open("rb") as file:
        start = file.read(26)
    if not start:
        raise UnreadableError(path, "empty (0 bytes)")
    known = (drivers for magic, drivers in _DRIVERS.items() if start.startswith(magic))
    drivers = next(known, _OTHER_DRIVERS)
    if drivers == ("VRT",) and path.suffix.lower() != ".vrt":
        raise UnreadableError(
            path, "not an image but a list of other files (VRT); rename it to .vrt to read it"
        )
    return drivers, start


def gdal_name(path: Path) -> str:
    """Return a name for a file that GDAL always takes as the name of a file.

    A relative name may look like an address (``http:x.tif``), so the name is absolute. GDAL cannot
    take a name that is not UTF-8: such a file is linked under a plain name until the process ends,
    with the files beside it that GDAL reads too.
    """
    name = os.path.abspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        return _linked(name)
    return name


@functools.cache
def _linked(name: str) -> str:
    folder = _links() / hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    folder.mkdir(exist_ok=True)
    parent, whole = os.path.split(name)
    stem, suffix = os.path.splitext(whole)
    for other in os.listdir(parent):
        if other.startswith(stem):
            link = folder / f"file{other[len(stem) :]}".encode(errors="replace").decode()
            if not link.is_symlink():
                link.symlink_to(os.path.join(parent, other))
    return str(folder / f"file{suffix}".encode(errors="replace").decode())


@functools.cache
def _links() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rs-otl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _refuse_sources_elsewhere(path: Path, within: tuple[Path, ...] = ()) -> None:
    """Raise an :class:`UnreadableError` unless a VRT refers only to rasters on this disk."""
    with path.open("rb") as file:
        text = file.read(_LARGEST_VRT + 1)
    if len(text) > _LARGEST_VRT or b"/vsi" in text or b"<!ENTITY" in text:
        raise UnreadableError(path, "a VRT that is too large, or refers to other than files")
    pattern = rb"<Source(?:Filename|Dataset)([^>]*)>([^<]*)<"
    sources = set(re.findall(pattern, text))
    for attributes, name in sorted(sources):
        text_name = unescape(os.fsdecode(name).strip(), {"&quot;": '"', "&apos;": "'"})
        part = re.fullmatch(_PART, text_name)
        source = Path(part[1] if part else text_name)
        if re.search(rb"relativeToVRT\s*=\s*[\"']1", attributes):
            source = path.parent / source
        if not source.is_file():
            raise UnreadableError(path, f"refers to {source}, which is no file on this disk")
        if source in within or len(within) > 8:
            raise UnreadableError(path, f"refers to {source}, which refers back to it")
        try:
            drivers, _ = drivers_of(source)
            if drivers == ("VRT",):
                _refuse_sources_elsewhere(source, (*within, path))
            elif drivers == _OTHER_DRIVERS:
                open_raster(source).close()
        except UnreadableError as error:
            raise UnreadableError(path, f"refers to {source}: {error.reason}") from None


@dataclass(frozen=True)
class Layout:
    """What the bands of an open raster are, and what their stored values stand for.

    Attributes:
        indexes: Bands of the file that are read, from 1.
        stored: Type of their stored values.
        dtype: Type of the values that they stand for.
        descriptions: Name in the file of each band that comes out.
        colours: Colour interpretation of each band that comes out, as rasterio names it.
        table: (entries, 4), the colours of a palette, which becomes red, green and blue.
        scales: What stored values are multiplied with; ``None`` if they are what they stand for.
        offsets: What is then added.
        quantity: What the values measure; ``None`` where nothing says it.
    """

    indexes: tuple[int, ...]
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    descriptions: tuple[str | None, ...]
    colours: tuple[str, ...]
    table: NDArray[np.uint8] | None = None
    scales: NDArray[np.float32] | None = None
    offsets: NDArray[np.float32] | None = None
    quantity: Quantity | None = None

    @classmethod
    def of(
        cls,
        dataset: rasterio.DatasetReader,
        indexes: Sequence[int],
        path: str | Path,
        given: Values | None = None,
    ) -> "Layout":
        """Describe some bands of a raster.

        Args:
            dataset: The raster.
            indexes: Its bands, from 1.
            path: What it is called in errors.
            given: What its stored values stand for, where the user knows better than the file.

        Raises:
            UnreadableError: The bands hold complex numbers or a palette of values that are not
                counts, or their scale is 0 or not a number.
        """
        path = Path(path)
        names = [dataset.dtypes[index - 1] for index in indexes]
        if any(name.startswith("complex") for name in names):  # numpy does not know them all
            raise UnreadableError(path, "holds complex numbers, expected imagery")
        stored = np.result_type(*names)
        descriptions = tuple(dataset.descriptions[index - 1] for index in indexes)
        colours = tuple(dataset.colorinterp[index - 1].name for index in indexes)
        if colours == (ColorInterp.palette.name,):
            table = _palette(dataset, indexes[0], stored, path)
            rgb = np.dtype(np.uint8)
            return cls(tuple(indexes), stored, rgb, (None,) * 3, RGB, table)
        given = given or Values()
        quantity = given.quantity
        if quantity is None and all(
            (dataset.units[index - 1] or "").strip().lower() == "db" for index in indexes
        ):
            quantity = Quantity.DECIBELS
        scales = np.array([dataset.scales[index - 1] for index in indexes], float)
        offsets = np.array([dataset.offsets[index - 1] for index in indexes], float)
        if given.quantity is Quantity.COUNTS:
            scales[:], offsets[:] = 1, 0
        if given.scale is not None:
            scales[:] = given.scale
        if given.offset is not None:
            offsets[:] = given.offset
        if quantity is not None and quantity.is_reflectance:
            whole = stored.kind in "iu"
            if stored.itemsize == 1 and (scales == 1).all():
                raise UnreadableError(
                    path,
                    "stores 8 bits, no reflectance as they are; --scale says what 1 count is, for "
                    "example --scale 0.004, or --units counts takes them as a picture",
                )
            if scales.max() <= _FRACTION or (not whole and (scales == 1).all()):
                scales, offsets = scales * 10_000, offsets * 10_000
        said = (tuple(indexes), stored)
        if (scales == 1).all() and (offsets == 0).all():
            return cls(*said, stored, descriptions, colours, quantity=quantity)
        if not (np.isfinite([scales, offsets]).all() and scales.all()):
            raise UnreadableError(
                path,
                f"says that its values are scaled by {scales.min():g} from {offsets.min():g}, "
                "expected numbers and no scale of 0; --scale, with --offset and --units, says it "
                "right",
            )
        factors = scales.astype(np.float32), offsets.astype(np.float32)
        floats = np.dtype(np.float32)
        return cls(*said, floats, descriptions, colours, None, *factors, quantity)

    @property
    def units(self) -> str:
        """What a value counts, as :class:`rs_otl.spec.ImageSpec` says it."""
        return UNITS.get(self.quantity or Quantity.COUNTS, units_of(self.dtype))

    @property
    def transparent(self) -> NDArray[np.bool_] | None:
        """Which entries of a palette are transparent, where some are and some are not."""
        if self.table is None:
            return None
        entries = self.table[:, 3] == 0
        return entries if entries.any() and not entries.all() else None

    def chosen(self, bands: Sequence[int] | None) -> list[int]:
        """Return the bands of the file from which some of the bands that come out are read."""
        if bands is None or self.table is not None:
            return list(self.indexes)
        return [self.indexes[band] for band in bands]

    def values(self, stored: NDArray[Any], bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Turn stored values into what they stand for.

        Args:
            stored: (n, h, w), of the bands that :meth:`chosen` gives.
            bands: The same as for :meth:`chosen`.

        Returns:
            (C, h, w), of ``dtype``.
        """
        if self.table is not None:
            colours = self.table[stored[0], :3].transpose(2, 0, 1)
            return colours if bands is None else colours[list(bands)]
        if self.scales is None or self.offsets is None:
            return stored
        chosen = list(range(len(self.indexes))) if bands is None else list(bands)
        scaled = stored.astype(np.float32)
        scaled *= self.scales[chosen, None, None]
        scaled += self.offsets[chosen, None, None]
        return scaled


def units_of(dtype: np.dtype[Any]) -> str:
    """Say what values of a type count."""
    return _UNITS.get(dtype.name, "floating-point values")


def _palette(
    dataset: rasterio.DatasetReader, index: int, stored: np.dtype[Any], path: Path
) -> NDArray[np.uint8]:
    if stored not in (np.uint8, np.uint16):
        raise UnreadableError(path, f"has a palette for {stored} values, expected counts")
    table = np.zeros((np.iinfo(stored).max + 1, 4), np.uint8)
    for value, colour in dataset.colormap(index).items():
        table[value] = colour
    return table
