"""The number types that embeddings are stored as, and the conversion to them and back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError

DTYPES = ("float32", "float16", "int8")
# What int8 stores where there is no data; numbers go from -127 to 127.
NODATA = -128
_LARGEST = 127
_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Storage:
    """How embeddings are stored.

    Attributes:
        dtype: One of :data:`DTYPES`.
        scales: Factor of the stored numbers, for each feature; empty unless ``int8``.
    """

    dtype: str = "float32"
    scales: tuple[float, ...] = ()

    @property
    def nodata(self) -> float:
        """The stored number that means there is no data."""
        return NODATA if self.dtype == "int8" else np.nan

    def store(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """Convert embeddings (n, D), NaN where there is no data, to stored numbers (n, D)."""
        if self.dtype != "int8":
            return rows.astype(self.dtype, copy=False)
        numbers = np.rint(rows / np.array(self.scales, np.float32))
        return np.where(np.isfinite(numbers), numbers, NODATA).astype(np.int8)


def read_stored(stored: NDArray[Any], scales: Sequence[float]) -> NDArray[np.float32]:
    """Convert stored numbers (D, ...) to embeddings, NaN where there is no data."""
    if stored.dtype != np.int8:
        return stored.astype(np.float32, copy=False)
    shape = (-1, *[1] * (stored.ndim - 1))
    values = stored * np.array(scales, np.float32).reshape(shape)
    return np.where(stored == NODATA, np.float32(np.nan), values)


def check_dtype(dtype: str) -> None:
    """Raise an :class:`InputError` if embeddings cannot be stored in a number type."""
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype} (--dtype): expected {', '.join(DTYPES)}")


def fit_storage(rows: Iterable[NDArray[np.float32]], dtype: str) -> Storage:
    """Choose the scales that embeddings are stored with.

    Each feature has a scale that makes its largest value 127, since features differ in size by
    orders of magnitude.

    Args:
        rows: Embeddings, (n, D) each, NaN where there is no data.
        dtype: One of :data:`DTYPES`.

    Raises:
        InputError: ``dtype`` is another type, or float16 cannot hold the values.
    """
    check_dtype(dtype)
    if dtype == "float32":
        return Storage()
    largest = np.zeros(1, np.float32)
    for row in rows:
        size = np.abs(row)
        largest = np.maximum(largest, np.where(np.isfinite(size), size, 0).max(0, initial=0))
    if dtype == "float16":
        if largest.max() > _LARGEST_HALF:
            raise InputError(
                f"dtype float16 (--dtype): an embedding has the value {largest.max():g}, more than "
                f"{_LARGEST_HALF:,.0f}; expected float32 or int8"
            )
        return Storage(dtype)
    scales = np.where(largest > 0, largest / np.float32(_LARGEST), 1)
    return Storage(dtype, tuple(scales.tolist()))
