"""Where decoded images are kept, and how much memory they may take by default."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError
from rs_otl.memory import GIB, available_bytes


def allocate(
    cache: str, shape: tuple[int, ...], dtype: np.dtype[Any], budget: int, folder: Path
) -> NDArray[Any] | None:
    """Make an array for decoded images.

    Args:
        cache: ``ram``, ``disk``, ``auto`` or ``none``; see :class:`rs_otl.datasets.CachedDataset`.
        shape: Shape of the array.
        dtype: Type of its values.
        budget: Bytes of memory that the array may take.
        folder: Where a file is made; it has no name, and disappears with the process.

    Returns:
        The array, or ``None`` if images are not kept.

    Raises:
        InputError: The memory or the disk that was asked for has no room, or ``cache`` has another
            value.
    """
    if cache not in ("ram", "disk", "auto", "none"):
        raise InputError(f"cache = {cache!r}: expected auto, ram, disk or none")
    needed = math.prod(shape) * dtype.itemsize
    if cache == "ram" and available_bytes() < needed <= budget:
        raise InputError(
            f"{needed / GIB:,.1f} GiB of decoded images do not fit into "
            f"{available_bytes() / GIB:,.1f} GiB of free memory: set cache=disk, cache=none or "
            "cache=auto"
        )
    if cache in ("ram", "auto") and needed <= budget:
        return np.empty(shape, dtype)
    if cache in ("ram", "none") or not needed:
        return None
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free - GIB
    if needed > free:
        if cache == "auto":
            return None
        raise InputError(
            f"{place}: {needed / GIB:.1f} GiB of decoded images do not fit into the "
            f"{max(free, 0) / GIB:.1f} GiB that are free after keeping 1 GiB spare: set cache=none "
            "or another --out"
        )
    with tempfile.TemporaryFile(dir=place) as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def default_cache_bytes() -> int:
    """4 GiB, or a quarter of the memory available, whichever is less."""
    return min(4 * GIB, available_bytes() // 4)
