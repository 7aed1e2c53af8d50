"""Count the pairs of rows that labels tell apart."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Discriminativeness:
    """Pairs of N rows, N (N - 1) / 2 in all (section 3.1 of the paper).

    Attributes:
        indistinguishable: N_ind of equation 1: pairs within a cluster.
        distinguishable: N_dis of equation 2: pairs across clusters; the more, the more
            discriminative the representation. Even clusters have the most (remark 1).
    """

    indistinguishable: int
    distinguishable: int


def discriminativeness(labels: Tensor) -> Discriminativeness:
    """Count the pairs that labels tell apart (equations 1 and 2).

    Args:
        labels: Cluster of each row ``(N,)``, integers of at least 0.
    """
    sizes = [int(size) for size in torch.bincount(labels)]
    rows = sum(sizes)
    within = sum(size * (size - 1) // 2 for size in sizes)
    return Discriminativeness(within, rows * (rows - 1) // 2 - within)
