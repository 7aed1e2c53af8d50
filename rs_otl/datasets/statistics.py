"""Mean and standard deviation of bands for which none are published."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rs_otl.datasets.cached import CachedDataset

_SAMPLED_IMAGES = 1024
_BATCH = 32
_LEVELS = 65536
# A band that hardly varies must not be blown up to unit variance.
_SMALLEST_STD = 1e-4


def estimate_statistics(
    dataset: "CachedDataset", indices: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Estimate mean and standard deviation of each band, unmoved by a few extreme pixels.

    Values below the 0.1th and above the 99.9th percentile of a band count as these percentiles.

    Args:
        dataset: Images.
        indices: Positions of the images to go by; of more than 1,024, evenly spread ones.

    Returns:
        Mean and standard deviation of each band, of values in [0, 1]; the latter at least 1e-4.
    """
    chosen = indices[
        np.linspace(0, len(indices) - 1, min(len(indices), _SAMPLED_IMAGES), dtype=int)
    ]
    counts = np.zeros((len(dataset.spec.bands), _LEVELS), np.int64)
    for start in range(0, len(chosen), _BATCH):
        images = dataset.images(chosen[start : start + _BATCH]).numpy()
        levels = np.rint(images * (_LEVELS - 1)).astype(np.int64)
        for band, values in enumerate(levels.swapaxes(0, 1)):
            counts[band] += np.bincount(values.ravel(), minlength=_LEVELS)
    pairs = [_winsorised(band) for band in counts]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _winsorised(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of a histogram over [0, 1], its tails pulled in."""
    share = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(share, [0.001, 0.999])
    values = np.clip(np.arange(_LEVELS), low, high) / (_LEVELS - 1)
    mean = float(np.average(values, weights=counts))
    variance = float(np.average((values - mean) ** 2, weights=counts))
    return mean, max(variance**0.5, _SMALLEST_STD)
