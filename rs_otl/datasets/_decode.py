"""From an image file to an array, and from an array to the square that is cached."""

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning

from rs_otl.datasets.bands import name_bands
from rs_otl.errors import InputError
from rs_otl.spec import RGB

# Larger images (in decoded bytes) are read at a coarser step, so that one file cannot exhaust the
# memory.
LARGEST = 256 * 2**20

# First bytes of a file and GDAL's driver for it. The driver is always named: by itself GDAL also
# opens formats that refer to other files or to addresses.
_DRIVERS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WEBP",
    b"BM": "BMP",
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}
_PILLOW_READS = ("JPEG", "PNG", "WEBP", "BMP")

# What the decoders are known to raise on broken files.
FAILURES = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)


class UnreadableError(InputError):
    """A file that no image can be decoded from; ``reason`` says why in a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a file says of its image before the pixels are decoded.

    Attributes:
        descriptions: What the file calls each band; ``None`` where it does not.
        colours: Colour interpretation of each band as rasterio names it.
        dtype: Of the pixels.
    """

    descriptions: tuple[str | None, ...]
    colours: tuple[str, ...]
    dtype: np.dtype[Any]

    @property
    def alpha(self) -> int | None:
        """Position of the band that is marked as alpha."""
        return self.colours.index("alpha") if "alpha" in self.colours else None

    @property
    def is_16bit(self) -> bool:
        """Whether a value takes more than 8 bits."""
        return self.dtype != np.uint8

    def bands(self, keep_alpha: bool = False) -> tuple[str, ...]:
        """Names of the bands, with or without alpha; see :func:`name_bands`."""
        return self.named_bands(keep_alpha)[0]

    def named_bands(self, keep_alpha: bool = False) -> tuple[tuple[str, ...], bool]:
        """Names of the bands, and whether the file itself gives them."""
        kept = [
            (description, colour)
            for description, colour in zip(self.descriptions, self.colours, strict=True)
            if keep_alpha or colour != "alpha"
        ]
        return name_bands([name for name, _ in kept], [colour for _, colour in kept])


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Silence warnings that point at no defect; enter it once, around all decoding threads.

    ``warnings.catch_warnings`` is not thread-safe.
    """
    with warnings.catch_warnings():
        # Chips cut for classification carry no georeference.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # Pillow's limit is not ours: see LARGEST.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def read_header(path: Path) -> Header:
    """Read what a file says of its image.

    Raises:
        UnreadableError: The file is empty, missing or no image.
    """
    with _name_failures(path), _open(path) as source:
        if isinstance(source, Image.Image):
            count = len(_eight_bit_mode(source))
            return Header((None,) * count, RGB if count == 3 else ("gray",), np.dtype(np.uint8))
        _, palette, dtype = _bands(source)
        if palette:
            return Header((None,) * 3, RGB, np.dtype(np.uint8))
        return header_of(source, dtype)


def header_of(source: rasterio.DatasetReader, dtype: np.dtype[Any]) -> Header:
    """Describe an open raster whose pixels are read as ``dtype``."""
    return Header(
        tuple(source.descriptions), tuple(kind.name for kind in source.colorinterp), dtype
    )


def decode(path: Path, keep_alpha: bool = False) -> NDArray[Any]:
    """Decode an image file.

    simplejpeg reads JPEG (Pillow's pixels in half its time); Pillow reads the JPEG that simplejpeg
    does not, and 8-bit PNG, WebP and BMP; rasterio reads the rest. Alpha is dropped, palettes
    are resolved, and in images of more than 8 bits nodata values become 0. An image of more than
    ``LARGEST`` bytes is read at a coarser step.

    Args:
        path: The file. Its format is taken from its first bytes, whatever its name ends in.
        keep_alpha: Whether to keep the alpha band of TIFFs.

    Returns:
        (C, H, W), uint8, uint16 or float32, raw values.

    Raises:
        UnreadableError: The file is empty, truncated, missing or no image.
    """
    jpeg = _decode_jpeg(path)
    if jpeg is not None:
        return jpeg
    with _name_failures(path), _open(path) as source:
        if not isinstance(source, Image.Image):
            return _read(source, keep_alpha)
        pixels = np.asarray(_eight_bit(source))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def load(path: str | Path, keep_alpha: bool = False) -> NDArray[Any]:
    """Load an image file as torchgeo's data sets want it: see :func:`decode`.

    Returns:
        (H, W, C), uint8, uint16 or float32, raw values.
    """
    return decode(Path(path), keep_alpha).transpose(1, 2, 0)


def _decode_jpeg(path: Path) -> NDArray[Any] | None:
    """Decode a grey or YCbCr JPEG file; ``None`` for any other."""
    try:
        data = path.read_bytes()
        if not data.startswith(b"\xff\xd8\xff"):
            return None
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("Gray", "YCbCr") or height * width * 3 > LARGEST:
            return None
        pixels = simplejpeg.decode_jpeg(data, "Gray" if colours == "Gray" else "RGB")
    except (OSError, ValueError):
        return None  # Pillow may read it, or says what is wrong
    return np.asarray(pixels.transpose(2, 0, 1))


def pixel_hash(pixels: NDArray[Any]) -> int:
    """Hash decoded pixels, their shape and their type, to 64 bits."""
    digest = hashlib.blake2b(f"{pixels.shape}{pixels.dtype}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "little")


def match_bands(pixels: NDArray[Any], count: int, path: str | Path) -> NDArray[Any]:
    """Repeat an 8-bit grey image where images have three bands.

    Args:
        pixels: (C, H, W).
        count: Number of bands that images have.
        path: Of the image, for the error.

    Returns:
        (count, H, W).

    Raises:
        UnreadableError: The image has another number of bands.
    """
    if len(pixels) == 1 and count == 3 and pixels.dtype == np.uint8:
        return np.repeat(pixels, 3, axis=0)
    if len(pixels) != count:
        plural = "" if len(pixels) == 1 else "s"
        reason = f"has {len(pixels):,} band{plural}, the data set {count}"
        raise UnreadableError(Path(path), reason)
    return pixels


def to_square(pixels: NDArray[Any], size: int, is_16bit: bool, scale: float) -> NDArray[Any]:
    """Resize to a square and scale to full range, as the cache holds it.

    Args:
        pixels: (C, H, W), raw values as from :func:`decode`.
        size: Side of the square in pixels.
        is_16bit: Whether to store 16 bits instead of 8.
        scale: Raw value of an image of more than 8 bits that becomes full range; values above it
            or below 0 are clipped. 8-bit values have their full range at 255.

    Returns:
        (C, size, size), uint8 or, if ``is_16bit``, uint16; 0 to the type's maximum.
    """
    if pixels.dtype == np.uint8 and not is_16bit:
        return _resize(pixels, size)
    full = 255 if pixels.dtype == np.uint8 else scale
    unit = _resize(np.clip(pixels.astype(np.float32) / np.float32(full), 0, 1), size)
    if is_16bit:
        return np.rint(unit * 65535).astype(np.uint16)
    return np.rint(unit * 255).astype(np.uint8)


def _resize(pixels: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize (C, H, W) uint8 or float32 to (C, size, size), bilinear with antialiasing."""
    if pixels.shape[1:] == (size, size):
        return pixels
    if pixels.dtype == np.uint8 and len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in pixels]
    return np.stack(
        [np.asarray(band.resize((size, size), Image.Resampling.BILINEAR)) for band in bands]
    )


@contextmanager
def _name_failures(path: Path) -> Iterator[None]:
    """Turn every way in which decoding fails into :class:`UnreadableError`."""
    try:
        yield
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(path, "there is no such file") from error
    except FAILURES as error:
        # rasterio's message only points at GDAL's.
        reason = " ".join(str(error.__cause__ or error).replace(str(path), "the file").split())
        raise UnreadableError(path, f"cannot be decoded ({reason})") from error


def _open(path: Path) -> Image.Image | rasterio.DatasetReader:
    """Open a file with Pillow if it reads all bits of it, else with rasterio."""
    driver, start = driver_of(path)
    sixteen_bit_png = driver == "PNG" and start[24:25] == b"\x10"
    if driver in _PILLOW_READS and not sixteen_bit_png:
        try:
            image = Image.open(path, formats=[driver])
        except Image.DecompressionBombError:
            return rasterio.open(path, driver=driver)
        if image.width * image.height * 3 <= LARGEST:
            return image
        image.close()
    return rasterio.open(path, driver=driver)


def driver_of(path: Path) -> tuple[str, bytes]:
    """Return GDAL's driver for a file, and its first bytes, which decide it.

    Raises:
        UnreadableError: The file is empty, or no image.
    """
    with path.open("rb") as file:
        start = file.read(26)
    if not start:
        raise UnreadableError(path, "empty (0 bytes)")
    driver = next((driver for magic, driver in _DRIVERS.items() if start.startswith(magic)), None)
    if driver is None:
        raise UnreadableError(path, "not an image, whatever its name")
    return driver, start


def _eight_bit_mode(image: Image.Image) -> str:
    return "L" if image.mode in ("1", "L", "LA", "La") else "RGB"


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey or RGB without alpha."""
    if image.mode in ("P", "PA"):
        # Pillow warns when a palette with transparent entries goes to RGB directly.
        image = image.convert("RGBA")
    return image.convert(_eight_bit_mode(image))


def _bands(
    source: rasterio.DatasetReader, keep_alpha: bool = False
) -> tuple[list[int], bool, np.dtype[Any]]:
    """Indexes of the bands to read, whether they are a palette, and their type."""
    colours = source.colorinterp
    indexes = [i for i in source.indexes if keep_alpha or colours[i - 1] != ColorInterp.alpha]
    dtype = np.result_type(*(source.dtypes[i - 1] for i in indexes))
    if dtype.kind == "c":
        raise UnreadableError(Path(source.name), "holds complex numbers, not an image")
    return indexes, len(indexes) == 1 and colours[indexes[0] - 1] == ColorInterp.palette, dtype


def _read(source: rasterio.DatasetReader, keep_alpha: bool) -> NDArray[Any]:
    indexes, palette, dtype = _bands(source, keep_alpha)
    size = len(indexes) * source.height * source.width * dtype.itemsize
    step = max(1.0, (size / LARGEST) ** 0.5)
    shape = (max(1, int(source.height / step)), max(1, int(source.width / step)))
    pixels = source.read(
        indexes,
        out_shape=(len(indexes), *shape),
        resampling=Resampling.nearest if palette or step == 1 else Resampling.average,
    )
    if palette:
        table = np.zeros((np.iinfo(dtype).max + 1, 3), np.uint8)
        for value, colour in source.colormap(indexes[0]).items():
            table[value] = colour[:3]
        return table[pixels[0]].transpose(2, 0, 1)
    if pixels.dtype == np.uint8:
        return pixels
    if source.nodata is not None:
        pixels[pixels == source.nodata] = 0
    if pixels.dtype == np.uint16:
        return pixels
    return np.nan_to_num(pixels.astype(np.float32), nan=0, posinf=0, neginf=0)
