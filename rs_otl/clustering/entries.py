"""The few entries of an output matrix that decide where its rows go."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.clustering._scan import PARTS, scan

# Outputs read at once: 2 MiB of float32.
_CHUNK = 1 << 19
# Beyond these magnitudes float32 differences could overflow or vanish: float64 is used there.
_SMALLEST, _LARGEST = 1e-30, 1e30


@dataclass(frozen=True)
class Entries:
    """The arg-max of every row after translation, and the clusters that come near it.

    Attributes:
        labels: Arg-max, in float64, of each row ``(N,)`` int32.
        rows: Rows that have several clusters within reach ``(A,)``.
        starts: Where the entries of each of these rows start ``(A + 1,)``.
        clusters: Cluster of each entry ``(E,)``.
        values: Output of each entry, untranslated ``(E,)``.
    """

    labels: NDArray[np.int32]
    rows: NDArray[np.int32]
    starts: NDArray[np.int64]
    clusters: NDArray[np.int32]
    values: NDArray


def near_entries(
    outputs: Tensor,
    translation: NDArray[np.float64],
    reach: float,
    width: int,
    magnitude: float,
    compiled: bool | None = None,
    first: int = 0,
) -> Entries:
    """Read the outputs once and keep the entries near each row's best.

    Args:
        outputs: ``(N, k)`` floating point; halves are widened a chunk at a time.
        translation: ``(k,)``.
        reach: How far behind the best an entry may be after translation.
        width: Most entries kept for a row: the best within reach. Of equal entries the compiled
            pass keeps different ones for different rows.
        magnitude: Largest absolute output.
        compiled: Whether to use the compiled pass; by default for outputs in main memory.
        first: Position of the first row among the rows of all processes.
    """
    k = outputs.shape[1]
    largest = magnitude + float(np.abs(translation).max())
    precise = outputs.dtype == torch.float64 or not (magnitude > _SMALLEST and largest < _LARGEST)
    dtype = np.float64 if precise else np.float32
    # Half a unit in the last place for rounding the translation, half for the difference, on
    # both sides of a comparison.
    margin = 4 * largest * float(np.finfo(dtype).eps)
    rounded = translation.astype(dtype)
    if compiled is None:
        compiled = outputs.device.type == "cpu"
    near = _compiled if compiled else _plain
    labels, rows, sizes, clusters, values = [], [], [], [], []
    begin = 0
    for chunk in _chunks(outputs, torch.from_numpy(rounded).dtype):
        part = near(chunk, translation, rounded, reach + margin, min(width, k), first + begin)
        several = np.flatnonzero(part.sizes)
        labels.append(part.labels)
        rows.append((several + begin).astype(np.int32))
        sizes.append(part.sizes[several])
        clusters.append(part.clusters)
        values.append(part.values)
        begin += len(part.labels)
    starts = np.zeros(sum(map(len, rows)) + 1, np.int64)
    np.cumsum(_joined(sizes, np.int32), out=starts[1:])
    return Entries(
        _joined(labels, np.int32),
        _joined(rows, np.int32),
        starts,
        _joined(clusters, np.int32),
        _joined(values, dtype),
    )


class _Part(NamedTuple):
    """What a chunk holds: labels and sizes ``(n,)``, clusters and values of all entries."""

    labels: NDArray[np.int32]
    sizes: NDArray[np.int32]
    clusters: NDArray[np.int32]
    values: NDArray


def _compiled(
    chunk: Tensor,
    translation: NDArray[np.float64],
    rounded: NDArray,
    reach: float,
    width: int,
    first: int,
) -> _Part:
    n = len(chunk)
    labels, sizes = np.empty(n, np.int32), np.empty(n, np.int32)
    clusters = np.empty(n * width, np.int32)
    values = np.empty(n * width, rounded.dtype)
    filled = np.empty(PARTS, np.int64)
    scan(
        chunk.numpy(), translation, rounded, reach, width, first,
        labels, sizes, clusters, values, filled,
    )  # fmt: skip
    begins = [part * n // PARTS * width for part in range(PARTS)]
    used = [slice(begin, begin + size) for begin, size in zip(begins, filled, strict=True)]
    return _Part(
        labels,
        sizes,
        np.concatenate([clusters[part] for part in used]),
        np.concatenate([values[part] for part in used]),
    )


def _plain(
    chunk: Tensor,
    translation: NDArray[np.float64],
    rounded: NDArray,
    reach: float,
    width: int,
    first: int,
) -> _Part:
    """Do the same as :func:`_compiled` with torch alone, on any device; tests compare the two."""
    device = chunk.device
    shift = torch.from_numpy(rounded).to(device)
    behind, clusters = (chunk - shift).topk(width, dim=1)
    values = chunk.gather(1, clusters)
    near = behind >= behind[:, :1] - reach
    labels = (chunk.double() - torch.from_numpy(translation).to(device)).argmax(1)
    sizes = near.sum(1)
    near &= (sizes > 1)[:, None]
    return _Part(
        labels.to("cpu", torch.int32).numpy(),
        sizes.where(sizes > 1, 0).to("cpu", torch.int32).numpy(),
        clusters[near].to("cpu", torch.int32).numpy(),
        values[near].cpu().numpy(),
    )


def _chunks(outputs: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    rows = max(1, _CHUNK // outputs.shape[1])
    if outputs.device.type != "cpu":
        rows *= 256  # a kernel's launch costs more there, and memory is wider
    elif outputs.dtype == dtype and outputs.is_contiguous():
        rows *= 16  # nothing is copied
    for chunk in outputs.split(rows):
        yield chunk.to(dtype).contiguous()


def _joined(parts: list[NDArray], dtype: type) -> NDArray:
    """Concatenate the parts and release them: both at once would take twice the memory."""
    whole = np.concatenate(parts) if parts else np.empty(0, dtype)
    parts.clear()
    return whole
