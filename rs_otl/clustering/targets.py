"""How many rows each cluster should have."""

import math
import re

import torch
from torch import Tensor

from rs_otl.errors import InputError

_POWER_LAW = re.compile(r"power-law (?P<exponent>[0-9.]+)(?P<zero> from 0)?")


def target_sizes(text: str, rows: int, clusters: int) -> Tensor | None:
    """Return the sizes that a recipe's ``targets`` stands for.

    Args:
        text: ``"even"``; ``"power-law X"``, sizes as ``i ** X`` with i from 1 to k (equation 27);
            or ``"power-law X from 0"``, i from 0 to k - 1, as in the authors' code and table 4.
        rows: Number of rows N.
        clusters: Number of clusters k.

    Returns:
        ``None`` for even sizes, else whole sizes that sum to N, ``(k,)`` int64.

    Raises:
        InputError: If the text is none of these.
    """
    if text == "even":
        return None
    match = _POWER_LAW.fullmatch(text)
    try:
        exponent = float(match["exponent"]) if match else math.nan
    except ValueError:
        exponent = math.nan
    if not match or not 0 <= exponent <= 100:
        raise InputError(
            f"targets = {text!r}: expected even, or power-law X, or power-law X from 0, with a "
            "number X from 0 to 100"
        )
    return power_law(rows, clusters, exponent, first=0 if match["zero"] else 1)


def power_law(rows: int, clusters: int, exponent: float, first: int = 1) -> Tensor:
    """Return the paper's uneven sizes, cluster i growing as ``i ** exponent`` (equation 27).

    Args:
        rows: Number of rows N.
        clusters: Number of clusters k.
        exponent: x of the equation, at least 0; 0 is even. The paper has 0, 2, 4, 6, 8 and 10.
        first: The first i: 1 as in the equation, or 0 as in the authors' code. Table 4 gives the
            standard deviations for 0. (Its fifth for CIFAR-10 repeats 654.3; it should be 762.6.)

    Returns:
        Whole sizes that sum to N, ascending, ``(k,)`` int64.

    Raises:
        InputError: If the exponent is below 0.
    """
    if not exponent >= 0:
        raise InputError(f"exponent = {exponent}: expected at least 0")
    # Powers of i / k have the same ratios as powers of i, and do not overflow.
    places = torch.arange(first, clusters + first, dtype=torch.float64)
    weights = (places / clusters) ** exponent
    return whole_sizes(rows * weights / weights.sum())


def whole_sizes(sizes: Tensor) -> Tensor:
    """Round sizes to whole numbers of the same sum, by largest remainder.

    Args:
        sizes: ``(k,)``, at least 0, summing to a whole number but for rounding.

    Returns:
        The sizes, each rounded down or up, ``(k,)`` int64. The ones with the largest remainders
        are rounded up, the later of equal ones first, so that ascending sizes stay ascending.
    """
    exact = sizes.double()
    whole = (exact + 1e-9).floor()
    missing = int(exact.sum().round()) - int(whole.sum())
    order = torch.argsort((exact - whole).flip(0), descending=True, stable=True)
    whole[len(sizes) - 1 - order[:missing]] += 1
    return whole.long()
