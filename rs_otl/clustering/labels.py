"""Balanced pseudo-labels from a network's outputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.clustering.kmeans import cluster_directions
from rs_otl.clustering.labelling import Labelling
from rs_otl.clustering.paper import translate_by_steps
from rs_otl.clustering.processes import Group, Rows
from rs_otl.clustering.sinkhorn import sinkhorn_labels
from rs_otl.clustering.targets import whole_sizes
from rs_otl.clustering.translation import solve
from rs_otl.errors import InputError

# Devices without float64, which exact labels need: their labels are made on the CPU.
_WITHOUT_FLOAT64 = ("mps",)


@dataclass(frozen=True)
class Problem:
    """Outputs to label, already checked.

    Attributes:
        outputs: Finite ``(n, k)`` floating point: the rows of this process.
        targets: Rows wanted in each cluster ``(k,)`` float64, on the outputs' device, summing to
            the rows of all processes: N / k in each, or whole numbers.
        low: Smallest output of all processes.
        high: Largest output of all processes.
        rows: The rows of all processes.
        decay: See :func:`balanced_labels`.
        sharpness: See :func:`balanced_labels`.
    """

    outputs: Tensor
    targets: Tensor
    low: float
    high: float
    rows: Rows
    decay: float
    sharpness: float

    def counts(self, labels: Tensor) -> Tensor:
        """Return the rows in each cluster, of all processes ``(k,)`` int64."""
        return self.rows.summed(torch.bincount(labels, minlength=len(self.targets)))

    def missed(self, labelling: Labelling) -> float:
        """Return the standard deviation of the cluster sizes about the targets."""
        return float((self.counts(labelling.labels) - self.targets).square().mean().sqrt())


@dataclass(frozen=True)
class BalancedLabels:
    """Pseudo-labels and how evenly they fill the clusters.

    Attributes:
        labels: Cluster of each row of this process, ``(n,)`` int64, on the outputs' device.
        translation: The shift T of equation 10, ``(k,)``, on the outputs' device, or on the CPU
            for an Apple GPU, which has no float64: the labels are
            ``(outputs - translation).argmax(1)``, except for ``ties``. It is float64 for
            ``"translation"`` and ``"sinkhorn"``; in the outputs' precision, at least float32, for
            ``"translation-paper"``; ``None`` for methods without a translation.
        counts: Rows in each cluster, of all processes, ``(k,)`` int64, on the outputs' device.
        std: Standard deviation of ``counts`` about their targets, in rows.
        initial_std: The same before any translation.
        initial_empty: Clusters without a row before any translation.
        ties: Rows, of all processes, that no shift decides: their label is as good as the arg-max
            after translation, up to rounding, and was chosen so that the clusters are even. 0 for
            outputs in general position, and for the methods other than ``"translation"``.
        iterations: Phases of shortest paths, translations tried, or scalings, by method.
        stds: Standard deviation before the first iteration of ``"translation-paper"`` and after
            each; empty for the other methods.
    """

    labels: Tensor
    translation: Tensor | None
    counts: Tensor
    std: float
    initial_std: float
    initial_empty: int
    ties: int
    iterations: int
    stds: NDArray[np.float64]


def balanced_labels(
    outputs: Tensor,
    targets: Tensor | None = None,
    method: str = "translation",
    decay: float = 1.5,
    sharpness: float = 25.0,
    group: Group = None,
) -> BalancedLabels:
    """Assign every row to a cluster so that the clusters are even, or as ``targets`` say.

    All rows are shifted by one k-vector, which keeps every difference between outputs, until
    the arg-max fills the clusters evenly (section 3.3 of the paper).

    Args:
        outputs: Network outputs before softmax, ``(N, k)``, floating point of any precision,
            on any device, with N >= k >= 2. Not modified and not copied.
        targets: Rows wanted in each cluster, ``(k,)``, at least 0, summing to N; rounded to
            whole numbers by largest remainder. ``None`` means N / k in each.
        method: One of :data:`METHODS`:

            - ``"translation"``: exactly even, floor or ceil of N / k rows in every cluster. Of all
              even labels it finds the ones with the greatest sum of chosen outputs, also in half
              precision and with rows that are alike.
            - ``"translation-paper"``: the paper's Algorithm 1 in its authors' working form.
            - ``"sinkhorn"``: Sinkhorn-Knopp, as in SeLa; not quite even.
            - ``"kmeans"``: spherical k-means of the centred rows, as in DeepCluster; not even.
              It takes no targets, and works in one process only.
            - ``"instance"``: every row is its own cluster, with k = N.
        decay: The rate beta by which the paper's step shrinks when it has overshot, above 1.
        sharpness: SeLa's lambda, above 0.
        group: The processes of torch.distributed that hold the rows, each a part of any size, in
            the order of their ranks. Every process must call, and gets the labels of its rows:
            the same as if one process had all rows. ``None`` for this process alone.

    Returns:
        The labels, the translation that makes them, and the resulting counts.

    Raises:
        InputError: If a shape, dtype or value is not as above, or an output is not finite.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    device = outputs.device
    if device.type in _WITHOUT_FLOAT64:
        outputs = outputs.cpu()
    problem = _checked(outputs, targets, decay, sharpness, group)
    if targets is not None and method in UNTARGETED:
        raise InputError(f"method {method!r} takes no targets")
    made = METHODS[method](problem)
    untranslated = Labelling(outputs.argmax(1), None, 0)
    return BalancedLabels(
        labels=made.labels.to(device),
        translation=made.translation,
        counts=problem.counts(made.labels).to(device),
        std=problem.missed(made),
        initial_std=problem.missed(untranslated),
        initial_empty=int((problem.counts(untranslated.labels) == 0).sum()),
        ties=made.ties,
        iterations=made.iterations,
        stds=made.stds,
    )


def _translation(problem: Problem) -> Labelling:
    p = problem
    magnitude = max(abs(p.low), abs(p.high))
    solved = solve(p.outputs, p.targets.cpu().numpy(), magnitude, p.rows)
    labels = torch.from_numpy(solved.labels).to(p.outputs.device, torch.int64)
    translation = torch.from_numpy(solved.translation).to(p.outputs.device)
    return Labelling(labels, translation, solved.phases, solved.ties)


def _paper(problem: Problem) -> Labelling:
    p = problem
    return translate_by_steps(p.outputs, p.targets, p.low, p.high, p.decay, p.rows)


def _sinkhorn(problem: Problem) -> Labelling:
    p = problem
    return sinkhorn_labels(p.outputs, p.targets, p.high - p.low, p.sharpness, p.rows)


def _kmeans(problem: Problem) -> Labelling:
    if problem.rows.group is not None:
        raise InputError(
            "method 'kmeans' works in one process only: leave out group, or use another method"
        )
    outputs = problem.outputs.float()
    directions = F.normalize(outputs - outputs.mean(0), dim=1)
    centres = cluster_directions(directions, outputs.shape[1])
    return Labelling((directions @ centres.T).argmax(1), None, 0)


def _instance(problem: Problem) -> Labelling:
    rows, clusters = problem.rows, problem.outputs.shape[1]
    if clusters != rows.total:
        raise InputError(
            f"method 'instance' with k = {clusters} for {rows.total} rows: expected as many "
            "clusters as rows"
        )
    own = torch.arange(rows.own.start, rows.own.stop, device=problem.outputs.device)
    return Labelling(own, None, 0)


METHODS: dict[str, Callable[[Problem], Labelling]] = {
    "translation": _translation,
    "translation-paper": _paper,
    "sinkhorn": _sinkhorn,
    "kmeans": _kmeans,
    "instance": _instance,
}

# Methods that cannot aim at given cluster sizes.
UNTARGETED = ("kmeans", "instance")


def _checked(
    outputs: Tensor, targets: Tensor | None, decay: float, sharpness: float, group: Group
) -> Problem:
    if not outputs.is_floating_point() or outputs.ndim != 2:
        raise InputError(
            f"outputs of shape {tuple(outputs.shape)} and dtype {outputs.dtype}: "
            "expected a floating-point matrix (N, k)"
        )
    clusters = outputs.shape[1]
    rows = Rows(len(outputs), group, outputs.device)
    if clusters < 2:
        raise InputError(f"outputs with k = {clusters} columns: expected at least 2 clusters")
    if clusters > rows.total:
        raise InputError(
            f"{clusters} clusters for {rows.total} rows: expected k <= N; use fewer clusters"
        )
    if not 1 < decay < math.inf:
        raise InputError(f"decay = {decay}: expected a finite number above 1")
    if not 0 < sharpness < math.inf:
        raise InputError(f"sharpness = {sharpness}: expected a finite number above 0")
    if targets is None:
        targets = torch.full((clusters,), rows.total / clusters, dtype=torch.float64)
    elif targets.shape != (clusters,):
        raise InputError(f"targets of shape {tuple(targets.shape)}: expected ({clusters},)")
    else:
        total = float(targets.double().sum())
        if bool((targets < 0).any()) or not abs(total - rows.total) <= 1e-6 * rows.total:
            raise InputError(
                f"targets summing to {total:g}: expected numbers of at least 0 "
                f"that sum to the {rows.total} rows"
            )
        targets = whole_sizes(targets.cpu()).double()
    low, high = _range(outputs, rows)
    if not math.isfinite(low) or not math.isfinite(high):
        raise InputError(
            "outputs hold values that are not finite (NaN or infinity): "
            "training has diverged; lower the learning rate"
        )
    return Problem(outputs, targets.to(outputs.device), low, high, rows, decay, sharpness)


def _range(outputs: Tensor, rows: Rows) -> tuple[float, float]:
    """Return the smallest and largest output of all processes; NaN if any output is NaN."""
    if len(outputs):
        low, high = (float(bound) for bound in torch.aminmax(outputs))
    else:
        low, high = math.inf, -math.inf
    either = rows.highest(torch.tensor([-low, high, float(math.isnan(low))], dtype=torch.float64))
    if either[2]:
        return math.nan, math.nan
    return -float(either[0]), float(either[1])
