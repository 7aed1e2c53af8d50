"""CIFAR, SVHN and ImageNet: photographs, with official test images (section 4.1 of the paper)."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets

from rs_otl.datasets._decode import load
from rs_otl.datasets.base import CatalogueDataset, ImageDataset, Loader, Root, Transforms
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.errors import InputError

# Images (N, H, W, 3) and labels of a split.
Packed = tuple[NDArray[np.uint8], Sequence[int]]


class _Pictures(CatalogueDataset):
    """Images in the files that their authors publish, or as image files in folders of classes.

    torchvision's class reads published files and verifies their checksums first. The files of
    CIFAR are pickles: only the official ones are unpickled.
    """

    def _open(
        self,
        root: Root,
        split: str | None,
        transforms: Transforms | None,
        download: bool,
        checksum: bool,
        loader: Loader = load,
        bands: Sequence[str] | None = None,
    ) -> None:
        entry = CATALOGUE[self.entry_name]
        found = entry.packed_in(Path(root))
        if found is None and (not download or entry.layout(Path(root)) is not None):
            super()._open(root, split, transforms, download, checksum, loader, bands)
            return
        assert entry.splits is not None
        folder = found or Path(root)
        try:
            packed = {name: self._packed(folder, name, download) for name in entry.splits}
        except RuntimeError as error:
            if download:
                raise
            raise InputError(
                f"{folder / entry.packed[0]} or a file beside it is not the official one of "
                f"{entry.title} (its checksum differs), and is not read. {entry.obtain}"
            ) from error
        listed = sorted(
            (f"{name}/{entry.classes[label]}/{number:05}", int(label))
            for name, (_, labels) in packed.items()
            for number, label in enumerate(labels)
        )
        ImageDataset.__init__(
            self,
            "",
            entry.name,
            entry.info(),
            [path for path, _ in listed],
            [label for _, label in listed],
            entry.classes,
            split,
            transforms,
            functools.partial(_picture, {name: images for name, (images, _) in packed.items()}),
            in_test=[path.startswith(f"{entry.splits[1]}/") for path, _ in listed],
        )

    def _fetch(self) -> None:
        """Do nothing: torchvision downloads and unpacks."""

    @classmethod
    def archive(cls, root: Path) -> Path | None:
        """Return ``None``: torchvision unpacks only what it downloads."""

    def _packed(self, folder: Path, split: str, download: bool) -> Packed:
        raise NotImplementedError


class CIFAR10(_Pictures):
    """CIFAR-10: 60,000 photographs of 10 kinds of things, 10,000 of them to test on.

    A sample is ``{"image": float32 (3, 32, 32) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "cifar10"
    _torchvision = datasets.CIFAR10

    @classmethod
    def address(cls) -> str:
        """Return the address of the archive."""
        return cls._torchvision.url

    def _packed(self, folder: Path, split: str, download: bool) -> Packed:
        images = self._torchvision(folder, train=split == "train", download=download)
        return images.data, images.targets


class CIFAR100(CIFAR10):
    """CIFAR-100: 60,000 photographs of 100 kinds of things, 10,000 of them to test on.

    A sample is ``{"image": float32 (3, 32, 32) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "cifar100"
    _torchvision = datasets.CIFAR100


class SVHN(_Pictures):
    """SVHN: 99,289 house numbers cut into digits, 26,032 of them to test on.

    A sample is ``{"image": float32 (3, 32, 32) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "svhn"

    @classmethod
    def address(cls) -> str:
        """Return the address of the file of training images."""
        return datasets.SVHN.split_list["train"][0]

    def _packed(self, folder: Path, split: str, download: bool) -> Packed:
        images = datasets.SVHN(folder, split=split, download=download)
        return images.data.transpose(0, 2, 3, 1), images.labels


class ImageNet(CatalogueDataset):
    """ImageNet (ILSVRC 2012): 1,000 kinds of things, 1,281,167 photographs and 50,000 to test on.

    Files are ``train/<nNNNNNNNN>/*.JPEG`` and ``val/<nNNNNNNNN>/*.JPEG``, as
    ``torchvision.datasets.ImageNet`` unpacks them; ``val`` has the test images. A sample is
    ``{"image": float32 (3, H, W) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "imagenet"


def _picture(images: Mapping[str, NDArray[np.uint8]], path: str) -> NDArray[Any]:
    return images[path.partition("/")[0]][int(path.rpartition("/")[2])]
