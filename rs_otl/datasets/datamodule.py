"""Batches to train on: images and their positions; labels only where asked for."""

from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rs_otl.datasets.cached import CachedDataset
from rs_otl.errors import InputError


class OTLDataModule(lightning.LightningDataModule):
    """Feeds the training images of a division to Lightning.

    A batch is ``{"image": (batch_size, C, size, size), "index": int64 (batch_size,)}``: images
    of 8 bits as uint8, a quarter of the bytes to move, deeper ones float32 in [0, 1]; ``index``
    is the position within ``train``, 0 to ``len(train) - 1``. ``labelled`` adds ``label``, int64
    (batch_size,). Otherwise no label is ever read.
    The order of an epoch depends on ``seed`` and the epoch alone, so that a resumed run sees what
    it would have seen.
    """

    def __init__(
        self,
        imagery: CachedDataset,
        train: NDArray[np.int64],
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        labelled: bool = False,
        on_gpu: bool = False,
    ) -> None:
        """Prepare the loader.

        Args:
            imagery: Images.
            train: Positions in ``imagery`` to train on.
            batch_size: Images in a batch of each process; what is left over at the end of an
                epoch is dropped.
            seed: Of the shuffling.
            num_workers: Processes that decode; none are used for images held in memory.
            labelled: Whether batches hold labels.
            on_gpu: Whether to hold the images on the device that trains: batches are put
                together there.

        Raises:
            InputError: There are fewer training images than ``batch_size``, or no labels where
                they are wanted.
        """
        super().__init__()
        if not 1 <= batch_size <= len(train):
            raise InputError(
                f"batch_size must lie between 1 and the {len(train):,} training images of "
                f"{imagery.name}, not be {batch_size:,}"
            )
        if labelled and imagery.labels is None:
            raise InputError(
                f"{imagery.name} has no labels to train with: expected a sub-folder of images "
                "for each class"
            )
        self.imagery = imagery
        self.train = train
        self.labelled = labelled
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = 0 if imagery.cached or on_gpu else num_workers
        self.on_gpu = on_gpu
        self._held: Tensor | None = None

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled batches; Lightning tells the sampler the epoch.

        Of several processes each has every so-manieth image of the same order.
        """
        processes, rank = 1, 0
        if self.trainer is not None:
            processes, rank = self.trainer.world_size, self.trainer.global_rank
        return DataLoader(
            _Chosen(self.imagery, self.train, self.labelled, without_images=self.on_gpu),
            batch_size=self.batch_size,
            sampler=EpochSampler(len(self.train), self.seed, processes, rank),
            num_workers=self.num_workers,
            collate_fn=_collated,
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def on_after_batch_transfer(
        self, batch: dict[str, Tensor], dataloader_idx: int
    ) -> dict[str, Tensor]:
        """Add the images to a batch that has come to the device without them."""
        if not self.on_gpu:
            return batch
        if self._held is None:
            self._held = self.imagery.uint8_batch(self.train).to(batch["index"].device)
        return batch | {"image": self._held[batch["index"]]}


class EpochSampler(Sampler[int]):
    """All positions 0 to ``length - 1`` in an order drawn from (seed, epoch).

    Of several processes each takes its share of the same order, of equal length: what is left
    over is dropped.
    """

    def __init__(self, length: int, seed: int, processes: int = 1, rank: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.processes = processes
        self.rank = rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Positions in a pass."""
        return self.length // self.processes

    def __iter__(self) -> Iterator[int]:
        """Go through all positions of this process once."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter(order[self.rank :: self.processes][: len(self)].tolist())


class _Chosen(Dataset[dict[str, Tensor]]):
    """Chosen images by their position among the chosen; labels are read only if wanted."""

    def __init__(
        self,
        imagery: CachedDataset,
        chosen: NDArray[np.int64],
        labelled: bool,
        without_images: bool = False,
    ) -> None:
        self.imagery = imagery
        self.chosen = chosen
        self.labelled = labelled
        self.without_images = without_images

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        chosen = self.chosen[positions]
        batch = {"index": torch.tensor(positions)}
        if not self.without_images:
            batch["image"] = self.imagery.uint8_batch(chosen)
        if self.labelled:
            assert self.imagery.labels is not None
            batch["label"] = torch.from_numpy(self.imagery.labels[chosen])
        return batch


def _collated(batch: Any) -> dict[str, Tensor]:
    """Let through what ``__getitems__`` has collated; not a lambda, so workers can have it."""
    return batch
