"""Principal components of embeddings that do not fit in memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError


@dataclass(frozen=True)
class Projection:
    """The directions in which embeddings vary most.

    Attributes:
        mean: (D,).
        components: (N, D), orthonormal; the largest entry of each is positive.
        explained: (N,), share of the variance along each.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    explained: NDArray[np.float64]

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project (n, D) to (n, N); rows of NaN stay NaN."""
        return ((rows - self.mean) @ self.components.T).astype(np.float32)


def fit_projection(rows: Iterable[NDArray[np.float32]], count: int) -> Projection:
    """Find the first principal components, in one pass.

    Args:
        rows: Arrays (n, D); rows of NaN are left out.
        count: Components wanted.

    Raises:
        InputError: There are fewer dimensions, or fewer embeddings, than components.
    """
    total, products, number = np.zeros(0), np.zeros((0, 0)), 0
    shift: NDArray[np.float64] | None = None
    for array in rows:
        kept = array[np.isfinite(array[:, 0])].astype(np.float64)
        if not len(kept):
            continue
        if shift is None:  # keeps the products well conditioned
            shift = kept.mean(0)
            total, products = np.zeros(kept.shape[1]), np.zeros((kept.shape[1],) * 2)
        kept -= shift
        total, products, number = total + kept.sum(0), products + kept.T @ kept, number + len(kept)
    width = len(total)
    if not 1 <= count <= min(width, number):
        raise InputError(
            f"--pca {count}: expected 1 to {min(width, number)}, for {number:,} tiles of {width} "
            "features"
        )
    assert shift is not None
    mean = total / number
    values, vectors = np.linalg.eigh(products / number - np.outer(mean, mean))
    components = vectors[:, ::-1][:, :count].T
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(count), largest])[:, None]
    values = np.clip(values[::-1], 0, None)
    explained = values[:count] / max(values.sum(), np.finfo(float).tiny)
    return Projection(mean + shift, components, explained)
