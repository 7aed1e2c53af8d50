"""Any folder of images: class sub-folders, or all images in one folder."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets._decode import (
    Header,
    UnreadableError,
    decode,
    load,
    quiet_reading,
    read_header,
)
from rs_otl.datasets.bands import ImageInfo, alpha_is_imagery, top_value, units_of
from rs_otl.datasets.base import ImageDataset, LeftOut, Root, Transforms
from rs_otl.datasets.catalogue import SUFFIXES, image_files
from rs_otl.errors import InputError
from rs_otl.progress import tracked

EXPECTED = f"images ({', '.join(SUFFIXES)}), in one sub-folder for each class or all together"

# Images, and pixels of each, that decide the scale of 16-bit images.
_SAMPLED_IMAGES = 64
_SAMPLED_PIXELS = 65_536


@dataclass(frozen=True)
class Listing:
    """Image files of a folder, sorted by path.

    Attributes:
        paths: Paths relative to the folder, with forward slashes.
        classes: Names of the class sub-folders, sorted; ``None`` for a folder without
            classes.
        labels: (N,) int64, position of each image's class in ``classes``; ``None`` likewise.
        outside: Images in no class sub-folder, where most are in one.
    """

    paths: list[str]
    classes: tuple[str, ...] | None
    labels: NDArray[np.int64] | None
    outside: list[str]


class ImageFolder(ImageDataset):
    """Any folder of images: one sub-folder for each class, or all in one folder without labels.

    A sample is ``{"image": float32 (C, H, W), raw values, "label": int64 scalar}``; without
    classes it has no label. Images keep the sizes of their files.
    """

    def __init__(
        self,
        root: Root = "data",
        split: str | None = None,
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = False,
        progress: bool = False,
    ) -> None:
        """List the images and read their headers.

        Args:
            root: The folder.
            split: ``"train"`` or ``"test"`` of the paper's first random division; ``None`` for
                all images.
            transforms: Takes a sample and returns a changed one.
            download: Ignored, as is ``checksum``: a folder is what it is.
            checksum: Ignored.
            progress: Whether to show progress on stderr.

        Raises:
            InputError: There is no such folder, or no image in it that can be read; or ``split``
                is another word.
        """
        folder = Path(root)
        listing = list_folder(folder)
        with quiet_reading():
            info, keep_alpha = describe_folder(
                folder, tracked(listing.paths, "Reading headers", progress)
            )
        super().__init__(
            folder,
            folder.resolve().name,
            info,
            listing.paths,
            None if listing.labels is None else listing.labels.tolist(),
            listing.classes or (),
            split,
            transforms,
            functools.partial(load, keep_alpha=keep_alpha),
            [LeftOut(path, "lies in no class sub-folder") for path in listing.outside],
        )


def list_folder(folder: Path) -> Listing:
    """Find the images of a folder and the classes that its sub-folders stand for.

    With images in two sub-folders or more, each is a class of all images anywhere below it.
    Otherwise, or if more images lie in the folder itself than below it, there are no labels.

    Args:
        folder: Where to look; hidden files and folders are passed over.

    Returns:
        What there is.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected {EXPECTED}")
    paths = sorted(path.relative_to(folder).as_posix() for path in image_files(folder))
    if not paths:
        raise InputError(f"{folder}: no images, expected {EXPECTED}")
    inside = [path for path in paths if "/" in path]
    classes = tuple(sorted({path.partition("/")[0] for path in inside}))
    if len(classes) < 2 or len(inside) < len(paths) - len(inside):
        return Listing(paths, None, None, [])
    label = {name: number for number, name in enumerate(classes)}
    labels = np.array([label[path.partition("/")[0]] for path in inside], np.int64)
    return Listing(inside, classes, labels, [path for path in paths if "/" not in path])


def describe_folder(folder: Path, paths: Iterable[str]) -> tuple[ImageInfo, bool]:
    """Find out what most images are, from the files' headers and a sample of 16-bit images.

    Args:
        folder: The folder.
        paths: Paths relative to it; unreadable files are skipped here.

    Returns:
        The bands that most images have, the depth of most of those, and the 99.9th percentile of
        a sample of their 16-bit ones as scale; and whether what TIFFs mark as alpha is imagery.

    Raises:
        InputError: Not one file can be read, or values lie below 0.
    """
    headers: dict[str, Header] = {}
    for path in paths:
        try:
            headers[path] = read_header(folder / path)
        except UnreadableError:
            continue
    if not headers:
        raise InputError(f"{folder}: none of its image files can be read, expected {EXPECTED}")
    keep_alpha = _keep_alpha(folder, {p: h for p, h in headers.items() if h.alpha is not None})
    bands = {path: header.bands(keep_alpha) for path, header in headers.items()}
    counts = Counter(len(names) for names in bands.values())
    count = max(counts, key=lambda number: (counts[number], number))
    alike = [path for path, names in bands.items() if len(names) == count]
    names = Counter(bands[path] for path in alike).most_common(1)[0][0]
    deep = [path for path in alike if headers[path].is_16bit]
    if not deep:
        return ImageInfo(names), keep_alpha
    is_16bit = len(deep) * 2 > len(alike)
    units = Counter(units_of(headers[path].dtype) for path in deep).most_common(1)[0][0]
    samples = [_thinned(pixels) for _, pixels in _sample(folder, deep)]
    scale = (top_value(samples, folder) or 1.0) if samples else 65535.0
    return ImageInfo(names, units if is_16bit else "8-bit counts", is_16bit, scale), keep_alpha


def _keep_alpha(folder: Path, headers: Mapping[str, Header]) -> bool:
    """Whether the band that TIFFs mark as alpha is imagery."""
    if not headers:
        return False
    names = (header.descriptions[header.alpha or 0] for header in headers.values())
    samples = (pixels[headers[path].alpha] for path, pixels in _sample(folder, list(headers), True))
    return alpha_is_imagery(next(filter(None, names), None), samples)


def _thinned(pixels: NDArray[Any]) -> NDArray[np.float32]:
    values = pixels.ravel()
    return values[:: max(1, len(values) // _SAMPLED_PIXELS)].astype(np.float32)


def _sample(
    folder: Path, paths: list[str], keep_alpha: bool = False
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Decode some images, evenly spread; unreadable ones are skipped."""
    for position in np.linspace(0, len(paths) - 1, min(len(paths), _SAMPLED_IMAGES), dtype=int):
        try:
            yield paths[position], decode(folder / paths[position], keep_alpha)
        except UnreadableError:
            continue
