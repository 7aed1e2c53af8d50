"""Any folder of images: class sub-folders, or all images in one folder."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets._decode import (
    Header,
    decode,
    load,
    match_bands,
    quiet_reading,
    read_header,
)
from rs_otl.datasets.bands import ImageInfo, alpha_is_imagery, choose_bands, value_range
from rs_otl.datasets.base import ImageDataset, LeftOut, Root, Transforms
from rs_otl.datasets.files import (
    SUFFIXES,
    find_images,
    is_a_split,
    is_plain,
    says_when_or_where,
)
from rs_otl.datasets.raster import UnreadableError, units_of
from rs_otl.datasets.statistics import refuse_mixed_units
from rs_otl.errors import InputError
from rs_otl.progress import tracked
from rs_otl.sensors import described
from rs_otl.spec import RGB, UNITS, Band, Quantity, Values

EXPECTED = f"images ({', '.join(SUFFIXES)}), in one sub-folder for each class or all together"

# Archives and array files that may hold images.
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z", ".parquet", ".h5", ".npz", ".npy")
# Number of names that a message lists.
_LISTED = 4
# Numbers of images, and of pixels in each, that decide the scale of 16-bit images.
_SAMPLED_IMAGES = 64
_SAMPLED_PIXELS = 65_536


@dataclass(frozen=True)
class Listing:
    """Image files of a folder, sorted by path.

    Attributes:
        paths: Paths relative to the folder, with forward slashes.
        classes: Names of the class folders, sorted; ``None`` for a folder without classes.
        labels: (N,) int64, position of each image's class in ``classes``; ``None`` without classes.
        outside: Images in no class folder, if most images are in one.
        others: Files that look like images and are skipped, and why.
        note: How the sub-folders were understood, in one line, where it is not obvious.
    """

    paths: list[str]
    classes: tuple[str, ...] | None
    labels: NDArray[np.int64] | None
    outside: list[str]
    others: list[LeftOut]
    note: str | None


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
        values: Values | None = None,
        bands: Sequence[str] | None = None,
    ) -> None:
        """List the images and read their headers.

        Args:
            root: The folder.
            split: ``"train"`` or ``"test"`` of the paper's first random division; ``None`` for
                all images.
            transforms: Takes a sample and returns a changed one.
            download: Ignored: a folder cannot be downloaded.
            checksum: Ignored.
            progress: Whether to show progress on stderr.
            values: What stored values stand for, where files do not say it, or say it wrong.
            bands: The bands wanted, in this order, by name or number from 1; or names for all
                bands where files have none.

        Raises:
            InputError: There is no such folder, or no image in it that can be read; or ``split``
                has another value.
        """
        folder = Path(root)
        listing = list_folder(folder)
        with quiet_reading():
            info, keep_alpha, remark = describe_folder(
                folder, tracked(listing.paths, "Reading headers", progress), values
            )
        loader = functools.partial(load, keep_alpha=keep_alpha, values=values)
        if bands is not None:
            count = len(info.bands)
            known = info.known or tuple(Band(name=name) for name in info.bands)
            positions, names = choose_bands(bands, known, bool(info.known), str(folder))
            info = replace(info, bands=names, known=described(names, folder.name))
            loader = functools.partial(_chosen, loader=loader, count=count, positions=positions)
        super().__init__(
            folder,
            folder.resolve().name,
            info,
            listing.paths,
            None if listing.labels is None else listing.labels.tolist(),
            listing.classes or (),
            split,
            transforms,
            loader,
            [LeftOut(path, "lies in no class folder") for path in listing.outside] + listing.others,
            note="; ".join(filter(None, (listing.note, remark))) or None,
        )


def list_folder(folder: Path) -> Listing:
    """Find the images of a folder and the classes that its sub-folders stand for.

    If two or more sub-folders hold images, each sub-folder is a class of all images below it. A
    single sub-folder is not a class: the folders below it are looked at instead. The same holds
    for folders named after splits (``train``, ``test``), which are read together, and after dates,
    tiles or products. If more images lie in the folder itself than below it, there are no labels.

    Args:
        folder: Where to look; see :func:`rs_otl.datasets.files.find_images`.

    Returns:
        The images and their classes.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected {EXPECTED}")
    found = find_images(folder)
    paths = sorted(path.relative_to(folder).as_posix() for path in found.paths)
    others = [LeftOut(path.relative_to(folder).as_posix(), why) for path, why in found.others]
    if not paths:
        seen = f" ({others[0].path} {others[0].reason})" if others else ""
        names = sorted(path.name for path in folder.iterdir())
        packed = [name for name in names if name.lower().endswith(_PACKED)]
        if packed:
            seen = f" but {_listed(packed)}, to be unpacked first"
        raise InputError(f"{folder}: no images{seen}, expected {EXPECTED}")
    level, unread, remarks = _class_level([path.split("/") for path in paths])
    note = f"{folder}: {'; '.join(remarks)}" if remarks else None
    beside = [path for path in paths if path.startswith(tuple(unread))]
    others += [LeftOut(path, "lies beside the folder of all images") for path in beside]
    paths = sorted(set(paths) - set(beside))
    if level is None:
        return Listing(paths, None, None, [], others, note)
    inside = [path for path in paths if path.count("/") > level]
    named = [path.split("/")[level] for path in inside]
    classes = tuple(sorted(set(named)))
    label = {name: number for number, name in enumerate(classes)}
    labels = np.array([label[name] for name in named], np.int64)
    outside = [path for path in paths if path.count("/") <= level]
    return Listing(inside, classes, labels, outside, others, note)


def _class_level(paths: Sequence[Sequence[str]]) -> tuple[int | None, list[str], list[str]]:
    """Find which of the folders in the paths of images are classes.

    Args:
        paths: Paths of images, split into parts.

    Returns:
        Position of the class in a path, ``None`` without classes; what the paths of images that
        are not read start with; and remarks for the user.
    """
    unread: list[str] = []
    remarks: list[str] = []
    level = 0
    while True:
        inside = [path for path in paths if len(path) > level + 1]
        names = sorted({path[level] for path in inside})
        if not names or len(inside) * 2 < len(paths):
            return None, unread, [*remarks, "no labels"] if remarks else []
        below: dict[str, set[str]] = {name: set() for name in names}
        for path in inside:
            below[path[level]].update(path[level + 1 : -1][:1])
        splits = [name for name in names if is_a_split(name)]
        plain = [name for name in names if is_plain(name)]
        if len(names) == 1:
            pass
        elif splits and plain and len(splits) + len(plain) == len(names):
            start = "".join(f"{part}/" for part in inside[0][:level])
            unread += [f"{start}{name}/" for name in splits]
            remarks.append(f"{_listed(splits)} not read, beside {_listed(plain)}")
            paths = [path for path in inside if path[level] in plain]
            continue
        elif len(splits) == len(names) or (len(splits) > 1 and set.intersection(*below.values())):
            remarks.append(f"{_listed(names)} are splits, read together")
        elif all(map(says_when_or_where, names)):
            remarks.append(f"{_listed(names)} are dates or places, not classes")
        else:
            deeper = set[str]().union(*below.values())
            if level:
                above = {path[:level] for path in map(tuple, inside)}
                where = "/".join(above.pop()) if len(above) == 1 else "the folders below"
                remarks.append(f"classes are the {len(names)} folders of {where}")
            elif all(len(folders) > 1 for folders in below.values()) and not all(
                is_a_split(name) or says_when_or_where(name) for name in deeper
            ):
                remarks.append(
                    f"classes are {_listed(names)}; {_listed(sorted(deeper))} below belong to "
                    "these classes"
                )
            return level, unread, remarks
        level += 1


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def describe_folder(
    folder: Path, paths: Iterable[str], values: Values | None = None
) -> tuple[ImageInfo, bool, str | None]:
    """Find out what most images are, from the files' headers and a sample of 16-bit images.

    Args:
        folder: The folder.
        paths: Paths relative to it; unreadable files are skipped here.
        values: What stored values stand for, where the user knows better.

    Returns:
        The bands of most images, the depth of most images with these bands, and as scale the
        99.9th percentile of a sample of their 16-bit images; whether the band that TIFFs mark as
        alpha is imagery; and how many images have other numbers of bands, in one line, if any do.

    Raises:
        InputError: No file can be read, values lie below 0, or some images hold counts and others
            fractions.
    """
    headers: dict[str, Header] = {}
    for path in paths:
        try:
            headers[path] = read_header(folder / path, values)
        except UnreadableError:
            continue
    if not headers:
        raise InputError(f"{folder}: none of its image files can be read, expected {EXPECTED}")
    keep_alpha = _keep_alpha(folder, {p: h for p, h in headers.items() if h.alpha is not None})
    named = {path: header.named_bands(keep_alpha) for path, header in headers.items()}
    bands = {path: names for path, (names, _) in named.items()}
    counts = Counter(len(names) for names in bands.values())
    count = max(counts, key=lambda number: (counts[number], number))
    alike = [path for path, names in bands.items() if len(names) == count]
    names = Counter(bands[path] for path in alike).most_common(1)[0][0]
    deep = [path for path in alike if headers[path].is_16bit]
    deep_grey = any(headers[path].is_16bit for path, names in bands.items() if len(names) == 1)
    remark = _other_bands(folder, counts, count, deep_grey)
    known = described(names, folder.name) if (names, True) in named.values() else ()
    if not deep:
        return ImageInfo(names, known=known), keep_alpha, remark
    is_16bit = len(deep) * 2 > len(alike)
    units, quantity = Counter(
        (UNITS.get(header.quantity or Quantity.COUNTS, units_of(header.dtype)), header.quantity)
        for header in (headers[path] for path in deep)
    ).most_common(1)[0][0]
    quantity = quantity or Quantity.COUNTS
    samples = {
        path: _thinned(pixels)
        for kind in sorted({headers[path].dtype.kind for path in deep})
        for path, pixels in _sample(
            folder, [p for p in deep if headers[p].dtype.kind == kind], values=values
        )
    }
    refuse_mixed_units(samples, folder)
    low, high = value_range(samples.values(), folder, quantity) if samples else (0.0, 65535.0)
    info = ImageInfo(
        names,
        units if is_16bit else "8-bit counts",
        is_16bit,
        high - low or 1.0,
        offset=low,
        quantity=quantity if is_16bit else Quantity.COUNTS,
        known=known,
    )
    return info, keep_alpha, remark


def _other_bands(
    folder: Path, counts: Mapping[int, int], count: int, deep_grey: bool
) -> str | None:
    """Say how many images have another number of bands than ``count``, if any do."""
    left = {number: images for number, images in counts.items() if number != count}
    if count == len(RGB) and not deep_grey:  # 8-bit grey images are used as RGB
        left.pop(1, None)
    if not left:
        return None
    others = ", ".join(f"{images:,} of {number}" for number, images in sorted(left.items()))
    return f"{folder}: {counts[count]:,} images of {count} bands are used, not {others}"


def _keep_alpha(folder: Path, headers: Mapping[str, Header]) -> bool:
    """Whether the band that TIFFs mark as alpha is imagery."""
    if not headers:
        return False
    names = (header.descriptions[header.alpha or 0] for header in headers.values())
    samples = (pixels[headers[path].alpha] for path, pixels in _sample(folder, list(headers), True))
    return alpha_is_imagery(next(filter(None, names), None), samples)


def _chosen(path: str, loader: Any, count: int, positions: Sequence[int]) -> NDArray[Any]:
    pixels = match_bands(loader(path).transpose(2, 0, 1), count, path)
    return pixels[list(positions)].transpose(1, 2, 0)


def _thinned(pixels: NDArray[Any]) -> NDArray[np.float32]:
    values = pixels.ravel()
    return values[:: max(1, len(values) // _SAMPLED_PIXELS)].astype(np.float32)


def _sample(
    folder: Path, paths: list[str], keep_alpha: bool = False, values: Values | None = None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Decode some images, evenly spread; unreadable ones are skipped."""
    for position in np.linspace(0, len(paths) - 1, min(len(paths), _SAMPLED_IMAGES), dtype=int):
        try:
            yield paths[position], decode(folder / paths[position], keep_alpha, values)
        except UnreadableError:
            continue
