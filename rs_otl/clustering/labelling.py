"""What a method of labelling returns."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Labelling:
    """Labels of the rows of this process, and how they were made.

    Attributes:
        labels: ``(n,)`` int64, on the outputs' device.
        translation: ``(k,)``, such that the labels are ``(outputs - translation).argmax(1)``, but
            for ``ties``; ``None`` where labels have no such form.
        iterations: Iterations that it took.
        ties: Rows whose label is as good as the arg-max, but differs from it.
        stds: Standard deviation of the cluster sizes before the first iteration and after each,
            ``(iterations + 1,)``; empty for methods that do not compute it.
    """

    labels: Tensor
    translation: Tensor | None
    iterations: int
    ties: int = 0
    stds: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
