"""Compiled shortest paths from clusters with too many rows to clusters with too few.

The clusters are nodes of a graph. A row in cluster j can move to cluster l at the cost of its
slack: how far ``output - translation`` of l is below that of j. One more node, the pool, stands
for the rows beyond the clusters' minimum sizes: a cluster with ``spare`` set holds one of these
rows. All slacks stay at least 0, so the translation is optimal once every cluster is filled
(complementary slackness).
"""

import numpy as np
from numpy.typing import NDArray

from rs_otl.compiling import compiled


@compiled()
def even_out(
    translation: NDArray[np.float64],
    excess: NDArray[np.int64],
    spare: NDArray[np.int8],
    pooled: bool,
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    values: NDArray[np.float64],
    chosen: NDArray[np.int64],
    limit: float,
    share: float,
    most: int,
    closed: float,
) -> tuple[int, float]:
    """Move rows along shortest paths until no cluster has too many, changing arguments in place.

    A phase finds the shortest paths from all clusters with too many rows (Dijkstra) until it has
    reached clusters that lack a ``share`` of all missing rows. It changes the translation by the
    distances, which brings every row on a path onto a tie, and moves one row along each edge of
    paths that have no edge in common.

    Args:
        translation: ``(k + 1,)``, the pool last.
        excess: Rows too many ``(k + 1,)``; it sums to 0.
        spare: Whether a cluster holds a row of the pool ``(k,)``.
        pooled: Whether there is a pool, from which any cluster may take one row.
        starts: Where the entries of each contested row start ``(A + 1,)``.
        clusters: Cluster of each entry ``(E,)``.
        values: Output of each entry ``(E,)``.
        chosen: Position of the entry that each row is assigned to ``(A,)``.
        limit: Stop when the translation has changed by more: entries left out could then count.
        share: Share of the missing rows that a phase looks for, above 0, at most 1.
        most: Stop after this many phases.
        closed: Differences up to this count as 0.

    Returns:
        The number of phases, and an upper bound on the change of the translation. Some excess is
        left if the limit was passed, phases ran out, or no path was found.
    """
    k = len(spare)
    nodes = k + 1
    distance = np.empty(nodes)
    settled = np.empty(nodes, np.bool_)
    via_node = np.empty(nodes, np.int64)
    via_row = np.empty(nodes, np.int64)
    via_entry = np.empty(nodes, np.int64)
    used = np.empty(nodes, np.bool_)
    met = np.empty(nodes, np.int64)
    keys = np.empty(4 * nodes)
    heap = np.empty(4 * nodes, np.int64)
    phases, moved_by = 0, 0.0
    while True:
        lacking = 0
        for node in range(nodes):
            lacking -= min(excess[node], 0)
        if lacking == 0 or moved_by > limit or phases == most:
            break
        begins, order = rows_by_cluster(clusters, chosen, k)
        distance[:] = np.inf
        settled[:] = False
        used[:] = False
        size, ends, filled, reached = 0, 0, 0, 0.0
        for node in range(nodes):
            if excess[node] > 0:
                distance[node], via_node[node] = 0.0, -1
                size = _push(keys, heap, size, 0.0, node)
        wanted = max(1, int(share * lacking))
        while size:
            near, node = keys[0], heap[0]
            size = _pop(keys, heap, size)
            if settled[node]:
                continue
            settled[node], reached = True, near
            if excess[node] < 0:
                met[ends] = node
                ends += 1
                filled -= excess[node]
                if filled >= wanted:
                    break
            if size + nodes > len(keys):
                keys, heap = _doubled(keys, heap)
            if node == k:
                for other in range(k):
                    if spare[other]:
                        far = near + max(0.0, translation[other] - translation[k])
                        if far < distance[other]:
                            distance[other], via_node[other] = far, k
                            size = _push(keys, heap, size, far, other)
                continue
            if pooled and not spare[node]:
                far = near + max(0.0, translation[k] - translation[node])
                if far < distance[k]:
                    distance[k], via_node[k] = far, node
                    size = _push(keys, heap, size, far, k)
            for place in range(begins[node], begins[node + 1]):
                row = order[place]
                own = chosen[row]
                base = values[own] - translation[node]
                for e in range(starts[row], starts[row + 1]):
                    other = clusters[e]
                    far = near + max(0.0, base - (values[e] - translation[other]))
                    if far < distance[other] and e != own:
                        distance[other], via_node[other] = far, node
                        via_row[other], via_entry[other] = row, e
                        if size == len(keys):
                            keys, heap = _doubled(keys, heap)
                        size = _push(keys, heap, size, far, other)
        if ends == 0:
            break
        for node in range(nodes):
            if settled[node]:
                translation[node] += reached - distance[node]
        moved_by += reached
        phases += 1
        for number in range(ends):
            node = met[number]
            free = True
            source = node
            while via_node[source] >= 0:
                before = via_node[source]
                # A row may be the nearest to several clusters, but it can move to only one.
                if used[source] or (
                    before < k and source < k and clusters[chosen[via_row[source]]] != before
                ):
                    free = False
                    break
                source = before
            if not free or excess[source] <= 0:
                continue
            excess[source] -= 1
            excess[node] += 1
            while via_node[node] >= 0:
                used[node] = True
                before = via_node[node]
                if before == k:
                    spare[node] = 0
                elif node == k:
                    spare[before] = 1
                else:
                    chosen[via_row[node]] = via_entry[node]
                node = before
        remaining = 0
        for node in range(nodes):
            remaining -= min(excess[node], 0)
        if 8 * (lacking - remaining) < lacking:
            # Many rows are alike: one path for each row would take too many phases.
            spread_tied(translation, excess, starts, clusters, values, chosen, closed)
    return phases, moved_by


@compiled()
def spread_tied(
    translation: NDArray[np.float64],
    excess: NDArray[np.int64],
    starts: NDArray[np.int64],
    clusters: NDArray[np.int32],
    values: NDArray[np.float64],
    chosen: NDArray[np.int64],
    closed: float,
) -> None:
    """Move tied rows to the clusters with the most room, changing arguments in place.

    This takes one pass over the entries. :func:`even_out` needs a path for each row that moves:
    nearly every row, if all rows are alike.

    Args:
        translation: ``(k + 1,)``, the pool last.
        excess: Rows too many ``(k + 1,)``.
        starts: Where the entries of each contested row start ``(A + 1,)``.
        clusters: Cluster of each entry ``(E,)``.
        values: Output of each entry ``(E,)``.
        chosen: Position of the entry that each row is assigned to ``(A,)``.
        closed: Differences up to this count as 0.
    """
    for row in range(len(chosen)):
        at = chosen[row]
        least = values[at] - translation[clusters[at]] - closed
        for e in range(starts[row], starts[row + 1]):
            behind = values[e] - translation[clusters[e]] < least
            if not behind and excess[clusters[e]] + 1 < excess[clusters[at]]:
                excess[clusters[e]] += 1
                excess[clusters[at]] -= 1
                at = e
        chosen[row] = at


@compiled()
def rows_by_cluster(
    clusters: NDArray[np.int32], chosen: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows by their cluster.

    Args:
        clusters: Cluster of each entry ``(E,)``.
        chosen: Position of the entry that each row is assigned to ``(A,)``.
        k: Number of clusters.

    Returns:
        Where the rows of each cluster begin ``(k + 1,)``, and the rows ``(A,)``.
    """
    begins = np.zeros(k + 1, np.int64)
    for place in chosen:
        begins[clusters[place] + 1] += 1
    for cluster in range(k):
        begins[cluster + 1] += begins[cluster]
    ends = begins.copy()
    order = np.empty(len(chosen), np.int64)
    for row in range(len(chosen)):
        cluster = clusters[chosen[row]]
        order[ends[cluster]] = row
        ends[cluster] += 1
    return begins, order


@compiled()
def _push(
    keys: NDArray[np.float64], heap: NDArray[np.int64], size: int, key: float, node: int
) -> int:
    place = size
    while place:
        above = (place - 1) >> 1
        if keys[above] <= key:
            break
        keys[place], heap[place] = keys[above], heap[above]
        place = above
    keys[place], heap[place] = key, node
    return size + 1


@compiled()
def _pop(keys: NDArray[np.float64], heap: NDArray[np.int64], size: int) -> int:
    size -= 1
    key, node = keys[size], heap[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[place], heap[place] = keys[below], heap[below]
        place = below
    keys[place], heap[place] = key, node
    return size


@compiled()
def _doubled(
    keys: NDArray[np.float64], heap: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    more_keys, more_heap = np.empty(2 * len(keys)), np.empty(2 * len(heap), np.int64)
    more_keys[: len(keys)] = keys
    more_heap[: len(heap)] = heap
    return more_keys, more_heap
