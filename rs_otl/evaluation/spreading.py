"""How far features spread, which shows a collapse."""

import torch
from torch import Tensor

# This many images are enough; the time grows with the square of their number.
MOST_ROWS = 2048


def spread(features: Tensor) -> dict[str, float]:
    """Measure how far features spread.

    Args:
        features: ``(n, D)``, n >= 2; the first 2,048 rows are used.

    Returns:
        ``rank``: RankMe (Garrido et al., ICML 2023) of the centred features, the exponential of
        the entropy of their singular values: 1 on a line, at most ``min(n - 1, D)``.
        ``feature_std``: standard deviation of the features scaled to length 1, over the images,
        root mean square over the D dimensions, times the square root of D: 0 if all point the
        same way, 1 if they point in all directions (Chen & He, CVPR 2021).
    """
    rows = features[:MOST_ROWS].double()
    centred = rows - rows.mean(0)
    gram = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum()
    directions = torch.nn.functional.normalize(rows, dim=1)
    deviation = directions.var(0, correction=0).sum().sqrt()
    return {"rank": float(entropy.exp()), "feature_std": float(deviation)}
