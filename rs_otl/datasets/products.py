"""Satellite products that come as one file for each band."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rs_otl.datasets._decode import quiet_reading, read_header
from rs_otl.datasets.raster import UnreadableError
from rs_otl.errors import InputError

_SUFFIXES = (".tif", ".tiff", ".jp2")
# A band's number in a file's name: of Landsat (LC08_..._SR_B4), Sentinel-2 (T32TQM_..._B04_10m),
# or HLS (HLS.S30...B04).
_BAND = re.compile(
    r"(?:^|(?<=[/_.-]))(?:(?:SR|ST|TOA|BOA)_)?B(\d{1,2}A?)(?=[_.-]|$)", re.IGNORECASE
)
# The folders of a Sentinel-2 product by resolution, and what its files' names end in.
_RESOLUTION = re.compile(r"(?:^|(?<=[_/]))R?(?:10|20|60)m(?=/|$)")
# Bands of a product that an error names.
_NAMED = 4


def refuse_files_per_band(folder: Path, paths: Sequence[str]) -> None:
    """Refuse a folder of products of which each band is a file.

    They would pass for scenes of a single band each.

    Args:
        folder: The folder.
        paths: Of its images, relative to it.

    Raises:
        InputError: Most images are such bands; the message says how to stack them.
    """
    products: defaultdict[str, dict[str, str]] = defaultdict(dict)
    starts: set[str] = set()
    for path in sorted(paths):
        stem, suffix = path[: path.rfind(".")], PurePosixPath(path).suffix
        bands = list(_BAND.finditer(stem)) if suffix.lower() in _SUFFIXES else []
        if bands:
            start, end = bands[-1].span()
            product = _RESOLUTION.sub("", stem[:start] + stem[end:])
            products[product].setdefault(bands[-1].group(1), path)
            starts.add(stem[:start])
    several = [bands for bands in products.values() if len(bands) > 1]
    # Quality, angles and previews belong to them.
    parts = sum(path.startswith(tuple(starts)) for path in paths)
    if not several or parts * 2 <= len(paths) or not _have_one_band(folder, several[0]):
        return
    files = list(several[0].values())
    named = " ".join(files[:_NAMED]) + (" ..." if len(files) > _NAMED else "")
    raise InputError(
        f"{folder}: a file for each band, such as {', '.join(files[:2])}: expected all bands of a "
        f"scene in one file; stack those of one resolution, without quality bands, for example "
        f"rio stack {named} -o FOLDER/SCENE.tif"
    )


def _have_one_band(folder: Path, bands: dict[str, str]) -> bool:
    try:
        with quiet_reading():
            headers = [read_header(folder / path) for path in bands.values()]
    except UnreadableError:
        return False
    return all(len(header.descriptions) == 1 for header in headers)
