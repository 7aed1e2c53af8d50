"""Images of one size in [0, 1], from the catalogue or from any folder."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from rs_otl.datasets._decode import (
    UnreadableError,
    decode,
    pixel_hash,
    quiet_reading,
    to_square,
)
from rs_otl.datasets._memory import default_cache_bytes, hold
from rs_otl.datasets.catalogue import CATALOGUE, Entry, data_root, entry_named
from rs_otl.datasets.folder import EXPECTED, kind_of, list_folder
from rs_otl.datasets.scenes import are_scenes, find_tiles, read_tile
from rs_otl.datasets.statistics import estimate_statistics
from rs_otl.datasets.synthetic import draw_scene
from rs_otl.errors import InputError
from rs_otl.progress import tracked
from rs_otl.spec import ImageSpec

# Images handed to the threads at a time: bounds what waits in memory.
_CHUNK = 64
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class LeftOut:
    """An image file that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Reader:
    """Reads one image as the square that is kept of it.

    Attributes:
        decode: Path as listed to raw pixels (C, H, W), uint8, uint16 or float32.
        bands: Number of bands of the data set.
        size: Side of the square in pixels.
        deep: Whether squares are uint16 instead of uint8.
        deep_scale: Raw value of images deeper than 8 bits that becomes full range.
    """

    decode: Callable[[str], NDArray[Any]]
    bands: int
    size: int
    deep: bool
    deep_scale: float

    def __call__(self, path: str) -> tuple[NDArray[Any], int]:
        """Read an image.

        Returns:
            (C, size, size) uint8 or uint16, and the hash of the pixels before resizing.

        Raises:
            UnreadableError: It cannot be decoded, or has other bands than the data set.
        """
        pixels = self.decode(path)
        digest = pixel_hash(pixels)
        if len(pixels) == 1 and self.bands == 3 and pixels.dtype == np.uint8:
            pixels = np.repeat(pixels, 3, axis=0)
        if len(pixels) != self.bands:
            reason = f"has {_count(len(pixels), 'band')}, the data set {self.bands}"
            raise UnreadableError(Path(path), reason)
        return to_square(pixels, self.size, self.deep, self.deep_scale), digest


class CachedDataset(Dataset[dict[str, Tensor]]):
    """Images of one size in [0, 1], with their labels if there are any.

    Images are held in memory or in a memory-mapped file, as uint8 or uint16; otherwise only
    paths and hashes are, and images are decoded again when asked for.

    Attributes:
        name: Name in the catalogue, or of the folder.
        folder: Folder that ``paths`` are relative to; ``None`` for what is drawn.
        spec: Bands, units and normalisation.
        size: Side of the images in pixels.
        classes: Class names in the order of the labels; ``None`` without labels.
        labels: (N,) int64; ``None`` without labels.
        paths: N paths with forward slashes, sorted.
        hashes: (N,) uint64, equal for images whose pixels are equal before resizing.
        left_out: Files that cannot be used, and why.
        missing: What a partial copy lacks; ``None`` if nothing, or unknown.
        cached: Whether the images are held in memory or in a file.
    """

    def __init__(
        self,
        name: str,
        folder: Path | None,
        spec: ImageSpec,
        paths: list[str],
        labels: NDArray[np.int64] | None,
        classes: tuple[str, ...] | None,
        hashes: NDArray[np.uint64],
        left_out: list[LeftOut],
        missing: str | None,
        reader: Reader,
        cache: NDArray[Any] | None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.spec = spec
        self.size = reader.size
        self.paths = paths
        self.labels = labels
        self.classes = classes
        self.hashes = hashes
        self.left_out = left_out
        self.missing = missing
        self._reader = reader
        self._cache = cache

    @property
    def cached(self) -> bool:
        """Whether the images are held in memory or in a file."""
        return self._cache is not None

    def __len__(self) -> int:
        """Number of usable images."""
        return len(self.paths)

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Images without their labels.

        Args:
            indices: n positions.

        Returns:
            (n, C, size, size) float32 in [0, 1].

        Raises:
            InputError: A file is no longer what it was when the data set was loaded.
        """
        squares = self.uint8_batch(indices)
        return squares.float().div_(255) if squares.dtype == torch.uint8 else squares

    def uint8_batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Images as they are held where that is 8 bits, else as :meth:`images`.

        Args:
            indices: n positions.

        Returns:
            (n, C, size, size), uint8, or float32 in [0, 1] if the images are deeper.

        Raises:
            InputError: A file is no longer what it was when the data set was loaded.
        """
        if self._cache is not None:
            squares = self._cache[np.asarray(indices, np.int64)]
        else:
            with quiet_reading():
                squares = np.stack([self._reader(self.paths[i])[0] for i in indices])
        if squares.dtype == np.uint8:
            return torch.from_numpy(squares)
        # torch does little arithmetic in uint16.
        full = np.float32(np.iinfo(squares.dtype).max)
        return torch.from_numpy(squares.astype(np.float32)).div_(float(full))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Give one sample.

        Returns:
            ``image`` (C, size, size) float32 in [0, 1], ``index`` int64 scalar and, with labels,
            ``label`` int64 scalar.
        """
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Give a batch, collated: as :meth:`__getitem__`, with a first axis of n."""
        batch = {"image": self.images(indices), "index": torch.tensor(indices)}
        if self.labels is not None:
            batch["label"] = torch.from_numpy(self.labels[indices])
        return batch


def load_dataset(
    name_or_path: str,
    size: int,
    root: Path | None = None,
    cache_bytes: int | None = None,
    progress: bool = False,
    cache: str = "ram",
    cache_folder: Path | None = None,
) -> CachedDataset:
    """Load a data set of the catalogue, any folder of images, or one of georeferenced scenes.

    Every image is decoded once, hashed, and resized to a square (bilinear, antialiased); what
    cannot be used is left out and named. Labels come from folder names alone. Images of a folder
    that have other bands than most are left out, except 8-bit grey ones among RGB. 8-bit values
    are divided by 255, deeper ones by the catalogue's scale or a folder's robust maximum.

    A folder without class sub-folders, most of whose images are georeferenced TIFFs of 256 pixels
    or more on both sides, is one of scenes: its images are tiles of them, see
    :func:`rs_otl.datasets.scenes.find_tiles`. What folder it was taken for is said on stderr.

    Args:
        name_or_path: Name in the catalogue, or a folder.
        size: Side of the images in pixels; see :func:`rs_otl.spec.load_size`.
        root: Folder that the catalogue's data sets lie in; by default ``$RS_OTL_DATA``, else
            ``./data``.
        cache_bytes: Memory that decoded images may take. By default 4 GiB or a quarter of the
            memory available, whichever is less.
        progress: Whether to show progress on stderr.
        cache: Where they are held: ``"ram"`` if all fit the budget, else nowhere; ``"disk"``: in
            a memory-mapped file; ``"auto"``: in memory if all fit, else on disk if there is
            room; ``"none"``.
        cache_folder: Where that file is made; without a name, so that it is gone when the
            process is.

    Returns:
        The usable images, sorted by path.

    Raises:
        InputError: No such data set or folder, no image in it, or none that can be used; or no
            room on the disk that was asked for.
    """
    if size < 1:
        raise InputError(f"size must be at least 1 pixel, not {size}")
    path = Path(name_or_path)
    if name_or_path in CATALOGUE or (len(path.parts) == 1 and not path.exists()):
        source = _from_catalogue(entry_named(name_or_path), data_root(root), size)
    else:
        source = _from_folder(path, size, progress)
    budget = default_cache_bytes() if cache_bytes is None else cache_bytes
    reader = source.reader
    dtype = np.dtype(np.uint16 if reader.deep else np.uint8)
    shape = (len(source.paths), reader.bands, reader.size, reader.size)
    return _load(source, hold(cache, shape, dtype, budget, cache_folder or Path(".")), progress)


def read_image(path: Path, size: int) -> Tensor:
    """Read a single image file.

    Args:
        path: The file.
        size: Side of the image wanted, in pixels.

    Returns:
        (C, size, size) float32 in [0, 1]: 8-bit values divided by 255, deeper ones by their 99.9th
        percentile.

    Raises:
        InputError: It cannot be decoded.
    """
    with quiet_reading():
        pixels = decode(path)
    deep = pixels.dtype != np.uint8
    scale = max(float(np.percentile(pixels, 99.9)), 1e-6) if deep else 255
    square = to_square(pixels, size, deep, scale)
    return torch.from_numpy(square.astype(np.float32) / np.iinfo(square.dtype).max)


@dataclass(frozen=True)
class _Source:
    """What is known of a data set before its images are decoded."""

    name: str
    folder: Path | None
    paths: list[str]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...] | None
    left_out: list[LeftOut]
    missing: str | None
    reader: Reader
    spec: ImageSpec
    estimate: bool  # whether mean and std are yet to be found out


def _from_catalogue(entry: Entry, root: Path, size: int) -> _Source:
    dataset = entry.open(root)
    if entry.folders:
        folder = Path(dataset.root)
        listed = sorted((Path(p).relative_to(folder).as_posix(), n) for p, n in dataset.samples)
        read: Callable[[str], NDArray[Any]] = functools.partial(_decode_below, folder)
    else:
        folder, listed, read = None, sorted(dataset.samples), draw_scene
    deep = entry.scale > 255
    labels = np.array([label for _, label in listed], np.int64)
    present = np.bincount(labels, minlength=len(entry.classes))
    return _Source(
        name=entry.name,
        folder=folder,
        paths=[path for path, _ in listed],
        labels=labels,
        classes=entry.classes,
        left_out=[],
        missing=entry.missing(dict(zip(entry.classes, present.tolist(), strict=True))),
        reader=Reader(read, len(entry.bands), size, deep, entry.scale if deep else 65535),
        spec=ImageSpec(
            bands=entry.bands,
            units=entry.units,
            scale=entry.scale,
            resolution=entry.resolution,
            mean=entry.mean or (0,) * len(entry.bands),
            std=entry.std or (1,) * len(entry.bands),
        ),
        estimate=entry.mean is None,
    )


def _from_folder(folder: Path, size: int, progress: bool) -> _Source:
    listing = list_folder(folder)
    if listing.classes is None and are_scenes(folder, listing.paths):
        return _from_scenes(folder, listing.paths, size)
    with quiet_reading():
        kind = kind_of(folder, tracked(listing.paths, "Looking at headers", progress))
    read = functools.partial(_decode_below, folder, keep_alpha=kind.keep_alpha)
    return _Source(
        name=folder.resolve().name,
        folder=folder,
        paths=listing.paths,
        labels=listing.labels,
        classes=listing.classes,
        left_out=[LeftOut(path, "lies in no class sub-folder") for path in listing.outside],
        missing=None,
        reader=Reader(read, len(kind.bands), size, kind.deep, kind.deep_scale),
        spec=ImageSpec(
            bands=kind.bands,
            units=kind.units,
            scale=kind.deep_scale if kind.deep else 255,
            resolution=None,
            mean=(0,) * len(kind.bands),
            std=(1,) * len(kind.bands),
        ),
        estimate=True,
    )


def _from_scenes(folder: Path, paths: list[str], size: int) -> _Source:
    found = find_tiles(folder, paths, size)
    used = len({tile.partition(":r")[0] for tile in found.tiles})
    print(
        f"{folder}: a folder of georeferenced scenes; {len(found.tiles):,} tiles of {size} pixels "
        f"from {used:,} of them",
        file=sys.stderr,
    )
    bands, scale = found.bands, found.deep_scale
    return _Source(
        name=folder.resolve().name,
        folder=folder,
        paths=found.tiles,
        labels=None,
        classes=None,
        left_out=[LeftOut(path, reason) for path, reason in found.left_out],
        missing=None,
        reader=Reader(
            functools.partial(read_tile, folder, size), len(bands), size, found.deep, scale
        ),
        spec=ImageSpec(
            bands=bands,
            units=found.units,
            scale=scale if found.deep else 255,
            resolution=found.resolution,
            mean=(0,) * len(bands),
            std=(1,) * len(bands),
        ),
        estimate=True,
    )


def _load(source: _Source, cache: NDArray[Any] | None, progress: bool) -> CachedDataset:
    """Decode everything once, into ``cache`` if there is one."""
    reader, total = source.reader, len(source.paths)
    hashes = np.empty(total, np.uint64)
    kept: list[int] = []
    left_out = list(source.left_out)
    outcomes = tracked(
        _read_all(reader, source.paths, cache is not None),
        f"Reading {source.name}",
        progress,
        total,
    )
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, UnreadableError):
            left_out.append(LeftOut(source.paths[position], outcome.reason))
            continue
        square, digest = outcome
        if cache is not None:
            cache[len(kept)] = square
        hashes[len(kept)] = digest
        kept.append(position)
    if not kept:
        first = left_out[0]
        raise InputError(
            f"{source.folder}: none of {total:,} image files can be used, expected {EXPECTED}; "
            f"{first.path}: {first.reason}"
        )
    imagery = CachedDataset(
        name=source.name,
        folder=source.folder,
        spec=source.spec,
        paths=[source.paths[position] for position in kept],
        labels=None if source.labels is None else source.labels[kept],
        classes=source.classes,
        hashes=hashes[: len(kept)],
        left_out=left_out,
        missing=source.missing,
        reader=reader,
        cache=None if cache is None else cache[: len(kept)],
    )
    if source.estimate:
        mean, std = estimate_statistics(imagery, np.arange(len(imagery)))
        imagery.spec = source.spec.model_copy(update={"mean": mean, "std": std})
    return imagery


def _read_all(
    reader: Reader, paths: list[str], keep_squares: bool
) -> Iterator[tuple[NDArray[Any] | None, int] | UnreadableError]:
    """Read all images in order, on several threads, a chunk at a time."""

    def outcome(path: str) -> tuple[NDArray[Any] | None, int] | UnreadableError:
        try:
            square, digest = reader(path)
        except UnreadableError as error:
            return error
        return square if keep_squares else None, digest

    with quiet_reading(), ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _CHUNK):
            yield from pool.map(outcome, paths[start : start + _CHUNK])


def _decode_below(folder: Path, path: str, keep_alpha: bool = False) -> NDArray[Any]:
    return decode(folder / path, keep_alpha)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
