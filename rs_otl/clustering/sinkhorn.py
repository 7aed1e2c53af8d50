"""Sinkhorn-Knopp labels, as SeLa makes them."""

import math

import torch
from torch import Tensor

from rs_otl.clustering.labelling import Labelling
from rs_otl.clustering.processes import Rows

# As in SeLa: the plan is good enough once the clusters' scales change by no more in sum.
_TOLERANCE = 0.1
_MOST_ITERATIONS = 1000
# The sharpness begins at _FIRST divided by the spread of the outputs. It doubles once the plan is
# good enough, and at the latest every _PATIENCE iterations.
_FIRST, _PATIENCE = 10.0, 20
# Smallest share of its goal that a step assumes of a cluster: an empty cluster needs several steps.
_LEAST = 1e-12
_BLOCK_NUMBERS = 1 << 20


def sinkhorn_labels(
    outputs: Tensor, targets: Tensor, spread: float, sharpness: float, rows: Rows
) -> Labelling:
    """Scale ``softmax(outputs) ** sharpness`` until rows and clusters sum to what they should.

    (Asano et al., Self-labelling via simultaneous clustering and representation learning, ICLR
    2020.) The scales are kept as logarithms, so that no sharpness over- or underflows. The
    arg-max of the plan is that of ``outputs - t``, where t is the negative logarithm of a
    cluster's scale divided by the sharpness. This is a translation too, but of a blurred problem:
    the plan fills the clusters evenly, its arg-max does not.

    Args:
        outputs: ``(n, k)`` floating point, finite: the rows of this process.
        targets: Rows wanted in each cluster ``(k,)`` float64, on the same device.
        spread: Largest output minus the smallest.
        sharpness: SeLa's lambda, above 0.
        rows: The rows of all processes.

    Returns:
        The arg-max of the plan.
    """
    number, clusters = outputs.shape
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    block = max(1, _BLOCK_NUMBERS // clusters)
    # A target of 0 would need a scale of 0: every cluster wants at least a thousandth of a row.
    goal = targets.clamp_min(1e-3)
    translation = torch.zeros_like(targets)
    # Raise the sharpness step by step: if the plan is sharp from the start, its scales hardly move.
    current = min(sharpness, _FIRST / spread) if spread else sharpness
    iterations, change = 0, math.inf
    while iterations < _MOST_ITERATIONS:
        if change <= _TOLERANCE or iterations % _PATIENCE == _PATIENCE - 1:
            if current == sharpness and change <= _TOLERANCE:
                break
            current = min(sharpness, 2 * current)
        sums = torch.zeros_like(targets)
        for chunk in outputs.split(block):
            # Relative to the row's best, float32 is exact enough at any sharpness.
            plan = chunk.to(dtype) - translation.to(dtype)
            plan -= plan.amax(1, keepdim=True)
            plan.mul_(current).exp_()
            plan /= plan.sum(1, keepdim=True)
            sums += plan.sum(0)
        step = (rows.summed(sums) / goal).clamp_min(_LEAST).log() / current
        translation += step
        change = float((-current * step).expm1().abs().sum())
        iterations += 1
    labels = torch.empty(number, dtype=torch.int64, device=outputs.device)
    for start in range(0, number, block):
        shifted = outputs[start : start + block].double() - translation
        torch.argmax(shifted, dim=1, out=labels[start : start + block])
    return Labelling(labels, translation, iterations)
