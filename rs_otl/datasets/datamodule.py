"""Batches to train and validate on."""

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler
from torchgeo.datamodules import BaseDataModule

from rs_otl.datasets.cached import CachedDataset, load_dataset
from rs_otl.datasets.divisions import Division, divide
from rs_otl.errors import InputError
from rs_otl.spec import load_size

Sample = dict[str, Tensor]


class OTLDataModule(BaseDataModule):
    """The training images of a random division, and its test images to validate on.

    A training batch is ``{"image": (B, C, S, S), "index": int64 (B,)}``: images of 8 bits as
    uint8, images of more bits as float32 in [0, 1], not normalised; ``index`` is the position in
    the training set. With ``supervised`` it also has ``label``, int64 ``(B,)``; otherwise no label
    of a training image is read. Validation batches have ``image``, ``index`` and ``label``; a data
    set without labels has no validation batches.

    The order of an epoch depends only on ``seed`` and the epoch, so a resumed run sees the same
    batches. Each of several processes has its part of the same order.

    Args:
        dataset: Data set of the catalogue, ``torchgeo/NAME``, a folder of images or of scenes; or
            a loaded data set.
        root: Where data sets lie; see :func:`rs_otl.datasets.data_root`.
        size: Side of the views in pixels, the same as for the task. Images are a little larger,
            see :func:`rs_otl.spec.load_size`. A loaded data set keeps its size.
        batch_size: Images in a batch of each process. Images left over at the end of a training
            epoch are dropped.
        orders: Number of orders of the training images, shuffled separately. A batch takes
            ``batch_size`` images from each order in turn, ``orders x batch_size`` in all; an epoch
            takes every image once from each order. With several orders the last, smaller batch is
            kept, as in the authors' code. For ``OTLTask(views_apart=True)``.
        num_workers: Processes that decode; cached images need none.
        division: Number of the random 80/20 division, or a division.
        keep_duplicates_together: Keep identical images on one side of the division.
        supervised: Whether training batches have labels.
        cache: Where decoded images are kept: ``"ram"``, ``"disk"``, ``"none"``, ``"auto"``, see
            :func:`rs_otl.datasets.load_dataset`; or ``"gpu"``: on the training device, where
            batches are put together.
        seed: Seed of the order.

    Attributes:
        images: The loaded data set, once set up.
        mean: Mean of each band in [0, 1], ``(C,)``, once set up; the task normalises with it.
        std: Standard deviation of each band, ``(C,)``, once set up.
        train_dataset: The training images.
        val_dataset: The test images of the division, or ``None`` without labels.
    """

    def __init__(
        self,
        dataset: str | CachedDataset,
        root: str | Path | None = None,
        size: int = 224,
        batch_size: int = 64,
        orders: int = 1,
        num_workers: int = 0,
        division: int | Division = 1,
        keep_duplicates_together: bool = True,
        supervised: bool = False,
        cache: str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(CachedDataset, batch_size, num_workers)
        self.source = dataset
        self.root = None if root is None else Path(root)
        self.size = size
        self.orders = orders
        self.division = division
        self.keep_duplicates_together = keep_duplicates_together
        self.supervised = supervised
        self.cache = cache
        self.seed = seed
        self.images: CachedDataset | None = None
        self._on_device: Tensor | None = None

    def setup(self, stage: str = "fit") -> None:
        """Load the images and divide them; a second call changes nothing.

        Raises:
            InputError: If the data set cannot be loaded or divided, has fewer training images
                for each process than ``batch_size``, or has no labels to train with.
        """
        if self.images is not None:
            return
        images = self.source
        if not isinstance(images, CachedDataset):
            images = load_dataset(
                images,
                load_size(self.size),
                self.root,
                cache="auto" if self.cache == "gpu" else self.cache,
                cache_folder=None if self.trainer is None else Path(self.trainer.default_root_dir),
            )
        division = self.division
        if not isinstance(division, Division):
            division = divide(images, division, self.keep_duplicates_together)
        processes = 1 if self.trainer is None else self.trainer.world_size
        share = len(division.train) // processes
        if not 1 <= self.batch_size <= share:
            raise InputError(
                f"batch_size = {self.batch_size:,}: expected a number between 1 and the {share:,} "
                f"training images of {images.name}{' in each process' if processes > 1 else ''}"
            )
        if self.supervised and images.labels is None:
            raise without_labels(images.name)
        self.images = images
        self.mean, self.std = torch.tensor(images.spec.mean), torch.tensor(images.spec.std)
        if images.cached or self.cache == "gpu":
            self.num_workers = 0
        self.train_dataset = _Part(images, division.train, self.supervised, self.cache != "gpu")
        if images.labels is not None and len(division.test):
            self.val_dataset = _Part(images, division.test, labelled=True)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return shuffled batches of training images; Lightning tells the sampler the epoch."""
        processes, rank = 1, 0
        if self.trainer is not None:
            processes, rank = self.trainer.world_size, self.trainer.global_rank
        dataset = cast(_Part, self.train_dataset)
        # The sampler adds the epoch to its seed: epoch 1 of seed 0 would be epoch 0 of seed 1.
        seeds = np.random.SeedSequence(self.seed).generate_state(self.orders)
        samplers: list[DistributedSampler[Sample]] = [
            DistributedSampler(dataset, processes, rank, seed=int(seed), drop_last=True)
            for seed in seeds
        ]
        if self.orders > 1:
            return self._loader(dataset, _OrdersApart(samplers, self.batch_size), drop_last=False)
        return self._loader(dataset, samplers[0], drop_last=True)

    def val_dataloader(self) -> Any:
        """Return batches of labelled test images, or an empty list."""
        if self.val_dataset is None:
            return []
        return self._loader(cast(_Part, self.val_dataset), None, drop_last=False)

    def _loader(
        self, dataset: "_Part", sampler: Sampler[Any] | None, drop_last: bool
    ) -> DataLoader[Sample]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size * (1 if sampler is None else self.orders),
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=_collated,
            drop_last=drop_last,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def on_after_batch_transfer(self, batch: Sample, dataloader_idx: int) -> Sample:
        """Add the images to a batch that came to the device without them.

        Nothing is normalised here: the task normalises after its views.
        """
        if "image" in batch:
            return batch
        if self._on_device is None:
            part = cast(_Part, self.train_dataset)
            self._on_device = part.images.uint8_batch(part.chosen).to(batch["index"].device)
        return batch | {"image": self._on_device[batch["index"]]}


class _OrdersApart(Sampler[int]):
    """Take ``batch_size`` images from each of several orders of the same images in turn.

    A single image left over at the end of the orders is dropped: batch normalisation would fail.
    """

    def __init__(self, samplers: list[DistributedSampler[Sample]], batch_size: int) -> None:
        self.samplers = samplers
        self.batch_size = batch_size
        images = len(samplers[0])
        self.images = images - (images % batch_size == 1)

    def __len__(self) -> int:
        return self.images * len(self.samplers)

    def __iter__(self) -> Iterator[int]:
        orders = [list(sampler)[: self.images] for sampler in self.samplers]
        for start in range(0, self.images, self.batch_size):
            for order in orders:
                yield from cast(list[int], order[start : start + self.batch_size])

    def set_epoch(self, epoch: int) -> None:
        for sampler in self.samplers:
            sampler.set_epoch(epoch)


class IndexedDataset(Dataset[Any]):
    """Any data set of dictionaries, with the position of each sample added as ``index``.

    :class:`rs_otl.trainers.OTLTask` keeps labels by ``index``. An ``index`` that samples already
    have is replaced, for example that of the full data set if this is a subset.

    Args:
        dataset: A data set of samples by position, such as torchgeo's non-geo ones.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of samples."""
        return len(cast(Sized, self.dataset))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample with its ``index``, an int64 scalar."""
        return self.dataset[index] | {"index": torch.tensor(index)}


class _Part(Dataset[Sample]):
    """Some of the images; ``index`` is the position among them. Labels are read only if wanted."""

    def __init__(
        self,
        images: CachedDataset,
        chosen: NDArray[np.int64],
        labelled: bool,
        with_images: bool = True,
    ) -> None:
        self.images = images
        self.chosen = chosen
        self.labelled = labelled
        self.with_images = with_images

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, positions: list[int]) -> Sample:
        chosen = self.chosen[positions]
        batch = {"index": torch.tensor(positions)}
        if self.with_images:
            batch["image"] = self.images.uint8_batch(chosen)
        if self.labelled:
            assert self.images.labels is not None
            batch["label"] = torch.from_numpy(self.images.labels[chosen])
        return batch


def _collated(batch: Any) -> Sample:
    """Return what ``__getitems__`` has collated; workers cannot receive a lambda."""
    return batch


def without_labels(name: str) -> InputError:
    """Return the error for images that have no labels to train with."""
    return InputError(
        f"{name} has no labels to train with: expected a sub-folder of images for each class"
    )
