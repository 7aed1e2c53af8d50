"""Decode image files to arrays, and resize arrays to the squares that are cached."""

import contextlib
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
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from rs_otl.datasets.bands import name_bands
from rs_otl.datasets.raster import (
    RASTER_ERRORS,
    Layout,
    UnreadableError,
    drivers_of,
    gdal,
    open_raster,
    reason_of,
)
from rs_otl.errors import counted
from rs_otl.spec import RGB, Quantity, Values

# Larger images (in decoded bytes) are read at a coarser step, so that one file cannot exhaust the
# memory.
LARGEST = 256 * 2**20

# Larger images (in pixels) are refused by their header: even a coarser step reads all of the file.
# JPEG files that claim more pixels than their bytes can hold are refused too.
MOST_PIXELS = 2**29
_JPEG_PIXELS_PER_BYTE = 1024
_PILLOW_READS = ("JPEG", "PNG", "WEBP", "BMP")

# What the decoders are known to raise on broken files.
FAILURES = (
    *(OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error),
    *RASTER_ERRORS,
)


@dataclass(frozen=True)
class Header:
    """What a file says about its image before the pixels are decoded.

    Attributes:
        descriptions: Name of each band in the file; ``None`` for a band without a name.
        colours: Colour interpretation of each band as rasterio names it.
        dtype: Type of the pixel values.
        quantity: What the values measure; ``None`` if unknown.
    """

    descriptions: tuple[str | None, ...]
    colours: tuple[str, ...]
    dtype: np.dtype[Any]
    quantity: Quantity | None = None

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
    """Silence warnings that point at no defect; use it once, around all decoding threads.

    ``warnings.catch_warnings`` is not thread-safe.
    """
    with warnings.catch_warnings():
        # Chips cut for classification carry no georeference.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # Pillow's limit is not ours: see LARGEST.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def read_header(path: Path, values: Values | None = None) -> Header:
    """Read the header of an image file.

    Args:
        path: The file.
        values: What stored values stand for, where the user knows better.

    Raises:
        UnreadableError: The file is empty, missing or not an image.
    """
    with _name_failures(path), _open(path, values) as source:
        if isinstance(source, Image.Image):
            count = len(_eight_bit_mode(source))
            return Header((None,) * count, RGB if count == 3 else ("gray",), np.dtype(np.uint8))
        layout = _layout(source, path, False, values)
        if layout.table is not None:
            return Header(layout.descriptions, layout.colours, layout.dtype)
        colours = tuple(colour.name for colour in source.colorinterp)
        return Header(tuple(source.descriptions), colours, layout.dtype, layout.quantity)


def decode(path: Path, keep_alpha: bool = False, values: Values | None = None) -> NDArray[Any]:
    """Decode an image file.

    simplejpeg reads JPEG (the same pixels as Pillow in half the time). Pillow reads JPEG files
    that simplejpeg does not read, and 8-bit PNG, WebP and BMP. rasterio reads the rest. Alpha is
    dropped, palettes become colours, the file's scale and offset are applied, and in images of
    more than 8 bits nodata values become 0. An image of more than ``LARGEST`` bytes is read at a
    coarser step.

    Args:
        path: The file. Its first bytes decide the format, not its suffix.
        keep_alpha: Whether to keep the alpha band of TIFFs.
        values: What stored values stand for, where the user knows better.

    Returns:
        (C, H, W), uint8, uint16 or float32, raw values.

    Raises:
        UnreadableError: The file is empty, truncated, missing, too large or not an image.
    """
    jpeg = _decode_jpeg(path) if values is None else None
    if jpeg is not None:
        return jpeg
    with _name_failures(path), gdal(), _open(path, values) as source:
        if not isinstance(source, Image.Image):
            return _read(source, path, keep_alpha, values)
        pixels = np.asarray(_eight_bit(source))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def load(path: str | Path, keep_alpha: bool = False, values: Values | None = None) -> NDArray[Any]:
    """Load an image file in the shape that torchgeo's data sets expect; see :func:`decode`.

    Returns:
        (H, W, C), uint8, uint16 or float32, raw values.
    """
    return decode(Path(path), keep_alpha, values).transpose(1, 2, 0)


def _decode_jpeg(path: Path) -> NDArray[Any] | None:
    """Decode a grey or YCbCr JPEG file; ``None`` for any other file."""
    try:
        with path.open("rb") as file:
            if file.read(3) != b"\xff\xd8\xff":
                return None
            file.seek(0)
            data = file.read()
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("Gray", "YCbCr") or height * width * 3 > LARGEST:
            return None
        pixels = simplejpeg.decode_jpeg(data, "Gray" if colours == "Gray" else "RGB")
    except (OSError, ValueError):
        return None  # Pillow may read it, or say what is wrong
    return np.asarray(pixels.transpose(2, 0, 1))


def pixel_hash(pixels: NDArray[Any]) -> int:
    """Hash decoded pixels, their shape and their type, to 64 bits."""
    digest = hashlib.blake2b(f"{pixels.shape}{pixels.dtype}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "little")


def match_bands(pixels: NDArray[Any], count: int, path: str | Path) -> NDArray[Any]:
    """Repeat the band of an 8-bit grey image if the data set has three bands.

    Args:
        pixels: (C, H, W).
        count: Number of bands of the data set.
        path: Path of the image, for the error.

    Returns:
        (count, H, W).

    Raises:
        UnreadableError: The image has another number of bands.
    """
    if len(pixels) == 1 and count == 3 and pixels.dtype == np.uint8:
        return np.repeat(pixels, 3, axis=0)
    if len(pixels) != count:
        reason = f"has {counted(len(pixels), 'band')}, the data set {count}"
        raise UnreadableError(Path(path), reason)
    return pixels


def to_square(
    pixels: NDArray[Any], size: int, is_16bit: bool, scale: float, offset: float = 0
) -> NDArray[Any]:
    """Resize an image to a square and scale it to full range, as in the cache.

    Args:
        pixels: (C, H, W), raw values as from :func:`decode`.
        size: Side of the square in pixels.
        is_16bit: Whether to store 16 bits instead of 8.
        scale: In images of more than 8 bits ``offset + scale`` becomes full range; values above it
            or below ``offset`` are clipped. In 8-bit images 255 becomes full range.
        offset: Raw value that becomes 0 in images of more than 8 bits.

    Returns:
        (C, size, size), uint8 or, if ``is_16bit``, uint16; 0 to the type's maximum.
    """
    if pixels.dtype == np.uint8 and not is_16bit:
        return _resize(pixels, size)
    low, full = (0, 255) if pixels.dtype == np.uint8 else (offset, scale)
    values = (pixels.astype(np.float32) - np.float32(low)) / np.float32(full)
    unit = _resize(np.clip(values, 0, 1), size)
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
    """Turn all known errors of decoding into :class:`UnreadableError`."""
    try:
        yield
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(path, "there is no such file") from error
    except FAILURES as error:
        raise UnreadableError(path, f"cannot be decoded ({reason_of(error, path)})") from error


def _open(path: Path, values: Values | None) -> Image.Image | rasterio.DatasetReader:
    """Open a file with Pillow if Pillow reads all its bits, else with rasterio."""
    (driver, *_), start = drivers_of(path)
    sixteen_bit_png = driver == "PNG" and start[24:25] == b"\x10"
    if driver in _PILLOW_READS and not sixteen_bit_png and values is None:
        with contextlib.suppress(Image.DecompressionBombError):
            image = Image.open(path, formats=[driver])
            if image.width * image.height * 3 <= LARGEST:
                return image
            image.close()
    dataset = open_raster(path)
    pixels = dataset.width * dataset.height
    size = f"{dataset.width:,} x {dataset.height:,} pixels"
    if driver == "JPEG" and pixels > _JPEG_PIXELS_PER_BYTE * path.stat().st_size:
        dataset.close()
        raise UnreadableError(path, f"claims {size}, more than its bytes can hold")
    if pixels > MOST_PIXELS:
        dataset.close()
        raise UnreadableError(path, f"{size}, too large for an image; cut it with `rs-otl tile`")
    return dataset


def _eight_bit_mode(image: Image.Image) -> str:
    return "L" if image.mode in ("1", "L", "LA", "La") else "RGB"


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert an image to grey or RGB without alpha."""
    if image.mode in ("P", "PA"):
        # Pillow warns when a palette with transparent entries goes to RGB directly.
        image = image.convert("RGBA")
    return image.convert(_eight_bit_mode(image))


def _layout(
    source: rasterio.DatasetReader, path: Path, keep_alpha: bool, values: Values | None
) -> Layout:
    colours = source.colorinterp
    indexes = [i for i in source.indexes if keep_alpha or colours[i - 1].name != "alpha"]
    if not indexes:
        raise UnreadableError(path, "holds no band but alpha, expected an image")
    return Layout.of(source, indexes, path, values)


def _read(
    source: rasterio.DatasetReader, path: Path, keep_alpha: bool, values: Values | None
) -> NDArray[Any]:
    layout = _layout(source, path, keep_alpha, values)
    indexes = list(layout.indexes)
    size = len(indexes) * source.height * source.width * layout.stored.itemsize
    step = max(1.0, (size / LARGEST) ** 0.5)
    shape = (max(1, int(source.height / step)), max(1, int(source.width / step)))
    stored = source.read(
        indexes,
        out_shape=(len(indexes), *shape),
        out_dtype=layout.stored,
        resampling=Resampling.nearest
        if layout.table is not None or step == 1
        else Resampling.average,
    )
    pixels = layout.values(stored)
    if pixels.dtype == np.uint8:
        return pixels
    for band, index in enumerate(indexes):
        nodata = source.nodatavals[index - 1]
        if nodata is not None:
            pixels[band][stored[band] == nodata] = 0
    if pixels.dtype == np.uint16:
        return pixels
    return np.nan_to_num(pixels.astype(np.float32), nan=0, posinf=0, neginf=0)
