"""Output translation, solved exactly: the shift that fills the clusters evenly.

The translation T of equation 10 that the paper's Algorithm 1 looks for by trial is the solution
of a linear programme's dual: assign N rows to k clusters of given sizes so that the sum of the
chosen outputs is greatest. Its prices t minimise ::

    sum_s max_i (o_i(s) - t_i) + sum_i n_i t_i

whose gradient is the frequency indicator C of equation 11. At the minimum every row is where
``o - t`` is greatest, so that the labels are ``argmax(o - t)`` and nothing else is needed.

Five steps, each on less of the matrix than the one before:

1. A sample of rows, shared softly among all clusters, gives a first t (Sinkhorn's steps).
2. One pass over the matrix keeps, for each row, the few clusters near its best: its entries.
3. More soft steps on the entries alone bring the sizes to within a percent; first on an eighth
   of the rows, so that the pass over all begins near the end.
4. Shortest paths from clusters with too many rows to such with too few finish exactly.
5. Rows moved last stand on ties; t is changed within what leaves all labels as they are until
   each is decided clearly.

A last pass checks that the labels are the arg-max over the whole matrix; if a row has a better
cluster that was not near, it begins again at 2, from a t that is nearly right.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import config, set_num_threads
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.clustering._paths import even_out
from rs_otl.clustering._scan import (
    PARTS,
    best_entries,
    contested,
    dense_soft_counts,
    soft_counts,
)
from rs_otl.clustering._ties import open_ties, order_tied, tightest_edges
from rs_otl.clustering.entries import Entries, near_entries
from rs_otl.clustering.processes import Rows

# Matrices of so few numbers, and so few rows, are solved whole: each row too many takes a path.
_SMALL, _FEW = 1 << 16, 1 << 10
# Entries kept of a row at most, and how many clusters shall be near its best on average.
_WIDTH, _NEAR = 12, 5
# The entries of every so many rows are brought near even before those of all.
_PART = 8
# Temperatures of the sample's steps, in standard deviations of the outputs.
_FALLING = (1.0, 0.5, 0.5, 0.25, 0.25, 0.12, 0.12, 0.06)
# Steps on the entries, and their temperature in reaches.
_STEPS, _TEMPERATURE = 12, 0.05
# What of the reach is looked at first for paths: most rows are decided by far more.
_NARROW = 0.15
# What of the reach the passes that check look at.
_CHECKED = 0.3
# Share of what clusters lack that a phase of shortest paths goes out for.
_SHARE = 0.5
# Passes over the matrix after which it ends with the most even labels met; and how many more
# are worth their while once rows are known to be tied.
_MOST_PASSES, _PASSES_TIED = 20, 3
# Phases of shortest paths at a time, or one a cluster: rows without ties need far fewer.
_MOST_PHASES = 200


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Attributes:
        translation: ``(k,)`` float64.
        labels: Arg-max of the outputs of this process after translation ``(n,)`` int32.
        tied: Whether rows were found that no translation tells apart.
        phases: Phases of shortest paths.
        passes: Passes over the matrix.
    """

    translation: NDArray[np.float64]
    labels: NDArray[np.int32]
    tied: bool
    phases: int
    passes: int


def solve(outputs: Tensor, targets: NDArray[np.float64], magnitude: float, rows: Rows) -> Solution:
    """Find the translation after which the arg-max fills the clusters as ``targets`` say.

    Args:
        outputs: Finite, ``(n, k)`` floating point: the rows of this process.
        targets: Rows wanted in each cluster ``(k,)``, summing to the N rows of all processes:
            whole numbers, or N / k in each, which becomes floor or ceil of it.
        magnitude: Largest absolute output of all processes.
        rows: The rows of all processes.

    Returns:
        A translation that maximises the sum of the outputs chosen. Clusters miss their targets
        only where rows are tied so that no translation tells them apart.
    """
    # As many threads as torch has been allowed, here as elsewhere. The first call for numba's
    # threads sets OpenMP's for the whole process, torch's with them: put back, since their
    # number decides the last bits of sums, and a resumed run would differ from one left alone.
    threads = torch.get_num_threads()
    most_threads: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    set_num_threads(min(threads, most_threads))
    torch.set_num_threads(threads)
    k = len(targets)
    whole = rows.total * k <= _SMALL and rows.total <= _FEW
    if whole:
        translation, reach, width = np.zeros(k), math.inf, k
    else:
        translation, reach = _sampled(outputs, targets, magnitude, rows)
        epsilon = torch.finfo(torch.promote_types(outputs.dtype, torch.float32)).eps
        reach, width = max(reach, 16 * magnitude * epsilon), min(k, _WIDTH)
        part = outputs[::_PART]
        entries = near_entries(part, translation, reach, width, magnitude)
        thinned = Rows(len(part), rows.group, outputs.device)
        fewer = targets * (thinned.total / rows.total)
        _soften(translation, entries, fewer, reach, thinned)
    phases, passes, most = 0, 0, _MOST_PASSES
    even, tied = False, False
    predicted: NDArray[np.int32] | None = None
    best: tuple[float, Solution] | None = None
    while True:
        entries = near_entries(outputs, translation, reach, width, magnitude)
        passes += 1
        sizes = rows.total_of(_counts(entries.labels, k))
        missed = float(np.square(sizes - targets).sum())
        if best is None or missed <= best[0] or (even and not tied):
            best = missed, Solution(translation.copy(), entries.labels, tied, phases, passes)
        settled = even and predicted is not None and np.array_equal(entries.labels, predicted)
        if not rows.any(not settled) or passes == most:
            return best[1]
        if predicted is None and not whole:
            _soften(translation, entries, targets, reach, rows)
        finish = _Finish(entries, predicted, translation, targets, magnitude, rows)
        even = finish.even_out(reach)
        if finish.open_ties() and not tied:
            tied = True
            most = min(most, passes + _PASSES_TIED)
        predicted = finish.labels()
        phases += finish.phases
        if even and passes == 1:
            # Henceforth only what stands near a tie can have been missed.
            reach *= _CHECKED
        elif not even or passes % 4 == 0:
            reach, width = 2 * reach, min(k, 2 * width)


def _sampled(
    outputs: Tensor, targets: NDArray[np.float64], magnitude: float, rows: Rows
) -> tuple[NDArray[np.float64], float]:
    """Return a first translation from a sample of rows, and how far other clusters are near."""
    k = len(targets)
    size = max(min(max(2 * k, 1024), rows.total // 16), min(64, rows.total))
    # Evenly spaced, but not in step with a period of the data's.
    spaced = (np.arange(size) + np.random.default_rng(0).random(size)) * rows.total / size
    places = spaced.astype(np.int64) - rows.own.start
    places = places[(places >= 0) & (places < len(outputs))]
    sample = outputs[torch.from_numpy(places).to(outputs.device)].cpu()
    # Of magnitude 1, whatever the outputs' is, float32 is enough for a first guess.
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
    # Further away other rows would count than those whose entries are known.
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

    The entries near each row's best lie with its process; of these, every process gets the few
    that are contested, so that all find the same paths.
    """

    def __init__(
        self,
        entries: Entries,
        labels: NDArray[np.int32] | None,
        translation: NDArray[np.float64],
        targets: NDArray[np.float64],
        magnitude: float,
        rows: Rows,
    ) -> None:
        self.entries, self.rows = entries, rows
        self.translation = translation  # changed in place
        self.targets = targets
        # Slack that is none: what float64 loses in a few sums.
        self.closed = 1e-13 * max(magnitude, 1e-290)
        self.magnitude = magnitude
        self.near = (entries.labels if labels is None else labels)[entries.rows]
        k = len(targets)
        self.single = _counts(entries.labels, k) - _counts(entries.labels[entries.rows], k)
        self.phases = 0

    def _contest(self, limit: float) -> None:
        """Look at the rows whose best is less than ``limit`` ahead, of all processes."""
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
            entries are known, or they hold no further path.
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
            most = max(_MOST_PHASES, k)
            phases, moved = even_out(
                prices, excess, spare, pool > 0,
                self.starts, self.clusters, self.values, self.chosen, limit, _SHARE, most,
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

    def open_ties(self) -> bool:
        """Give every row a clear best, but for ties that no translation opens.

        Returns:
            Whether there are such.
        """
        limit = self.limit
        self._contest(limit)
        edges, to, slacks = tightest_edges(
            self.translation, self.starts, self.clusters, self.values, self.chosen
        )
        start = limit / 4 if math.isfinite(limit) else self.magnitude or 1.0
        gap, groups = open_ties(self.translation, edges, to, slacks, start, self.closed, limit / 2)
        tied = len(np.unique(groups)) < len(groups)
        if tied:
            order_tied(
                self.translation, self.starts, self.clusters, self.values,
                self.counts.astype(float), self.targets, 4 * self.closed, gap,
            )  # fmt: skip
        return tied

    def labels(self) -> NDArray[np.int32]:
        """Return what the arg-max of all rows of this process should be ``(n,)``."""
        e = self.entries
        labels = e.labels.copy()
        labels[e.rows] = best_entries(e.starts, e.clusters, e.values, self.translation)
        return labels
