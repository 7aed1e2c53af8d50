"""Give every row a clear best cluster once the clusters are even."""

import numpy as np
from numpy.typing import NDArray

from rs_otl.clustering._paths import rows_by_cluster
from rs_otl.compiling import compiled


@compiled()
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
        clusters: Cluster of each entry ``(E,)``.
        values: Output of each entry ``(E,)``.
        chosen: Position of the entry that each row is assigned to ``(A,)``.

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


@compiled()
def open_ties(
    translation: NDArray[np.float64],
    edges: NDArray[np.int64],
    to: NDArray[np.int32],
    slacks: NDArray[np.float64],
    gap: float,
    closed: float,
    bound: float,
) -> None:
    """Change the translation in place so that every slack is at least some gap above 0.

    The largest gap that all edges can have is the least mean slack of a cycle of edges. It is
    approached from above: shifts are relaxed along the edges (Bellman-Ford); where they run in a
    cycle the gap was too large, and the cycle's mean slack is a better guess. A cycle without
    slack cannot be opened: its clusters are tied, and from then on shifted together.

    Args:
        translation: ``(k,)``, changed.
        edges: Where the edges of each cluster begin ``(k + 1,)``.
        to: Where they lead ``(F,)``.
        slacks: ``(F,)``, at least 0 but for rounding.
        gap: Gap to begin with, above 0.
        closed: Slack up to this, the rounding of float64, counts as 0.
        bound: Largest change of an entry of the translation.
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
            # Look for a cycle among the shifts.
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
