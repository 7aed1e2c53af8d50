"""Heads: from features to outputs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OutputHeads(nn.Module):
    """One or more independent heads, each clustering the same features in its own way.

    A head is a linear layer, as in the paper, or with ``hidden`` above 0 a perceptron with one
    batch-normalised hidden layer, which keeps the encoder's features more general.

    Args:
        features: Size D of the encoder's features.
        clusters: Outputs k of each head.
        heads: Number of heads.
        hidden: Width of the hidden layer; 0 for none.
    """

    def __init__(self, features: int, clusters: int, heads: int = 1, hidden: int = 0) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(features, clusters, hidden) for _ in range(heads))

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs before softmax ``(heads, B, k)`` for features ``(B, D)``."""
        return torch.stack([head(features) for head in self.heads])


class CosineHead(nn.Module):
    """A head whose outputs are cosine similarities of features to one direction per cluster.

    Features have a common part: the less they were trained on these images, the larger it is. It
    is subtracted before the comparison, so that similarities spread around 0.

    Args:
        features: Size D of the encoder's features.
        clusters: Outputs k.
        temperature: Similarities are divided by it; above 0.
    """

    centre: Tensor

    def __init__(self, features: int, clusters: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(clusters, features))
        self.register_buffer("centre", torch.zeros(features))
        self.temperature = temperature

    def directions(self, features: Tensor) -> Tensor:
        """Return centred features of length 1, ``(B, D)``."""
        return F.normalize(features - self.centre, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return outputs before softmax ``(1, B, k)`` for features ``(B, D)``."""
        similarities = self.directions(features) @ F.normalize(self.weight, dim=1).T
        return (similarities / self.temperature)[None]


def _head(features: int, clusters: int, hidden: int) -> nn.Module:
    if not hidden:
        return nn.Linear(features, clusters)
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, clusters),
    )
