"""Directions that stand for clusters of features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rs_otl.errors import InputError

# Lloyd's iterations move little after this many, and training changes the centres anyway.
_ITERATIONS = 20


def cluster_directions(directions: Tensor, clusters: int, seed: int = 0) -> Tensor:
    """Find k directions among N by spherical k-means.

    With as many clusters as rows, every row is its own cluster.

    Args:
        directions: Rows of length 1, ``(N, D)`` float32.
        clusters: Number k of clusters, 2 to N.
        seed: Seed of the choice of the first directions.

    Returns:
        Directions of length 1, ``(k, D)`` float32. A cluster that lost all its rows keeps the
        direction it had.

    Raises:
        InputError: If k is not between 2 and N.
    """
    rows = len(directions)
    if not 2 <= clusters <= rows:
        raise InputError(f"{clusters} clusters for {rows} rows: expected 2 to {rows}")
    if clusters == rows:
        return directions.clone()
    generator = torch.Generator().manual_seed(seed)
    first = torch.randperm(rows, generator=generator)[:clusters]
    centres = directions[first.to(directions.device)]
    for _ in range(_ITERATIONS):
        labels = (directions @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, labels, directions)
        lengths = sums.norm(dim=1, keepdim=True)
        centres = torch.where(lengths > 0, F.normalize(sums, dim=1), centres)
    return centres
