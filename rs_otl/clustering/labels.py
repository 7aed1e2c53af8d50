"""Balanced pseudo-labels from a network's outputs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rs_otl.clustering.translation import Translation, translate
from rs_otl.errors import InputError

METHODS: dict[str, Callable[..., Translation]] = {"translation": translate}


@dataclass(frozen=True)
class BalancedLabels:
    """Pseudo-labels and how evenly they fill the clusters.

    Attributes:
        labels: Cluster of each row, ``(N,)`` int64, on the outputs' device; it is
            ``(outputs - translation).argmax(1)``.
        translation: The shift T of equation 10, ``(k,)`` float32, on the outputs' device.
        counts: Rows in each cluster, ``(k,)`` int64, on the outputs' device.
        std: Standard deviation of ``counts`` about their targets, in rows.
        initial_std: The same before any translation.
        initial_empty: Clusters without a row before any translation.
        iterations: Translations tried.
    """

    labels: Tensor
    translation: Tensor
    counts: Tensor
    std: float
    initial_std: float
    initial_empty: int
    iterations: int


def balanced_labels(
    outputs: Tensor,
    targets: Tensor | None = None,
    method: str = "translation",
    decay: float = 1.5,
) -> BalancedLabels:
    """Assign every row to a cluster so that the clusters are as even as possible.

    All rows are shifted by one k-vector, which keeps every difference between outputs, until
    the arg-max fills the clusters evenly (section 3.3 of the paper).

    Args:
        outputs: Network outputs before softmax, ``(N, k)``, floating point of any precision,
            on any device, with N >= k >= 2. Not modified and not copied.
        targets: Rows wanted in each cluster, ``(k,)``, at least 0, summing to N. ``None``
            means N / k in each.
        method: ``"translation"``, the paper's Algorithm 1 in its authors' working form.
        decay: The rate beta by which the step shrinks when it has overshot, above 1.

    Returns:
        The labels with the translation that makes them and the counts that they give.

    Raises:
        InputError: If a shape, dtype or value is not as above, or an output is not finite.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if not outputs.is_floating_point() or outputs.ndim != 2:
        raise InputError(
            f"outputs of shape {tuple(outputs.shape)} and dtype {outputs.dtype}: "
            "expected a floating-point matrix (N, k)"
        )
    rows, clusters = outputs.shape
    if clusters < 2:
        raise InputError(f"outputs with k = {clusters} columns: expected at least 2 clusters")
    if clusters > rows:
        raise InputError(
            f"{clusters} clusters for {rows} rows: expected k <= N; use fewer clusters"
        )
    if decay <= 1:
        raise InputError(f"decay = {decay}: expected a number above 1")
    if targets is None:
        targets = torch.full((clusters,), rows / clusters, dtype=torch.float64)
    elif targets.shape != (clusters,):
        raise InputError(f"targets of shape {tuple(targets.shape)}: expected ({clusters},)")
    targets = targets.to(outputs.device, torch.float64)
    if bool((targets < 0).any()) or abs(float(targets.sum()) - rows) > 1e-6 * rows:
        raise InputError(
            f"targets summing to {float(targets.sum()):g}: expected numbers of at least 0 "
            f"that sum to the {rows} rows"
        )
    found = METHODS[method](outputs, targets, decay=decay)
    return BalancedLabels(
        labels=found.labels,
        translation=found.translation,
        counts=found.counts,
        std=found.stds[-1],
        initial_std=found.stds[0],
        initial_empty=found.initial_empty,
        iterations=len(found.stds) - 1,
    )
