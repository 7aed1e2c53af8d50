"""One image file to one array, and one array to the square that is kept of it."""

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

from rs_otl.errors import InputError

# An image of more decoded bytes is read at a coarser step, so that one file among thousands
# cannot take the memory of all.
LARGEST = 256 * 2**20

# First bytes of a file and GDAL's driver for it. Named, because left to itself GDAL also takes
# files that point at other files or addresses.
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

# What the two libraries are known to raise on broken files.
_FAILURES = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)


class UnreadableError(InputError):
    """A file that no image can be decoded from; ``reason`` says why in a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a file says of its image before the pixels are decoded.

    Attributes:
        bands: Number of bands, alpha not counted.
        deep: Whether a value takes more than 8 bits.
        alpha: Whether a TIFF marks a further band as alpha. GDAL does so by itself to the
            fourth of four 8-bit bands, which as often is near infrared.
    """

    bands: int
    deep: bool
    alpha: bool = False


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Silence what is no defect here; enter it once, around all threads that decode.

    ``warnings.catch_warnings`` is not safe to enter from several threads at a time.
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
    with _failures_named(path), _opened(path) as source:
        if isinstance(source, Image.Image):
            return Header(len(_eight_bit_mode(source)), deep=False)
        indexes, palette, dtype = _bands(source)
        if palette:
            return Header(3, deep=False)
        return Header(len(indexes), bool(dtype != np.uint8), len(indexes) < source.count)


def decode(path: Path, keep_alpha: bool = False) -> NDArray[Any]:
    """Decode an image file.

    JPEG goes through simplejpeg, which gives Pillow's pixels in half its time, and what that does
    not take, 8-bit PNG, WebP and BMP through Pillow; all else through rasterio. Alpha is dropped,
    palettes are resolved, values marked as no data become 0 in images deeper than 8 bits. An
    image of more than ``LARGEST`` bytes is read at a coarser step.

    Args:
        path: The file. Its kind is taken from its first bytes, whatever its name ends in.
        keep_alpha: Whether the alpha of TIFFs is a band like the others.

    Returns:
        (C, H, W), uint8, uint16 or float32, raw values.

    Raises:
        UnreadableError: The file is empty, truncated, missing or no image.
    """
    jpeg = _decoded_jpeg(path)
    if jpeg is not None:
        return jpeg
    with _failures_named(path), _opened(path) as source:
        if not isinstance(source, Image.Image):
            return _read(source, keep_alpha)
        pixels = np.asarray(_eight_bit(source))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _decoded_jpeg(path: Path) -> NDArray[Any] | None:
    """Decode a whole JPEG file, grey or in colours of three channels; any other gives ``None``."""
    try:
        data = path.read_bytes()
        if not data.startswith(b"\xff\xd8\xff"):
            return None
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("Gray", "YCbCr") or height * width * 3 > LARGEST:
            return None
        pixels = simplejpeg.decode_jpeg(data, "Gray" if colours == "Gray" else "RGB")
    except (OSError, ValueError):
        return None  # Pillow says what is wrong with it, or reads it after all
    return np.asarray(pixels.transpose(2, 0, 1))


def pixel_hash(pixels: NDArray[Any]) -> int:
    """Hash decoded pixels, their shape and their type, to 64 bits."""
    digest = hashlib.blake2b(f"{pixels.shape}{pixels.dtype}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "little")


def to_square(pixels: NDArray[Any], size: int, deep: bool, deep_scale: float) -> NDArray[Any]:
    """Resize to a square and store it at full range, as the cache holds it.

    Args:
        pixels: (C, H, W), raw values as from :func:`decode`.
        size: Side of the square in pixels.
        deep: Whether to store 16 bits instead of 8.
        deep_scale: Raw value of a deeper-than-8-bit image that becomes full range; what lies
            above or below 0 is clipped. 8-bit values have their full range at 255.

    Returns:
        (C, size, size), uint8 or, if ``deep``, uint16; 0 to the type's maximum.
    """
    if pixels.dtype == np.uint8 and not deep:
        return _resized(pixels, size)
    scale = 255 if pixels.dtype == np.uint8 else deep_scale
    unit = _resized(np.clip(pixels.astype(np.float32) / np.float32(scale), 0, 1), size)
    return np.rint(unit * 65535).astype(np.uint16) if deep else np.rint(unit * 255).astype(np.uint8)


def _resized(pixels: NDArray[Any], size: int) -> NDArray[Any]:
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
def _failures_named(path: Path) -> Iterator[None]:
    """Turn the many ways that decoding fails into :class:`UnreadableError`."""
    try:
        yield
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(path, "there is no such file") from error
    except _FAILURES as error:
        # rasterio's own words only point at GDAL's.
        reason = " ".join(str(error.__cause__ or error).replace(str(path), "the file").split())
        raise UnreadableError(path, f"cannot be decoded ({reason})") from error


def _opened(path: Path) -> Image.Image | rasterio.DatasetReader:
    """Open a file with Pillow if that reads it whole, without losing bits; else with rasterio."""
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
    """Return GDAL's driver for a file by its first bytes, and these.

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
    """Indexes of the bands that count, whether they are a palette, and their type."""
    kinds = source.colorinterp
    indexes = [i for i in source.indexes if keep_alpha or kinds[i - 1] != ColorInterp.alpha]
    dtype = np.result_type(*(source.dtypes[i - 1] for i in indexes))
    if dtype.kind == "c":
        raise UnreadableError(Path(source.name), "holds complex numbers, not an image")
    return indexes, len(indexes) == 1 and kinds[indexes[0] - 1] == ColorInterp.palette, dtype


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
