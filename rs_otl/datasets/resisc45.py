"""NWPU-RESISC45."""

from torchgeo import datasets

from rs_otl.datasets._partial import DownloadableCopy


class RESISC45(DownloadableCopy, datasets.RESISC45):
    """All images of torchgeo's ``RESISC45``, without its split files.

    A sample is ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "resisc45"
