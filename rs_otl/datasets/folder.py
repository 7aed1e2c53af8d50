"""Any folder of images: class sub-folders, or a flat pile."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets._decode import Header, UnreadableError, decode, read_header
from rs_otl.datasets.catalogue import SUFFIXES
from rs_otl.errors import InputError
from rs_otl.spec import RGB

EXPECTED = f"images ({', '.join(SUFFIXES)}), in one sub-folder for each class or in one pile"

# Images, and pixels of each, that the robust maximum of deep images is taken over.
_SAMPLED_IMAGES = 64
_SAMPLED_PIXELS = 65_536


@dataclass(frozen=True)
class Listing:
    """Image files of a folder, sorted by path.

    Attributes:
        paths: Paths relative to the folder, with forward slashes.
        classes: Names of the class sub-folders, sorted; ``None`` for a flat pile.
        labels: (N,) int64, position of each image's class in ``classes``; ``None`` likewise.
        outside: Images that lie in no class sub-folder, though most do.
    """

    paths: list[str]
    classes: tuple[str, ...] | None
    labels: NDArray[np.int64] | None
    outside: list[str]


@dataclass(frozen=True)
class Kind:
    """What most images of a folder are.

    Attributes:
        bands: Band names.
        deep: Whether most are deeper than 8 bits.
        units: What a raw value counts.
        deep_scale: Raw value that becomes 1.0 in images deeper than 8 bits, the 99.9th
            percentile of a sample of them.
        keep_alpha: Whether what TIFFs mark as alpha is a band like the others.
    """

    bands: tuple[str, ...]
    deep: bool
    units: str
    deep_scale: float
    keep_alpha: bool


def list_folder(folder: Path) -> Listing:
    """Find the images of a folder and the classes that its sub-folders stand for.

    With images in two sub-folders or more, each is a class, and holds what lies anywhere below
    it. Otherwise, or if more images lie in the folder itself than below it, it is a flat pile
    without labels.

    Args:
        folder: Where to look; hidden files and folders are passed over.

    Returns:
        What there is.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected {EXPECTED}")
    paths = sorted(_image_paths(folder))
    if not paths:
        raise InputError(f"{folder}: no images, expected {EXPECTED}")
    inside = [path for path in paths if "/" in path]
    classes = tuple(sorted({path.partition("/")[0] for path in inside}))
    if len(classes) < 2 or len(inside) < len(paths) - len(inside):
        return Listing(paths, None, None, [])
    label = {name: number for number, name in enumerate(classes)}
    labels = np.array([label[path.partition("/")[0]] for path in inside], np.int64)
    return Listing(inside, classes, labels, [path for path in paths if "/" not in path])


def kind_of(folder: Path, paths: Iterable[str]) -> Kind:
    """Find out what most images are, from the files' headers and a sample of deep images.

    Args:
        folder: The folder.
        paths: Paths relative to it; unreadable files are passed over here.

    Returns:
        The bands that most images have, and how deep most of those are.

    Raises:
        InputError: Not one file can be read.
    """
    headers: list[tuple[str, Header]] = []
    for path in paths:
        try:
            headers.append((path, read_header(folder / path)))
        except UnreadableError:
            continue
    if not headers:
        raise InputError(f"{folder}: none of its image files can be read, expected {EXPECTED}")
    keep_alpha = _alpha_is_band(folder, [path for path, header in headers if header.alpha])
    if keep_alpha:
        headers = [(path, replace(h, bands=h.bands + h.alpha)) for path, h in headers]
    tally = Counter(header.bands for _, header in headers)
    count = max(tally, key=lambda bands: (tally[bands], bands))
    alike = [(path, header) for path, header in headers if header.bands == count]
    deep_paths = [path for path, header in alike if header.deep]
    deep = len(deep_paths) * 2 > len(alike)
    scale, units = _deep_scale(folder, deep_paths)
    bands = RGB if count == 3 else tuple(f"band-{number + 1}" for number in range(count))
    return Kind(bands, deep, units if deep else "8-bit counts", scale, keep_alpha)


def _image_paths(folder: Path) -> Iterable[str]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _alpha_is_band(folder: Path, paths: list[str]) -> bool:
    """Whether alpha is no mask: a mask is nearly everywhere 0 or full."""
    between = total = 0
    for pixels in _sample(folder, paths, keep_alpha=True):
        full = 255 if pixels.dtype == np.uint8 else pixels[-1].max()
        between += int(np.count_nonzero((pixels[-1] > 0) & (pixels[-1] < full)))
        total += pixels[-1].size
    return between > 0.05 * total


def _deep_scale(folder: Path, paths: list[str]) -> tuple[float, str]:
    """Robust maximum of images deeper than 8 bits, and what their values count."""
    samples, types = [], Counter[str]()
    for pixels in _sample(folder, paths):
        types[pixels.dtype.name] += 1
        values = pixels.ravel()
        samples.append(values[:: max(1, len(values) // _SAMPLED_PIXELS)].astype(np.float32))
    if not samples:
        return 65535.0, ""
    scale = float(np.percentile(np.concatenate(samples), 99.9))
    whole = types.most_common(1)[0][0] == "uint16"
    return scale if scale > 0 else 1.0, "16-bit counts" if whole else "floating-point values"


def _sample(folder: Path, paths: list[str], keep_alpha: bool = False) -> Iterator[NDArray[Any]]:
    """Decode some images, spread evenly; unreadable ones are passed over."""
    for position in np.linspace(0, len(paths) - 1, min(len(paths), _SAMPLED_IMAGES), dtype=int):
        try:
            yield decode(folder / paths[position], keep_alpha)
        except UnreadableError:
            continue
