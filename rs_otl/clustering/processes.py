"""Rows that are spread over processes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

Group = dist.ProcessGroup | None


class Rows:
    """The rows of all processes of a group, in the order of their ranks; or of this process alone.

    Args:
        number: Rows of this process, 0 or more.
        group: Processes of torch.distributed; ``None`` for this one.
        device: Device to communicate on, if the backend is NCCL.
    """

    def __init__(self, number: int, group: Group, device: torch.device) -> None:
        self.group = group
        self.device = device if group is not None and dist.get_backend(group) == "nccl" else None
        self.total = int(self.summed(torch.tensor(number)))
        start = self.before(number)
        self.own = slice(start, start + number)

    def before(self, number: int) -> int:
        """Return the sum of a number over the processes of lower rank."""
        rank = 0 if self.group is None else dist.get_rank(self.group)
        return int(self.gathered(np.array([number]))[:rank].sum())

    def summed(self, numbers: Tensor) -> Tensor:
        """Return the sum over the processes."""
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def highest(self, numbers: Tensor) -> Tensor:
        """Return the maximum over the processes."""
        return self._reduced(numbers, dist.ReduceOp.MAX)

    def total_of(self, array: NDArray) -> NDArray:
        """Return the sum of an array over the processes."""
        return self.summed(torch.from_numpy(array)).numpy()

    def any(self, truth: bool) -> bool:
        """Return whether ``truth`` holds in any process."""
        return bool(self.highest(torch.tensor(int(truth))))

    def _reduced(self, numbers: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        if self.group is None:
            return numbers
        there = numbers.clone() if self.device is None else numbers.to(self.device)
        dist.all_reduce(there, operation, self.group)
        return there.to(numbers.device)

    def gathered(self, array: NDArray) -> NDArray:
        """Return the arrays of all processes, one after the other; they may differ in length."""
        if self.group is None:
            return array
        sizes: Sequence[Tensor] = self._all_gathered(torch.tensor([len(array)]))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.from_numpy(array[:0]).dtype)
        padded[: len(array)] = torch.from_numpy(array)
        parts = self._all_gathered(padded)
        cut = [part[: int(size)] for part, size in zip(parts, sizes, strict=True)]
        return torch.cat(cut).numpy()

    def _all_gathered(self, tensor: Tensor) -> list[Tensor]:
        there = tensor if self.device is None else tensor.to(self.device)
        parts = [torch.empty_like(there) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, there, self.group)
        return [part.cpu() for part in parts]
