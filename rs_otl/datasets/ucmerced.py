"""UC Merced Land Use."""

from torchgeo import datasets

from rs_otl.datasets._partial import DownloadableCopy


class UCMerced(DownloadableCopy, datasets.UCMerced):
    """All images of torchgeo's ``UCMerced``, without its split files.

    A sample is ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``; the 44
    images of other sizes are resized, as torchgeo does.
    """

    entry_name = "ucmerced"
