"""Class folders of which some images, or whole classes, may be missing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torchgeo.datasets import DatasetNotFoundError, NonGeoClassificationDataset
from torchvision.datasets.folder import pil_loader

from rs_otl.datasets.catalogue import CATALOGUE

Transforms = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class PartialCopy(NonGeoClassificationDataset):
    """Mixin that keeps the official labels whatever folders are missing.

    ``ImageFolder`` numbers the folders that it finds, and refuses empty ones.
    """

    entry_name: ClassVar[str]

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Give the official classes, found or not."""
        classes = CATALOGUE[self.entry_name].classes
        return list(classes), {name: label for label, name in enumerate(classes)}

    @staticmethod
    def make_dataset(*args: Any, **kwargs: Any) -> list[tuple[str, int]]:
        """List the images, empty classes allowed."""
        kwargs["allow_empty"] = True
        return NonGeoClassificationDataset.make_dataset(*args, **kwargs)


class DownloadableCopy(PartialCopy):
    """Mixin before a data set of torchgeo's: all images, without its official split files."""

    read: Callable[[Any], Any] = staticmethod(pil_loader)
    # torchgeo fetches a list of files for each of these.
    splits: Any = ()
    _verify: Callable[[], None]

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = True,
    ) -> None:
        """Open what is there.

        Args:
            root: Folder that holds the data sets.
            transforms: Takes a sample and returns a changed one.
            download: Fetch the archive if neither it nor the images are below ``root``.
            checksum: Verify the archive.

        Raises:
            DatasetNotFoundError: It is not below ``root`` and ``download`` is false.
        """
        self.root = root
        self.download = download
        self.checksum = checksum
        self._verify()
        folder = os.path.join(root, CATALOGUE[self.entry_name].folders[0])
        NonGeoClassificationDataset.__init__(
            self, root=folder, transforms=transforms, loader=self.read
        )


class ManualCopy(PartialCopy):
    """A data set that is unpacked by hand below the data root."""

    def __init__(
        self, root: str | os.PathLike[str] = "data", transforms: Transforms | None = None
    ) -> None:
        """Open what is there.

        Args:
            root: Folder that holds the data sets.
            transforms: Takes a sample and returns a changed one.

        Raises:
            DatasetNotFoundError: The folder of the data set is not below ``root``.
        """
        self.root = root
        folder = CATALOGUE[self.entry_name].folder(Path(root))
        if folder is None:
            raise DatasetNotFoundError(self)
        super().__init__(root=str(folder), transforms=transforms)
