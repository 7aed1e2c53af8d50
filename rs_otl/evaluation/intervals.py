"""Confidence intervals of accuracies."""

import numpy as np

from rs_otl.errors import InputError


def bootstrap_interval(
    correct: np.ndarray, seed: int = 0, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """Bootstrap a percentile interval for an accuracy.

    A resample draws n of the n test images with replacement and counts those predicted
    correctly. That count follows the binomial distribution of n trials at the measured accuracy,
    so it is drawn from this distribution: this is the bootstrap itself, not an approximation.

    The interval covers what other test images of the same kind might have given. It does not
    cover other divisions, training runs or seeds, which vary more; and if all images are right,
    or all wrong, it shrinks to a point.

    Args:
        correct: Whether each test image was predicted correctly, ``(n,)`` bool, n >= 1.
        seed: Seed of the resamples.
        level: Share of the resamples inside the interval, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        The lower and upper end, fractions in [0, 1].

    Raises:
        InputError: If a shape or value is not as above.
    """
    _check_level(level)
    correct = np.asarray(correct)
    if correct.dtype != bool or correct.ndim != 1 or correct.size == 0:
        raise InputError(
            f"correct of shape {correct.shape} and dtype {correct.dtype}: expected (n,) bool, n at "
            "least 1"
        )
    hits = np.random.default_rng(seed).binomial(correct.size, correct.mean(), size=resamples)
    outside = (1 - level) / 2
    low, high = np.quantile(hits, [outside, 1 - outside]) / correct.size
    return float(low), float(high)


def paired_interval(
    one: np.ndarray,
    other: np.ndarray,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Bootstrap a percentile interval for the difference of two accuracies on the same images.

    Test images are resampled together with both predictions, so that only images on which the two
    differ count: the interval is much narrower than two intervals side by side. The numbers of
    images that only one got right follow a multinomial distribution, and are drawn from it.

    Args:
        one: Whether each test image was predicted correctly, ``(n,)`` bool, n >= 1.
        other: The same by another encoder, on the same images in the same order.
        seed: Seed of the resamples.
        level: Share of the resamples inside the interval, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        The lower and upper end of accuracy of ``one`` minus that of ``other``, in [-1, 1].

    Raises:
        InputError: If a shape or value is not as above.
    """
    _check_level(level)
    one, other = np.asarray(one), np.asarray(other)
    alike = one.shape == other.shape and one.dtype == other.dtype == bool
    if not alike or one.ndim != 1 or one.size == 0:
        raise InputError(
            f"predictions of shapes {one.shape} and {other.shape}, dtypes {one.dtype} and "
            f"{other.dtype}: expected the same (n,) bool, n at least 1"
        )
    gained, lost = np.mean(one & ~other), np.mean(other & ~one)
    shares = [gained, lost, max(0.0, 1 - gained - lost)]
    counts = np.random.default_rng(seed).multinomial(one.size, shares, size=resamples)
    outside = (1 - level) / 2
    differences = (counts[:, 0] - counts[:, 1]) / one.size
    low, high = np.quantile(differences, [outside, 1 - outside])
    return float(low), float(high)


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval for the mean of independent draws.

    Args:
        values: One number per draw, ``(n,)``, n >= 2.
        level: Confidence level, between 0 and 1.

    Returns:
        The lower and upper end.

    Raises:
        InputError: If there are fewer than two draws, or the level is not between 0 and 1.
    """
    _check_level(level)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 2:
        raise InputError(f"values of shape {values.shape}: expected (n,), n at least 2")
    error = values.std(ddof=1) / np.sqrt(values.size)
    from scipy import stats  # importing it takes a second

    # scipy.stats.t.interval returns NaN if all draws are equal.
    half = float(stats.t.ppf((1 + level) / 2, values.size - 1) * error)
    return float(values.mean()) - half, float(values.mean()) + half


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level {level}: expected a number between 0 and 1")
