"""Fewer images of a data set, evenly or unevenly by class, such as ``cifar10@uneven-100``."""

import re

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.base import ImageDataset
from rs_otl.errors import InputError

_PART = re.compile(r"((even|uneven|seed)-)?(\d{1,9})")


def select(dataset: ImageDataset, name: str) -> None:
    """Keep some training images of each class, drawn at random by a seed.

    Official test images stay. Without official test images, images are drawn from all and divided
    afterwards. A draw depends only on the seed, the class and the images of the class, so a
    smaller draw is part of a larger one.

    Args:
        dataset: Images with classes; it keeps only the selected images, and gets the name.
        name: The data set's name, alone or followed by ``@`` and, with commas between them:
            ``500``: so many images of each class; ``uneven-100``: then 0, 100, 200, ... fewer
            of class 0, 1, 2, ..., the paper's D 100; ``even-100``: as many in all as
            ``uneven-100``, the same number of each class; ``seed-1``: another draw than seed 0.

    Raises:
        InputError: The selection is none of these, or a class has too few images.
    """
    base, at, text = name.partition("@")
    if not at:
        return
    given: dict[str, int] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part)
        kind = (match[2] or "images") if match else ""
        if match is None or kind in given or {"even", "uneven"} <= given.keys() | {kind}:
            raise InputError(
                f"{name}: expected {base}, or for fewer of its images {base}@ and one or more of "
                "500 (so many of each class), uneven-100 or even-100, seed-1, with commas between"
            )
        given[kind] = int(match[3])
    labels = np.array(dataset.targets)
    free = np.ones(len(labels), bool) if dataset.in_test is None else ~dataset.in_test
    places = [np.flatnonzero(free & (labels == label)) for label in range(len(dataset.classes))]
    there = np.array([len(of_class) for of_class in places])
    number = np.arange(len(there))
    wanted = np.full(len(there), given["images"]) if "images" in given else there.copy()
    wanted -= given.get("uneven", given.get("even", 0)) * number
    _refuse_impossible(dataset, name, wanted, there)
    if "even" in given:
        least, more = divmod(int(wanted.sum()), len(there))
        wanted = least + (number < more)
        _refuse_impossible(dataset, name, wanted, there)
    kept = [
        np.random.default_rng([given.get("seed", 0), label]).permutation(of_class)[: wanted[label]]
        for label, of_class in enumerate(places)
    ]
    dataset.keep(np.sort(np.concatenate([*kept, np.flatnonzero(~free)])))
    dataset.name = name


def _refuse_impossible(
    dataset: ImageDataset, name: str, wanted: NDArray[np.int64], there: NDArray[np.int64]
) -> None:
    for label, title in enumerate(dataset.classes):
        if not 1 <= wanted[label] <= there[label]:
            raise InputError(
                f"{name}: {wanted[label]:,} images of class {title}; expected at least 1 and at "
                f"most the {there[label]:,} that there are to train on"
            )
