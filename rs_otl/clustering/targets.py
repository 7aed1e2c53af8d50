"""How many rows each cluster shall have."""

import torch
from torch import Tensor

from rs_otl.errors import InputError


def power_law(rows: int, clusters: int, exponent: float) -> Tensor:
    """Return the paper's uneven sizes, cluster i growing as ``i ** exponent`` (equation 27).

    Args:
        rows: Number of rows N.
        clusters: Number of clusters k.
        exponent: x of the equation, at least 0; 0 is even. The paper has 0, 2, 4, 6, 8 and 10.

    Returns:
        Whole sizes that sum to N, ascending, ``(k,)`` int64.

    Raises:
        InputError: If the exponent is below 0.
    """
    if exponent < 0:
        raise InputError(f"exponent = {exponent}: expected at least 0")
    # Of i / k, which has the same ratios and does not overflow.
    weights = (torch.arange(1, clusters + 1, dtype=torch.float64) / clusters) ** exponent
    return whole_sizes(rows * weights / weights.sum())


def whole_sizes(sizes: Tensor) -> Tensor:
    """Round sizes to whole numbers of the same sum, by largest remainder.

    Args:
        sizes: ``(k,)``, at least 0, summing to a whole number but for rounding.

    Returns:
        Each rounded down or up ``(k,)`` int64; up where the remainder is largest, the later of
        equal ones first, so that ascending sizes stay so.
    """
    exact = sizes.double()
    whole = (exact + 1e-9).floor()
    missing = int(exact.sum().round()) - int(whole.sum())
    order = torch.argsort((exact - whole).flip(0), descending=True, stable=True)
    whole[len(sizes) - 1 - order[:missing]] += 1
    return whole.long()
