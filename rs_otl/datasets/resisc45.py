"""NWPU-RESISC45."""

from torchgeo import datasets

from rs_otl.datasets.base import CatalogueDataset


class RESISC45(CatalogueDataset, datasets.RESISC45):
    """torchgeo's ``RESISC45`` with all its images, partial copies and the paper's division.

    A sample is ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "resisc45"
