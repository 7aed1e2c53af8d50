"""Weighted k nearest neighbours on frozen features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rs_otl.errors import InputError
from rs_otl.evaluation._checks import check_features
from rs_otl.progress import tracked

# The paper's numbers of neighbours (section 4.3).
NEIGHBOURS = (10, 50, 100, 200)

# Cosine similarities are rounded to steps of 1 / _STEPS, a few rounding errors of a float32 dot
# product: equal similarities stay equal, whatever the blocks in which they are computed.
_STEPS = 1 << 20


def knn_predict(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    k: Sequence[int] = NEIGHBOURS,
    sigma: float = 0.1,
    chunk: int = 2048,
    progress: bool = False,
) -> dict[int, Tensor]:
    """Predict labels by the vote of the most similar training rows (section 4 of the paper).

    Each of the k training rows with the highest cosine similarity s votes for its label with
    weight exp(s / sigma). Of equally similar rows, the row with the lower index is nearer. Of
    labels with equal votes, the lower label wins. So the result depends neither on ``chunk`` nor
    on the order of summation. Similarities are computed in blocks of ``chunk`` x ``chunk``, so
    memory does not grow with the number of rows.

    Args:
        train_features: ``(n, D)``, floating point, finite, n >= 1; of any scale, since only
            directions matter.
        train_labels: ``(n,)`` int64, at least 0.
        test_features: ``(m, D)``, on the same device.
        k: Numbers of neighbours, each at least 1. A number above n counts as n.
        sigma: Temperature of the votes, above 0; the lower, the more the nearest rows weigh.
        chunk: Side of a block.
        progress: Whether to show a bar on standard error.

    Returns:
        Predicted labels ``(m,)`` int64 for each ``k``, on the features' device.

    Raises:
        InputError: If a shape or value is not as above.
    """
    check_features(train_features, train_labels, test_features)
    if not k or min(k) < 1 or sigma <= 0 or chunk < 1:
        raise InputError(
            f"k = {tuple(k)}, sigma = {sigma}, chunk = {chunk}: "
            "expected k and chunk of at least 1 and a sigma above 0"
        )
    train = F.normalize(train_features.float(), dim=1)
    test = F.normalize(test_features.float(), dim=1)
    classes = int(train_labels.max()) + 1
    predicted: dict[int, list[Tensor]] = {count: [] for count in k}
    for rows in tracked(test.split(chunk), "Nearest neighbours", progress):
        similarities, neighbours = _nearest(train, rows, min(max(k), len(train)), chunk)
        winners = _vote(similarities / sigma, train_labels[neighbours], classes)
        for count in predicted:
            predicted[count].append(winners[:, min(count, len(train)) - 1])
    return {count: torch.cat(labels) for count, labels in predicted.items()}


def _nearest(train: Tensor, rows: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Find the k nearest training rows, as similarities and indices ``(B, k)``, best first.

    Similarity and index are packed into one integer key, so that no two keys are equal.
    """
    n = len(train)
    backwards = torch.arange(n - 1, -1, -1, device=train.device)
    best = torch.empty((len(rows), 0), dtype=torch.int64, device=train.device)
    for block, order in zip(train.split(chunk), backwards.split(chunk), strict=True):
        steps = (rows @ block.T).mul_(_STEPS).round_().long()
        keys = torch.cat([best, steps.mul_(n).add_(order)], dim=1)
        best = keys.topk(min(k, keys.shape[1]), dim=1).values
    steps = best.div(n, rounding_mode="floor")
    return steps.float() / _STEPS, n - 1 - (best - steps * n)


def _vote(scores: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count the votes of the first 1, 2, ... k neighbours of each row.

    Args:
        scores: Similarity over sigma ``(B, k)``, best first.
        labels: Labels of the neighbours ``(B, k)``.
        classes: Number of labels.

    Returns:
        The label with most votes among the first j + 1 neighbours, in column j: ``(B, k)``.
    """
    # The nearest weighs 1: no exponential can overflow, and no sum of them is 0.
    weights = (scores - scores[:, :1]).exp()
    votes = weights.new_zeros((len(labels), classes))
    winners = torch.empty_like(labels)
    # One neighbour after another, so that sums have the same order on every device.
    for j in range(labels.shape[1]):
        votes.scatter_add_(1, labels[:, j : j + 1], weights[:, j : j + 1])
        winners[:, j] = votes.argmax(1)
    return winners
