"""Pseudo-labels of the training images: made from outputs, kept by image, shared, saved."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from rs_otl.clustering import METHODS, UNTARGETED, balanced_labels, target_sizes
from rs_otl.errors import InputError

Group = dist.ProcessGroup | None


class PseudoLabels:
    """The cluster of every training image, for each view and head, in the current epoch.

    Indexing with the positions of a batch's images ``(B,)`` gives their labels
    ``(views, heads, B)``, one label set for each view that labels were made from. With several
    processes, each process makes labels for a part of the images; afterwards all processes have
    all labels.

    Args:
        method: How outputs become labels, see :func:`rs_otl.clustering.balanced_labels`.
        decay: See :func:`rs_otl.clustering.balanced_labels`.
        targets: Sizes of the clusters, see :func:`rs_otl.clustering.target_sizes`.

    Attributes:
        labels: ``(views, heads, N)`` int64 in [0, k); ``None`` until they are first made.
        epoch: The epoch that they were made for; -1 until they are first made.
        metrics: ``std`` of the cluster sizes in images, ``initial_std`` and ``initial_empty``
            (clusters without an image) before translation, each the mean over views and heads;
            ``agreement``, the share of pairs of views of an image with the same label; and
            ``changed``, the share of labels that differ from the ones before.
    """

    def __init__(
        self, method: str = "translation", decay: float = 1.5, targets: str = "even"
    ) -> None:
        if method not in METHODS:
            raise InputError(f"method = {method!r}: expected one of {', '.join(METHODS)}")
        self.method = method
        self.decay = decay
        self.targets = targets
        # Refused before any work.
        if target_sizes(targets, rows=2, clusters=2) is not None and method in UNTARGETED:
            raise InputError(f"targets = {targets}: method {method!r} takes no targets")
        self.labels: Tensor | None
        self.epoch: int
        self.metrics: dict[str, float]
        self.forget()

    def forget(self) -> None:
        """Return to the state before any labels were made."""
        self.labels, self.epoch, self.metrics = None, -1, {}

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the labels of images, ``(views, heads, B)``, by their positions ``(B,)``."""
        assert self.labels is not None
        return self.labels[:, :, index]

    def make(
        self, outputs: Tensor, index: Tensor, images: int, epoch: int, group: Group = None
    ) -> None:
        """Label all training images (section 3.3 of the paper).

        Args:
            outputs: Outputs before softmax of this process's images, ``(views, heads, n, k)``.
            index: Positions of these images, ``(n,)`` int64; no other process has any of them,
                and together the processes have all.
            images: Number N of all training images.
            epoch: The epoch that the labels are for.
            group: The processes; ``None`` for this one alone.

        Raises:
            InputError: If there are more clusters than images, or outputs are not finite.
        """
        sizes = target_sizes(self.targets, images, outputs.shape[-1])
        results = [
            [balanced_labels(o, sizes, self.method, self.decay, group=group) for o in view]
            for view in outputs
        ]
        mine = torch.stack([torch.stack([result.labels for result in view]) for view in results])
        labels = gather_rows(mine.movedim(-1, 0), index, images, group).movedim(0, -1).contiguous()
        every = [result for view in results for result in view]
        metrics = {
            "std": float(np.mean([result.std for result in every])),
            "initial_std": float(np.mean([result.initial_std for result in every])),
            "initial_empty": float(np.mean([result.initial_empty for result in every])),
        }
        if self.labels is not None:
            metrics["changed"] = float((labels != self.labels).float().mean())
        if len(labels) > 1:
            metrics["agreement"] = _agreement(labels)
        self.labels, self.metrics, self.epoch = labels, metrics, epoch

    def share_among_views(self, views: int) -> None:
        """Use the labels of one view for all: ``(1, heads, N)`` becomes ``(views, heads, N)``."""
        assert self.labels is not None
        self.labels = self.labels[:1].expand(views, -1, -1).contiguous()

    def to(self, device: torch.device) -> None:
        """Move the labels to a device."""
        if self.labels is not None:
            self.labels = self.labels.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: tensors and plain values."""
        return {"labels": self.labels, "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.labels, self.epoch = state["labels"], state["epoch"]
        self.metrics = dict(state["metrics"])


class StepOutputs:
    """Outputs of an epoch's steps by image, from which the next labels are made.

    Args:
        images: Number N of all training images.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self.outputs: Tensor | None = None
        self.seen: Tensor | None = None

    def add(self, index: Tensor, outputs: Tensor) -> None:
        """Keep the outputs ``(views, heads, B, k)`` of the images at ``index`` ``(B,)``."""
        if self.outputs is None or self.seen is None:
            views, heads, _, clusters = outputs.shape
            self.outputs = outputs.new_empty(views, heads, self.images, clusters)
            self.seen = torch.zeros(self.images, dtype=torch.bool, device=outputs.device)
        self.outputs[:, :, index] = outputs
        self.seen[index] = True

    def divide(self, group: Group = None) -> tuple[Tensor, Tensor]:
        """Decide which process labels which image.

        An image belongs to the first process that saw it, since distributed samplers may show an
        image to two. Images that no process has seen are dealt out in turn.

        Returns:
            Positions, int64: of this process's seen images, and of its unseen ones.
        """
        assert self.seen is not None
        rank = 0 if group is None else dist.get_rank(group)
        world = 1 if group is None else dist.get_world_size(group)
        owner = torch.where(self.seen, rank, world)
        if group is not None:
            dist.all_reduce(owner, dist.ReduceOp.MIN, group)
        unseen = (owner == world).nonzero()[:, 0]
        return (owner == rank).nonzero()[:, 0], unseen[rank::world].contiguous()


def gather_rows(rows: Tensor, index: Tensor, total: int, group: Group = None) -> Tensor:
    """Put together the rows that several processes hold.

    Args:
        rows: Rows of this process, ``(n, ...)``.
        index: Positions of these rows, ``(n,)`` int64; no other process has any of them.
        total: Number of rows of all processes.
        group: The processes; ``None`` for this one alone.

    Returns:
        All rows by position, ``(total, ...)``, in every process.
    """
    everything = rows.new_zeros(total, *rows.shape[1:])
    everything[index] = rows
    if group is not None:
        dist.all_reduce(everything, group=group)
    return everything


def _agreement(labels: Tensor) -> float:
    """Return the share of pairs of views of an image that have the same label.

    Args:
        labels: ``(views, heads, N)`` with at least two views.
    """
    views = len(labels)
    same = [
        float((labels[a] == labels[b]).float().mean())
        for a in range(views)
        for b in range(a + 1, views)
    ]
    return float(np.mean(same))
