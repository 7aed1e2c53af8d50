"""Output translation as the paper does it: Algorithm 1, in the form that converges."""

import numpy as np
import torch
from torch import Tensor

from rs_otl.clustering.labelling import Labelling
from rs_otl.clustering.processes import Rows

# The paper's bound alpha_0 on the step (section 4), and the number of iterations with an
# unchanged std after which the authors stop.
SMALLEST_STEP = 1e-15
PATIENCE = 10

# Rows are read in blocks of about this many numbers, so that the shifted copy stays in the
# processor's cache and never grows with N.
_BLOCK_NUMBERS = 1 << 18


def translate_by_steps(
    outputs: Tensor,
    targets: Tensor,
    low: float,
    high: float,
    decay: float,
    rows: Rows,
) -> Labelling:
    """Find the k-vector whose subtraction fills the clusters nearly as ``targets`` say.

    Each iteration moves the outputs away from the clusters that win too often, along the
    frequency indicator C of equation 11, by the step of equation 12. Three things differ
    from the printed Algorithm 1, which does not converge, and follow the authors' code: C is
    divided by its largest entry, a step that raised the standard deviation is undone, and
    the search also ends when the standard deviation has stood still for ten iterations.

    Over several processes an iteration exchanges the k counts and nothing else.

    Args:
        outputs: ``(n, k)`` floating point, finite: the rows of this process.
        targets: ``(k,)`` float64 on the same device, summing to the rows of all processes.
        low: Smallest output of all processes.
        high: Largest output of all processes.
        decay: The rate beta, above 1, by which the step is divided after it overshot.
        rows: The rows of all processes.

    Returns:
        The best translation found, in the outputs' precision, but at least float32, since half
        precision would lose small shifts; and its labels.
    """
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    translation = torch.zeros_like(targets)
    labels, counts = _assign(outputs, translation.to(dtype), rows)
    indicator = counts - targets
    std = _std(indicator)
    largest_std = _largest_std(targets)
    stds, shrink, equal = [std], 1.0, 0
    while std > 0 and equal < PATIENCE:
        step = std / largest_std * (high - low) / shrink
        if step < SMALLEST_STEP:
            break
        tried = translation + step * indicator / indicator.max()
        tried_labels, tried_counts = _assign(outputs, tried.to(dtype), rows)
        tried_std = _std(tried_counts - targets)
        equal = equal + 1 if tried_std == std else 0
        if tried_std > std:
            shrink *= decay
        else:
            translation, labels, counts = tried, tried_labels, tried_counts
            indicator, std = counts - targets, tried_std
        stds.append(std)
    return Labelling(labels, translation.to(dtype), len(stds) - 1, stds=np.array(stds))


def _assign(outputs: Tensor, translation: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the arg-max of ``outputs - translation`` (n,) and all counts (k,), both int64."""
    number, clusters = outputs.shape
    labels = torch.empty(number, dtype=torch.int64, device=outputs.device)
    block = max(1, number if outputs.is_cuda else _BLOCK_NUMBERS // clusters)
    for start in range(0, number, block):
        shifted = outputs[start : start + block] - translation
        torch.argmax(shifted, dim=1, out=labels[start : start + block])
    return labels, rows.summed(torch.bincount(labels, minlength=clusters))


def _std(indicator: Tensor) -> float:
    return float(indicator.square().mean().sqrt())


def _largest_std(targets: Tensor) -> float:
    """Return the standard deviation when every row is in the cluster with the smallest target."""
    worst = -targets
    worst[targets.argmin()] += targets.sum()
    return _std(worst)
