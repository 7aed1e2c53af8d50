"""Nearest neighbours among the validation images."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

_ROWS = 2048  # images whose similarities to all others are held at a time


class LeaveOneOutKNN(Metric):
    """Share of images whose label is that of their nearest neighbours, all others voting.

    Neighbours are weighted by exp(s / sigma) of the cosine similarity s, as in section 4 of the
    paper, where training images vote. Here the validation images vote for each other: a metric
    to watch training by that needs no label of a training image.

    Args:
        k: Neighbours that vote; all others if there are fewer.
        sigma: Temperature of the votes.
    """

    higher_is_better = True
    full_state_update = False
    features: list[Tensor]
    labels: list[Tensor]

    def __init__(self, k: int = 10, sigma: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = k
        self.sigma = sigma
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch: features ``(B, D)`` and labels ``(B,)`` int64 of at least 0."""
        self.features.append(F.normalize(features.float(), dim=1))
        self.labels.append(labels)

    def compute(self) -> Tensor:
        """Return the accuracy in [0, 1]; NaN with fewer than two images."""
        features, labels = dim_zero_cat(self.features), dim_zero_cat(self.labels)
        if len(features) < 2:
            return torch.tensor(float("nan"), device=features.device)
        classes = int(labels.max()) + 1
        correct = torch.zeros((), device=features.device)
        for rows in torch.arange(len(features), device=features.device).split(_ROWS):
            similarities = features[rows] @ features.T
            similarities[torch.arange(len(rows)), rows] = -torch.inf
            nearest = similarities.topk(min(self.k, len(features) - 1))
            votes = features.new_zeros(len(rows), classes).scatter_add_(
                1, labels[nearest.indices], (nearest.values / self.sigma).exp()
            )
            correct += (votes.argmax(1) == labels[rows]).sum()
        return correct / len(features)
