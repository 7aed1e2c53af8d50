"""UC Merced Land Use."""

from torchgeo import datasets

from rs_otl.datasets.base import CatalogueDataset


class UCMerced(CatalogueDataset, datasets.UCMerced):
    """torchgeo's ``UCMerced`` with all its images, partial copies and the paper's division.

    A sample is ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``; the 44
    images of other sizes are resized, as torchgeo does.
    """

    entry_name = "ucmerced"
