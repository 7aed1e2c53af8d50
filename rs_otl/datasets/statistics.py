"""Statistics of images: mean and deviation of bands, and whether all are in one unit."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError

if TYPE_CHECKING:
    from rs_otl.datasets.cached import CachedDataset

_SAMPLED_IMAGES = 1024
_BATCH = 32
_LEVELS = 65536
# A band that hardly varies must not be blown up to unit variance.
_SMALLEST_STD = 1e-4
# The highest values of an image: reflectance reaches at most the first, counts at least the second.
_FRACTION, _COUNT = 2, 50
# Share of a file's values that must have fractions, or lie below 0, for it to be such a file.
_SHARE = 0.5
# Number of files that an error names.
_NAMED = 3


def estimate_statistics(
    dataset: "CachedDataset", indices: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Estimate mean and standard deviation of each band, robust to a few extreme pixels.

    Values below the 0.1th and above the 99.9th percentile of a band count as these percentiles.

    Args:
        dataset: Images.
        indices: Positions of the images to use; of more than 1,024, evenly spread 1,024 are used.

    Returns:
        Mean and standard deviation (at least 1e-4) of each band, of values in [0, 1].
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
    """Return mean and standard deviation of a histogram over [0, 1] with clipped tails."""
    share = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(share, [0.001, 0.999])
    values = np.clip(np.arange(_LEVELS), low, high) / (_LEVELS - 1)
    mean = float(np.average(values, weights=counts))
    variance = float(np.average((values - mean) ** 2, weights=counts))
    return mean, max(variance**0.5, _SMALLEST_STD)


def refuse_mixed_units(samples: Mapping[str, NDArray[Any]], source: object) -> None:
    """Refuse images if some hold counts and others hold fractions or values below 0.

    All would be scaled alike, and some would become black.

    Args:
        samples: Path of an image to some of its raw values.
        source: What the images are of, for the error.

    Raises:
        InputError: They hold both; the message names some images of both kinds.
    """
    tops = {path: float(np.percentile(values, 99.9)) for path, values in samples.items()}
    negative = [path for path, values in samples.items() if (values < 0).mean() > _SHARE]
    fractions = [
        path
        for path, values in samples.items()
        if 0 < tops[path] <= _FRACTION
        and (values != np.rint(values)).sum() > _SHARE * np.count_nonzero(values)
    ]
    counts = [path for path, top in tops.items() if top >= _COUNT]
    for odd, words in (
        (fractions, f"have values up to {max((tops[p] for p in fractions), default=0):.3g}"),
        (negative, "have values below 0"),
    ):
        others = [path for path in counts if path not in odd]
        if odd and others:
            raise InputError(
                f"{source}: {_listed(odd)} {words}, {_listed(others)} up to "
                f"{max(tops[path] for path in others):,.0f}: expected one unit in all images; "
                "convert some of them, or put them into folders of their own"
            )


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more
