"""Output translation, solved exactly: the shift that fills the clusters evenly.

The translation T of equation 10 that the paper's Algorithm 1 looks for by trial is the solution
of a linear programme's dual: assign N rows to k clusters of given sizes so that the sum of the
chosen outputs is greatest. Its prices t minimise ::

    sum_s max_i (o_i(s) - t_i) + sum_i n_i t_i

whose gradient is the frequency indicator C of equation 11. At the minimum every row is in a
cluster where ``o - t`` is greatest (complementary slackness), so that the labels are
``argmax(o - t)``, except for rows with several such clusters. Where no shift separates them, as
with outputs of half precision or rows that are alike, the assignment decides.

Five steps, each on less of the matrix than the one before:

1. A sample of rows, shared softly among all clusters, gives a first t (Sinkhorn's steps).
2. One pass over the matrix keeps, for each row, the few clusters near its best: its entries.
3. More soft steps on the entries alone bring the sizes to within a percent; first on an eighth
   of the rows, so that the pass over all rows begins near the solution.
4. Shortest paths from clusters with too many rows to those with too few finish exactly.
5. The rows moved last are on ties. t is changed, within the range that keeps all labels optimal,
   until every row has a clear best cluster, where that is possible.

A last pass checks complementary slackness over the whole matrix. If a row has a better cluster
that was not among its entries, the steps from 2 on are repeated, from a t that is nearly right.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from numba import config, set_num_threads
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.clustering._paths import even_out, spread_tied
from rs_otl.clustering._scan import PARTS, contested, dense_soft_counts, soft_counts
from rs_otl.clustering._ties import open_ties, tightest_edges
from rs_otl.clustering.entries import Entries, near_entries
from rs_otl.clustering.processes import Rows

# Matrices of at most this many numbers, and rows, are solved whole: each row too many takes a path.
_SMALL, _FEW = 1 << 16, 1 << 10
# Most entries kept for a row, and how many clusters should be near its best on average.
_WIDTH, _NEAR = 12, 5
# The first soft steps on entries use one row in this many.
_PART = 8
# Temperatures of the sample's steps, in standard deviations of the outputs.
_FALLING = (1.0, 0.5, 0.5, 0.25, 0.25, 0.12, 0.12, 0.06)
# Soft steps on the entries, and their temperature as a share of the reach.
_STEPS, _TEMPERATURE = 12, 0.05
# Share of the reach in which paths are looked for first: the best of most rows is far more ahead.
_NARROW = 0.15
# Share of the reach that the checking passes use.
_CHECKED = 0.3
# Share of the missing rows that a phase of shortest paths looks for.
_SHARE = 0.5
# After this many passes over the matrix, the best labels so far are returned.
_MOST_PASSES = 20
# Slack that counts as 0, and what rounding adds to it in all steps, as shares of the magnitude.
_CLOSED, _ROUNDING = 1e-13, 1e-12
# Most phases of shortest paths at a time, or k if that is more: rows without ties need far fewer.
_MOST_PHASES = 200


@dataclass(frozen=True)
class Solution:
    """The optimal assignment and its prices.

    Attributes:
        translation: ``(k,)`` float64.
        labels: Cluster of each row of this process ``(n,)`` int32.
        ties: Rows of all processes that the assignment decides: up to rounding, the arg-max after
            translation is as good a cluster for them.
        phases: Phases of shortest paths.
        passes: Passes over the matrix.
    """

    translation: NDArray[np.float64]
    labels: NDArray[np.int32]
    ties: int
    phases: int
    passes: int


def solve(outputs: Tensor, targets: NDArray[np.float64], magnitude: float, rows: Rows) -> Solution:
    """Assign rows to clusters of the sizes ``targets`` so that the sum of outputs is greatest.

    Args:
        outputs: Finite, ``(n, k)`` floating point: the rows of this process.
        targets: Rows wanted in each cluster ``(k,)``, summing to the N rows of all processes:
            whole numbers, or N / k in each, which is rounded down or up.
        magnitude: Largest absolute output of all processes.
        rows: The rows of all processes.

    Returns:
        The assignment, and the translation at which every row is in its best cluster.
    """
    # Use as many threads as torch may. Numba's first call sets OpenMP's number of threads for the
    # whole process, including torch's. It is set back, because it decides the last bits of sums:
    # a resumed run would otherwise differ from an uninterrupted one.
    threads = torch.get_num_threads()
    most_threads: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    set_num_threads(min(threads, most_threads))
    torch.set_num_threads(threads)
    k = len(targets)
    whole = rows.total * k <= _SMALL and rows.total <= _FEW
    if whole:
        translation, reach, width, alike = np.zeros(k), math.inf, k, False
    else:
        translation, reach = _sampled(outputs, targets, magnitude, rows)
        alike = reach == 0
        epsilon = torch.finfo(torch.promote_types(outputs.dtype, torch.float32)).eps
        reach = max(reach, 16 * max(magnitude, 1e-290) * epsilon)
        width = min(k, _WIDTH)
    if not whole and not alike:  # a soft step would only take rows that are alike off their tie
        part = outputs[::_PART]
        entries = near_entries(part, translation, reach, width, magnitude)
        thinned = Rows(len(part), rows.group, outputs.device)
        fewer = targets * (thinned.total / rows.total)
        _soften(translation, entries, fewer, reach, thinned)
    closed, rounding = (share * max(magnitude, 1e-290) for share in (_CLOSED, _ROUNDING))
    phases, passes = 0, 0
    even = False
    assigned: NDArray[np.int32] | None = None
    best: tuple[float, Solution] | None = None
    while True:
        first = rows.own.start
        entries = near_entries(outputs, translation, reach, width, magnitude, first=first)
        passes += 1
        labels = entries.labels if assigned is None or not even else assigned
        different = np.flatnonzero(entries.labels != labels)
        behind = _behind(outputs, different, entries.labels, labels, translation)
        ties = int(rows.total_of(np.array([len(different)]))[0])
        missed = float(np.square(rows.total_of(_counts(labels, k)) - targets).sum())
        if best is None or even or missed <= best[0]:
            best = missed, Solution(translation.copy(), labels, ties, phases, passes)
        optimal = even and assigned is not None and bool((behind <= rounding).all())
        if not rows.any(not optimal):
            return best[1]
        if passes == _MOST_PASSES:
            return _evened(best[1], targets, rows)
        if assigned is None and not whole and not alike:
            _soften(translation, entries, targets, reach, rows)
        finish = _Finish(entries, assigned, translation, targets, closed, rows)
        even = finish.even_out(reach)
        finish.open_ties(magnitude)
        assigned = finish.labels()
        phases += finish.phases
        if even and passes == 1:
            # From now on, only entries near a tie can have been missed.
            reach *= _CHECKED
        elif not even or passes % 4 == 0:
            reach, width = 2 * reach, min(k, 2 * width)


def _evened(solution: Solution, targets: NDArray[np.float64], rows: Rows) -> Solution:
    """Make the clusters even at any cost in the sum, for outputs that the steps did not get even.

    The last rows of clusters with too many, in the order of all processes, go to the clusters with
    too few.
    """
    k = len(targets)
    labels = solution.labels.copy()
    counts = _counts(labels, k)
    total = rows.total_of(counts)
    sizes = np.floor(targets + 1e-9).astype(np.int64)
    # The clusters with the most rows too many may keep one more, so that few rows move.
    spare = np.argsort(-(total - sizes), kind="stable")[: rows.total - int(sizes.sum())]
    sizes[spare] += 1
    per_process = rows.gathered(counts).reshape(-1, k)
    rank = 0 if rows.group is None else dist.get_rank(rows.group)
    place = per_process[:rank].sum(0)
    leaving = np.zeros(len(labels), bool)
    for cluster in np.flatnonzero(total > sizes):
        members = np.flatnonzero(labels == cluster)
        leaving[members[max(0, int(sizes[cluster] - place[cluster])) :]] = True
    free = np.repeat(np.arange(k, dtype=np.int32), np.maximum(sizes - total, 0))
    start = rows.before(int(leaving.sum()))
    labels[leaving] = free[start : start + int(leaving.sum())]
    moved = int(rows.total_of(np.array([leaving.sum()]))[0])
    return replace(solution, labels=labels, ties=solution.ties + moved)


def _behind(
    outputs: Tensor,
    rows: NDArray[np.int64],
    best: NDArray[np.int32],
    labels: NDArray[np.int32],
    translation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return by how much some rows are worse in their cluster than in their best one."""
    chosen = torch.from_numpy(rows).to(outputs.device)
    one, other = best[rows], labels[rows]
    at_best, at_label = (
        outputs[chosen, torch.from_numpy(at).to(outputs.device).long()].double().cpu().numpy()
        for at in (one, other)
    )
    slack: NDArray[np.float64] = (at_best - translation[one]) - (at_label - translation[other])
    return slack


def _sampled(
    outputs: Tensor, targets: NDArray[np.float64], magnitude: float, rows: Rows
) -> tuple[NDArray[np.float64], float]:
    """Return a first translation and a first reach, both from a sample of rows."""
    k = len(targets)
    size = max(min(max(2 * k, 1024), rows.total // 16), min(64, rows.total))
    # Evenly spaced with random offsets, so as not to follow a period in the data.
    spaced = (np.arange(size) + np.random.default_rng(0).random(size)) * rows.total / size
    places = spaced.astype(np.int64) - rows.own.start
    places = places[(places >= 0) & (places < len(outputs))]
    sample = outputs[torch.from_numpy(places).to(outputs.device)].cpu()
    none = torch.full((1, k), -math.inf, dtype=torch.float64)
    highest = rows.highest(torch.cat([sample.double(), none]).amax(0))
    lowest = -rows.highest(torch.cat([-sample.double(), none]).amax(0))
    if torch.equal(highest, lowest):  # all rows are alike: exactly tied after this shift
        return highest.numpy().copy(), 0.0
    # Scaled to magnitude 1, float32 is enough for a first guess.
    wide = torch.promote_types(sample.dtype, torch.float32)
    sample = sample.to(wide).div_(magnitude or 1.0).float()
    mean = rows.summed(sample.sum(0, dtype=torch.float64)) / size
    sample -= mean.float()
    spread = math.sqrt(float(rows.summed(sample.square().sum(dtype=torch.float64))) / (size * k))
    if spread == 0:
        return magnitude * mean.numpy(), 0.0
    numbers = sample.div_(spread).numpy()
    translation = np.zeros(k)
    counts = np.empty((PARTS, k))
    goal = np.maximum(targets, 0.5) * size / rows.total
    for temperature in _FALLING:
        dense_soft_counts(numbers, translation.astype(np.float32), temperature, counts)
        total = rows.total_of(counts.sum(0))
        translation += temperature * np.log(np.maximum(total, 1e-3 * goal) / goal)
    few = sample[:_FEW] - torch.from_numpy(translation).float()
    near = few.topk(min(k, _NEAR), dim=1).values
    gaps = rows.summed(torch.stack([(near[:, 0] - near[:, -1]).sum(), torch.tensor(len(few))]))
    gap = float(gaps[0] / gaps[1])
    return magnitude * (mean.numpy() + spread * translation), magnitude * spread * gap


def _soften(
    translation: NDArray[np.float64],
    entries: Entries,
    targets: NDArray[np.float64],
    reach: float,
    rows: Rows,
) -> None:
    """Bring the sizes near the targets by soft steps on the entries (damped Newton), in place."""
    k = len(targets)
    counts, slopes = np.empty((PARTS, k)), np.empty((PARTS, k))
    single = _counts(entries.labels, k) - _counts(entries.labels[entries.rows], k)
    temperature = _TEMPERATURE * reach
    # Further away, rows whose entries are not known would count.
    low, high = translation - reach, translation + reach
    for _ in range(_STEPS):
        soft_counts(
            entries.starts, entries.clusters, entries.values,
            translation, temperature, counts, slopes,
        )  # fmt: skip
        both = rows.total_of(np.stack([counts.sum(0) + single, slopes.sum(0)]))
        step = 0.7 * temperature * (both[0] - targets) / np.maximum(both[1], 1.0)
        translation += step.clip(-reach / 4, reach / 4)
        translation.clip(low, high, out=translation)
        if np.abs(both[0] - targets).sum() < k:
            break


def _counts(labels: NDArray[np.int32], k: int) -> NDArray[np.int64]:
    return np.bincount(labels, minlength=k)


class _Finish:
    """Evens the clusters out on entries, and opens the ties that this leaves.

    Every process has the entries of its own rows. The few contested rows are gathered from all
    processes, so that every process finds the same paths.
    """

    def __init__(
        self,
        entries: Entries,
        labels: NDArray[np.int32] | None,
        translation: NDArray[np.float64],
        targets: NDArray[np.float64],
        closed: float,
        rows: Rows,
    ) -> None:
        self.entries, self.rows = entries, rows
        self.translation = translation  # changed in place
        self.targets = targets
        self.closed = closed
        self.near = (entries.labels if labels is None else labels)[entries.rows]
        k = len(targets)
        self.single = _counts(entries.labels, k) - _counts(entries.labels[entries.rows], k)
        self.phases = 0

    def _contest(self, limit: float) -> None:
        """Gather the rows of all processes whose best is less than ``limit`` ahead."""
        e = self.entries
        self.limit = limit
        self.places, starts, clusters, values, chosen = contested(
            e.starts, e.clusters, e.values, self.translation, self.near, limit, self.closed
        )
        k = len(self.targets)
        sure = self.single + _counts(self.near, k) - _counts(clusters[chosen], k)
        self.counts = self.rows.total_of(sure)
        sizes = self.rows.gathered(np.diff(starts))
        first = self.rows.gathered(chosen - starts[:-1])
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.clusters, self.values = self.rows.gathered(clusters), self.rows.gathered(values)
        self.chosen = self.starts[:-1] + first
        before = self.rows.before(len(self.places))
        self.own = slice(before, before + len(self.places))

    def even_out(self, reach: float) -> bool:
        """Move rows until no cluster has too many.

        Args:
            reach: How far behind the best the entries go.

        Returns:
            Whether all clusters are even. If not, the translation has moved as far as the
            entries are known, the entries hold no further path, or phases ran out.
        """
        k = len(self.targets)
        base = np.floor(self.targets + 1e-9).astype(np.int64)
        pool = self.rows.total - int(base.sum())
        spare = np.zeros(k, np.int8)
        falling = np.argsort(-self.translation, kind="stable")
        spare[falling[:pool]] = 1
        price = self.translation[falling[pool - 1 : pool + 1]].mean() if pool else 0.0
        prices = np.append(self.translation, price)
        limit, spent = _NARROW * reach, 0.0
        while True:
            self._contest(limit)
            excess = np.zeros(k + 1, np.int64)
            excess[:k] = self.counts + _counts(self.clusters[self.chosen], k) - base - spare
            excess[k] = spare.sum() - pool
            spread_tied(
                prices, excess, self.starts, self.clusters, self.values, self.chosen, self.closed
            )
            most = max(_MOST_PHASES, k)
            phases, moved = even_out(
                prices, excess, spare, pool > 0,
                self.starts, self.clusters, self.values, self.chosen,
                limit, _SHARE, most, self.closed,
            )  # fmt: skip
            self.phases += phases
            self.translation[:] = prices[:k]
            self.near[self.places] = self.clusters[self.chosen[self.own]]
            spent += moved
            if moved > limit:  # rows that were left out may have a better cluster now
                limit = min(limit, reach - spent)
            elif not excess.any():
                return True
            elif phases == most or limit >= reach - spent:
                return False
            else:  # it found no path
                limit = min(4 * limit, reach - spent)
            if limit <= 0:
                return False

    def open_ties(self, magnitude: float) -> None:
        """Change the translation so that every row has a clear best, where that is possible."""
        limit = self.limit
        self._contest(limit)
        edges, to, slacks = tightest_edges(
            self.translation, self.starts, self.clusters, self.values, self.chosen
        )
        start = limit / 4 if math.isfinite(limit) else magnitude or 1.0
        open_ties(self.translation, edges, to, slacks, start, self.closed, limit / 2)

    def labels(self) -> NDArray[np.int32]:
        """Return the cluster of each row of this process ``(n,)``."""
        labels = self.entries.labels.copy()
        labels[self.entries.rows] = self.near
        return labels
