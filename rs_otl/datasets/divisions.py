"""The paper's protocol: random divisions of a data set, 80 % to train on and 20 % to test on.

Data sets with official test images (CIFAR, SVHN, ImageNet) have the official division.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.base import LeftOut
from rs_otl.datasets.cached import CachedDataset
from rs_otl.errors import InputError


@dataclass(frozen=True)
class Duplicates:
    """Images whose decoded pixels are identical.

    Attributes:
        groups: Paths of each group of two images or more.
        conflicts: Pairs of paths with identical pixels and different labels.
        leaks: Number of test images with an identical training image; 0 without a division.
    """

    groups: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, str], ...]
    leaks: int


@dataclass(frozen=True)
class Division:
    """A division, random or official.

    Attributes:
        number: Number of the division; the same number divides the same images in the same way.
        train: Positions to train on, sorted, int64.
        test: Positions to test on, sorted, int64; disjoint from ``train``.
        duplicates: Identical images, within a side and across sides.
    """

    number: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    duplicates: Duplicates


def divide(
    dataset: CachedDataset,
    number: int = 1,
    keep_duplicates_together: bool = True,
    test_fraction: float = 0.2,
) -> Division:
    """Divide images at random, as section 4.3 of the paper does, into training and test images.

    Labels are not used. A data set with official test images has only the official division; the
    other arguments then change nothing.

    Args:
        dataset: N images.
        number: Number of the division, from 1; the paper reports 1 to 5.
        keep_duplicates_together: Whether identical images stay on one side. The test side may
            then be smaller than asked for, by less than the largest group of identical images. If
            all groups are larger than asked for, the test side is the smallest of them.
        test_fraction: Share of the images to test on, in (0, 1); rounded, with at least one image
            on each side.

    Returns:
        The division, with its duplicates.

    Raises:
        InputError: An argument is out of range, there are fewer than two different images, or
            another division than the official one is asked for.
    """
    if number < 1:
        raise InputError(f"divisions are numbered from 1, not {number}")
    if not 0 < test_fraction < 1:
        raise InputError(f"the test fraction must lie between 0 and 1, not be {test_fraction}")
    alike = _identical(dataset.hashes)
    if dataset.in_test is not None:
        if number > 1:
            raise InputError(
                f"{dataset.name} has test images of its own, so there is one division; expected 1, "
                f"not {number}"
            )
        return _division(dataset, 1, alike, dataset.in_test)
    if len(dataset) < 2 or (keep_duplicates_together and len(alike) < 2):
        raise too_few(dataset.name, len(alike), dataset.left_out)
    units = alike if keep_duplicates_together else [[i] for i in range(len(dataset))]
    wanted = min(max(1, round(test_fraction * len(dataset))), len(dataset) - 1)
    test = np.zeros(len(dataset), bool)
    order = np.random.default_rng(number).permutation(len(units))
    taken = 0
    for unit in (units[position] for position in order):
        if taken + len(unit) <= wanted:
            test[unit] = True
            taken += len(unit)
    if not test.any():
        test[min(units, key=len)] = True
    return _division(dataset, number, alike, test)


def _division(
    dataset: CachedDataset, number: int, alike: list[list[int]], test: NDArray[np.bool_]
) -> Division:
    return Division(
        number=number,
        train=np.flatnonzero(~test),
        test=np.flatnonzero(test),
        duplicates=_report(dataset, alike, test),
    )


def find_duplicates(dataset: CachedDataset) -> Duplicates:
    """Find images whose pixels are identical before resizing, and those with different labels."""
    return _report(dataset, _identical(dataset.hashes), np.zeros(len(dataset), bool))


def _identical(hashes: NDArray[np.uint64]) -> list[list[int]]:
    """Group positions by hash, in the order of first appearance."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position, digest in enumerate(hashes.tolist()):
        groups[digest].append(position)
    return list(groups.values())


def _report(dataset: CachedDataset, alike: list[list[int]], test: NDArray[np.bool_]) -> Duplicates:
    groups = [group for group in alike if len(group) > 1]
    conflicts: list[tuple[str, str]] = []
    if dataset.labels is not None:
        labels = dataset.labels
        conflicts = [
            (dataset.paths[one], dataset.paths[other])
            for group in groups
            for one, other in itertools.combinations(group, 2)
            if labels[one] != labels[other]
        ]
    return Duplicates(
        groups=tuple(tuple(dataset.paths[i] for i in group) for group in groups),
        conflicts=tuple(conflicts),
        leaks=sum(int(test[group].sum()) for group in groups if not test[group].all()),
    )


def too_few(name: str, different: int, left_out: Sequence[LeftOut] = ()) -> InputError:
    """Return the error for too few images to divide; it names the first image left out."""
    others = f" ({left_out[0].path}: {left_out[0].reason})" if left_out else ""
    return InputError(
        f"{name}: {different:,} different images{others}, expected at least two to divide; "
        "for scenes, a smaller --set image_size= gives more tiles"
    )
