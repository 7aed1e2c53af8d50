"""The label-consistent loss, and the contrastive one."""

from itertools import combinations

import torch
from lightly.loss import NTXentLoss
from torch import Tensor

# What similarities are divided by in the contrastive loss.
_TEMPERATURE = 0.2


def label_consistent_loss(
    outputs: Tensor, labels: Tensor, smoothing: float = 0.0, shares: Tensor | None = None
) -> Tensor:
    """Cross entropy of every view against every label set (equation 18), averaged.

    Cross entropy is linear in its target, so the g x h terms are g cross entropies against the
    mean of the h one-hot labels: minus the mean of each view's log-probabilities at the h labels.
    The loss is the mean over the g x h terms, which is ln k for a network that guesses. The
    paper's sum is g h times as much.

    Args:
        outputs: Outputs before softmax, ``(g, B, k)`` floating point.
        labels: The h label sets, in the paper one from each view, ``(h, B)`` int64 in [0, k).
        smoothing: Share of a label that is spread evenly over all k, in [0, 1).
        shares: How much of each image is in each mixed image, ``(B, B)``. Row i says what the
            network saw as image i, and sums to 1. By default images are not mixed.

    Returns:
        The loss, a scalar of at least 0, in nats.
    """
    views, batch, _ = outputs.shape
    log_probabilities = outputs.float().log_softmax(-1)
    if shares is None:
        every_label = labels.T.expand(views, batch, len(labels))
        loss = -log_probabilities.gather(-1, every_label).mean()
    else:
        of_each = log_probabilities[..., labels.flatten()].unflatten(-1, labels.shape).mean(-2)
        loss = -(of_each * shares).sum(-1).mean()
    return (1 - smoothing) * loss - smoothing * log_probabilities.mean() if smoothing else loss


def contrastive_loss(views: Tensor, several: bool = False) -> Tensor:
    """Cross entropy of finding the other view of an image in a batch (SimCLR's NT-Xent).

    Args:
        views: Projections of the g views, 2 or more, ``(g, B, P)`` floating point.
        several: Whether to compare with the images of all processes.

    Returns:
        The mean over the pairs of views, a scalar, in nats; ln(2B - 1) for a network that guesses.
    """
    alike = NTXentLoss(_TEMPERATURE, gather_distributed=several)
    return torch.stack([alike(*pair) for pair in combinations(views, 2)]).mean()
