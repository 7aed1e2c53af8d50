"""Compiled passes over outputs: which clusters are within reach of each row."""

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from rs_otl.compiling import compiled

# Outputs tested at once: a maximum over this many takes a handful of vector instructions.
_BLOCK = 32
# Rows are split into this many parts, so that a slow thread does not delay the others.
PARTS = 32

# Outputs have been checked to be finite, so that comparisons may run in any order.
_ORDER = {"nnan", "nsz", "reassoc"}


@compiled(parallel=True, fastmath=_ORDER)
def scan(
    outputs: NDArray,
    translation: NDArray[np.float64],
    rounded: NDArray,
    reach: float,
    width: int,
    first: int,
    labels: NDArray[np.int32],
    sizes: NDArray[np.int32],
    clusters: NDArray[np.int32],
    values: NDArray,
    filled: NDArray[np.int64],
) -> None:
    """Find the best cluster of each row, and the clusters within reach of it.

    Args:
        outputs: ``(n, k)`` float32 or float64, C-contiguous.
        translation: ``(k,)``.
        rounded: The translation in the outputs' precision.
        reach: How far behind the best an output may be after translation, with a margin for
            rounding in the outputs' precision. That precision only leaves out clusters that are
            too far behind; the arg-max is decided in float64.
        width: Most clusters kept for a row.
        first: Position of the first row among the rows of all processes.
        labels: Filled with the arg-max ``(n,)``.
        sizes: Filled with the number of clusters kept for each row ``(n,)``, 0 instead of 1.
        clusters: Filled, part by part, with the kept clusters of the rows that have several,
            ``(n * width,)``: part p begins at its first row times ``width``.
        values: Filled with the outputs of these clusters, in the same places.
        filled: Filled with the number of clusters kept in each part ``(PARTS,)``.
    """
    n, k = outputs.shape
    blocks = k // _BLOCK
    for part in prange(PARTS):
        begin, end = part * n // PARTS, (part + 1) * n // PARTS
        highest = np.empty(blocks + 1, outputs.dtype)
        place = begin * width
        for row in range(begin, end):
            out = outputs[row]
            top = out[0] - rounded[0]
            for block in range(blocks):
                start = block * _BLOCK
                high = out[start] - rounded[start]
                for i in range(_BLOCK):
                    high = max(high, out[start + i] - rounded[start + i])
                highest[block] = high
                top = max(top, high)
            highest[blocks] = top
            if blocks * _BLOCK < k:
                high = out[k - 1] - rounded[k - 1]
                for i in range(blocks * _BLOCK, k):
                    high = max(high, out[i] - rounded[i])
                highest[blocks] = high
                top = max(top, high)
            least = top - reach
            best, label, size, equal = -np.inf, 0, 0, 0
            for block in range(blocks + 1):
                if highest[block] < least:
                    continue
                for i in range(block * _BLOCK, min(k, (block + 1) * _BLOCK)):
                    if out[i] - rounded[i] < least:
                        continue
                    value = out[i] - translation[i]
                    if value > best:
                        best, label = value, i
                    if size < width:
                        clusters[place + size], values[place + size] = i, out[i]
                        size += 1
                        continue
                    worst = 0
                    low = np.inf
                    for j in range(width):
                        other = values[place + j] - translation[clusters[place + j]]
                        if other < low:
                            low, worst = other, j
                    if value == low:
                        # Equal outputs have the same chance to be kept: rows that are alike keep
                        # different clusters, so that they can be spread over all clusters.
                        equal += 1
                        j = _random(first + row, i) % (width + equal)
                        if (
                            j < width
                            and values[place + j] - translation[clusters[place + j]] == low
                        ):
                            clusters[place + j], values[place + j] = i, out[i]
                    elif value > low:
                        clusters[place + worst], values[place + worst] = i, out[i]
            labels[row] = label
            sizes[row] = 0
            if size > 1:
                sizes[row] = size
                place += size
        filled[part] = place - begin * width


@njit(inline="always")
def _random(row: int, cluster: int) -> int:
    """Return a number from 0 to 2**31 - 1 that is the same in every run."""
    mixed = (row * 1_103_515_245 + cluster * 2_654_435_761) & 0x7FFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 1_103_515_245 + 12_345) & 0x7FFFFFFF
    return mixed ^ (mixed >> 16)


@compiled(parallel=True, fastmath=True)
def soft_counts(
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    values: NDArray,
    translation: NDArray[np.float64],
    temperature: float,
    counts: NDArray[np.float64],
    slopes: NDArray[np.float64],
) -> None:
    """Count rows, each shared among the clusters within its reach.

    A cluster's share of a row falls with its distance d behind the row's best, as
    ``max(0, 1 - d / (8 temperature)) ** 8``. This is nearly ``exp(-d / temperature)``, the
    softmax, but takes only a few multiplications.

    Args:
        starts: Where each row's entries start, ``(A + 1,)``.
        clusters: Cluster of each entry ``(E,)``.
        values: Output of each entry ``(E,)``.
        translation: ``(k,)``.
        temperature: Above 0, in units of the outputs.
        counts: Filled with soft counts, ``(PARTS, k)``.
        slopes: Filled with how much these fall as the translation rises by the temperature.
    """
    rows = len(starts) - 1
    for part in prange(PARTS):
        counts[part, :] = 0.0
        slopes[part, :] = 0.0
        for row in range(part * rows // PARTS, (part + 1) * rows // PARTS):
            begin, end = starts[row], starts[row + 1]
            best = -np.inf
            for e in range(begin, end):
                best = max(best, values[e] - translation[clusters[e]])
            total = 0.0
            for e in range(begin, end):
                total += _share((values[e] - translation[clusters[e]] - best) / temperature)
            for e in range(begin, end):
                share = _share((values[e] - translation[clusters[e]] - best) / temperature)
                share /= total
                counts[part, clusters[e]] += share
                slopes[part, clusters[e]] += share * (1 - share)


@njit(inline="always")
def _share(behind: float) -> float:
    base = max(0.0, 1.0 + behind * 0.125)
    base *= base
    base *= base
    return base * base


@compiled(parallel=True, fastmath=_ORDER)
def dense_soft_counts(
    outputs: NDArray[np.float32],
    translation: NDArray[np.float32],
    temperature: float,
    counts: NDArray[np.float64],
) -> None:
    """Count rows, each shared among all clusters by the shares of :func:`soft_counts`.

    Args:
        outputs: ``(M, k)``.
        translation: ``(k,)``.
        temperature: Above 0.
        counts: Filled with soft counts ``(PARTS, k)``.
    """
    rows, k = outputs.shape
    scale = np.float32(0.125 / temperature)
    one, zero = np.float32(1), np.float32(0)
    for part in prange(PARTS):
        counts[part, :] = 0.0
        shifted = np.empty(k, np.float32)
        for row in range(part * rows // PARTS, (part + 1) * rows // PARTS):
            out = outputs[row]
            best = out[0] - translation[0]
            for i in range(k):
                shifted[i] = out[i] - translation[i]
                best = max(best, shifted[i])
            total = zero
            for i in range(k):
                share = max(zero, one + (shifted[i] - best) * scale)
                share *= share
                share *= share
                share *= share
                shifted[i] = share
                total += share
            weight = one / total
            for i in range(k):
                counts[part, i] += shifted[i] * weight


@compiled()
def contested(
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    values: NDArray,
    translation: NDArray[np.float64],
    labels: NDArray[np.int32],
    limit: float,
    closed: float,
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]
]:
    """Keep the entries within ``limit`` of each row's best, for rows with several of them.

    Args:
        starts: Where each row's entries start, ``(A + 1,)``.
        clusters: Cluster of each entry ``(E,)``.
        values: Output of each entry ``(E,)``.
        translation: ``(k,)``.
        labels: Cluster of each row ``(A,)``, updated in place: a row stays unless another
            cluster is better by more than ``closed``.
        limit: How far behind the best an entry may be.
        closed: Differences up to this count as 0.

    Returns:
        The rows kept, as positions ``(B,)``; where their entries start ``(B + 1,)``; clusters
        and outputs of the entries ``(F,)``; and the position of the entry that each row is
        assigned to ``(B,)``.
    """
    rows = len(starts) - 1
    least = np.empty(rows)
    kept, entries = 0, 0
    for row in range(rows):
        best, own, at = -np.inf, -np.inf, labels[row]
        for e in range(starts[row], starts[row + 1]):
            value = values[e] - translation[clusters[e]]
            if clusters[e] == labels[row]:
                own = value
            if value > best or (value == best and clusters[e] < at):
                best, at = value, clusters[e]
        if best - own > closed:
            labels[row] = at
        least[row] = best - limit
        size = 0
        for e in range(starts[row], starts[row + 1]):
            if values[e] - translation[clusters[e]] >= least[row] or clusters[e] == labels[row]:
                size += 1
        if size > 1:
            kept += 1
            entries += size
        else:
            least[row] = np.inf
    places = np.empty(kept, np.int64)
    begins = np.empty(kept + 1, np.int64)
    near = np.empty(entries, np.int32)
    outputs = np.empty(entries, np.float64)
    chosen = np.empty(kept, np.int64)
    kept, place = 0, 0
    for row in range(rows):
        if least[row] == np.inf:
            continue
        places[kept], begins[kept] = row, place
        for e in range(starts[row], starts[row + 1]):
            own_entry = clusters[e] == labels[row]
            if own_entry or values[e] - translation[clusters[e]] >= least[row]:
                near[place], outputs[place] = clusters[e], values[e]
                if own_entry:
                    chosen[kept] = place
                place += 1
        kept += 1
    begins[kept] = place
    return places, begins, near, outputs, chosen
