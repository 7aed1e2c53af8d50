"""Compiled handling of rows that stand on a tie between clusters once the clusters are even."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rs_otl.clustering._paths import rows_by_cluster


@njit(cache=True)
def tightest_edges(
    translation: NDArray[np.float64],
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    values: NDArray[np.float64],
    chosen: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Return for each pair of clusters the least slack of a row in the first towards the second.

    Args:
        translation: ``(k,)``.
        starts: Where the entries of each contested row start ``(A + 1,)``.
        clusters: ``(E,)``.
        values: Outputs of the entries ``(E,)``.
        chosen: Place of the entry that each row is in ``(A,)``.

    Returns:
        Where the edges of each cluster begin ``(k + 1,)``, where they lead ``(F,)``, and their
        slack ``(F,)``.
    """
    k = len(translation)
    begins, order = rows_by_cluster(clusters, chosen, k)
    edges = np.zeros(k + 1, np.int64)
    to = np.empty(len(clusters), np.int32)
    slacks = np.empty(len(clusters), np.float64)
    place_of = np.full(k, -1, np.int64)
    size = 0
    for cluster in range(k):
        first = size
        for place in range(begins[cluster], begins[cluster + 1]):
            row = order[place]
            own = values[chosen[row]] - translation[cluster]
            for e in range(starts[row], starts[row + 1]):
                other = clusters[e]
                if other == cluster:
                    continue
                slack = own - (values[e] - translation[other])
                if place_of[other] < first:
                    place_of[other] = size
                    to[size], slacks[size] = other, slack
                    size += 1
                elif slack < slacks[place_of[other]]:
                    slacks[place_of[other]] = slack
        edges[cluster + 1] = size
    return edges, to[:size].copy(), slacks[:size].copy()


@njit(cache=True)
def open_ties(
    translation: NDArray[np.float64],
    edges: NDArray[np.int64],
    to: NDArray[np.int32],
    slacks: NDArray[np.float64],
    gap: float,
    closed: float,
    bound: float,
) -> tuple[float, NDArray[np.int64]]:
    """Change the translation in place so that every slack is at least some gap above 0.

    The largest gap that all edges can have is the least mean slack of a cycle of edges. It is
    found from above: shifts are relaxed along the edges (Bellman-Ford); where they run in a
    cycle the gap was too large, and the cycle's mean slack is a better guess. A cycle without
    slack cannot be opened: its clusters are tied, and henceforth shifted together.

    Args:
        translation: ``(k,)``, changed.
        edges: Where the edges of each cluster begin ``(k + 1,)``.
        to: Where they lead ``(F,)``.
        slacks: ``(F,)``, at least 0 but for rounding.
        gap: Gap to begin with, above 0.
        closed: Slack that is none, the rounding of float64.
        bound: Largest change of an entry of the translation.

    Returns:
        The gap, and a number for each cluster that tied ones share ``(k,)``.
    """
    k = len(translation)
    group = np.arange(k)
    shift = np.zeros(k)
    before = np.empty(k, np.int64)
    via = np.empty(k, np.int64)
    seen = np.empty(k, np.int64)
    while True:
        shift[:] = 0.0
        before[:] = -1
        again, lowest = True, 0.0
        start = -1
        while again and start < 0 and lowest >= -bound:
            again = False
            for cluster in range(k):
                own = group[cluster]
                for e in range(edges[cluster], edges[cluster + 1]):
                    other = group[to[e]]
                    if other == own:
                        continue
                    least = slacks[e] + shift[other] - gap
                    if least < shift[own] - 1e-3 * gap:
                        shift[own], before[own], via[own] = least, other, e
                        lowest = min(lowest, least)
                        again = True
            # Whether the shifts feed on themselves.
            seen[:] = -1
            for first in range(k):
                node = first
                while node >= 0 and seen[node] < 0:
                    seen[node] = first
                    node = before[node]
                if node >= 0 and seen[node] == first:
                    start = node
                    break
        if start < 0 and not again and lowest >= -bound:
            break
        if start < 0:
            gap *= 0.5
            continue
        total, length = 0.0, 0
        node = start
        while True:
            total += slacks[via[node]]
            length += 1
            node = before[node]
            if node == start:
                break
        if total <= closed * length:
            node = before[start]
            while node != start:
                following = before[node]
                for cluster in range(k):
                    if group[cluster] == node:
                        group[cluster] = start
                node = following
        else:
            gap = min(0.5 * gap, 0.75 * total / length)
    for cluster in range(k):
        translation[cluster] += shift[group[cluster]]
    return gap, group


@njit(cache=True)
def order_tied(
    translation: NDArray[np.float64],
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    values: NDArray[np.float64],
    counts: NDArray[np.float64],
    targets: NDArray[np.float64],
    closed: float,
    gap: float,
) -> None:
    """Decide ties that nothing opens: which cluster takes precedence, in the translation.

    All rows on a tie of the same clusters fall to the same of them, whatever the translation.
    Clusters are ordered so that the sizes deviate least (their squares, by moving one cluster
    at a time until none helps), and raised by steps too small to matter otherwise.

    Args:
        translation: ``(k,)``, changed.
        starts: Where the entries of each contested row start ``(A + 1,)``.
        clusters: ``(E,)``.
        values: Outputs of the entries ``(E,)``.
        counts: Rows of each cluster that are not contested ``(k,)``.
        targets: Rows wanted ``(k,)``.
        closed: Slack that is none.
        gap: Slack that other entries have.
    """
    k, rows = len(translation), len(starts) - 1
    counts = counts.copy()
    tied = np.zeros(len(clusters), np.bool_)
    several = np.zeros(rows, np.bool_)
    sizes = np.zeros(k + 1, np.int64)
    nearest = gap
    for row in range(rows):
        best, at = -np.inf, 0
        for e in range(starts[row], starts[row + 1]):
            value = values[e] - translation[clusters[e]]
            if value > best:
                best, at = value, clusters[e]
        number = 0
        for e in range(starts[row], starts[row + 1]):
            slack = best - (values[e] - translation[clusters[e]])
            if slack <= closed:
                tied[e] = True
                number += 1
            else:
                nearest = min(nearest, slack)
        if number > 1:
            several[row] = True
            for e in range(starts[row], starts[row + 1]):
                if tied[e]:
                    sizes[clusters[e] + 1] += 1
        else:
            counts[at] += 1
    for cluster in range(k):
        sizes[cluster + 1] += sizes[cluster]
    rows_of = np.empty(sizes[k], np.int64)
    ends = sizes[:k].copy()
    for row in range(rows):
        if several[row]:
            for e in range(starts[row], starts[row + 1]):
                if tied[e]:
                    rows_of[ends[clusters[e]]] = row
                    ends[clusters[e]] += 1
    # The most in want come first; whoever stands highest takes a tied row.
    height = np.empty(k)
    height[np.argsort(targets - counts)] = np.arange(k)
    for row in range(rows):
        if several[row]:
            counts[_highest(row, -1, starts, clusters, tied, height)] += 1
    for _ in range(50):
        better = False
        for cluster in range(k):
            begin, end = sizes[cluster], sizes[cluster + 1]
            if begin == end:
                continue
            others = np.empty(end - begin, np.int64)
            rivals = np.empty(end - begin)
            start_cost = 0.0
            cost = 0.0
            for place in range(begin, end):
                other = _highest(rows_of[place], cluster, starts, clusters, tied, height)
                others[place - begin], rivals[place - begin] = other, height[other]
                if height[cluster] > height[other]:
                    # Back to the rival: what this saves is what taking it cost.
                    start_cost -= _move(counts, targets, cluster, other)
            order = np.argsort(rivals)
            least, best = 0.0, 0
            for place in range(len(order)):
                other = others[order[place]]
                cost += _move(counts, targets, other, cluster)
                last = place + 1 == len(order)
                if (last or others[order[place + 1]] != other) and cost < least - 1e-9:
                    least, best = cost, place + 1
            if least >= start_cost - 1e-9:  # as it was is as good
                for place in range(len(order)):
                    other = others[place]
                    if height[cluster] < height[other]:
                        _move(counts, targets, cluster, other)
                continue
            better = True
            for place in range(best, len(order)):
                _move(counts, targets, cluster, others[order[place]])
            if best == 0:
                height[cluster] = rivals[order[0]] - 1.0
            elif best == len(order):
                height[cluster] = rivals[order[best - 1]] + 1.0
            else:
                height[cluster] = (rivals[order[best - 1]] + rivals[order[best]]) / 2
        ranks = np.empty(k)
        ranks[np.argsort(height)] = np.arange(k)
        height = ranks
        if not better:
            break
    step = nearest / (2 * k)
    for cluster in range(k):
        if sizes[cluster] < sizes[cluster + 1]:
            translation[cluster] -= step * height[cluster]


@njit(cache=True)
def _highest(
    row: int,
    but: int,
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    tied: NDArray[np.bool_],
    height: NDArray[np.float64],
) -> int:
    best = -1
    for e in range(starts[row], starts[row + 1]):
        other = clusters[e]
        if tied[e] and other != but and (best < 0 or height[other] > height[best]):
            best = other
    return best


@njit(cache=True)
def _move(
    counts: NDArray[np.float64], targets: NDArray[np.float64], source: int, target: int
) -> float:
    """Move a row; return by how much the sum of squared deviations changes."""
    change = 2 * (counts[target] - targets[target] - counts[source] + targets[source]) + 2
    counts[source] -= 1
    counts[target] += 1
    return change
