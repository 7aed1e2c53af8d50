"""PatternNet."""

from torchgeo import datasets

from rs_otl.datasets.base import CatalogueDataset, Root, Transforms


class PatternNet(CatalogueDataset, datasets.PatternNet):
    """torchgeo's ``PatternNet`` with partial copies and the paper's division.

    A sample is ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "patternnet"

    def __init__(
        self,
        root: Root = "data",
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = True,
        split: str | None = None,
    ) -> None:
        """Open the images on disk; ``split`` comes last, since torchgeo's class has none.

        Args:
            root: Folder that holds the data sets.
            transforms: Takes a sample and returns a changed one.
            download: Download the archive if neither it nor the images are below ``root``.
            checksum: Verify the downloaded archive.
            split: See :class:`rs_otl.datasets.base.CatalogueDataset`.

        Raises:
            DatasetNotFoundError: The data set is not below ``root`` and ``download`` is false.
        """
        super().__init__(root, split, transforms, download, checksum)
