"""PatternNet."""

from torchgeo import datasets

from rs_otl.datasets._partial import DownloadableCopy


class PatternNet(DownloadableCopy, datasets.PatternNet):
    """torchgeo's ``PatternNet``, partial copies allowed.

    A sample is ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "patternnet"
