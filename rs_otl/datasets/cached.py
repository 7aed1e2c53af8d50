"""Any classification data set as squares of one size, decoded once and kept in memory."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from rs_otl.datasets._decode import (
    decode,
    match_bands,
    pixel_hash,
    quiet_reading,
    to_square,
)
from rs_otl.datasets._memory import allocate, default_cache_bytes
from rs_otl.datasets.bands import ImageInfo, top_value
from rs_otl.datasets.base import ImageDataset, LeftOut
from rs_otl.datasets.catalogue import CATALOGUE, base_name, data_root, entry_named
from rs_otl.datasets.folder import EXPECTED, ImageFolder
from rs_otl.datasets.raster import UnreadableError
from rs_otl.datasets.remote import is_address, public
from rs_otl.datasets.samples import (
    TORCHGEO,
    describe_samples,
    open_torchgeo,
    paths_of,
    read_sample,
)
from rs_otl.datasets.scenes import MOST_TILES, SceneTiles, is_scene, is_scene_folder
from rs_otl.datasets.selection import select
from rs_otl.datasets.sources import is_stac
from rs_otl.datasets.statistics import estimate_statistics
from rs_otl.errors import InputError, note
from rs_otl.progress import tracked
from rs_otl.spec import ImageSpec, Quantity, Values

# Images handed to the threads at a time, which bounds how many wait in memory.
_CHUNK = 64
_THREADS = min(8, os.cpu_count() or 1)
# A check only asks whether files can be read: small squares are enough, and save memory.
_CHECKED_SIZE, _CHECKED_TILE, _CHECKED_TILES = 8, 256, 1_000


class CachedDataset(Dataset[dict[str, Tensor]]):
    """The images of a classification data set as squares of one size in [0, 1].

    Every image is decoded once, hashed, and resized to a square (bilinear, antialiased); images
    that cannot be used are in ``left_out``. Squares are kept as uint8 or uint16 in memory or in a
    memory-mapped file; otherwise images are decoded again each time.

    Data sets of :mod:`rs_otl.datasets` without transforms are read by their ``loader``, all
    others by their samples, ``{"image": (C, H, W), "label": integer scalar}`` with raw values.

    Attributes:
        dataset: What the images are read from.
        indices: (N,) int64, positions of the images in ``dataset``.
        name: Name in the catalogue, of the folder, or of the class.
        spec: Bands, units and normalisation.
        size: Side of the images in pixels.
        classes: Class names in the order of the labels; ``None`` without labels.
        labels: (N,) int64; ``None`` without labels.
        paths: N paths with forward slashes, or positions where the data set has no files.
        hashes: (N,) uint64, equal for images whose pixels are equal before resizing.
        in_test: (N,) bool, the official test images; ``None`` where there are none.
        left_out: Images that cannot be used, and why.
        missing: What a partial copy lacks; ``None`` if nothing, or unknown.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        spec: ImageSpec | None,
        size: int,
        *,
        name: str | None = None,
        cache: str = "ram",
        cache_bytes: int | None = None,
        cache_folder: Path | None = None,
        progress: bool = False,
    ) -> None:
        """Decode all images once.

        Args:
            dataset: A torchgeo classification data set, or any data set with the same samples.
            spec: Bands, units and normalisation; ``None`` to take them from the data set. What it
                does not say is then estimated from its images.
            size: Side of the squares in pixels; see :func:`rs_otl.spec.load_size`.
            name: Name of the data set; by default its ``name``, else the name of its class.
            cache: Where squares are kept. ``"ram"``: in memory, which must then be free, if all
                fit the budget, else nowhere; ``"disk"``: in a memory-mapped file; ``"auto"``: in
                memory if all fit, else on disk if there is room; ``"none"``: nowhere.
            cache_bytes: Memory that squares may take. By default 4 GiB or a quarter of the memory
                available, whichever is less.
            cache_folder: Where the file of squares is made; it has no name, and disappears with
                the process.
            progress: Whether to show progress on stderr.

        Raises:
            InputError: No image can be used; the values are normalised already; ``spec`` has
                other bands; or there is no room in the memory or on the disk that was asked for.
        """
        if size < 1:
            raise InputError(f"size must be at least 1 pixel, not {size}")
        self.dataset = dataset
        self.name = name or getattr(dataset, "name", None) or type(dataset).__name__
        self.size = size
        self.missing: str | None = getattr(dataset, "missing", None)
        self._names = paths_of(dataset)
        # Read by its loader: samples would be converted to float32 first.
        self._raw: ImageDataset | None = None
        if isinstance(dataset, ImageDataset) and dataset.transforms is None:
            self._raw = dataset
            self._info = dataset.info if spec is None else ImageInfo.from_spec(spec)
        else:
            self._info = describe_samples(dataset, self.name, self._names, spec)
        self.spec = self._info.spec()
        self._count = len(self.spec.bands)
        self._positions: list[int] | None = None

        total = len(self._names)
        shape = (total, len(self.spec.bands), size, size)
        dtype = np.dtype(np.uint16 if self._info.is_16bit else np.uint8)
        budget = default_cache_bytes() if cache_bytes is None else cache_bytes
        squares = allocate(cache, shape, dtype, budget, cache_folder or Path("."))
        hashes, labels = np.empty(total, np.uint64), np.empty(total, np.int64)
        usable: list[int] = []
        self.left_out: list[LeftOut] = list(getattr(dataset, "left_out", ()))
        images = tracked(
            self._read_all(squares is not None), f"Reading {self.name}", progress, total
        )
        for position, image in enumerate(images):
            if isinstance(image, UnreadableError):
                self.left_out.append(LeftOut(self._names[position], image.reason))
                continue
            square, digest, label = image
            number = len(usable)
            if squares is not None:
                squares[number] = square
            hashes[number] = digest
            labels[number] = label
            usable.append(position)
        if not usable:
            raise InputError(self._nothing_usable())
        self.indices = np.array(usable, np.int64)
        self.paths = [self._names[position] for position in usable]
        self.hashes = hashes[: len(usable)]
        official = getattr(dataset, "in_test", None)
        self.in_test: NDArray[np.bool_] | None = None if official is None else official[usable]
        self._cache = None if squares is None else squares[: len(usable)]
        self.labels: NDArray[np.int64] | None = labels[: len(usable)]
        self.classes: tuple[str, ...] | None = None
        if self.labels.min() < 0:
            self.labels = None
        else:
            given = tuple(str(name) for name in getattr(dataset, "classes", None) or ())
            numbers = range(int(self.labels.max()) + 1)
            self.classes = given if len(given) >= len(numbers) else tuple(map(str, numbers))
        if self._info.mean is None:
            mean, std = estimate_statistics(self, np.arange(len(self)))
            self.spec = self.spec.model_copy(update={"mean": mean, "std": std})

    @property
    def cached(self) -> bool:
        """Whether the squares are kept in memory or in a file."""
        return self._cache is not None

    def of_bands(self, positions: Sequence[int], spec: ImageSpec) -> "CachedDataset":
        """Return the same images with some of their bands, in any order.

        Args:
            positions: Positions of the wanted bands.
            spec: Specification of the result.

        Returns:
            A data set that shares the images of this one.
        """
        if list(positions) == list(range(len(self.spec.bands))):
            return self
        view = copy.copy(self)
        own = range(len(self.spec.bands)) if self._positions is None else self._positions
        view._positions = [own[position] for position in positions]
        view.spec = spec
        return view

    @property
    def reading(self) -> str:
        """What images depend on besides the hashed pixels.

        Their side, the raw values that become 0 and 1, and which bands are taken.
        """
        info = self._info
        return f"{self.size} {info.is_16bit} {info.offset} {info.scale} {self._positions}"

    def __len__(self) -> int:
        """Number of usable images."""
        return len(self.paths)

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return images without their labels.

        Args:
            indices: n positions.

        Returns:
            (n, C, size, size) float32 in [0, 1].

        Raises:
            InputError: A file has changed since the data set was loaded.
        """
        batch = self.uint8_batch(indices)
        return batch.float().div_(255) if batch.dtype == torch.uint8 else batch

    def uint8_batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return images as they are cached if these are 8 bits, else as :meth:`images` does.

        Args:
            indices: n positions.

        Returns:
            (n, C, size, size), uint8, or float32 in [0, 1] for images of more than 8 bits.

        Raises:
            InputError: A file has changed since the data set was loaded.
        """
        if self._cache is not None:
            squares = self._cache[np.asarray(indices, np.int64)]
        else:
            with quiet_reading():
                squares = np.stack([self._read(int(self.indices[i]))[0] for i in indices])
        if self._positions is not None:
            squares = squares[:, self._positions]
        if squares.dtype == np.uint8:
            return torch.from_numpy(squares)
        # torch does little arithmetic in uint16.
        full = np.float32(np.iinfo(squares.dtype).max)
        return torch.from_numpy(squares.astype(np.float32)).div_(float(full))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sample.

        Returns:
            ``image`` (C, size, size) float32 in [0, 1], ``index`` int64 scalar and, with labels,
            ``label`` int64 scalar.
        """
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return a collated batch: as :meth:`__getitem__`, with a first axis of n."""
        batch = {"image": self.images(indices), "index": torch.tensor(indices)}
        if self.labels is not None:
            batch["label"] = torch.from_numpy(self.labels[indices])
        return batch

    def _read(self, position: int, resize: bool = True) -> tuple[NDArray[Any], int, int]:
        """Read one image of the data set.

        Returns:
            (C, size, size) uint8 or uint16, or the raw pixels without ``resize``; the hash of the
            raw pixels; and the label, -1 if there is none.

        Raises:
            UnreadableError: The image cannot be read, or has another number of bands.
        """
        if self._raw is not None:
            path, label = self._raw.samples[position]
            pixels = self._raw.loader(path).transpose(2, 0, 1)
            label = label if self._raw.classes else -1
        else:
            path = self._names[position]
            pixels, label = read_sample(self.dataset, position, path)
            if not self._info.is_16bit:
                pixels = np.rint(pixels.clip(0, 255)).astype(np.uint8)
        digest = pixel_hash(pixels)
        pixels = match_bands(pixels, self._count, path)
        if resize:
            info = self._info
            pixels = to_square(pixels, self.size, info.is_16bit, info.scale, info.offset)
        return pixels, digest, label

    def _read_all(self, resize: bool) -> Iterator[tuple[NDArray[Any], int, int] | UnreadableError]:
        """Read all images in order. Only our data sets use threads: others may not allow it."""

        def read(position: int) -> tuple[NDArray[Any], int, int] | UnreadableError:
            try:
                return self._read(position, resize)
            except UnreadableError as error:
                return error

        positions = range(len(self._names))
        with quiet_reading():
            if self._raw is None:
                yield from map(read, positions)
                return
            with ThreadPoolExecutor(_THREADS) as pool:
                for start in positions[::_CHUNK]:
                    yield from pool.map(read, positions[start : start + _CHUNK])

    def _nothing_usable(self) -> str:
        where = getattr(self.dataset, "root", None) or self.name
        if not self.left_out:
            return f"{where}: no images, expected {EXPECTED}"
        first = self.left_out[0]
        return (
            f"{where}: none of {len(self._names):,} image files can be used, expected {EXPECTED}; "
            f"{first.path}: {first.reason}"
        )


def load_dataset(
    name_or_path: str,
    size: int,
    root: str | Path | None = None,
    cache_bytes: int | None = None,
    progress: bool = False,
    cache: str = "ram",
    cache_folder: Path | None = None,
    check: Callable[[int], None] | None = None,
    values: Values | None = None,
    bands: Sequence[str] | None = None,
    like: ImageSpec | None = None,
) -> CachedDataset:
    """Load a data set of the catalogue or of torchgeo, or any folder of images or of scenes.

    The labels of a folder come only from the names of its sub-folders. Images with another number
    of bands than most are left out, except 8-bit grey images among RGB. 8-bit values are divided
    by 255, others by the catalogue's scale or the folder's 99.9th percentile.

    A folder without class sub-folders is a folder of scenes if most of its images are
    georeferenced TIFFs or JPEG 2000 files of 256 pixels or more on both sides. The data set then
    holds tiles of the scenes, see :class:`rs_otl.datasets.SceneTiles`. With class sub-folders the
    limit is 1,024 pixels. A note on stderr says so, and how sub-folders were understood if it is
    not obvious.

    Args:
        name_or_path: Name in the catalogue, alone or with a selection of its images such as
            ``cifar10@uneven-100`` (:func:`rs_otl.datasets.selection.select`); ``torchgeo/`` and
            the name of one of torchgeo's classification data sets; a folder; or what STAC
            describes (:func:`rs_otl.datasets.sources.scenes_of`).
        size: Side of the squares in pixels; see :func:`rs_otl.spec.load_size`.
        root: Folder of the data sets with a name; by default ``$RS_OTL_DATA``, else ``./data``.
        cache_bytes: See :class:`CachedDataset`, also for the next three.
        progress: Whether to show progress on stderr.
        cache: Where squares are kept.
        cache_folder: Where the file of squares is made.
        check: Called with the number of images before any is decoded, to refuse what would not
            fit.
        values: What stored values of a folder stand for, where files do not say it, or say it
            wrong.
        bands: The wanted bands of a folder, in this order, by name or number from 1; or names for
            all bands where files have none.
        like: Specification of the images that an encoder was trained on. Images of more than 8
            bits that measure the same are scaled in the same way. 16-bit counts without units are
            taken as the encoder's reflectance; a note on stderr says so.

    Returns:
        The usable images. Those of the catalogue and of folders are sorted by path.

    Raises:
        InputError: No such data set or folder, no image in it, or none that can be used; or no
            room in the memory or on the disk that was asked for.
    """
    if size < 1:
        raise InputError(f"size must be at least 1 pixel, not {size}")
    dataset = open_images(name_or_path, size, root, progress, values=values, bands=bands, like=like)
    if check is not None:
        check(len(cast(Sized, dataset)))
    return CachedDataset(
        dataset,
        None,
        size,
        name=name_or_path if name_or_path.startswith(TORCHGEO) else None,
        cache=cache,
        cache_bytes=cache_bytes,
        cache_folder=cache_folder,
        progress=progress,
    )


def _scaled_like(dataset: ImageDataset, like: ImageSpec, values: Values | None) -> ImageInfo:
    """Scale images like those of an encoder, if they measure the same."""
    info = dataset.info
    unsaid = info.quantity is Quantity.COUNTS and (values is None or values.quantity is None)
    if unsaid and like.quantity.is_reflectance and info.units == "16-bit counts":
        note(f"{dataset.name}: says no units; taken as {like.units} (--units says otherwise)")
        info = replace(info, units=like.units, quantity=like.quantity)
    made = values is not None and values.scale is not None and values.quantity is Quantity.COUNTS
    if made and like.quantity is Quantity.COUNTS:  # the user has scaled them as the encoder's
        info = replace(info, units=like.units)
    if not like.measures_as(info.units, info.quantity):
        return info
    return replace(info, scale=like.scale, offset=like.offset)


def check_dataset(
    name_or_path: str, root: str | Path | None = None, progress: bool = False
) -> CachedDataset:
    """Read every image once to check it: as :func:`load_dataset`, with small squares.

    Of scenes, up to 1,000 tiles of 256 pixels are read.
    """
    dataset = open_images(name_or_path, _CHECKED_TILE, root, progress, _CHECKED_TILES)
    name = name_or_path if name_or_path.startswith(TORCHGEO) else None
    return CachedDataset(dataset, None, _CHECKED_SIZE, name=name, progress=progress)


def open_images(
    name_or_path: str,
    size: int,
    root: str | Path | None,
    progress: bool,
    most_tiles: int = MOST_TILES,
    values: Values | None = None,
    bands: Sequence[str] | None = None,
    like: ImageSpec | None = None,
) -> Dataset[Any]:
    """List the images of a data set without decoding them; see :func:`load_dataset`.

    Args:
        name_or_path: See :func:`load_dataset`.
        size: Side of the tiles of scenes, in pixels.
        root: See :func:`load_dataset`.
        progress: Whether to show progress on stderr.
        most_tiles: Maximum number of tiles of scenes.
        values: See :func:`load_dataset`.
        bands: See :func:`load_dataset`.
        like: See :func:`load_dataset`.
    """
    folder = Path(name_or_path)
    remote = is_address(name_or_path) or is_stac(name_or_path)
    known = name_or_path.startswith(TORCHGEO) or base_name(name_or_path) in CATALOGUE
    if known and (values is not None or bands is not None):
        raise InputError(
            f"{name_or_path}: --bands, --scale, --offset and --units are for folders; leave them "
            "out, it says itself what its bands and values are"
        )
    if name_or_path.startswith(TORCHGEO):
        return open_torchgeo(name_or_path, data_root(root))
    dataset: ImageDataset
    one = is_scene(folder) and base_name(name_or_path) not in CATALOGUE
    if remote or one:
        dataset = SceneTiles(name_or_path, size=size, most=most_tiles, values=values, bands=bands)
    elif base_name(name_or_path) in CATALOGUE or (len(folder.parts) == 1 and not folder.exists()):
        dataset = entry_named(name_or_path).open(data_root(root))
        select(dataset, name_or_path)
    else:
        if is_scene_folder(folder):
            dataset = SceneTiles(folder, size=size, most=most_tiles, values=values, bands=bands)
        else:
            dataset = ImageFolder(folder, progress=progress, values=values, bands=bands)
    if isinstance(dataset, SceneTiles):
        scenes = len({path.rpartition(":r")[0] for path in dataset.paths})
        what = (
            f"{public(name_or_path)}: {'' if remote or one else 'a folder of '}georeferenced scenes"
        )
        note(f"{what}; {len(dataset):,} tiles of {size} pixels from {scenes:,} of them")
    if dataset.note:
        note(dataset.note)
    if like is not None and dataset.info.is_16bit:
        dataset.info = _scaled_like(dataset, like, values)
    return dataset


def read_image(path: Path, size: int) -> Tensor:
    """Read a single image file.

    Args:
        path: The file.
        size: Side of the square wanted, in pixels.

    Returns:
        (C, size, size) float32 in [0, 1]: 8-bit values divided by 255, others by their 99.9th
        percentile.

    Raises:
        InputError: The file cannot be decoded, or values lie below 0.
    """
    with quiet_reading():
        pixels = decode(path)
    is_16bit = pixels.dtype != np.uint8
    scale = (top_value([pixels], path) or 1.0) if is_16bit else 255.0
    square = to_square(pixels, size, is_16bit, scale)
    return torch.from_numpy(square.astype(np.float32) / np.iinfo(square.dtype).max)
