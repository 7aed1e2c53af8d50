"""Which files below a folder are images, and what the names of folders say."""

import os
import re
import stat
from collections import deque
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".jp2")

# Files that mark a folder as written by this program: a run, scores, an encoder.
_OWN = (
    {"recipe.yaml", "metrics.csv"},
    {"recipe.yaml", "imagery.json"},
    {"evaluation.json"},
    {"config.json", "model.safetensors"},
)
_NO_FILE = "is a pipe, a socket or a device, not a file"
# Names of folders that do not say what the images show.
_PLAIN = {"image", "images", "img", "imgs", "jpg", "png", "tif", "data", "dataset", "set", "rgb"}
_SPLITS = {
    *("train", "training", "trainval", "val", "valid", "validation", "dev", "test", "testing"),
    *("unlabeled", "unlabelled"),
}
# Names that say when or where an image was taken, or by which satellite.
_TAKEN = re.compile(
    r"""(19|20)\d\d([-_]?(0[1-9]|1[0-2])([-_]?([0-2]\d|3[01]))?)?   # 2019, 2019-07, 20190731
      | t?\d\d[c-hj-np-x][a-hj-np-z]{2}                             # 32TQM, a tile of Sentinel-2
      | h\d\dv\d\d                                                  # a tile of MODIS
      | [ns]\d\d_?[ew]\d{3}                                         # N48E011
      | (path)?\d{3}_?(row)?\d{3}                                   # a path and row of Landsat
      | (s[123][abcd]|l[cetmo]\d\d|hls)[_.].*                       # a product
      | (tile|scene|date|year)[-_ ]?\d+""",
    re.VERBOSE | re.IGNORECASE,
)


class Found(NamedTuple):
    """What lies below a folder.

    Attributes:
        paths: Images.
        others: Files with the name of an image, and folders, that are skipped, and why.
    """

    paths: list[Path]
    others: list[tuple[Path, str]]


def find_images(folder: Path) -> Found:
    """Find the image files below a folder.

    Only regular files are images: opening a pipe would block. Each folder and each file is read
    once, by its own name rather than a link's, so loops end. Hidden files and folders are skipped,
    and folders that this program has written.
    """
    found = Found([], [])
    read: set[tuple[int, int]] = set()
    links: list[Path] = []
    # Links to a folder above lead back here.
    seen = {_identity(parent.stat()) for parent in folder.resolve().parents if parent.is_dir()}
    folders, linked = deque([folder]), deque[Path]()
    while folders or linked:
        current = (folders or linked).popleft()
        try:
            status = current.stat()
            with os.scandir(current) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.others.append((current, f"cannot be listed ({error.strerror})"))
            continue
        if _identity(status) in seen:
            found.others.append((current, "is a link to a folder already read"))
            continue
        seen.add(_identity(status))
        if current != folder and _is_own({entry.name for entry in entries}):
            continue
        for entry in entries:
            path = current / entry.name
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if _is_folder(entry):
                (linked if entry.is_symlink() else folders).append(path)
            elif not entry.name.lower().endswith(SUFFIXES):
                continue
            elif entry.is_symlink():
                links.append(path)
            elif entry.is_file():
                found.paths.append(path)
                read.add((status.st_dev, entry.inode()))
            else:
                found.others.append((path, _NO_FILE))
    for path in links:
        try:
            status = path.stat()
        except OSError:  # a broken link, which is reported when it is read
            found.paths.append(path)
            continue
        if not stat.S_ISREG(status.st_mode):
            found.others.append((path, _NO_FILE))
        elif _identity(status) in read:
            found.others.append((path, "is a link to a file already read"))
        else:
            found.paths.append(path)
    return found


def sub_folders(folder: Path) -> list[Path]:
    """List the sub-folders of a folder, sorted, without hidden ones.

    A folder that cannot be listed, or that this program has written, has none.
    """
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return []
    if _is_own({entry.name for entry in entries}):
        return []
    return [
        folder / entry.name
        for entry in entries
        if not entry.name.startswith(".") and entry.name != "__MACOSX" and _is_folder(entry)
    ]


def normalised(name: str) -> str:
    """Return the lower-case letters and digits of a name: ``BareLand`` is ``bare_land``."""
    return re.sub(r"[\W_]", "", name.lower())


def is_a_split(name: str) -> bool:
    """Whether a folder is named after splits, such as ``train``, ``test2`` or ``val_images``."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    return bool(words & _SPLITS) and words <= _SPLITS | _PLAIN


def is_plain(name: str) -> bool:
    """Whether a folder's name says only that it holds images."""
    return normalised(name) in _PLAIN


def says_when_or_where(name: str) -> bool:
    """Whether a folder is named after a date, a tile, or a satellite's product."""
    return _TAKEN.fullmatch(name) is not None


def _is_own(names: set[str]) -> bool:
    return any(marks <= names for marks in _OWN)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
