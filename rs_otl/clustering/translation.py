"""Output translation: Algorithm 1 of the paper, in the form that converges."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rs_otl.errors import InputError

# The paper's bound alpha_0 on the step (section 4), and the authors' patience with a std
# that no longer moves.
SMALLEST_STEP = 1e-15
PATIENCE = 10

# Rows are read in blocks of about this many numbers, so that the shifted copy stays in the
# processor's cache and never grows with N.
_BLOCK_NUMBERS = 1 << 18


@dataclass(frozen=True)
class Translation:
    """Where the algorithm ended and how it went.

    Attributes:
        labels: ``(N,)`` int64.
        translation: ``(k,)`` float32.
        counts: ``(k,)`` int64.
        stds: Standard deviation kept after each iteration, the untranslated one first.
        initial_empty: Clusters without a row before any translation.
    """

    labels: Tensor
    translation: Tensor
    counts: Tensor
    stds: list[float]
    initial_empty: int


def translate(outputs: Tensor, targets: Tensor, decay: float) -> Translation:
    """Find the k-vector whose subtraction fills the clusters as ``targets`` say.

    Each iteration moves the outputs away from the clusters that win too often, along the
    frequency indicator C of equation 11, by the step of equation 12. Three things differ
    from the printed Algorithm 1, which does not converge, and follow the authors' code: C is
    divided by its largest entry, a step that raised the standard deviation is undone, and
    the search also ends when the standard deviation has stood still for ten iterations.

    Args:
        outputs: ``(N, k)`` floating point.
        targets: ``(k,)`` float64 on the same device, summing to N.
        decay: Above 1; divides the step after one that overshot.

    Returns:
        The best translation met, its labels and counts.

    Raises:
        InputError: If an output is not finite.
    """
    low, high = (float(bound) for bound in torch.aminmax(outputs))
    if not math.isfinite(low) or not math.isfinite(high):
        raise InputError(
            "outputs hold values that are not finite (NaN or infinity): "
            "training has diverged; lower the learning rate"
        )
    # Halves are compared in float32: a shift below their spacing would otherwise be lost.
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    translation = torch.zeros_like(targets)
    labels, counts = _assign(outputs, translation.to(dtype))
    indicator = counts - targets
    std = _std(indicator)
    largest_std = _largest_std(targets)
    stds, shrink, equal = [std], 1.0, 0
    initial_empty = int((counts == 0).sum())
    while std > 0 and equal < PATIENCE:
        step = std / largest_std * (high - low) / shrink
        if step < SMALLEST_STEP:
            break
        tried = translation + step * indicator / indicator.max()
        tried_labels, tried_counts = _assign(outputs, tried.to(dtype))
        tried_std = _std(tried_counts - targets)
        equal = equal + 1 if tried_std == std else 0
        if tried_std > std:
            shrink *= decay
        else:
            translation, labels, counts = tried, tried_labels, tried_counts
            indicator, std = counts - targets, tried_std
        stds.append(std)
    return Translation(labels, translation.to(dtype), counts, stds, initial_empty)


def _assign(outputs: Tensor, translation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the arg-max of ``outputs - translation`` (N,) and the counts (k,), both int64."""
    rows, clusters = outputs.shape
    labels = torch.empty(rows, dtype=torch.int64, device=outputs.device)
    block = rows if outputs.is_cuda else max(1, _BLOCK_NUMBERS // clusters)
    for start in range(0, rows, block):
        shifted = outputs[start : start + block] - translation
        torch.argmax(shifted, dim=1, out=labels[start : start + block])
    return labels, torch.bincount(labels, minlength=clusters)


def _std(indicator: Tensor) -> float:
    return float(indicator.square().mean().sqrt())


def _largest_std(targets: Tensor) -> float:
    """Standard deviation when every row falls into the cluster that wants the fewest."""
    worst = -targets
    worst[targets.argmin()] += targets.sum()
    return _std(worst)
