"""Index millions of embeddings on disk, and find the most similar ones without reading all.

The index is FAISS's inverted file. A search covers only the nearest of its k-means cells. A feature
takes a byte, and cosines are exact up to this rounding. ``benchmarks/search.py`` measures it.
"""

import importlib
from collections.abc import Iterable
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError
from rs_otl.geo.similar import unit

# Cells of the inverted file that a search covers.
_PROBED = 64
# Vectors for each cell that k-means learns from.
_TRAINING = 64
_SEED = 0


def lists_of(count: int) -> int:
    """Return how many cells an index of ``count`` embeddings has: the square root."""
    return max(1, isqrt(count))


def training_rows(count: int) -> int:
    """Return how many embeddings an index of ``count`` embeddings learns from."""
    return min(count, _TRAINING * lists_of(count))


def _faiss() -> Any:
    """Import FAISS without its types, which cover only a part of it."""
    return importlib.import_module("faiss")


def write_vectors(
    path: Path, training: NDArray[np.float32], blocks: Iterable[NDArray[np.float32]], count: int
) -> int:
    """Write an index.

    Memory holds the index, a byte per feature of each embedding, and one block.

    Args:
        path: The file.
        training: Embeddings drawn from all, (n, D).
        blocks: All embeddings, (n, D) each, numbered from 0 in this order.
        count: About how many there are.

    Returns:
        Embeddings written.

    Raises:
        OSError: The file cannot be written.
    """
    faiss = _faiss()
    width = training.shape[1]
    lists = min(lists_of(count), len(training))
    quantizer = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.spherical, index.cp.seed, index.cp.min_points_per_centroid = True, _SEED, 1
    index.train(unit(training))
    for block in blocks:
        index.add(unit(block))
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # its text ends with the system's reason, in brackets
        raise OSError(str(error).rstrip(")").rpartition("(")[2]) from None
    return int(index.ntotal)


def open_vectors(path: Path) -> Any:
    """Open an index; parts that a query does not need stay on the disk.

    Raises:
        InputError: It cannot be read.
    """
    faiss = _faiss()
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-200:]
        raise InputError(f"{path}: damaged ({reason}); index the embeddings again") from None
    index.nprobe = min(_PROBED, index.nlist)
    return index


def nearest(
    index: Any, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the embeddings whose direction is nearest to a query's.

    Args:
        index: The index, from :func:`open_vectors`.
        query: (D,).
        count: Embeddings wanted.
        allowed: Which embeddings may be found, (n,); the search then covers all cells.

    Returns:
        Cosine similarities and numbers, best first, at most ``count``.
    """
    parameters = None
    if allowed is not None:
        faiss = _faiss()
        packed = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(packed)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=index.nlist)
    scores, numbers = index.search(unit(query[None]), count, params=parameters)
    found = numbers[0] >= 0
    return scores[0][found], numbers[0][found]
