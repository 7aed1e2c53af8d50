"""How sure an accuracy is."""

import numpy as np

from rs_otl.errors import InputError


def bootstrap_interval(
    correct: np.ndarray, seed: int = 0, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """Bootstrap a percentile interval for an accuracy.

    A resample draws n of the n test images with replacement and counts those predicted
    correctly. That count is a draw from the binomial distribution of n trials at the measured
    accuracy, so it is drawn as one: this is the bootstrap itself, not an approximation.

    The interval tells what other test images of the same kind might have given. It knows
    nothing of another division, another training run or another seed, which vary more; and
    where every image is right, or every one wrong, it shrinks to a point.

    Args:
        correct: Whether each test image was predicted correctly, ``(n,)`` bool, n >= 1.
        seed: Draws the resamples.
        level: Share of the resamples inside the interval, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        The lower and upper end, fractions in [0, 1].

    Raises:
        InputError: If a shape or value is not as above.
    """
    correct = np.asarray(correct)
    if correct.dtype != bool or correct.ndim != 1 or correct.size == 0 or not 0 < level < 1:
        raise InputError(
            f"correct of shape {correct.shape} and dtype {correct.dtype} at level {level}: "
            "expected (n,) bool, n at least 1, and a level between 0 and 1"
        )
    hits = np.random.default_rng(seed).binomial(correct.size, correct.mean(), size=resamples)
    outside = (1 - level) / 2
    low, high = np.quantile(hits, [outside, 1 - outside]) / correct.size
    return float(low), float(high)
